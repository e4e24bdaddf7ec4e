"""Does the light give the bad photographs away, and does a trained model go by it?

    python tools/lamp.py results/real/real-cpu/runs/visa/macaroni1/pouta/all/seed0 ...

Of each run's category: the image AUROC of the gray of a test image's border alone, which shows
little or nothing of the part. Of each run: image AUROC and pixel AP on the test images as they are;
all equally light, as the training images are in the mean; with each in the light of another test
image, dealt at random; and with the good ones alone darker. The runs need their weights and their
data (POUTA_DATA). The table is written where --out says.
"""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from run_tables import told_of, write_table

from pouta_lib.score.evaluation import score_test
from pouta_lib.score.metrics import image_metrics
from pouta_lib.study.records import Record
from pouta_lib.study.run import open_run

BORDER = 0.04  # of the side
DEALS = 10  # whose mean counts
DARKER = 0.07  # the share of its light that a lamp has lost: our choice
AS_THEY_ARE, EQUAL, DEALT = "as they are", "equally light", "light dealt at random"
DRIFTED = "good ones darker"
COLUMNS = ["dataset", "category", "method", "seed", "steps", "light_share", "label"]
COLUMNS += ["test images", "image_auroc", "pixel_ap"]


def border_gray(images: np.ndarray) -> np.ndarray:
    """The median gray of each image's border.

    *Shape*: ``(N, 3, S, S)`` uint8 gives ``(N,)`` in [0, 255].
    """
    width = max(1, round(BORDER * images.shape[-1]))
    inner = np.zeros(images.shape[-2:], bool)
    inner[width:-width, width:-width] = True
    return np.median(images.mean(axis=1)[:, ~inner], axis=1)


def in_light(images: np.ndarray, gray: np.ndarray | float) -> np.ndarray:
    """Each image times what brings its mean gray to `gray`; a black one stays black.

    *Shape*: ``(N, 3, S, S)`` uint8, and the same; gray ``(N,)`` or one for all, in [0, 255].
    """
    gains = gray / np.maximum(images.mean(axis=(1, 2, 3)), 1)
    return (images * gains[:, None, None, None]).round().clip(0, 255).astype(np.uint8)


def in_every_light(test: np.ndarray, bad: np.ndarray, gray: float) -> dict[str, list[np.ndarray]]:
    """The test images in each light, once or as often as it is dealt; `gray` is the equal one.

    *Shape*: ``(N, 3, S, S)`` uint8; bad ``(N,)`` bool; gray in [0, 255].
    """
    own, draws = test.mean(axis=(1, 2, 3)), np.random.default_rng(0)
    return {
        AS_THEY_ARE: [test],
        EQUAL: [in_light(test, gray)],
        DEALT: [in_light(test, draws.permutation(own)) for _ in range(DEALS)],
        DRIFTED: [in_light(test, own * np.where(bad, 1, 1 - DARKER))],
    }


def rows_of(record: Record) -> list[dict[str, Any]]:
    """What a run says of the test images in each light, and what their border says alone."""
    category, model, compute = open_run(record)
    lights = in_every_light(category.test, category.labels, float(category.train.mean()))
    run: dict[str, Any] = {"dataset": category.dataset, "category": category.name}
    alone = image_metrics(category.labels, border_gray(category.test))["image_auroc"]
    rows = [run | {"method": "border gray", "test images": AS_THEY_ARE, "image_auroc": alone}]
    varied = record.profile.light_share if record.steps else 0.0  # what is not trained sees none
    run |= told_of(record) | {"light_share": varied}
    for name, sets in lights.items():
        of = [
            score_test(
                model, replace(category, test=images), record.profile, compute, record.run.variant
            )[2]
            for images in sets
        ]
        mean = pd.DataFrame(of)[["image_auroc", "pixel_ap"]].astype(float).mean()
        rows.append(run | {"test images": name} | mean.to_dict())
    return rows


def main(arguments: list[str] | None = None) -> int:
    return write_table("lamp", str(__doc__).partition("\n")[0], rows_of, COLUMNS, arguments)


if __name__ == "__main__":
    sys.exit(main())

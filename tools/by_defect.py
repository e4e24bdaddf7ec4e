"""Which kinds of defect does a trained model find?

    python tools/by_defect.py results/real/real-cpu/runs/mvtec/transistor/pouta/all/seed0 ...

Of each run and each kind of defect: its number of test images; image AUROC of these against all
good ones, and pixel AP on these alone; the median image score of these and of the good ones. The
runs need their maps and their data (POUTA_DATA). The table is written where --out says.
"""

import sys
from typing import Any

import numpy as np
from run_tables import told_of, write_table

from pouta_lib.score.metrics import image_metrics, pixel_metrics
from pouta_lib.study.records import Record, load_arrays
from pouta_lib.study.run import open_data

COLUMNS = ["dataset", "category", "defect", "images", "method", "seed", "steps", "label"]
COLUMNS += ["image_auroc", "pixel_ap", "median_score", "median_good"]


def rows_of(record: Record) -> list[dict[str, Any]]:
    """What a run says of each kind of defect."""
    category, arrays = open_data(record), load_arrays(record.path)
    kinds, scores = np.array(category.defects), arrays["scores"]
    good = ~category.labels
    run: dict[str, Any] = {"dataset": category.dataset, "category": category.name}
    run |= told_of(record) | {"median_good": float(np.median(scores[good]))}
    rows = []
    for kind in np.unique(kinds[category.labels]):
        of = kinds == kind
        told = image_metrics(category.labels[of | good], scores[of | good])
        row = run | {"defect": str(kind), "images": int(of.sum())}
        row |= {"image_auroc": told["image_auroc"], "median_score": float(np.median(scores[of]))}
        if category.masks is not None and category.mask_kind == "exact":
            row["pixel_ap"] = pixel_metrics(category.masks[of], arrays["maps"][of])["pixel_ap"]
        rows.append({"pixel_ap": None} | row)
    return rows


def main(arguments: list[str] | None = None) -> int:
    return write_table("by_defect", str(__doc__).partition("\n")[0], rows_of, COLUMNS, arguments)


if __name__ == "__main__":
    sys.exit(main())

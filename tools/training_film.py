"""One training as a short film: how the repair and the map come to be, step by step.

    .venv/bin/python tools/training_film.py            figures/demo/training.webp and its note

Trains POUTA on the nut at the demo profile, about a minute, and keeps no run.
"""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageDraw

from pouta_lib.deliver.painting import IN_FULL, coloured
from pouta_lib.ground.paths import figures_root
from pouta_lib.ground.validation import write_json
from pouta_lib.method.inference import in_batches
from pouta_lib.method.models import build_model
from pouta_lib.method.models.pouta import Pouta
from pouta_lib.method.training import train
from pouta_lib.study.run import load_run_data, prepare_run

EVERY = 10  # steps a frame
ENLARGED, GAP, HEAD = 2, 8, 22  # times, and pixels
MILLISECONDS, LAST = 180, 2500  # of a frame
COLUMNS = ("test image", "repaired", "map")


def frame(images: np.ndarray, repaired: np.ndarray, maps: np.ndarray, head: str) -> Image.Image:
    """One picture: one row per image; its repair, its map; above them what `head` says.

    *Shape*: images ``(N, 3, S, S)`` uint8, repaired the same in [0, 1], maps ``(N, S, S)``.
    """
    side = ENLARGED * images.shape[-1] + GAP
    shape = (len(COLUMNS) * side - GAP, len(images) * side - GAP + 2 * HEAD)
    picture = Image.new("RGB", shape, "white")
    pen = ImageDraw.Draw(picture)
    pen.text((0, 4), head, fill="black", font_size=14)
    for column, title in enumerate(COLUMNS):
        pen.text((column * side, HEAD + 4), title, fill="dimgray", font_size=13)
    repaired = (repaired.clip(0, 1) * 255).round().astype(np.uint8)
    for row, shown in enumerate(zip(images, repaired, maps, strict=True)):
        image, repair, anomaly_map = shown
        panels = [np.moveaxis(image, 0, -1), np.moveaxis(repair, 0, -1), coloured(anomaly_map)]
        for column, panel in enumerate(panels):
            tile = Image.fromarray(panel).resize((side - GAP,) * 2, Image.Resampling.BICUBIC)
            picture.paste(tile, (column * side, row * side + 2 * HEAD))
    return picture


def film_training(category: str, profile: str) -> tuple[list[Image.Image], int]:
    """A frame for every :data:`EVERY` steps of a training, and the number of steps.

    The checkpoints that training writes anyhow are what the frames are drawn from.
    """
    run = prepare_run(profile, "mini-mvtec", category)
    settings = dataclasses.replace(run.profile, checkpoint_steps=EVERY)
    part, support, textures = load_run_data(run)
    bad = np.flatnonzero(part.labels)
    assert part.masks is not None  # of a drawn dataset
    by_size = bad[np.argsort(part.masks[bad].sum(axis=(1, 2)))]
    images = part.test[by_size[[len(bad) // 3, -len(bad) // 4]]]
    model = cast(Pouta, build_model("pouta", settings))
    frames: list[Image.Image] = []

    def look(step: int, steps: int, losses: dict[str, float]) -> None:
        kept = torch.load(path, weights_only=True)
        model.load_state_dict(kept["average"] or kept["model"])
        trace = model.eval().trace
        repaired, maps = in_batches(lambda x: (trace(x)["I_r"], trace(x)["M_p"]), images, IN_FULL)
        frames.append(frame(images, repaired, maps, f"step {step} of {steps}"))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        trained = train(
            part.train[support],
            textures,
            settings,
            "pouta",
            0,
            device="cpu",
            checkpoint=path,
            progress=look,
        )
    return frames, trained.steps


def main() -> int:
    """Writes the film and the note of what it shows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--category", default="nut")
    parser.add_argument("--profile", default="demo")
    options = parser.parse_args()
    frames, steps = film_training(options.category, options.profile)
    path = figures_root() / options.profile / "training.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [MILLISECONDS] * (len(frames) - 1) + [LAST]
    moving: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": times}
    frames[0].save(path, quality=70, method=6, loop=0, **moving)
    caption = f"One training of POUTA on the {options.category}, {steps} steps of the profile "
    caption += f"{options.profile}, a frame for every {EVERY}: two defective test images, which it "
    caption += "never learns from; their repair $I_r$; the map $M_p$, stretched by the cube root."
    note = {"figure": "training", "caption": caption, "records": []}
    write_json(path.with_suffix(".json"), note)
    print(f"saved {path} ({path.stat().st_size / 1e3:.0f} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

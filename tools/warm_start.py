"""The weights that a training of POUTA may begin with (docs/DEVIATIONS.md, D44).

    .venv/bin/python tools/warm_start.py               results/warm/

Trains POUTA once, on good images of many kinds together: the training images of the mini datasets
and procedural patterns, as they are and in other colours. All are drawn by this project. It sees
crops of 64 of their 96 px: things are as large as they will be, at half the time. A quarter of
an hour of one core; a stopped training goes on when the same command is given again.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch

from pouta_lib.data import list_categories, load_category, load_textures
from pouta_lib.data.textures import patterns
from pouta_lib.ground.paths import project_root
from pouta_lib.ground.profiles import Profile, load_profile
from pouta_lib.ground.progress import TrainingProgress
from pouta_lib.ground.validation import write_json
from pouta_lib.method.history import LOSSES
from pouta_lib.method.synthesis import vary_texture
from pouta_lib.method.training import train
from pouta_lib.method.warm_start import RECORD, warm_folder
from pouta_lib.method.weights import save_weights, weights_digest
from pouta_lib.study.records import made_by

LEFT_OUT = ("nut", "terrazzo")  # what the warm start is measured on
DRAWN_ANEW = 10  # times every procedural pattern
RECOLOURED = 3  # times every image, beside the image itself
CROP_PX = 64


def many_kinds(size_px: int, drawn_anew: int = DRAWN_ANEW) -> tuple[np.ndarray, list[str]]:
    """Good images of many kinds, and what they are of.

    The patterns have other seeds than those that serve as anomalies. Every image stands there as
    it is, and :data:`RECOLOURED` times flipped, turned and in other colours.

    *Shape*: ``(N, 3, size_px, size_px)`` uint8.
    """
    images, sources = [], []
    for dataset in ("mini-mvtec", "mini-visa", "mini-dagm"):
        for name in list_categories(dataset):
            if name not in LEFT_OUT:
                images.append(load_category(dataset, name, size_px).train)
                sources.append(f"{dataset}/{name}")
    images += [np.stack(patterns(size_px, seed)) for seed in range(1, 1 + drawn_anew)]
    whole = torch.from_numpy(np.concatenate(images))
    generator = torch.Generator().manual_seed(0)
    others = [vary_texture(whole / 255, generator) for _ in range(RECOLOURED)]
    parts = [whole, *((255 * other).round().to(torch.uint8) for other in others)]
    return torch.cat(parts).numpy(), [*sources, f"patterns, drawn {drawn_anew} times"]


def crops(images: np.ndarray, side_px: int) -> np.ndarray:
    """One square of each image, anywhere in it: ``(N, 3, S, S) -> (N, 3, side_px, side_px)``."""
    room = images.shape[-1] - side_px
    places = np.random.default_rng(0).integers(0, room + 1, (len(images), 2))
    pairs = zip(images, places, strict=True)
    return np.stack([image[:, y : y + side_px, x : x + side_px] for image, (y, x) in pairs])


def make(
    profile: Profile,
    seed: int,
    folder: Path,
    checkpoint: Path,
    drawn_anew: int = DRAWN_ANEW,
    crop_px: int = CROP_PX,
) -> Path:
    """Trains, and writes the weights in half precision and their record; the weights' file."""
    code = made_by()  # before it can change
    images, sources = many_kinds(profile.size_px, drawn_anew)
    images = crops(images, crop_px)
    textures = load_textures(profile.textures, crop_px, max_images=profile.max_textures)
    cropped = dataclasses.replace(profile, size_px=crop_px)
    progress = TrainingProgress("POUTA, warm start")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    trained = train(
        images, textures, cropped, "pouta", seed, checkpoint=checkpoint, progress=progress
    )
    state = {
        name: t.half() if t.is_floating_point() else t
        for name, t in trained.model.state_dict().items()
    }
    path = save_weights(state, folder)
    record = {
        "images": {
            "of": sources,
            "recoloured": RECOLOURED,
            "count": len(images),
            "crop_px": crop_px,
        },
        "profile": profile.to_dict(),
        "seed": seed,
        "steps": trained.steps,
        "losses": {name: trained.history[name][-1] for name in LOSSES},
        "seconds": round(trained.seconds),
        "device": trained.compute.describe(),
        "precision": trained.compute.precision,
        **code,
        "weights": weights_digest(state),
    }
    write_json(folder / RECORD, record)
    checkpoint.unlink()
    return path


def main() -> int:
    """Makes the weights and their record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="real-cpu")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    own = {"textures": "builtin", "steps": options.steps, "epochs": None, "standardise": False}
    profile = load_profile(options.profile, **own)
    checkpoint = project_root() / "build" / "warm_start" / "checkpoint.pt"
    folder = warm_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = make(profile, options.seed, folder, checkpoint)
    print(f"saved {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

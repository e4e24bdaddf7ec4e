"""What the works of `make bench` are done on: drawn, the same at every call."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

DISTINCT = 64  # pictures that are drawn; more are copies


def masks_and_maps(count: int, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Masks and probability maps, a third of them of good images: blobs in noise."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.standard_normal((count, side, side)), (0, 12, 12)) > 0.045
    masks[: count // 3] = False
    noise = ndimage.gaussian_filter(rng.standard_normal(masks.shape), (0, 3, 3))
    logits = 4 * ndimage.gaussian_filter(masks.astype(float), (0, 4, 4)) + 1.5 * noise / noise.std()
    return masks, (1 / (1 + np.exp(4 - logits))).astype(np.float32)


def nuts(count: int) -> np.ndarray:
    """Good pictures of a nut, each its own: ``(count, 192, 192, 3)`` uint8."""
    from pouta_lib.data.mini.plan import SCENES, picture

    (nut,) = (scene for scene in SCENES if scene.category == "nut")
    return np.stack([picture(nut, "train", None, k)[0] for k in range(count)])


def at_size(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture of another size, with a camera's grain: ``(side, side, 3)`` uint8."""
    from PIL import Image

    large = np.asarray(Image.fromarray(picture).resize((side, side)), np.int16)
    grain = np.random.default_rng(0).normal(0, 3, large.shape).astype(np.int16)
    return (large + grain).clip(0, 255).astype(np.uint8)


def scratch() -> Path:
    """A new folder, which goes when the process ends."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def photographs(count: int, side: int) -> Path:
    """A data folder with one category of PNG files; beyond the distinct ones, links to them."""
    from PIL import Image

    root = scratch()
    good = root / "folder" / "nut" / "good"
    good.mkdir(parents=True)
    for k, picture in enumerate(nuts(min(count, DISTINCT))):
        Image.fromarray(at_size(picture, side)).save(good / f"{k:06}.png")
    for k in range(DISTINCT, count):
        os.link(good / f"{k % DISTINCT:06}.png", good / f"{k:06}.png")
    return root


def mapped(count: int, side: int) -> np.ndarray:
    """Training images as the cache gives them: ``(count, 3, side, side)``, mapped from a file."""
    path = scratch() / "train.npy"
    some = np.stack([at_size(picture, side) for picture in nuts(min(count, DISTINCT))])
    whole = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 3, side, side))
    for start in range(0, count, DISTINCT):
        whole[start : start + DISTINCT] = np.moveaxis(some, -1, 1)[: count - start]
    del whole
    return np.load(path, mmap_mode="c")


def patches(count: int) -> Any:
    """Features of 1,024 dimensions, of which 64 carry most: a tensor."""
    import torch

    generator = torch.Generator().manual_seed(0)
    found = torch.randn(count, 64, generator=generator) @ torch.randn(64, 1024, generator=generator)
    return found.add_(torch.randn(found.shape, generator=generator), alpha=0.1)

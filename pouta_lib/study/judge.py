"""Judging a recipe without any defect: strange anomalies on good images that were held out.

The settings of a profile have to be chosen by something, and the test split may not be it. The
training anomalies may not either: a network can learn the edge of a pasted texture so well that
its loss falls while real defects are found less. So a quarter of the good images is held out, and
damaged in five ways that training never uses.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from pouta_lib.data import load_category
from pouta_lib.ground.errors import problem
from pouta_lib.method.training import Progress, fit
from pouta_lib.score.evaluation import detect
from pouta_lib.score.metrics import image_metrics, pixel_metrics
from pouta_lib.study.run import Run, load_run_data

SIZE_PX = 224  # the damage is drawn, and the maps are judged, at this size for every profile
HELD_OUT = 4  # every fourth good image ...
MOST = 40  # ... but no more than these
VISIBLE = 6  # of 255: a pixel that changed by less is not called damaged

Damage = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def cut_and_paste(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rectangle of the image, a little lighter or darker, somewhere else in it."""
    size = image.shape[-1]
    height, width = rng.integers(size // 12, size // 2, 2)
    (top, to_top), (left, to_left) = (
        rng.integers(0, size - extent, 2) for extent in (height, width)
    )
    changed, where = image.copy(), np.zeros((size, size))
    piece = image[:, top : top + height, left : left + width] * rng.uniform(0.8, 1.2)
    changed[:, to_top : to_top + height, to_left : to_left + width] = piece
    where[to_top : to_top + height, to_left : to_left + width] = 1
    return changed, where


def scratch(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A thin bent line, lighter or darker."""
    size = image.shape[-1]
    middle, angle = rng.uniform(0.25, 0.75, 2) * size, rng.uniform(0, np.pi)
    half, bend = rng.uniform(0.1, 0.3) * size, rng.normal(0, 0.3)
    along = np.linspace(-1, 1, 4 * size)
    direction, across = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]])
    points = middle + half * (along[:, None] * direction + bend * along[:, None] ** 2 * across)
    drawn = np.ones((size, size))
    rows, columns = points.round().astype(int).clip(0, size - 1).T
    drawn[rows, columns] = 0
    distance = ndimage.distance_transform_edt(drawn)
    where = np.clip(rng.uniform(0.004, 0.01) * size + 0.5 - distance, 0, 1)
    return image + where * rng.choice([-1, 1]) * rng.uniform(50, 110), where


def stain(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A blurred, tinted blob with a wavy outline."""
    size = image.shape[-1]
    y, x = np.mgrid[:size, :size] - rng.uniform(0.25, 0.75, (2, 1, 1)) * size
    waves = ndimage.gaussian_filter(rng.standard_normal((size, size)), size / 24)
    radius = rng.uniform(0.04, 0.12) * size * (1 + 0.5 * waves / waves.std())
    where = ndimage.gaussian_filter((np.hypot(y * rng.uniform(0.5, 1), x) < radius) * 1.0, 1.5)
    tinted = ndimage.gaussian_filter(image, (0, 3, 3)) + rng.uniform(-70, 70, (3, 1, 1))
    return (1 - where) * image + where * tinted, where


def warp(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A round part of the image pushed aside."""
    size = image.shape[-1]
    y, x = np.mgrid[:size, :size]
    middle, angle = rng.uniform(0.25, 0.75, 2) * size, rng.uniform(0, 2 * np.pi)
    distance = np.hypot(y - middle[0], x - middle[1]) / (rng.uniform(0.08, 0.2) * size)
    push = np.sqrt(np.clip(1 - distance, 0, 1)) * rng.uniform(0.08, 0.15) * size
    source = [y + push * np.sin(angle), x + push * np.cos(angle)]
    moved = [ndimage.map_coordinates(band, source, order=1, mode="reflect") for band in image]
    return np.stack(moved), (push > 0) * 1.0


def speck(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A spot of two to four percent of the side, lighter or darker: what tiny defects are like."""
    size = image.shape[-1]
    y, x = np.mgrid[:size, :size] - rng.uniform(0.25, 0.75, (2, 1, 1)) * size
    where = np.clip(rng.uniform(0.01, 0.02) * size + 0.5 - np.hypot(y, x), 0, 1)
    return image + where * rng.choice([-1, 1]) * rng.uniform(50, 110), where


DAMAGES: tuple[Damage, ...] = (cut_and_paste, scratch, stain, warp, speck)


def damage(images: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Each image damaged in each of five ways, and where.

    *Shape*: ``(N, 3, S, S)`` uint8 gives ``(5 N, 3, S, S)`` uint8 and ``(5 N, S, S)`` bool. A
    damage that cannot be seen has an empty mask.
    *Source*: our choice: cuts, lines, stains, warps and specks, none of them a blended texture.
    """
    damaged, masks = [], []
    for k, image in enumerate(images):
        for n, draw in enumerate(DAMAGES):
            changed, where = draw(image.astype(np.float64), np.random.default_rng([seed, k, n]))
            changed = changed.clip(0, 255).round().astype(np.uint8)
            visible = np.abs(changed.astype(int) - image).max(axis=0) > VISIBLE
            damaged.append(changed)
            masks.append(visible & (where > 0.5 if draw is not warp else where > 0))
    return np.stack(damaged), np.stack(masks)


def judge_recipe(run: Run, progress: Progress | None = None) -> dict[str, dict[str, float | None]]:
    """Trains on three quarters of the good images, and judges by the rest, whole and damaged.

    The metrics of ``all`` damages together and of each by its name, each time beside the whole
    images.

    *Raises* :class:`PoutaError` where there are too few good images to hold any out.
    """
    p, key = run.profile, run.key
    category, _, textures = load_run_data(run)
    good = category.train
    large = load_category(key.dataset, key.category, SIZE_PX, max_train=p.max_train, max_test=1)
    held = np.arange(len(good)) % HELD_OUT == HELD_OUT - 1
    if not held.any():
        where = f"{key.dataset}/{key.category}, training images"
        raise problem(f"at least {HELD_OUT} images", str(len(good)), where, "add good images")
    trained = fit(good[~held], textures, p, key.variant, key.seed, progress=progress)
    whole = large.train[held][:MOST]
    damaged, masks = damage(whole)
    images = _resized(np.concatenate([whole, damaged]), p.size_px)
    maps, scores = detect(trained.model, images, p, trained.compute, key.variant)
    maps = _resized(maps[:, None], SIZE_PX)[:, 0]
    masks = np.concatenate([np.zeros((len(whole), SIZE_PX, SIZE_PX), bool), masks])
    # whole images have kind -1; a damage that cannot be seen belongs to no kind
    kinds = np.r_[np.full(len(whole), -1), np.tile(np.arange(len(DAMAGES)), len(whole))]
    unseen = (kinds >= 0) & ~masks.any(axis=(1, 2))
    judged = {"all": ~unseen}
    judged |= {f.__name__: (kinds == -1) | ((kinds == n) & ~unseen) for n, f in enumerate(DAMAGES)}
    return {
        name: image_metrics(masks[of].any(axis=(1, 2)), scores[of])
        | pixel_metrics(masks[of], maps[of])
        for name, of in judged.items()
    }


def _resized(arrays: np.ndarray, size_px: int) -> np.ndarray:
    """``(N, C, H, W)`` at another size, of the same type."""
    tensor = torch.from_numpy(np.ascontiguousarray(arrays)).float()
    tensor = F.interpolate(tensor, (size_px, size_px), mode="bilinear", antialias=True)
    if arrays.dtype == np.uint8:
        tensor = tensor.round().clamp(0, 255)
    return tensor.numpy().astype(arrays.dtype)

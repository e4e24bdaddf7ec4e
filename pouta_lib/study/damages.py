"""Strange anomalies: five damages that training never uses, drawn on good images."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

VISIBLE = 6  # of 255: a pixel that changed by less is not called damaged

# (3, S, S) float in [0, 255], and draws; gives the same, and (S, S), above 0.5 where damaged
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


def damage(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image damaged in each of five ways, and where; the same at each call.

    *Shape*: ``(N, 3, S, S)`` uint8 gives ``(5 N, 3, S, S)`` uint8 and ``(5 N, S, S)`` bool. A
    damage that cannot be seen has an empty mask.
    *Source*: our choice: cuts, lines, stains, warps and specks, none of them a blended texture.
    """
    damaged, masks = [], []
    for k, image in enumerate(images):
        for n, draw in enumerate(DAMAGES):
            changed, where = draw(image.astype(np.float64), np.random.default_rng([0, k, n]))
            changed = changed.clip(0, 255).round().astype(np.uint8)
            visible = np.abs(changed.astype(int) - image).max(axis=0) > VISIBLE
            damaged.append(changed)
            masks.append(visible & (where > 0.5))
    return np.stack(damaged), np.stack(masks)

"""Brushes: distances, noise, strokes, shading, and the camera that takes the picture.

Lengths are in half image widths: x and y run from -1 to 1, left to right and top to bottom.
Colours and brightness are in [0, 1].
"""

import itertools
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

Rng = np.random.Generator


class Grid(NamedTuple):
    """Coordinates of the pixels' centres, and a pixel's size."""

    x: np.ndarray
    y: np.ndarray
    px: float


def make_grid(size: int) -> Grid:
    """The whole picture's coordinates."""
    line = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    return Grid(*np.meshgrid(line, line), 2 / size)


def posed(grid: Grid, x: float, y: float, angle: float, scale: float = 1.0) -> Grid:
    """Coordinates as seen by an object at (x, y), turned by `angle`, `scale` times as large."""
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    dx, dy = grid.x - np.float32(x), grid.y - np.float32(y)
    return Grid(c * dx + s * dy, c * dy - s * dx, grid.px / scale)


def cover(distance: np.ndarray, px: float) -> np.ndarray:
    """How much of each pixel lies inside, from the distance to the edge (negative inside)."""
    return np.clip(0.5 - distance / px, 0, 1)


def mix(under: np.ndarray, over: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`over` painted on `under`: ``(S, S, 3)``, with alpha ``(S, S)``; `over` may be one colour."""
    alpha = alpha[..., None]
    return under * (1 - alpha) + np.asarray(over, np.float32) * alpha


def noise(rng: Rng, size: int, cells: float, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise of unit deviation with so many cells across; stretched along x."""
    rows, columns = max(2, round(cells)), max(2, round(cells / stretch))
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    fine = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    return fine / (fine.std() + 1e-6)


def path(rng: Rng, start: tuple[float, float], angle: float, length: float, wander: float):
    """A wandering line as 12 points: ``(12, 2)`` of x and y."""
    turns = angle + np.cumsum(rng.normal(0, wander, 11))
    steps = np.stack([np.cos(turns), np.sin(turns)], 1) * length / 11
    return np.vstack([start, np.asarray(start) + np.cumsum(steps, axis=0)])


def along(grid: Grid, points: np.ndarray) -> np.ndarray:
    """The distance of each pixel to a line through `points`."""
    nearest = np.full(grid.x.shape, np.inf, np.float32)
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        vx, vy = bx - ax, by - ay
        t = ((grid.x - ax) * vx + (grid.y - ay) * vy) / max(vx * vx + vy * vy, 1e-9)
        t = np.clip(t, 0, 1)
        nearest = np.minimum(nearest, np.hypot(grid.x - ax - t * vx, grid.y - ay - t * vy))
    return nearest


def blob(rng: Rng, grid: Grid, x: float, y: float, radius: float, rough: float = 0.3):
    """The distance to the edge of an uneven spot (negative inside), stretched at random."""
    local = posed(grid, x, y, rng.uniform(0, np.pi))
    r = np.hypot(local.x * rng.uniform(0.7, 1.4), local.y)
    angle = np.arctan2(local.y, local.x)
    edge = sum(
        rng.normal(0, rough / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
        for k in range(2, 8)
    )
    return r - radius * np.clip(1 + edge * 0.5, 0.4, 1.8)


def box(grid: Grid, half_width: float, half_height: float, radius: float = 0.0) -> np.ndarray:
    """The distance to a rectangle's edge with rounded corners."""
    dx = np.abs(grid.x) - half_width + radius
    dy = np.abs(grid.y) - half_height + radius
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return outside + np.minimum(np.maximum(dx, dy), 0) - radius


def lit(height: np.ndarray, px: float, azimuth: float) -> np.ndarray:
    """How much brighter a relief is under light from `azimuth`, about -1 to 1."""
    dy, dx = np.gradient(height, px)
    slope = -(dx * np.cos(azimuth) + dy * np.sin(azimuth))
    return slope / np.sqrt(1 + dx * dx + dy * dy)


def photograph(rng: Rng, scene: np.ndarray, blur: float = 0.6, grain: float = 0.014) -> np.ndarray:
    """What a camera makes of a scene: uneven light, vignetting, colour drift, blur and grain.

    *Shape*: ``(S, S, 3)`` or ``(S, S)`` in [0, 1] to the same, uint8.
    """
    size = scene.shape[0]
    grid = make_grid(size)
    tilt = rng.normal(0, 0.05, 2)
    light = rng.uniform(0.93, 1.07) + tilt[0] * grid.x + tilt[1] * grid.y
    light -= rng.uniform(0.04, 0.14) * (grid.x**2 + grid.y**2)
    sigma = blur * rng.uniform(0.8, 1.2)
    if scene.ndim == 3:
        tint = 1 + rng.normal(0, 0.012, 3)
        picture = scene * (light[..., None] * tint)
        sigmas = (sigma, sigma, 0)
    else:
        picture, sigmas = scene * light, (sigma, sigma)
    picture = ndimage.gaussian_filter(picture.astype(np.float32), sigmas, truncate=2.5)
    shot = rng.standard_normal(picture.shape, np.float32) * grain
    picture = picture + shot * np.sqrt(0.3 + np.clip(picture, 0, 1))
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)

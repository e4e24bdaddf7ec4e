"""Brushes: distances, noise, strokes, shading, and the camera that takes the picture.

Lengths are in half image widths: x and y run from -1 to 1, left to right and top to bottom.
Colours and brightness are in [0, 1]. Edges are antialiased by their distance, not by drawing
larger and shrinking, which would cost four times as much.
"""

import itertools
from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported when they are first asked for
from PIL import Image

Rng = np.random.Generator
Point = tuple[float, float]  # x, y
Colour = np.ndarray | tuple[float, float, float]
NEAR = 0.1  # how far from a line its distance is told


class Grid(NamedTuple):
    """Coordinates of the pixels' centres, and a pixel's size."""

    x: np.ndarray
    y: np.ndarray
    px: float


def make_grid(size: int) -> Grid:
    """The whole picture's coordinates."""
    line = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    return Grid(*np.meshgrid(line, line), 2 / size)


def window(grid: Grid, x: float, y: float, reach: float) -> tuple[tuple[slice, slice], Grid]:
    """The part of the whole picture within `reach` of (x, y): where to cut, and its coordinates."""
    size = grid.x.shape[0]
    cuts = []
    for centre in (y, x):
        first, last = ((np.array([centre - reach, centre + reach]) + 1) / 2 * size).astype(int)
        cuts.append(slice(min(max(first, 0), size - 1), max(min(last + 1, size), 1)))
    at = cuts[0], cuts[1]
    return at, Grid(grid.x[at], grid.y[at], grid.px)


def pair(values: np.ndarray) -> Point:
    """Two drawn numbers as x and y, in the precision that they were drawn in."""
    x, y = values
    return x, y


def posed(grid: Grid, x: float, y: float, angle: float, scale: float = 1.0) -> Grid:
    """Coordinates as seen by an object at (x, y), turned by `angle`, `scale` times as large."""
    c, s = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
    dx, dy = grid.x - np.float32(x), grid.y - np.float32(y)
    return Grid(c * dx + s * dy, c * dy - s * dx, grid.px / scale)


def cover(distance: np.ndarray, px: float) -> np.ndarray:
    """How much of each pixel lies inside, from the distance to the edge (negative inside)."""
    return np.clip(0.5 - distance / px, 0, 1)


def mix(under: np.ndarray, over: Colour, alpha: np.ndarray) -> np.ndarray:
    """`over` painted on `under`: ``(S, S, 3)``, with alpha ``(S, S)``; `over` may be one colour."""
    alpha = alpha[..., None].astype(np.float32)
    return under * (1 - alpha) + np.asarray(over, np.float32) * alpha


def noise(rng: Rng, size: int, cells: float, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise of unit deviation with so many cells across; stretched along x."""
    rows, columns = max(2, round(cells)), max(2, round(cells / stretch))
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    fine = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    return fine / (fine.std() + 1e-6)


def cloud(rng: Rng, size: int, cells: float, octaves: int = 4) -> np.ndarray:
    """Noise of several grains, each finer one weaker: unit deviation."""
    total = np.asarray(sum(0.6**k * noise(rng, size, cells * 2**k) for k in range(octaves)))
    return total / total.std()


def streaks(rng: Rng, size: int, angle: float) -> np.ndarray:
    """Hairlines of many lengths along one direction, some of them bright: about unit deviation."""
    wide = int(size * 1.2)
    field = 0.8 * noise(rng, wide, wide, wide / 2) + 0.7 * noise(rng, wide, wide, 30)
    field += 0.6 * noise(rng, wide, wide, 9) + 0.5 * noise(rng, wide, wide / 3, wide / 9)
    hair = noise(rng, wide, wide, 24)
    field += 0.9 * np.clip(hair - 1.7, 0, None) - 0.7 * np.clip(-hair - 1.9, 0, None)
    turned = Image.fromarray(field).rotate(np.degrees(angle), Image.Resampling.BICUBIC)
    margin = (wide - size) // 2
    return np.asarray(turned)[margin : margin + size, margin : margin + size] / 1.35


def curl(
    rng: Rng, start: Point, angle: float, length: float, bend: float, steps: int = 24
) -> np.ndarray:
    """A smooth line, as a hair lies: its curvature drifts. ``(steps + 1, 2)``."""
    bends = scipy.ndimage.gaussian_filter1d(rng.normal(0, bend, steps), 3, mode="nearest") * 2.5
    return _walk(start, angle + np.cumsum(bends), length)


def jagged(rng: Rng, start: Point, angle: float, length: float, steps: int = 26) -> np.ndarray:
    """A line as a crack runs: straight on the whole, with a turn at every grain."""
    drift = np.cumsum(rng.normal(0, 0.12, steps))
    turns = angle + drift + rng.normal(0, 0.5, steps)
    return _walk(start, turns, length)


def _walk(start: Point, turns: np.ndarray, length: float) -> np.ndarray:
    steps = np.stack([np.cos(turns), np.sin(turns)], 1) * length / len(turns)
    return np.vstack([start, np.asarray(start) + np.cumsum(steps, axis=0)])


def along(grid: Grid, points: np.ndarray) -> np.ndarray:
    """The distance of each pixel to a line through `points`; beyond :data:`NEAR` only "far"."""
    return along_and_share(grid, points)[0]


def along_and_share(grid: Grid, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `along`, and how far along the line the nearest point lies, 0 at its start to 1."""
    nearest = np.full(grid.x.shape, 9, np.float32)
    share = np.zeros(grid.x.shape, np.float32)
    low, high = points.min(axis=0) - NEAR, points.max(axis=0) + NEAR
    near = (grid.x > low[0]) & (grid.x < high[0]) & (grid.y > low[1]) & (grid.y < high[1])
    x, y = grid.x[near], grid.y[near]
    best, where = nearest[near], share[near]
    for n, ((ax, ay), (bx, by)) in enumerate(itertools.pairwise(points.astype(np.float32))):
        vx, vy = bx - ax, by - ay
        t = np.clip(((x - ax) * vx + (y - ay) * vy) / max(vx * vx + vy * vy, 1e-9), 0, 1)
        distance = np.hypot(x - ax - t * vx, y - ay - t * vy)
        closer = distance < best
        best = np.where(closer, distance, best)
        where = np.where(closer, (n + t) / (len(points) - 1), where)
    nearest[near], share[near] = best, where
    return nearest, share


def blob(
    rng: Rng, grid: Grid, x: float, y: float, radius: float, rough: float = 0.3, lobes: int = 10
) -> np.ndarray:
    """The distance to the edge of an uneven spot (negative inside), stretched at random."""
    local = posed(grid, x, y, rng.uniform(0, np.pi))
    r = np.hypot(local.x * rng.uniform(0.7, 1.4), local.y)
    angle = np.arctan2(local.y, local.x)
    edge = sum(
        rng.normal(0, rough / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
        for k in range(2, lobes + 1)
    )
    return r - radius * np.clip(1 + edge * 0.5, 0.4, 1.8)


def box(grid: Grid, half_width: float, half_height: float, radius: float = 0.0) -> np.ndarray:
    """The distance to a rectangle's edge with rounded corners."""
    dx = np.abs(grid.x) - half_width + radius
    dy = np.abs(grid.y) - half_height + radius
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return outside + np.minimum(np.maximum(dx, dy), 0) - radius


def shadow(scene: np.ndarray, distance: np.ndarray, softness: float = 0.12) -> np.ndarray:
    """A soft shadow, from the distance to the edge of what casts it (give it displaced)."""
    depth = np.clip(0.5 - distance / softness, 0, 1)
    return scene * (1 - 0.5 * depth * depth * (3 - 2 * depth))[..., None]


def lit(height: np.ndarray, px: float, azimuth: float) -> np.ndarray:
    """How much brighter a relief is under light from `azimuth`, about -1 to 1."""
    dy, dx = np.gradient(height, px)
    slope = -(dx * np.cos(azimuth) + dy * np.sin(azimuth))
    return slope / np.sqrt(1 + dx * dx + dy * dy)


def photograph(rng: Rng, scene: np.ndarray, grain: float) -> np.ndarray:
    """What a camera makes of a scene: uneven light, vignetting, colour drift, blur and grain.

    *Shape*: ``(S, S, 3)`` or ``(S, S)`` in [0, 1] to the same, uint8.
    """
    size = scene.shape[0]
    grid = make_grid(size)
    tilt = rng.normal(0, 0.05, 2)
    light = rng.uniform(0.93, 1.07) + tilt[0] * grid.x + tilt[1] * grid.y
    light -= rng.uniform(0.04, 0.14) * (grid.x**2 + grid.y**2)
    sigma = 0.6 * rng.uniform(0.8, 1.2)
    if scene.ndim == 3:
        tint = 1 + rng.normal(0, 0.01, 3)
        picture = scene * (light[..., None] * tint)
        sigmas: tuple[float, ...] = (sigma, sigma, 0)
    else:
        picture, sigmas = scene * light, (sigma, sigma)
    picture = scipy.ndimage.gaussian_filter(picture.astype(np.float32), sigmas, truncate=2.5)
    shot = rng.standard_normal(picture.shape, np.float32) * grain
    if scene.ndim == 3:  # half of the grain is brightness, half is colour
        shot = 0.7 * shot + 0.7 * grain * rng.standard_normal((size, size, 1), np.float32)
    picture = picture + shot * np.sqrt(0.3 + np.clip(picture, 0, 1))
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)

"""Three textures: woven fabric, brushed metal, terrazzo.

Each function draws one scene. `rng` decides everything that is normal about it and `hurt`, where
there is a defect, everything about the defect: the same `rng` without it is the same piece, whole.
"""

import numpy as np
from scipy.spatial import cKDTree

from pouta_lib.data.mini.draw import (
    Grid,
    Rng,
    along,
    blob,
    cover,
    lit,
    mix,
    noise,
    path,
    posed,
)


def place(hurt: Rng, reach: float = 0.65) -> tuple[float, float]:
    """Somewhere in the picture, not at its very edge."""
    x, y = hurt.uniform(-reach, reach, 2)
    return float(x), float(y)


def scratch(hurt: Rng, grid: Grid, scene: np.ndarray, reach: float = 0.6) -> np.ndarray:
    """A groove with a bright and a dark side, deeper here and shallower there."""
    angle = hurt.uniform(0, np.pi)
    length = hurt.uniform(0.3, 1.0)
    x, y = place(hurt, reach)
    start = (x - np.cos(angle) * length / 2, y - np.sin(angle) * length / 2)
    points = path(hurt, start, angle, length, 0.05)
    depth = np.clip(0.7 + 0.3 * noise(hurt, grid.x.shape[0], 10), 0.2, 1.2)
    width = hurt.uniform(0.004, 0.012) * depth
    strength = hurt.uniform(0.5, 0.95)
    beside = along(grid, points + 0.014)
    scene = mix(scene, scene * 0.5, strength * depth * cover(beside - width, 0.02))
    bright = np.minimum(strength * depth, 1) * cover(along(grid, points) - width, 0.012)
    return mix(scene, (0.93, 0.93, 0.9), bright)


def stain(hurt: Rng, grid: Grid, scene: np.ndarray, colour, reach: float = 0.6) -> np.ndarray:
    """Something spilt: darker and of its own colour, uneven inside."""
    x, y = place(hurt, reach)
    radius = hurt.uniform(0.1, 0.3)
    inside = cover(blob(hurt, grid, x, y, radius), 0.05)
    uneven = 0.75 + 0.2 * noise(hurt, grid.x.shape[0], 14)
    alpha = inside * np.clip(uneven, 0.3, 1) * hurt.uniform(0.45, 0.85)
    return mix(scene, scene * np.asarray(colour, np.float32), alpha)


def fabric(rng: Rng, hurt: Rng | None, defect: str | None, grid: Grid) -> np.ndarray:
    """Plain weave: threads over and under one another, each a little different."""
    size = grid.x.shape[0]
    pitch = rng.uniform(0.085, 0.1)
    local = posed(grid, *rng.uniform(-1, 1, 2), rng.normal(0, 0.03))
    u = local.x + 0.006 * noise(rng, size, 6)
    v = local.y + 0.006 * noise(rng, size, 6)
    if defect == "thread_pull":
        x, y = place(hurt, 0.5)
        spot = posed(grid, x, y, hurt.choice([0, np.pi / 2]) + hurt.normal(0, 0.1))
        bump = np.exp(-((spot.x / hurt.uniform(0.2, 0.4)) ** 2))
        bump *= np.exp(-((spot.y / hurt.uniform(0.05, 0.12)) ** 2)) * hurt.uniform(0.7, 1.3) * pitch
        u, v = u + bump * 0.6, v + bump
    i, j = np.floor(u / pitch).astype(int), np.floor(v / pitch).astype(int)
    across, down = u / pitch - i, v / pitch - j
    tone_u, tone_v = (1 + 0.07 * rng.standard_normal((2, 64))).astype(np.float32)
    over = (i + j) % 2 == 0
    round_u, round_v = (np.sqrt(np.clip(1 - (2 * t - 1) ** 2, 0, 1)) for t in (across, down))
    height = np.where(over, round_u * (0.55 + 0.45 * round_v), round_v * (0.55 + 0.45 * round_u))
    tone = np.where(over, tone_u[i % 64], tone_v[j % 64])
    fibres = np.where(over, noise(rng, size, 70, 0.2), noise(rng, size, 70, 5))
    base = np.array([0.52, 0.55, 0.62]) * rng.normal(1, 0.04) + rng.normal(0, 0.012, 3)
    value = (0.3 + 0.75 * height) * tone * (1 + 0.05 * fibres)
    scene = base.astype(np.float32) * value[..., None]
    if defect == "hole":
        x, y = place(hurt)
        edge = blob(hurt, grid, x, y, hurt.uniform(0.07, 0.18)) + 0.012 * noise(hurt, size, 60)
        scene = mix(scene, scene * 1.25 + 0.05, 0.6 * cover(np.abs(edge) - 0.015, 0.02))
        scene = mix(scene, (0.06, 0.055, 0.05), cover(edge, 0.02))
    if defect == "stain":
        scene = stain(hurt, grid, scene, (0.62, 0.5, 0.36))
    return scene


def metal(rng: Rng, hurt: Rng | None, defect: str | None, grid: Grid) -> np.ndarray:
    """Brushed steel: fine streaks along one direction under a broad highlight."""
    size = grid.x.shape[0]
    streaks = sum(noise(rng, size, cells, stretch) for cells, stretch in ((96, 40), (150, 60)))
    streaks += 0.8 * noise(rng, size, 40, 12)
    band = np.exp(-(((grid.y - rng.uniform(-0.7, 0.7)) / rng.uniform(0.5, 0.9)) ** 2))
    value = 0.55 * rng.normal(1, 0.04) + 0.16 * band + rng.uniform(0.028, 0.042) * streaks
    value += 0.015 * noise(rng, size, 4)
    scene = value[..., None] * np.array([0.98, 1.0, 1.03], np.float32)
    if defect == "scratch":
        scene = scratch(hurt, grid, scene)
    if defect == "dent":
        x, y = place(hurt)
        radius = hurt.uniform(0.09, 0.22)
        squeezed = posed(grid, x, y, hurt.uniform(0, np.pi))
        r = np.hypot(squeezed.x, squeezed.y * hurt.uniform(1, 1.6)) / radius
        relief = lit(-0.9 * radius * np.exp(-(r**2) * 2), grid.px, rng.uniform(0, 2 * np.pi))
        scene = scene * (1 + hurt.uniform(0.25, 0.55) * relief * (r < 1.6))[..., None]
    if defect == "rust":
        x, y = place(hurt)
        inside = cover(blob(hurt, grid, x, y, hurt.uniform(0.08, 0.24), 0.5), 0.03)
        mottle = np.clip(0.6 + 0.35 * noise(hurt, size, 30), 0.15, 1)
        scene = mix(scene, np.array([0.45, 0.25, 0.13]) * hurt.uniform(0.8, 1.2), inside * mottle)
    return scene


CHIPS = np.array(
    [
        [0.9, 0.88, 0.84],
        [0.62, 0.6, 0.57],
        [0.72, 0.58, 0.42],
        [0.32, 0.31, 0.31],
        [0.8, 0.74, 0.66],
    ],
    np.float32,
)


def terrazzo(rng: Rng, hurt: Rng | None, defect: str | None, grid: Grid) -> np.ndarray:
    """Stone chips of many sizes in cement."""
    size = grid.x.shape[0]
    count = int(rng.integers(110, 170))
    points = rng.uniform(-1.15, 1.15, (count, 2)).astype(np.float32)
    warp = 0.02 * np.stack([noise(rng, size, 24), noise(rng, size, 24)], -1)
    pixels = np.stack([grid.x, grid.y], -1) + warp
    distance, nearest = cKDTree(points).query(pixels.reshape(-1, 2), k=2)
    gap = ((distance[:, 1] - distance[:, 0]) / 2).reshape(size, size)
    cell = nearest[:, 0].reshape(size, size)
    margin = rng.uniform(0.008, 0.05, count)
    margin[rng.random(count) < 0.22] = 1.0  # cement only
    chip = cover(margin[cell] - gap, grid.px)
    colours = CHIPS[rng.integers(0, len(CHIPS), count)] * rng.normal(1, 0.06, (count, 1))
    cement = np.array([0.66, 0.645, 0.62]) * rng.normal(1, 0.03)
    scene = cement * (1 + 0.035 * noise(rng, size, 80) + 0.02 * noise(rng, size, 8))[..., None]
    speckle = 1 + 0.03 * noise(rng, size, 96)
    scene = mix(scene, colours[cell] * speckle[..., None], chip).astype(np.float32)
    if defect == "crack":
        x, y = place(hurt, 0.5)
        angle = hurt.uniform(0, 2 * np.pi)
        main = path(hurt, (x, y), angle, hurt.uniform(0.5, 1.1), 0.35)
        branch = path(hurt, tuple(main[5]), angle + hurt.choice([-1, 1]) * 0.8, 0.35, 0.35)
        near = np.minimum(along(grid, main), along(grid, branch) + 0.004)
        width = hurt.uniform(0.006, 0.016) * (1 + 0.3 * noise(hurt, size, 20))
        scene = mix(scene, (0.16, 0.15, 0.14), 0.9 * cover(near - width, 0.012))
    if defect == "pit":
        x, y = place(hurt)
        edge = blob(hurt, grid, x, y, hurt.uniform(0.06, 0.16))
        relief = lit(0.12 * np.clip(edge / 0.06, -1, 0), grid.px, -2.2)
        rough = (0.42 + 0.05 * noise(hurt, size, 60) + 0.35 * relief)[..., None]
        scene = mix(scene, rough * np.array([1, 0.97, 0.92]), cover(edge, grid.px * 1.5))
    if defect == "fibre":
        x, y = place(hurt, 0.5)
        points = path(hurt, (x, y), hurt.uniform(0, 2 * np.pi), hurt.uniform(0.5, 1.0), 0.5)
        width = hurt.uniform(0.01, 0.018)
        scene = mix(scene, scene * 0.6, 0.6 * cover(along(grid, points + 0.02) - width, 0.03))
        colour = [(0.1, 0.16, 0.42), (0.5, 0.08, 0.1), (0.08, 0.08, 0.09)][hurt.integers(3)]
        scene = mix(scene, colour, 0.95 * cover(along(grid, points) - width, 0.012))
    return scene

"""What can happen to a thing whatever it is: scratched, stained, corroded, cracked, a hair on it.

`hurt` decides everything about the defect; the scene comes in whole and goes out changed.
"""

import numpy as np

from pouta_lib.data.mini.draw import (
    Colour,
    Grid,
    Rng,
    along,
    along_and_share,
    blob,
    cloud,
    cover,
    curl,
    jagged,
    mix,
    noise,
    posed,
)


def place(hurt: Rng, reach: float = 0.65) -> tuple[float, float]:
    """Somewhere in the picture, not at its very edge."""
    x, y = hurt.uniform(-reach, reach, 2)
    return float(x), float(y)


def scratch(
    hurt: Rng,
    grid: Grid,
    scene: np.ndarray,
    reach: float = 0.6,
    length: tuple[float, float] = (0.35, 1.1),
) -> np.ndarray:
    """A groove with a bright and a dark side, deep where it starts, here and there lifted."""
    angle = hurt.uniform(0, np.pi)
    long = hurt.uniform(*length)
    x, y = place(hurt, reach)
    start = (x - np.cos(angle) * long / 2, y - np.sin(angle) * long / 2)
    points = curl(hurt, start, angle, long, 0.05)
    near, share = along_and_share(grid, points)
    depth = np.clip(0.85 + 0.25 * noise(hurt, grid.x.shape[0], 14), 0.5, 1.2) * (1.1 - 0.45 * share)
    width = hurt.uniform(0.012, 0.026) * depth
    strength = hurt.uniform(0.85, 1.0)
    beside = along(grid, points + 0.013)
    scene = mix(scene, scene * 0.45, strength * np.minimum(depth, 1) * cover(beside - width, 0.018))
    bright = np.minimum(strength * depth, 1) * cover(near - width, 0.012)
    return mix(scene, np.minimum(scene * 1.1 + 0.42, 0.97), bright)


def stain(hurt: Rng, grid: Grid, scene: np.ndarray, colour: Colour) -> np.ndarray:
    """Something spilt and dried: darkest along its shore, uneven inside, with splashes beside."""
    size = grid.x.shape[0]
    x, y = place(hurt, 0.6)
    radius = hurt.uniform(0.1, 0.27)
    edge = blob(hurt, grid, x, y, radius, 0.45) + 0.016 * cloud(hurt, size, 12)
    for _ in range(hurt.integers(0, 4)):
        angle, far = hurt.uniform(0, 2 * np.pi), radius * hurt.uniform(1.3, 1.8)
        drop = np.hypot(grid.x - x - far * np.cos(angle), grid.y - y - far * np.sin(angle))
        edge = np.minimum(edge, drop - hurt.uniform(0.012, 0.035))
    shore = np.exp(-(((edge + 0.02) / 0.022) ** 2))
    alpha = np.clip(0.62 + 0.14 * cloud(hurt, size, 8) + 0.3 * shore, 0.35, 1)
    alpha = alpha * cover(edge, 0.03) * hurt.uniform(0.45, 0.95)
    return mix(scene, scene * np.asarray(colour, np.float32), alpha)


def corrosion(
    hurt: Rng, grid: Grid, scene: np.ndarray, x: float, y: float, radius: float
) -> np.ndarray:
    """Rust: pits that have grown together in the middle, single ones around, a tint between."""
    size = grid.x.shape[0]
    squeeze, turn = hurt.uniform(0.5, 1), hurt.uniform(0, np.pi)
    local = posed(grid, x, y, turn)
    pits = np.full(grid.x.shape, 9, np.float32)
    for _ in range(int(hurt.integers(24, 50))):
        px, py = hurt.normal(0, 0.42 * radius, 2) * (1, squeeze)
        grown = radius * hurt.uniform(0.03, 0.2) * np.exp(-((px / radius) ** 2))
        pits = np.minimum(pits, np.hypot(local.x - px, local.y - py) - grown)
    rough = pits + 0.012 * cloud(hurt, size, 44, 2)
    tint = np.exp(-np.maximum(rough, 0) / (0.04 * radius + 0.004))
    scene = mix(scene, scene * (0.86, 0.64, 0.42), 0.55 * tint * (tint > 0.12))
    tone = np.clip(1 + 0.22 * cloud(hurt, size, 50, 2), 0.5, 1.5) * hurt.uniform(0.75, 1.1)
    deep = np.clip(-rough / (0.16 * radius), 0, 1)[..., None]
    rust = np.array([0.5, 0.28, 0.13]) * (1 - deep) + np.array([0.25, 0.13, 0.08]) * deep
    return mix(scene, rust * tone[..., None], 0.92 * cover(rough, 0.02))


def fibre(hurt: Rng, grid: Grid, scene: np.ndarray) -> np.ndarray:
    """A hair or a thread that has come to lie on top, with its own shadow."""
    points = curl(hurt, place(hurt, 0.5), hurt.uniform(0, 2 * np.pi), hurt.uniform(0.5, 1.3), 0.3)
    width = hurt.uniform(0.008, 0.016)
    scene = mix(scene, scene * 0.62, 0.7 * cover(along(grid, points + 0.02) - width, 0.03))
    colour = [(0.12, 0.2, 0.46), (0.55, 0.1, 0.12), (0.09, 0.08, 0.09), (0.93, 0.92, 0.9)]
    near = along(grid, points)
    round_ = 0.75 + 0.5 * np.clip(1 - near / width, 0, 1)[..., None]
    tone = np.array(colour[hurt.integers(len(colour))]) * round_
    return mix(scene, np.minimum(tone, 1), 0.95 * cover(near - width, 0.012))


def crack(
    hurt: Rng,
    grid: Grid,
    scene: np.ndarray,
    start: tuple[float, float],
    angle: float,
    length: float,
    *,
    dark: Colour = (0.13, 0.12, 0.12),
    width: tuple[float, float] = (0.008, 0.018),
    branches: int = 1,
    pale: float = 0.0,
) -> np.ndarray:
    """A crack that narrows towards its end and may fork; `pale` is how light its edges are."""
    main = jagged(hurt, start, angle, length)
    wide = hurt.uniform(*width)
    near, share = along_and_share(grid, main)
    gap = near - wide * (1.05 - 0.85 * share)
    for _ in range(branches):
        fork = int(hurt.integers(6, 18))
        turned = angle + hurt.choice([-1, 1]) * hurt.uniform(0.4, 0.9)
        side = jagged(hurt, tuple(main[fork]), turned, length * hurt.uniform(0.25, 0.5), steps=14)
        near, share = along_and_share(grid, side)
        gap = np.minimum(gap, near - 0.6 * wide * (1.05 - 0.9 * share))
    if pale:
        scene = mix(scene, np.minimum(scene * 1.2 + 0.12, 1), pale * cover(gap - 0.012, 0.02))
    return mix(scene, dark, 0.93 * cover(gap, 0.012))

"""Three textures: woven fabric, brushed metal, terrazzo.

Each function draws one scene. `rng` decides everything that is normal about it and `hurt`
everything about its `defect`: the same `rng` without a defect is the same piece, whole.
"""

import numpy as np
import scipy  # its parts are imported when they are first asked for

from pouta_lib.data.mini.defects import corrosion, crack, fibre, place, scratch, stain
from pouta_lib.data.mini.draw import (
    Grid,
    Rng,
    along,
    blob,
    cloud,
    cover,
    curl,
    lit,
    mix,
    noise,
    pair,
    posed,
    streaks,
)

Array = np.ndarray


def fabric(rng: Rng, hurt: Rng, defect: str | None, grid: Grid) -> np.ndarray:
    """Plain weave: blue warp and pale weft, over and under one another, each yarn different."""
    size = grid.x.shape[0]
    pitch = rng.uniform(0.092, 0.108)
    local = posed(grid, *pair(rng.uniform(-1, 1, 2)), rng.normal(0, 0.04))
    u = local.x + 0.007 * noise(rng, size, 5) + 0.003 * noise(rng, size, 16)
    v = local.y + 0.007 * noise(rng, size, 5) + 0.003 * noise(rng, size, 16)
    spot = posed(local, *_inside(hurt, grid, local), 0) if defect else local
    if defect == "thread_pull":  # the neighbours are drawn towards the yarn that is pulled
        reach = hurt.uniform(0.16, 0.4)
        fade = np.exp(-((spot.x / reach) ** 4) - (spot.y / pitch) ** 2)
        v = v + hurt.uniform(0.3, 0.5) * spot.y * fade
    i, j = np.floor(u / pitch).astype(int), np.floor(v / pitch).astype(int)
    across, down = u / pitch - i - 0.5, v / pitch - j - 0.5
    tone, thick = rng.normal(1, 0.07, (2, 97)), rng.normal(0.47, 0.02, (2, 97))
    warp = _yarn(across, thick[0][i % 97] + 0.02 * noise(rng, size, 24, 0.4))
    weft = _yarn(down, thick[1][j % 97] + 0.02 * noise(rng, size, 24, 2.5))
    sign = np.where((i + j) % 2 == 0, 1, -1)
    wave = 0.5 * sign * np.cos(np.pi * down) * np.cos(np.pi * across)
    high_warp, high_weft = warp - 0.5 + wave, weft - 0.5 - wave
    high_warp[warp <= 0], high_weft[weft <= 0] = -2, -2
    if defect == "thread_pull":
        row = np.floor((v - spot.y).ravel()[np.argmin(np.abs(spot.y))] / pitch).astype(int)
        lifted = (j == row) & (np.abs(spot.x) < reach) & (weft > 0)
        high_weft[lifted] = 1.1 * weft[lifted] + 0.35
    if defect == "hole":
        radius = hurt.uniform(0.07, 0.22)
        high_warp, high_weft = _torn(hurt, spot, radius, i, j, high_warp, high_weft)
    over = high_warp > high_weft
    height = np.maximum(high_warp, high_weft)
    twist = np.where(over, across * 0.55 + down, down * 0.55 + across)
    fibres = 0.05 * np.sin(2 * np.pi * 3 * twist) + 0.06 * noise(rng, size, size)
    shade = np.clip(0.72 + 0.5 * height, 0.16, 1.25) * (1 + fibres)
    shade *= np.where(over, tone[0][i % 97], tone[1][j % 97])
    shade += 0.1 * lit(np.maximum(height, -0.6) * pitch * 0.5, grid.px, rng.uniform(-2.4, -1.8))
    blue = np.array([0.35, 0.42, 0.54]) * rng.normal(1, 0.05) + rng.normal(0, 0.008, 3)
    pale = np.array([0.55, 0.58, 0.61]) * rng.normal(1, 0.04) + rng.normal(0, 0.008, 3)
    scene = np.where(over[..., None], blue, pale) * shade[..., None] * 1.12
    bare = np.where(height < -1, 1.0, 0.0)
    scene = mix(scene.astype(np.float32), (0.1, 0.095, 0.09), bare)
    if defect == "hole":
        scene = _frayed(hurt, spot, radius, scene, pale)
    if defect == "stain":
        scene = stain(hurt, grid, scene, (0.66, 0.5, 0.33))
    return scene


def _inside(hurt: Rng, grid: Grid, local: Grid) -> tuple[float, float]:
    """A place in the picture, in the turned coordinates of the cloth."""
    x, y = place(hurt, 0.55)
    n = np.argmin(np.hypot(grid.x - x, grid.y - y))
    return float(local.x.ravel()[n]), float(local.y.ravel()[n])


def _yarn(offset: np.ndarray, half: np.ndarray) -> np.ndarray:
    """The height of a round yarn across its width, 0 beside it."""
    return np.sqrt(np.clip(1 - (offset / half) ** 2, 0, 1))


def _torn(
    hurt: Rng, spot: Grid, radius: float, i: Array, j: Array, high_warp: Array, high_weft: Array
) -> tuple[np.ndarray, np.ndarray]:
    """Every yarn ends where it tore, each at its own length."""
    stretch = hurt.uniform(0.7, 1.4)
    ends = hurt.normal(0, 0.028, (2, 97, 2))
    r = np.hypot(spot.x * stretch, spot.y) - radius
    gone_warp = r + ends[0][i % 97, (spot.y > 0).astype(int)] < 0
    gone_weft = r + ends[1][j % 97, (spot.x > 0).astype(int)] < 0
    return np.where(gone_warp, -2, high_warp), np.where(gone_weft, -2, high_weft)


def _frayed(
    hurt: Rng, spot: Grid, radius: float, scene: np.ndarray, colour: np.ndarray
) -> np.ndarray:
    """Loose fibres about a hole."""
    for _ in range(int(hurt.integers(3, 8))):
        angle = hurt.uniform(0, 2 * np.pi)
        start = 1.1 * radius * np.cos(angle), 1.1 * radius * np.sin(angle)
        points = curl(hurt, start, angle + np.pi + hurt.normal(0, 0.7), radius + 0.03, 0.3, 10)
        scene = mix(
            scene, np.asarray(colour) * 0.95, 0.85 * cover(along(spot, points) - 0.005, 0.012)
        )
    return scene


def metal(rng: Rng, hurt: Rng, defect: str | None, grid: Grid) -> np.ndarray:
    """Brushed steel: hairlines along one direction under a broad highlight."""
    size = grid.x.shape[0]
    light = rng.uniform(0, 2 * np.pi)
    turn = rng.normal(0, 0.03)
    local = posed(grid, 0, 0, turn)
    band = np.exp(-(((local.y - rng.uniform(-0.7, 0.7)) / rng.uniform(0.5, 0.9)) ** 2))
    lines = streaks(rng, size, -turn)
    value = 0.5 * rng.normal(1, 0.05) + 0.17 * band + 0.012 * noise(rng, size, 4)
    if defect == "dent":
        x, y = place(hurt)
        radius = hurt.uniform(0.1, 0.24)
        edge = blob(hurt, grid, x, y, radius, 0.3, lobes=4)
        inward = np.clip(-edge / radius, 0, 1)
        deep = inward**1.3 * (1.6 - 0.6 * inward)  # a bowl with a creased edge ...
        rim = 0.1 * np.exp(-((edge / (0.2 * radius)) ** 2))  # ... that stands up a little
        relief = lit(hurt.uniform(0.25, 0.5) * radius * (rim - deep), grid.px, light)
        lines = lines * (1 - 0.4 * (inward > 0))
        value = value + 0.42 * relief + 0.12 * np.clip(relief, 0, None) ** 2
    scene = (value + rng.uniform(0.036, 0.052) * lines)[..., None]
    scene = scene * np.array([0.985, 1.0, 1.02], np.float32)
    if defect == "scratch":
        scene = scratch(hurt, grid, scene)
    if defect == "rust":
        x, y = place(hurt)
        scene = corrosion(hurt, grid, scene, x, y, hurt.uniform(0.12, 0.32))
    return scene.astype(np.float32)


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


def terrazzo(rng: Rng, hurt: Rng, defect: str | None, grid: Grid) -> np.ndarray:
    """Stone chips of many sizes in cement, ground flat and lightly polished."""
    size = grid.x.shape[0]
    count = int(rng.integers(110, 170))
    points = rng.uniform(-1.15, 1.15, (count, 2)).astype(np.float32)
    warp = 0.02 * np.stack([noise(rng, size, 24), noise(rng, size, 24)], -1)
    pixels = np.stack([grid.x, grid.y], -1) + warp
    distance, nearest = scipy.spatial.cKDTree(points).query(pixels.reshape(-1, 2), k=2)
    gap = ((distance[:, 1] - distance[:, 0]) / 2).reshape(size, size)
    cell = nearest[:, 0].reshape(size, size)
    margin = rng.uniform(0.008, 0.05, count)
    margin[rng.random(count) < 0.22] = 1.0  # cement only
    chip = cover(margin[cell] - gap, grid.px)
    colours = CHIPS[rng.integers(0, len(CHIPS), count)] * rng.normal(1, 0.06, (count, 1))
    cement = np.array([0.66, 0.645, 0.62]) * rng.normal(1, 0.03)
    scene = cement * (1 + 0.035 * noise(rng, size, 80) + 0.02 * noise(rng, size, 8))[..., None]
    speckle = 1 + 0.04 * cloud(rng, size, 40, 3)
    scene = mix(scene, colours[cell] * speckle[..., None], chip).astype(np.float32)
    if defect == "crack":
        scene = crack(
            hurt,
            grid,
            scene,
            place(hurt, 0.5),
            hurt.uniform(0, 2 * np.pi),
            hurt.uniform(0.6, 1.4),
            branches=int(hurt.integers(0, 3)),
            pale=0.4,
        )
    if defect == "pit":
        x, y = place(hurt)
        edge = blob(hurt, grid, x, y, hurt.uniform(0.12, 0.22), 0.4) + 0.01 * cloud(hurt, size, 30)
        depth = np.clip(-edge / 0.05, 0, 1) + 0.07 * cloud(hurt, size, 30, 3)
        relief = lit(-0.07 * depth, grid.px, -2.2)
        rough = (0.36 - 0.14 * np.clip(depth, 0, 1) + 0.4 * relief)[..., None]
        scene = mix(scene, rough * np.array([1, 0.97, 0.92]), cover(edge, grid.px * 1.5))
    if defect == "fibre":
        scene = fibre(hurt, grid, scene)
    return scene.astype(np.float32)

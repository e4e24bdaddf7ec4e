"""Several objects an image, at changing places, after VisA. Conventions as in surfaces.py."""

import numpy as np

from pouta_lib.data.mini.defects import crack
from pouta_lib.data.mini.draw import (
    Grid,
    Rng,
    blob,
    cloud,
    cover,
    lit,
    mix,
    noise,
    pair,
    posed,
    shadow,
    window,
)
from pouta_lib.data.mini.parts import on_surface


def scatter(rng: Rng, count: int, apart: float, reach: float) -> np.ndarray:
    """Up to `count` places at least `apart` from one another: ``(n, 2)``."""
    places: list[np.ndarray] = []
    for candidate in rng.uniform(-reach, reach, (400, 2)):
        if all(np.hypot(*(candidate - other)) >= apart for other in places):
            places.append(candidate)
        if len(places) == count:
            break
    return np.array(places)


def tablets(rng: Rng, hurt: Rng, defect: str | None, grid: Grid) -> np.ndarray:
    """Scored tablets on a blue tray."""
    size = grid.x.shape[0]
    scene = on_surface(rng, grid, (0.27, 0.38, 0.51), 0.03)
    powder = noise(rng, size, 190)
    places = scatter(rng, int(rng.integers(5, 8)), 0.56, 0.68)
    hit = int(hurt.integers(len(places))) if defect else -1
    light = rng.uniform(-2.4, -1.8)
    for n, (x, y) in enumerate(places):
        cut, near = window(grid, x, y, 0.36)
        turn = rng.uniform(0, np.pi)
        local = posed(near, x, y, turn, rng.normal(1, 0.03))
        r = np.hypot(local.x, local.y)
        edge, bite = r - 0.24, np.full_like(r, 9)
        if n == hit and defect == "broken":
            k = hurt.uniform(0, 2 * np.pi)
            wide, deep = hurt.uniform(0.1, 0.17), hurt.uniform(0.23, 0.27)
            bite = blob(hurt, local, deep * np.cos(k), deep * np.sin(k), wide, 0.6)
            bite = bite + 0.008 * _rough(hurt, r, 14)
            edge = np.maximum(edge, -bite)
        cast = np.hypot(near.x - x - 0.035, near.y - y - 0.045) - 0.24
        fallen = np.roll(bite, (round(0.045 / grid.px), round(0.035 / grid.px)), (0, 1))
        scene[cut] = shadow(scene[cut], np.maximum(cast, -fallen), 0.11)
        relief = 0.05 * np.clip((0.24 - r) / 0.06, 0, 1) - 0.02 * np.exp(-((local.x / 0.016) ** 2))
        value = 0.83 + 0.34 * lit(relief, grid.px, light) + 0.014 * powder[cut]
        colour = np.array([0.97, 0.95, 0.89]) * rng.normal(1, 0.02)
        pill = (colour * value[..., None]).astype(np.float32)
        if n == hit and defect == "broken":  # the inside is rough and faces sideways
            rough = 0.72 + 0.07 * _rough(hurt, r, 12)
            pill = mix(
                pill, colour * rough[..., None], cover(bite - hurt.uniform(0.025, 0.06), 0.02)
            )
        elif n == hit:
            pill = _blemish(hurt, defect, local, pill, 0.12)
        scene[cut] = mix(scene[cut], pill, cover(edge, local.px))
    return scene


def macaroni(rng: Rng, hurt: Rng, defect: str | None, grid: Grid) -> np.ndarray:
    """Bent tubes of pasta on a dark ribbed mat."""
    size = grid.x.shape[0]
    scene = on_surface(rng, grid, (0.17, 0.19, 0.22), 0.05)
    mat = posed(grid, *pair(rng.uniform(-1, 1, 2)), rng.normal(0.5, 0.02))
    scene = scene * (1 + 0.1 * np.cos(mat.x * 95) * np.cos(mat.y * 95))[..., None]
    flour = noise(rng, size, 120)
    places = scatter(rng, int(rng.integers(4, 7)), 0.66, 0.66)
    hit = int(hurt.integers(len(places))) if defect else -1
    for n, (x, y) in enumerate(places):
        cut, near = window(grid, x, y, 0.4)
        turn = rng.uniform(0, 2 * np.pi)
        local = posed(near, x, y, turn, rng.normal(1, 0.05))
        half = rng.uniform(0.95, 1.12, 2)
        tube = rng.normal(0.112, 0.004)
        broken = _break(hurt) if n == hit and defect == "broken" else None
        cast = posed(near, x + 0.04, y + 0.05, turn)
        scene[cut] = shadow(scene[cut], _bow(cast, half, tube, broken)[0], 0.1)
        edge, along_it, across = _bow(local, half, tube, broken)
        round_ = np.sqrt(np.clip(1 - across**2, 0, 1))
        bend = np.arctan2(local.x, local.y + 0.2)
        side = np.sin(bend - turn + 2.4) * across  # towards the light
        value = 0.52 + 0.36 * round_ + 0.16 * side + 0.02 * flour[cut]
        value += 0.035 * np.cos(across * 16) * round_  # ridges along the tube
        value += 0.2 * np.exp(-(((side - 0.5) / 0.16) ** 2)) * round_
        colour = np.array([0.98, 0.76, 0.38]) * rng.normal(1, 0.03) + rng.normal(0, 0.01, 3)
        pasta = (colour * value[..., None]).astype(np.float32)
        mouth = np.hypot(across, along_it / MOUTH)  # at both ends one looks into the tube
        pasta = mix(pasta, np.minimum(colour * 1.04, 1), cover((mouth - 1) * MOUTH, 0.012))
        pasta = mix(pasta, (0.34, 0.21, 0.07), 0.85 * cover((mouth - 0.68) * MOUTH, 0.02))
        if n == hit and defect != "broken":
            pasta = _blemish(hurt, defect, posed(local, 0, 0.02, 0), pasta, 0.08)
        scene[cut] = mix(scene[cut], pasta, cover(edge, local.px))
    return scene


MOUTH = 0.045  # how far a tube's end, seen at a slant, reaches along it
Break = tuple[int, float, np.ndarray]


def _break(hurt: Rng) -> Break:
    """Which end is broken off, how much of it, and how ragged."""
    return int(hurt.integers(2)), hurt.uniform(0.35, 1.1), hurt.normal(0, 0.028, 5)


def _bow(
    local: Grid, half: np.ndarray, tube: float, broken: Break | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distance to a bent tube's outline, the way to its nearest end, -1 to 1 across it."""
    r, angle = np.hypot(local.x, local.y + 0.2), np.arctan2(local.x, local.y + 0.2)
    across = (r - 0.22) / tube
    ways = [(half[0] - angle) * 0.22, (half[1] + angle) * 0.22]
    way = np.minimum(*ways)
    edge = np.maximum((np.abs(across) - 1) * tube, -way)
    edge = np.minimum(edge, (np.hypot(across, way / MOUTH) - 1) * MOUTH)
    if broken:
        side, lost, ragged = broken
        teeth = np.interp(across.ravel(), np.linspace(-1, 1, 5), ragged).reshape(across.shape)
        torn = lost * 0.22 + teeth - ways[side]
        edge, way = np.maximum(edge, torn), np.where(torn > -0.02, 9, way)
    return edge, way, across


def _rough(hurt: Rng, like: np.ndarray, cells: float) -> np.ndarray:
    """Unevenness over a part of the picture, which need not be square."""
    rows, columns = like.shape
    return cloud(hurt, max(rows, columns), cells)[:rows, :columns]


def _blemish(
    hurt: Rng, defect: str | None, local: Grid, under: np.ndarray, reach: float
) -> np.ndarray:
    """A dark spot, a crack or a burnt patch on one of the objects."""
    x, y = hurt.uniform(-reach, reach, 2)
    rough = _rough(hurt, local.x, 10)
    if defect == "spot":
        edge = blob(hurt, local, x, y, hurt.uniform(0.028, 0.062), 0.3, 6) + 0.004 * rough
        colour = [(0.25, 0.17, 0.1), (0.42, 0.2, 0.1), (0.22, 0.22, 0.24)][hurt.integers(3)]
        return mix(under, np.array(colour), hurt.uniform(0.55, 0.9) * cover(edge, 0.025))
    if defect == "crack":
        angle = hurt.uniform(0, 2 * np.pi)
        start = 0.2 * np.cos(angle), 0.2 * np.sin(angle)
        inward, length = angle + np.pi + hurt.normal(0, 0.5), hurt.uniform(0.2, 0.42)
        return crack(
            hurt,
            local,
            under,
            start,
            inward,
            length,
            dark=(0.3, 0.26, 0.22),
            width=(0.008, 0.014),
            branches=int(hurt.integers(0, 2)),
        )
    edge = blob(hurt, local, x, y, hurt.uniform(0.1, 0.18), 0.5) + 0.012 * rough  # burnt
    deep = np.clip(-edge / 0.09 + 0.25 * rough, 0, 1)[..., None]
    scorched = under * ((1 - deep) * (0.75, 0.58, 0.42) + deep * (0.36, 0.26, 0.2))
    return mix(under, scorched, hurt.uniform(0.65, 1) * cover(edge, 0.05))

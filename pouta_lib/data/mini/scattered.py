"""Several objects an image, at changing places (after VisA), and statistical textures (DAGM)."""

import numpy as np

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
from pouta_lib.data.mini.parts import on_surface, shadow


def scatter(rng: Rng, count: int, apart: float, reach: float) -> np.ndarray:
    """Up to `count` places at least `apart` from one another: ``(n, 2)``."""
    places: list[np.ndarray] = []
    for candidate in rng.uniform(-reach, reach, (400, 2)):
        if all(np.hypot(*(candidate - other)) >= apart for other in places):
            places.append(candidate)
        if len(places) == count:
            break
    return np.array(places)


def tablets(rng: Rng, hurt: Rng | None, defect: str | None, grid: Grid) -> np.ndarray:
    """Scored tablets on a blue tray."""
    size = grid.x.shape[0]
    scene = on_surface(rng, grid, (0.3, 0.4, 0.52), 0.03)
    places = scatter(rng, int(rng.integers(5, 8)), 0.56, 0.68)
    hit = int(hurt.integers(len(places))) if defect else -1
    azimuth = rng.uniform(-2.4, -1.8)
    for n, (x, y) in enumerate(places):
        local = posed(grid, x, y, rng.uniform(0, np.pi), rng.normal(1, 0.03))
        r = np.hypot(local.x, local.y)
        edge = r - 0.24
        if n == hit and defect == "broken":
            k = hurt.uniform(0, 2 * np.pi)
            bite = blob(
                hurt, local, 0.24 * np.cos(k), 0.24 * np.sin(k), hurt.uniform(0.07, 0.15), 0.5
            )
            edge = np.maximum(edge, -bite)
        scene = shadow(scene, np.hypot(grid.x - x - 0.03, grid.y - y - 0.04) - 0.24, 0.06)
        relief = 0.05 * np.clip(-edge / 0.06, 0, 1) - 0.02 * np.exp(-((local.x / 0.016) ** 2))
        value = 0.84 + 0.35 * lit(relief, grid.px, azimuth) + 0.012 * noise(rng, size, 70)
        colour = np.array([0.97, 0.95, 0.88]) * rng.normal(1, 0.02)
        pill = (colour * value[..., None]).astype(np.float32)
        if n == hit:
            pill = _blemish(hurt, defect, local, pill, 0.13)
        scene = mix(scene, pill, cover(edge, local.px))
    return scene


def macaroni(rng: Rng, hurt: Rng | None, defect: str | None, grid: Grid) -> np.ndarray:
    """Bent tubes of pasta on a dark tray."""
    size = grid.x.shape[0]
    scene = on_surface(rng, grid, (0.2, 0.2, 0.22), 0.06)
    places = scatter(rng, int(rng.integers(4, 7)), 0.68, 0.62)
    hit = int(hurt.integers(len(places))) if defect else -1
    for n, (x, y) in enumerate(places):
        local = posed(grid, x, y, rng.uniform(0, 2 * np.pi), rng.normal(1, 0.04))
        bend = posed(local, 0, -0.22, 0)  # the centre of the arc lies beside the tube
        r, angle = np.hypot(bend.x, bend.y), np.arctan2(bend.x, bend.y)
        half = rng.uniform(0.95, 1.1)
        across = (r - 0.24) / 0.095
        edge = np.maximum(np.abs(r - 0.24) - 0.095, (np.abs(angle) - half) * 0.24)
        if n == hit and defect == "broken":
            k = hurt.choice([-1, 1]) * half * hurt.uniform(0.55, 0.95)
            bx, by = 0.24 * np.sin(k), 0.24 * np.cos(k) - 0.22
            edge = np.maximum(edge, -blob(hurt, local, bx, by, hurt.uniform(0.08, 0.14), 0.5))
        scene = shadow(scene, edge, 0.07)
        round_ = np.sqrt(np.clip(1 - across**2, 0, 1))
        value = 0.42 + 0.5 * round_ + 0.05 * np.cos(angle * 60) * round_
        value += 0.18 * np.exp(-(((across + 0.35) / 0.25) ** 2)) + 0.015 * noise(rng, size, 60)
        colour = np.array([0.93, 0.76, 0.4]) * rng.normal(1, 0.03) + rng.normal(0, 0.012, 3)
        tube = (colour * value[..., None]).astype(np.float32)
        mouth = cover((half - 0.12 - np.abs(angle)) * 0.24, 0.03) * cover(
            np.abs(across) - 0.55, 0.3
        )
        tube = mix(tube, (0.3, 0.2, 0.08), 0.6 * mouth)
        if n == hit:
            tube = _blemish(hurt, defect, posed(local, 0, 0.02, 0), tube, 0.09)
        scene = mix(scene, tube, cover(edge, local.px))
    return scene


def _blemish(hurt: Rng, defect: str, local: Grid, under: np.ndarray, reach: float) -> np.ndarray:
    """A dark spot, a crack or a burnt patch on one of the objects."""
    x, y = hurt.uniform(-reach, reach, 2)
    if defect == "spot":
        inside = cover(blob(hurt, local, x, y, hurt.uniform(0.025, 0.06), 0.4), 0.015)
        return mix(under, (0.25, 0.17, 0.1), 0.85 * inside)
    if defect == "crack":
        points = path(hurt, (x - 0.1, y - 0.05), hurt.uniform(0, 1.2), hurt.uniform(0.2, 0.4), 0.4)
        return mix(under, (0.2, 0.15, 0.1), 0.8 * cover(along(local, points) - 0.008, 0.012))
    if defect == "burnt":
        inside = cover(blob(hurt, local, x, y, hurt.uniform(0.09, 0.16), 0.4), 0.06)
        return mix(under, under * np.array([0.62, 0.45, 0.3]), hurt.uniform(0.6, 0.95) * inside)
    return under


def ellipse(hurt: Rng) -> tuple[float, float, float, float, float]:
    """Where a DAGM defect lies: x, y, angle and the two half axes."""
    x, y = hurt.uniform(-0.6, 0.6, 2)
    return x, y, hurt.uniform(0, np.pi), hurt.uniform(0.18, 0.32), hurt.uniform(0.08, 0.14)


def granular(rng: Rng, hurt: Rng | None, defect: str | None, grid: Grid) -> np.ndarray:
    """Isotropic grain; its defect is a streak of another brightness, as if wiped."""
    size = grid.x.shape[0]
    field = noise(rng, size, rng.uniform(36, 44)) + 0.6 * noise(rng, size, 80)
    value = 0.47 * rng.normal(1, 0.05) + 0.085 * field + 0.02 * noise(rng, size, 4)
    if defect:
        x, y, angle, a, b = ellipse(hurt)
        local = posed(grid, x, y, angle)
        inside = np.exp(-((local.x / (0.8 * a)) ** 4) - (local.y / (0.75 * b)) ** 4)
        value = value + hurt.choice([-1, 1]) * hurt.uniform(0.18, 0.3) * inside
    return value


def directional(rng: Rng, hurt: Rng | None, defect: str | None, grid: Grid) -> np.ndarray:
    """A grain with a direction that varies; its defect is a patch where the direction turns."""
    size = grid.x.shape[0]
    turn = rng.normal(0.5, 0.12)
    big = noise(rng, 2 * size, 110, 3)
    local = posed(grid, 0, 0, turn)

    def sample(at: Grid) -> np.ndarray:
        column = ((at.x / 3 + 0.5) * 2 * size).astype(int) % (2 * size)
        return big[((at.y / 3 + 0.5) * 2 * size).astype(int) % (2 * size), column]

    value = 0.5 * rng.normal(1, 0.05) + 0.02 * noise(rng, size, 3)
    field = sample(local)
    if defect:
        x, y, angle, a, b = ellipse(hurt)
        spot = posed(grid, x, y, angle)
        inside = np.exp(-((spot.x / (0.8 * a)) ** 6) - (spot.y / (0.8 * b)) ** 6)
        other = sample(posed(grid, 0.3, 0.2, turn + np.pi / 2 + hurt.normal(0, 0.2)))
        field = field * (1 - inside) + (1.2 * other - 0.9) * inside
    return value + 0.1 * field

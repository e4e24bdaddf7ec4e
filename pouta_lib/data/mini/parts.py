"""Three objects: a hexagon nut, a screw cap, a chip with leads. Conventions as in surfaces.py."""

import numpy as np
from scipy import ndimage

from pouta_lib.data.mini.draw import (
    Grid,
    Rng,
    along,
    blob,
    box,
    cover,
    lit,
    mix,
    noise,
    path,
    posed,
)
from pouta_lib.data.mini.surfaces import scratch


def on_surface(rng: Rng, grid: Grid, colour, rough: float = 0.05) -> np.ndarray:
    """A background: one colour with coarse and fine unevenness."""
    size = grid.x.shape[0]
    value = 1 + rough * noise(rng, size, 70) + rough * noise(rng, size, 5) + rng.normal(0, 0.03)
    return (np.asarray(colour) * value[..., None]).astype(np.float32)


def shadow(scene: np.ndarray, distance: np.ndarray, softness: float = 0.12) -> np.ndarray:
    """A soft shadow around an object, from the distance to its edge, displaced by its maker."""
    return scene * (1 - 0.45 * np.clip(1 - distance / softness, 0, 1))[..., None]


def nut(rng: Rng, hurt: Rng | None, defect: str | None, grid: Grid) -> np.ndarray:
    """A steel hexagon nut on a dark belt, lying at any angle."""
    size = grid.x.shape[0]
    scene = on_surface(rng, grid, (0.17, 0.18, 0.19), 0.09)
    at = rng.normal(0, 0.04, 2)
    local = posed(grid, *at, rng.uniform(0, np.pi / 3), rng.normal(1, 0.02))
    turned = [posed(local, 0, 0, k * np.pi / 3) for k in range(3)]
    hexagon = np.max([np.abs(g.x) for g in turned], axis=0) - 0.56
    r = np.hypot(local.x, local.y)
    body = np.maximum(hexagon, r - 0.63)
    if defect == "broken":
        k = hurt.integers(6) * np.pi / 3 + np.pi / 6
        x, y = 0.64 * np.cos(k), 0.64 * np.sin(k)
        bite = blob(hurt, local, x, y, hurt.uniform(0.13, 0.26), 0.35)
        body = np.maximum(body, -bite)
    azimuth = rng.uniform(-2.4, -1.8)
    scene = shadow(scene, np.maximum(posed(grid, at[0] + 0.05, at[1] + 0.06, 0).x * 0, body))
    chamfer = np.clip(-body / 0.07, 0, 1) + 0.7 * np.clip((r - 0.33) / 0.05, 0, 1)
    value = 0.6 + 0.22 * lit(0.07 * chamfer, grid.px, azimuth)
    value += 0.05 * np.sin(local.x * 3 + rng.uniform(0, 6)) + 0.02 * noise(rng, size, 60, 6)
    steel = value[..., None] * np.array([0.97, 1.0, 1.04], np.float32) * rng.normal(1, 0.04)
    if defect == "scratch":
        angle = hurt.uniform(0, 2 * np.pi)
        spot = posed(local, 0.46 * np.cos(angle), 0.46 * np.sin(angle), 0)
        steel = scratch(hurt, spot, steel, 0.06)
    if defect == "rust":
        angle = hurt.uniform(0, 2 * np.pi)
        x, y = 0.46 * np.cos(angle), 0.46 * np.sin(angle)
        inside = cover(blob(hurt, local, x, y, hurt.uniform(0.08, 0.2), 0.5), 0.03)
        mottle = np.clip(0.65 + 0.3 * noise(hurt, size, 30), 0.2, 1)
        steel = mix(steel, np.array([0.46, 0.25, 0.12]), inside * mottle)
    scene = mix(scene, steel, cover(body, local.px))
    bore = 0.33 - r
    thread = 0.22 + 0.13 * np.sin(2 * np.pi * (r - 0.23) / 0.035 + np.arctan2(local.y, local.x))
    hole = np.where(r > 0.235, thread, 0.07)[..., None] * np.ones(3, np.float32)
    return mix(scene, hole, cover(-bore, local.px))


def cap(rng: Rng, hurt: Rng | None, defect: str | None, grid: Grid) -> np.ndarray:
    """A ribbed plastic screw cap with a printed emblem, seen from above."""
    size = grid.x.shape[0]
    scene = on_surface(rng, grid, (0.74, 0.75, 0.76), 0.02)
    at = rng.normal(0, 0.04, 2)
    local = posed(grid, *at, rng.uniform(0, 2 * np.pi), rng.normal(1, 0.02))
    r, angle = np.hypot(local.x, local.y), np.arctan2(local.y, local.x)
    ribs = 0.018 * np.cos(48 * angle)
    edge = r - 0.72 - ribs
    if defect == "broken_rim":
        k = hurt.uniform(0, 2 * np.pi)
        bite = blob(hurt, local, 0.74 * np.cos(k), 0.74 * np.sin(k), hurt.uniform(0.1, 0.22))
        edge = np.maximum(edge, -bite)
    scene = shadow(scene, edge + 0.3 * (0.1 - 0.5 * (grid.x + grid.y) * 0.1), 0.16)
    azimuth = rng.uniform(-2.4, -1.8)
    relief = 0.08 * np.clip((0.66 - r) / 0.05, 0, 1) + 0.03 * np.clip((0.5 - r) / 0.02, 0, 1)
    relief = relief + np.where(r > 0.66, 0.012 * np.cos(48 * angle), 0)
    value = 0.82 + 0.3 * lit(relief, grid.px, azimuth) + 0.01 * noise(rng, size, 40)
    gloss = np.exp(-(((local.x * 0 + grid.x + 0.25) / 0.3) ** 2) - ((grid.y + 0.3) / 0.25) ** 2)
    colour = np.array([0.78, 0.2, 0.16]) + rng.normal(0, 0.02, 3)
    plastic = (colour * value[..., None] + 0.13 * gloss[..., None]).astype(np.float32)
    plastic = _emblem(hurt, defect, local, plastic)
    if defect == "crack":
        k = hurt.uniform(0, 2 * np.pi)
        start = 0.7 * np.cos(k), 0.7 * np.sin(k)
        points = path(hurt, start, k + np.pi + hurt.normal(0, 0.4), hurt.uniform(0.3, 0.8), 0.3)
        width = hurt.uniform(0.007, 0.014)
        plastic = mix(plastic, (0.22, 0.04, 0.03), 0.9 * cover(along(local, points) - width, 0.012))
        lighter = cover(along(local, points + 0.018) - width / 2, 0.012)
        plastic = mix(plastic, plastic * 1.25, 0.6 * lighter)
    return mix(scene, plastic, cover(edge, local.px))


def _emblem(hurt: Rng | None, defect: str | None, local: Grid, under: np.ndarray) -> np.ndarray:
    """A printed ring with three blades; a misprint lacks a part, or is printed beside itself."""
    if defect == "misprint" and hurt.random() < 0.4:
        local = posed(local, *hurt.uniform(0.05, 0.1, 2) * hurt.choice([-1, 1], 2), 0)
    r, angle = np.hypot(local.x, local.y), np.arctan2(local.y, local.x)
    blades = np.abs(np.mod(angle, 2 * np.pi / 3) - np.pi / 3) * r - 0.075
    ink = np.maximum(cover(np.abs(r - 0.38) - 0.03, local.px), cover(blades, local.px) * (r < 0.3))
    if defect == "misprint":
        k = hurt.uniform(0, 2 * np.pi)
        gone = blob(hurt, local, 0.3 * np.cos(k), 0.3 * np.sin(k), hurt.uniform(0.12, 0.24), 0.4)
        ink = ink * (1 - cover(gone, 0.03))
    return mix(under, (0.94, 0.92, 0.88), 0.92 * ink)


LEADS = np.linspace(-0.5, 0.5, 6)


def chip(rng: Rng, hurt: Rng | None, defect: str | None, grid: Grid) -> np.ndarray:
    """A black package with twelve leads on a green board."""
    size = grid.x.shape[0]
    scene = on_surface(rng, grid, (0.1, 0.33, 0.22), 0.04)
    at = rng.normal(0, 0.03, 2)
    local = posed(grid, *at, rng.normal(0, 0.03), rng.normal(1, 0.015))
    for k in range(4):  # tracks on the board
        x = rng.uniform(-0.9, 0.9)
        track = np.abs(local.x - x - 0.25 * np.clip(local.y + 0.3 * k - 0.5, 0, 0.4)) - 0.015
        scene = mix(scene, (0.16, 0.43, 0.3), 0.7 * cover(track, local.px))
    hit = int(hurt.integers(12)) if defect in ("bent_lead", "missing_lead") else -1
    bend = hurt.choice([-1, 1]) * hurt.uniform(0.25, 0.6) if defect == "bent_lead" else 0
    for n in range(12):
        side = 1 if n < 6 else -1
        pad = posed(local, LEADS[n % 6], side * 0.78, 0)
        scene = mix(scene, (0.62, 0.6, 0.5), 0.85 * cover(box(pad, 0.06, 0.1, 0.02), local.px))
        if n == hit and defect == "missing_lead":
            continue
        foot = posed(local, LEADS[n % 6], side * 0.5, bend if n == hit else 0)
        foot = posed(foot, 0, side * 0.14, 0)
        lead = box(foot, 0.042, 0.17, 0.015)
        scene = mix(
            scene, scene * 0.55, 0.7 * cover(box(posed(foot, 0.025, 0.02, 0), 0.045, 0.17), 0.05)
        )
        tone = 0.72 + 0.16 * np.cos(foot.x / 0.042 * 1.3) + 0.08 * np.sin(foot.y * 16)
        scene = mix(
            scene, tone[..., None] * np.array([1, 0.99, 0.95], np.float32), cover(lead, local.px)
        )
    body = box(local, 0.66, 0.5, 0.03)
    scene = mix(
        scene, scene * 0.45, 0.7 * cover(box(posed(local, 0.03, 0.035, 0), 0.66, 0.5), 0.07)
    )
    value = 0.15 + 0.012 * noise(rng, size, 90) + 0.03 * np.clip(1 + body / 0.05, 0, 1)
    package = (value * rng.normal(1, 0.06))[..., None] * np.array([1, 1, 1.04], np.float32)
    dot = np.hypot(local.x + 0.54, local.y - 0.37) - 0.05
    package = mix(package, package * 0.55, cover(dot, local.px))
    ink = _marking(rng, local)
    if defect == "misprint":
        gone = blob(hurt, local, hurt.uniform(-0.3, 0.3), hurt.uniform(-0.12, 0.12), 0.22, 0.3)
        smear = 0.35 * hurt.random() * cover(gone, 0.05)
        ink = np.maximum(ink * (1 - cover(gone, 0.03)), smear)
    package = mix(package, (0.62, 0.62, 0.6), 0.85 * ink)
    if defect == "scratch":
        package = scratch(hurt, local, package, 0.3)
    return mix(scene, package, cover(body, local.px))


CELL = 16  # pixels a character, on a small plate that is then laid on the package
BARS = [
    (2, 2, 8, 2),
    (7, 2, 8, 2),
    (12, 2, 8, 2),
    (2, 2, 2, 6),
    (7, 2, 2, 6),
    (2, 9, 2, 6),
    (7, 9, 2, 6),
]


def _marking(rng: Rng, local: Grid) -> np.ndarray:
    """Two lines of laser-marked characters, each a few of seven bars; the lot number varies."""
    plate = np.zeros((3 * CELL, 10 * CELL), np.float32)
    fixed = np.random.default_rng(7)  # the type is the same on every part
    for row, (count, source) in enumerate(((9, fixed), (7, rng))):
        for n in range(count):
            for bar in source.permutation(7)[: source.integers(3, 6)]:
                top, left, width, height = BARS[bar]
                y, x = top + (CELL + 6) * row, left + CELL * n
                plate[y : y + height, x : x + width] = 1
    rows, columns = (local.y + 0.2) * 130, (local.x + 0.48) * 150
    return ndimage.map_coordinates(plate, [rows, columns], order=1)

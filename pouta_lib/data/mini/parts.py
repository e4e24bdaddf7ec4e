"""Two round objects: a hexagon nut and a screw cap. Conventions as in surfaces.py."""

import numpy as np

from pouta_lib.data.mini.defects import corrosion, crack, scratch
from pouta_lib.data.mini.draw import (
    Colour,
    Grid,
    Rng,
    blob,
    cloud,
    cover,
    mix,
    noise,
    pair,
    posed,
    shadow,
)


def on_surface(rng: Rng, grid: Grid, colour: Colour, rough: float = 0.05) -> np.ndarray:
    """A background: one colour with coarse and fine unevenness."""
    size = grid.x.shape[0]
    value = 1 + rough * noise(rng, size, 110) + rough * cloud(rng, size, 4, 3) + rng.normal(0, 0.03)
    return (np.asarray(colour) * value[..., None]).astype(np.float32)


def nut(rng: Rng, hurt: Rng, defect: str | None, grid: Grid) -> np.ndarray:
    """A steel hexagon nut on a dark belt, lying at any angle."""
    size = grid.x.shape[0]
    scene = on_surface(rng, grid, (0.17, 0.18, 0.19), 0.06)
    at, turn = pair(rng.normal(0, 0.04, 2)), rng.uniform(0, np.pi / 3)
    local = posed(grid, *at, turn, rng.normal(1, 0.02))
    light = rng.uniform(-2.4, -1.8) - turn  # as the nut sees it
    body = _hexagon(local)
    cast = _hexagon(posed(grid, at[0] + 0.035, at[1] + 0.05, turn))
    fracture = np.full_like(body, -9)
    if defect == "broken":
        k = hurt.integers(6) * np.pi / 3 + np.pi / 6 + hurt.normal(0, 0.12)
        bite = blob(
            hurt, local, 0.66 * np.cos(k), 0.66 * np.sin(k), hurt.uniform(0.15, 0.3), 0.5
        ) + 0.012 * cloud(hurt, size, 24)
        body = np.maximum(body, -bite)
        fracture = hurt.uniform(0.03, 0.075) - bite
        cast = np.maximum(cast, -bite)
    scene = shadow(scene, np.minimum(cast, body - 0.02), 0.16)
    r, angle = np.hypot(local.x, local.y), np.arctan2(local.y, local.x)
    facing = np.cos(angle - light)
    steel = 0.57 + 0.05 * np.cos(2 * (angle - light)) * np.clip(r / 0.5, 0, 1)  # turned in circles
    rings = noise(rng, size, size, 2)[0]
    steel += 0.016 * rings[np.clip(r * size, 0, size - 1).astype(int)] + 0.012 * noise(
        rng, size, 90
    )
    steel += 0.02 * cloud(rng, size, 4, 3)
    steel += 0.2 * facing * cover(0.535 - r, 0.03) - 0.06 * cover(0.535 - r, 0.03)  # chamfer
    steel += 0.1 * np.exp(-(((r - 0.53) / 0.012) ** 2)) * np.clip(facing, 0, 1)
    steel -= 0.26 * facing * cover(r - 0.385, 0.03)  # the countersink slopes the other way
    metal = steel[..., None] * np.array([0.985, 1.0, 1.02], np.float32) * rng.normal(1, 0.05)
    if defect == "scratch":
        where = hurt.uniform(0, 2 * np.pi)
        spot = posed(local, 0.46 * np.cos(where), 0.46 * np.sin(where), where + np.pi / 2)
        metal = scratch(hurt, spot, metal, 0.03, (0.25, 0.6))
    if defect == "rust":
        where = hurt.uniform(0, 2 * np.pi)
        x, y = 0.47 * np.cos(where), 0.47 * np.sin(where)
        metal = corrosion(hurt, local, metal, x, y, hurt.uniform(0.12, 0.3))
    if defect == "broken":
        grainy = (0.36 + 0.07 * cloud(hurt, size, 50, 2))[..., None] * np.array([1, 0.99, 0.97])
        metal = mix(metal, grainy, cover(-fracture, 0.02))
    scene = mix(scene, metal, cover(body, local.px))
    thread = 0.25 + 0.15 * np.sin(2 * np.pi * (r - 0.2) / 0.036 + angle) - 0.14 * facing
    floor = 0.1 * (1 + 0.08 * noise(rng, size, 90)) * (0.75 + 0.35 * cover(facing * r + 0.1, 0.2))
    bore = np.where(r > 0.25, thread, floor)[..., None] * np.array([0.98, 1, 1.02], np.float32)
    return mix(scene, bore, cover(r - 0.33, local.px))


def _hexagon(local: Grid) -> np.ndarray:
    """The distance to a nut's outline: a hexagon with its corners turned off."""
    turned = [posed(local, 0, 0, k * np.pi / 3) for k in range(3)]
    sides = np.max([np.abs(g.x) for g in turned], axis=0) - 0.56
    return np.maximum(sides, np.hypot(local.x, local.y) - 0.63)


RIBS = 60


def cap(rng: Rng, hurt: Rng, defect: str | None, grid: Grid) -> np.ndarray:
    """A ribbed plastic screw cap with a printed emblem, seen from above."""
    size = grid.x.shape[0]
    scene = on_surface(rng, grid, (0.72, 0.73, 0.74), 0.018)
    at, turn = pair(rng.normal(0, 0.04, 2)), rng.uniform(0, 2 * np.pi)
    local = posed(grid, *at, turn, rng.normal(1, 0.02))
    light = rng.uniform(-2.4, -1.8)
    r, angle = np.hypot(local.x, local.y), np.arctan2(local.y, local.x)
    edge = r - 0.735 - 0.008 * np.cos(RIBS * angle)
    cast = np.hypot(grid.x - at[0] - 0.05, grid.y - at[1] - 0.07) - 0.73
    bite = np.full_like(r, 9)
    if defect == "broken_rim":
        k = hurt.uniform(0, 2 * np.pi)
        bite = blob(hurt, local, 0.77 * np.cos(k), 0.77 * np.sin(k), hurt.uniform(0.12, 0.26), 0.5)
        bite = bite + 0.012 * cloud(hurt, size, 16)
        edge = np.maximum(edge, -bite)
    fallen = np.roll(bite, (round(0.07 / grid.px), round(0.05 / grid.px)), (0, 1))
    scene = shadow(scene, np.maximum(cast, -fallen), 0.22)
    near = np.hypot(grid.x - at[0], grid.y - at[1]) - 0.75
    scene = shadow(scene, np.maximum(near, -bite), 0.1)
    facing = np.cos(angle + turn - light)
    value = 0.8 + 0.012 * noise(rng, size, 50) + 0.02 * cloud(rng, size, 5, 2)
    skirt = cover(0.63 - r, 0.05)  # falls away outside the flat top
    value += skirt * (
        0.2 * facing - 0.14 + 0.13 * np.cos(RIBS * angle - 0.8) * cover(0.67 - r, 0.03)
    )
    value += 0.16 * np.clip(facing, 0, 1) * np.exp(-(((r - 0.625) / 0.018) ** 2))
    value -= 0.12 * facing * np.exp(-(((r - 0.52) / 0.014) ** 2))  # a shallow step in the top
    gloss = np.exp(-(((grid.x + 0.25) / 0.34) ** 2) - ((grid.y + 0.3) / 0.22) ** 2)
    colour = np.array([0.76, 0.17, 0.14]) + rng.normal(0, 0.02, 3)
    plastic = (colour * value[..., None] + 0.12 * gloss[..., None]).astype(np.float32)
    plastic = _emblem(hurt, defect, local, plastic)
    if defect == "crack":
        k = hurt.uniform(0, 2 * np.pi)
        start = 0.73 * np.cos(k), 0.73 * np.sin(k)
        inward, length = k + np.pi + hurt.normal(0, 0.45), hurt.uniform(0.3, 0.9)
        plastic = crack(
            hurt,
            local,
            plastic,
            start,
            inward,
            length,
            dark=(0.2, 0.035, 0.03),
            width=(0.007, 0.016),
            branches=int(hurt.integers(0, 2)),
            pale=0.5,
        )
    if defect == "broken_rim":  # plastic turns pale where it breaks
        wall = np.minimum(plastic * 0.6 + (0.32, 0.2, 0.19), 1)
        plastic = mix(plastic, wall, cover(bite - hurt.uniform(0.02, 0.04), 0.02))
    return mix(scene, plastic, cover(edge, local.px))


def _emblem(hurt: Rng, defect: str | None, local: Grid, under: np.ndarray) -> np.ndarray:
    """A print of three arrows in a circle about a drop; a misprint is smeared, double or faint."""
    ink = _ink(local)
    if defect == "misprint":
        kind, size = hurt.integers(3), local.x.shape[0]
        k = hurt.uniform(0, 2 * np.pi)
        if kind == 0:  # a part did not take
            gone = blob(
                hurt, local, 0.3 * np.cos(k), 0.3 * np.sin(k), hurt.uniform(0.13, 0.28), 0.5
            )
            ink = ink * (1 - cover(gone + 0.03 * cloud(hurt, size, 20), 0.02))
        elif kind == 1:  # the stamp touched twice
            far = hurt.uniform(0.035, 0.06)
            again = _ink(posed(local, far * np.cos(k), far * np.sin(k), hurt.normal(0, 0.06)))
            ink = np.maximum(ink, hurt.uniform(0.35, 0.6) * again)
        else:  # wiped while wet
            steps = np.linspace(0, hurt.uniform(0.12, 0.3), 9)[1:]
            drawn = [_ink(posed(local, s * np.cos(k), s * np.sin(k), 0)) for s in steps]
            wiped = np.mean(drawn, axis=0) * (0.8 + 0.3 * noise(hurt, size, 40))
            across = np.abs(local.y * np.cos(k) - local.x * np.sin(k) - hurt.uniform(-0.2, 0.2))
            ink = np.maximum(ink, np.clip(wiped, 0, 0.8) * cover(across - 0.16, 0.1))
    return mix(under, (0.93, 0.91, 0.87), 0.92 * ink)


def _ink(local: Grid) -> np.ndarray:
    """The print as it should be: 1 where there is ink."""
    r, angle = np.hypot(local.x, local.y), np.arctan2(local.y, local.x)
    third = 2 * np.pi / 3
    turn = np.mod(angle, third)
    arc = np.maximum(np.abs(r - 0.37) - 0.028, (np.abs(turn - 0.85) - 0.62) * 0.37)
    head = np.maximum(np.abs(r - 0.37) - 0.85 * (1.78 - turn) * 0.37, (1.47 - turn) * 0.37)
    drop = np.hypot(local.x, local.y - 0.05) - 0.12
    tip = np.maximum(np.abs(local.x) - 0.55 * (local.y + 0.22), local.y - 0.02)
    shapes = np.minimum(np.minimum(arc, head), np.minimum(drop, np.maximum(tip, -local.y - 0.22)))
    hollow = np.hypot(local.x, local.y - 0.05) - 0.06
    return cover(np.maximum(shapes, -hollow), local.px)

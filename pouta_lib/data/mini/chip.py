"""An object: a black package with twelve leads on a green board. Conventions as in surfaces.py."""

import numpy as np
import scipy  # its parts are imported when they are first asked for

from pouta_lib.data.mini.defects import scratch
from pouta_lib.data.mini.draw import (
    Grid,
    Rng,
    blob,
    box,
    cloud,
    cover,
    mix,
    noise,
    pair,
    posed,
    shadow,
)
from pouta_lib.data.mini.parts import on_surface

LEADS = np.linspace(-0.5, 0.5, 6)
TRACKS = ((-0.5, 1, -0.24), (-0.1, 1, 0.2), (0.3, -1, -0.16), (0.5, -1, 0.28), (-0.3, -1, 0.1))
VIAS = ((-0.82, -0.72), (-0.8, 0.3), (0.84, -0.3), (0.82, 0.78), (-0.3, 0.93), (0.35, -0.94))


def chip(rng: Rng, hurt: Rng, defect: str | None, grid: Grid) -> np.ndarray:
    """The scene; a defect is a bent or a missing lead, a wrong marking or a scratch."""
    size = grid.x.shape[0]
    board = posed(grid, *pair(rng.normal(0, 0.025, 2)), rng.normal(0, 0.02))
    scene = _board(rng, board)
    at, turn = pair(rng.normal(0, 0.012, 2)), rng.normal(0, 0.015)
    hit = int(hurt.integers(12)) if defect in ("bent_lead", "missing_lead") else -1
    bend = hurt.choice([-1, 1]) * hurt.uniform(0.2, 0.6) if defect == "bent_lead" else 0
    stub = hurt.uniform(0, 0.09) if defect == "missing_lead" else 1
    shine = rng.normal(1, 0.07, 12)
    for n in range(12):
        side = 1 if n < 6 else -1
        x, y = LEADS[n % 6], side * 0.66
        cut = _around(board, x, y, 0.36)
        part = Grid(board.x[cut], board.y[cut], board.px)
        pad = box(posed(part, LEADS[n % 6], side * 0.8, 0), 0.058, 0.115, 0.02)
        solder = (
            np.array([0.66, 0.66, 0.63]) * (1 + 0.1 * np.cos((part.y - side * 0.8) * 22))[..., None]
        )
        near = mix(scene[cut], solder, cover(pad, board.px))
        own = posed(part, *at, turn)
        foot = posed(own, LEADS[n % 6], side * 0.48, bend if n == hit else 0)
        lead = Grid(foot.x, foot.y * side, foot.px)
        scene[cut] = _lead(near, lead, shine[n], stub if n == hit else 1)
    local = posed(board, *at, turn)
    scene = shadow(scene, box(posed(local, 0.035, 0.045, 0), 0.66, 0.5, 0.03), 0.13)
    edge = box(local, 0.66, 0.5, 0.025)
    value = 0.135 + 0.01 * noise(rng, size, 150) + 0.012 * noise(rng, size, 60)
    slope = np.clip(1 + edge / 0.045, 0, 1)  # the moulded edge falls away
    value += slope * np.where(
        np.abs(local.y) - 0.5 > np.abs(local.x) - 0.66, -0.05 * np.sign(local.y), 0.02
    )
    value += 0.03 * np.exp(-(((local.x + local.y + rng.normal(0.2, 0.15)) / 0.5) ** 2))
    package = (value * rng.normal(1, 0.06))[..., None] * np.array([1, 1, 1.04], np.float32)
    dot = np.hypot(local.x + 0.54, local.y - 0.37) - 0.05
    package = package * (1 - 0.4 * cover(dot, local.px))[..., None]
    package += 0.06 * (cover(np.abs(dot) - 0.006, local.px) * (local.y > 0.37))[..., None]
    package = _marked(rng, hurt, defect, local, package)
    if defect == "scratch":
        package = scratch(hurt, local, package, 0.3)
    return mix(scene, package, cover(edge, local.px))


def _around(board: Grid, x: float, y: float, reach: float) -> tuple[slice, slice]:
    """Where in the picture a place of the board lies."""
    n = np.argmin(np.hypot(board.x[::4, ::4] - x, board.y[::4, ::4] - y))
    row, column = divmod(int(n), board.x[::4, ::4].shape[1])
    reach_px = int(reach / board.px)
    rows, columns = (slice(max(4 * k - reach_px, 0), 4 * k + reach_px) for k in (row, column))
    return rows, columns


def _board(rng: Rng, board: Grid) -> np.ndarray:
    """Solder mask over tracks, with vias and a printed frame: the same board in every picture."""
    scene = on_surface(rng, board, (0.07, 0.27, 0.17), 0.035)
    edge = np.full_like(board.x, 9)
    for x, side, lean in TRACKS:
        out = np.clip(board.y * side - 0.86, 0, 0.2) * lean * 5
        line = np.maximum(np.abs(board.x - x - out) - 0.017, 0.7 - board.y * side)
        edge = np.minimum(edge, line)
    for x in (-0.92, 0.93):
        edge = np.minimum(edge, np.abs(board.x - x + 0.06 * np.clip(board.y * 4, -1, 1)) - 0.022)
    scene = mix(scene, scene * (1.5, 1.28, 1.35), 0.8 * cover(edge, board.px * 1.3))
    frame = np.abs(box(board, 0.735, 0.97, 0.0)) - 0.008
    frame = np.maximum(frame, 0.12 - np.abs(board.y))
    scene = mix(scene, (0.75, 0.77, 0.74), 0.75 * cover(frame, board.px))
    for x, y in VIAS:
        r = np.hypot(board.x - x, board.y - y)
        scene = mix(scene, (0.62, 0.58, 0.42), 0.9 * cover(r - 0.04, board.px))
        scene = mix(scene, (0.05, 0.06, 0.05), cover(r - 0.018, board.px))
    return scene


def _lead(scene: np.ndarray, lead: Grid, shine: float, stub: float) -> np.ndarray:
    """A gull-wing lead from y = 0 outwards: shoulder, slope, foot; `stub` is what is left of it."""
    length = 0.36 * stub
    shape = np.maximum(np.abs(lead.x) - 0.042, lead.y - length)
    cast = np.maximum(np.abs(lead.x - 0.03) - 0.045, lead.y - length - 0.02)
    scene = scene * (1 - 0.55 * cover(cast, 0.05))[..., None]
    along_it = np.interp(
        lead.y.ravel(),
        [0, 0.07, 0.11, 0.17, 0.21, 0.25, 0.36],
        [0.74, 0.8, 0.55, 0.45, 0.6, 0.93, 0.78],
    ).reshape(lead.y.shape)
    tone = shine * along_it * (0.82 + 0.24 * np.cos(lead.x / 0.042 * 1.4))
    metal = np.clip(tone, 0, 1)[..., None] * np.array([1, 0.99, 0.96], np.float32)
    return mix(scene, metal, cover(shape, lead.px))


GLYPHS = {  # 5 columns a character, 7 bits a column, top row lowest
    "0": (62, 81, 73, 69, 62),
    "1": (0, 66, 127, 64, 0),
    "2": (66, 97, 81, 73, 70),
    "3": (33, 65, 69, 75, 49),
    "4": (24, 20, 18, 127, 16),
    "5": (39, 69, 69, 69, 57),
    "6": (60, 74, 73, 73, 48),
    "7": (1, 113, 9, 5, 3),
    "8": (54, 73, 73, 73, 54),
    "9": (6, 73, 73, 41, 30),
    "A": (126, 17, 17, 17, 126),
    "C": (62, 65, 65, 65, 34),
    "H": (127, 8, 8, 8, 127),
    "K": (127, 8, 20, 34, 65),
    "L": (127, 64, 64, 64, 64),
    "P": (127, 9, 9, 9, 6),
    "T": (1, 1, 127, 1, 1),
    "U": (63, 64, 64, 64, 63),
}
TYPE, WRONG = "PTA74HC08", ("PTA47HC08", "PTA74HC80", "PLA74HCT8", "PTA94HC08")


def _plate(first: str, second: str) -> np.ndarray:
    """Two lines of characters on a small plate, 3 x 3 pixels a dot."""
    dots = np.zeros((18, 56), np.float32)
    for row, text in enumerate((first, second)):
        for n, character in enumerate(text):
            for k, column in enumerate(GLYPHS[character]):
                for bit in range(7):
                    dots[9 * row + bit + 1, 6 * n + k + 1] = column >> bit & 1
    return scipy.ndimage.gaussian_filter(np.kron(dots, np.ones((3, 3), np.float32)), 0.7)


def _marked(rng: Rng, hurt: Rng, defect: str | None, local: Grid, under: np.ndarray) -> np.ndarray:
    """Laser marking: the type and a lot number that changes; a misprint is wrong, faint or gone."""
    size = local.x.shape[0]
    lot = "K" + "".join(rng.choice(list("0123456789"), 4)) + "LU"
    jitter = rng.normal(0, 0.006, 2)
    kind = int(hurt.integers(3)) if defect == "misprint" else -1
    plate = _plate(WRONG[hurt.integers(len(WRONG))] if kind == 0 else TYPE, lot)
    rows, columns = (
        (local.y + jitter[0] + 0.2) / 0.4 * 54,
        (local.x + jitter[1] + 0.48) / 0.96 * 168,
    )
    if kind == 1:  # burnt twice, beside itself
        shift = hurt.choice([-1, 1], 2) * hurt.uniform(5, 11, 2)
        again = scipy.ndimage.map_coordinates(
            plate, [rows + shift[0] / 2, columns + shift[1]], order=1
        )
    ink = scipy.ndimage.map_coordinates(plate, [rows, columns], order=1)
    if kind == 1:
        ink = np.maximum(ink, hurt.uniform(0.5, 0.9) * again)
    if kind == 2:  # the beam was off for a part of it
        x, y = hurt.uniform(-0.3, 0.3), hurt.uniform(-0.12, 0.12)
        gone = blob(hurt, local, x, y, hurt.uniform(0.14, 0.3), 0.4) + 0.02 * cloud(hurt, size, 20)
        ink = ink * (1 - cover(gone, 0.05))
    return mix(under, (0.6, 0.6, 0.57), rng.uniform(0.75, 0.95) * ink)

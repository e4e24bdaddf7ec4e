"""What there is to draw, and one picture of it with its mask."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are first asked for

from pouta_lib.data.mini import chip, grains, parts, scattered, surfaces
from pouta_lib.data.mini.draw import Grid, Rng, make_grid, photograph

SIZE_PX = 192
CHANGED = 0.045  # of full scale: a smaller change is no defect
PLAIN = 0.1  # a change that counts even where it is a speck


# of the whole, of its defect, the defect's name (none: whole), the picture's coordinates
Draw = Callable[[Rng, Rng, str | None, Grid], np.ndarray]


@dataclass(frozen=True)
class Scene:
    """One category: how it is drawn, and what can be wrong with it."""

    dataset: str
    category: str
    kind: str
    draw: Draw
    defects: tuple[str, ...]
    grain: float = 0.014


SCENES = (
    Scene("mini-mvtec", "fabric", "texture", surfaces.fabric, ("hole", "stain", "thread_pull")),
    Scene("mini-mvtec", "metal", "texture", surfaces.metal, ("dent", "rust", "scratch")),
    Scene("mini-mvtec", "terrazzo", "texture", surfaces.terrazzo, ("crack", "fibre", "pit")),
    Scene("mini-mvtec", "cap", "object", parts.cap, ("broken_rim", "crack", "misprint")),
    Scene(
        "mini-mvtec",
        "chip",
        "object",
        chip.chip,
        ("bent_lead", "misprint", "missing_lead", "scratch"),
    ),
    Scene("mini-mvtec", "nut", "object", parts.nut, ("broken", "rust", "scratch")),
    Scene("mini-visa", "macaroni", "object", scattered.macaroni, ("broken", "burnt", "spot")),
    Scene("mini-visa", "tablets", "object", scattered.tablets, ("broken", "crack", "spot")),
    Scene("mini-dagm", "Class1", "texture", grains.granular, ("defect",), 0.02),
    Scene("mini-dagm", "Class2", "texture", grains.directional, ("defect",), 0.02),
)
MINI_KINDS = {scene.category: scene.kind for scene in SCENES}


def picture(
    scene: Scene, split: str, defect: str | None, index: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """One photograph and its mask; a function of the arguments alone.

    *Shape*: ``(S, S, 3)`` uint8, or ``(S, S)`` for DAGM's gray; mask ``(S, S)`` bool.
    """
    name = f"{scene.dataset}/{scene.category}/{split}/{defect}"
    words = [seed, zlib.crc32(name.encode()), index]
    grid = make_grid(SIZE_PX)

    def scene_with(which: str | None) -> np.ndarray:
        hurt = np.random.default_rng([*words, 1])
        return scene.draw(np.random.default_rng([*words, 0]), hurt, which, grid)

    drawn = scene_with(defect)
    mask = np.zeros((SIZE_PX, SIZE_PX), bool)
    if defect:
        change = np.abs(drawn - scene_with(None))
        mask = _solid(change.max(axis=-1) if change.ndim == 3 else change)
    return photograph(np.random.default_rng([*words, 2]), drawn, grain=scene.grain), mask


def label_ellipse(scene: Scene, split: str, index: int, seed: int = 0) -> np.ndarray:
    """DAGM's coarse label of a defective picture: an ellipse well around the defect."""
    name = f"{scene.dataset}/{scene.category}/{split}/defect"
    hurt = np.random.default_rng([seed, zlib.crc32(name.encode()), index, 1])
    x, y, angle, a, b = grains.ellipse(hurt)
    grid = make_grid(SIZE_PX)
    dx, dy = grid.x - x, grid.y - y
    along = (np.cos(angle) * dx + np.sin(angle) * dy) / (1.25 * a)
    across = (np.cos(angle) * dy - np.sin(angle) * dx) / (1.25 * b)
    return along**2 + across**2 < 1


def _solid(change: np.ndarray) -> np.ndarray:
    """The changed pixels without faint specks, with the gaps inside a defect closed."""
    changed = change > CHANGED
    solid = scipy.ndimage.binary_closing(np.pad(changed, 4), iterations=2)[4:-4, 4:-4]
    gaps, sizes = _pieces(scipy.ndimage.binary_fill_holes(solid) & ~solid)
    solid |= (gaps > 0) & (sizes < 60)[gaps]
    pieces, sizes = _pieces(solid)
    peaks = scipy.ndimage.maximum(change, pieces, np.arange(len(sizes)))
    keep = (sizes >= max(8, 0.02 * sizes[1:].max(initial=0))) | (peaks > PLAIN)
    return (pieces > 0) & keep[pieces]


def _pieces(area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected pieces by number, and the size of each; number 0 is outside."""
    labelled, count = scipy.ndimage.label(area, np.ones((3, 3)))
    return labelled, np.bincount(labelled.ravel(), minlength=count + 1)

"""What the book's page "Paint a defect" shows: parts, networks as files, and their scores."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw

from pouta_lib.data import Category, load_textures
from pouta_lib.deliver.traced import Shown, export_shown
from pouta_lib.detector.saved import choose_threshold
from pouta_lib.ground.errors import problem
from pouta_lib.ground.methods import ABLATED, METHODS
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.device import Compute
from pouta_lib.method.inference import in_batches
from pouta_lib.report.plots import MAP_COLOURS, MAP_GAMMA, WEIGHT_COLOURS
from pouta_lib.score.explain import Traced
from pouta_lib.study.records import Record
from pouta_lib.study.run import open_run

FALSE_ALARMS = 1 / 8  # of the good test images, at the threshold that the page begins with
GOOD_PICTURES = 3  # of each part to paint on, besides one with a true defect
TEXTURES = {"brick": 0, "grass": 6, "gravel": 12, "coffee": 24, "stripes": 48, "weave": 84}
SHOWN_FIRST = "pouta"
IN_FULL = Compute(torch.device("cpu"), "fp32")  # what the page is compared with


def gather(records: Sequence[Record], folder: Path) -> dict[str, Any]:
    """What the page reads as ``data.json``; the networks are written into `folder`.

    `records` are runs of one profile whose weights are there; those of the methods of Table V are
    taken, on parts that have one of POUTA with all images. Pixels are base64 of RGB bytes.

    *Raises* :class:`PoutaError` for no such runs, and what :func:`open_run` and
    :func:`export_shown` raise.
    """
    order = {method: place for place, method in enumerate(ABLATED)}
    chosen = [r for r in records if r.run.variant in order]
    chosen.sort(key=lambda r: (r.run.category, order[r.run.variant], r.run.shots or 10**9))
    names = {r.run.category: 0 for r in chosen if r.run.variant == SHOWN_FIRST and not r.run.shots}
    if not names:
        raise problem("runs of POUTA with their weights", "none", "the page", "pouta run")
    parts = [_part([r for r in chosen if r.run.category == name], folder) for name in names]
    parts.sort(key=lambda part: -len(part["models"]))  # the most to compare comes first
    return surroundings(chosen[0].profile) | {"parts": parts}


def surroundings(profile: Profile) -> dict[str, Any]:
    """What the page needs besides its parts."""
    textures = load_textures("builtin", profile.size_px)
    return {
        "size": profile.size_px,
        "gamma": MAP_GAMMA,
        "colours": {"map": _colours(MAP_COLOURS), "weight": _colours(WEIGHT_COLOURS)},
        "textures": [{"name": n, "pixels": packed(textures[k])} for n, k in TEXTURES.items()],
    }


def packed(picture: np.ndarray) -> str:
    """A picture ``(3, H, W)`` uint8 as base64 of its RGB bytes, row by row."""
    return base64.b64encode(np.ascontiguousarray(np.moveaxis(picture, 0, -1)).tobytes()).decode()


def _colours(name: str) -> str:
    """A colour map's 256 colours, as base64 of RGB bytes."""
    table = colormaps[name](np.arange(256), bytes=True)[:, :3]
    return base64.b64encode(np.ascontiguousarray(table).tobytes()).decode()


def coloured(anomaly_map: np.ndarray) -> np.ndarray:
    """A map ``(H, W)`` as a picture ``(H, W, 3)`` uint8, as the page shows it."""
    return colormaps[MAP_COLOURS](anomaly_map**MAP_GAMMA, bytes=True)[..., :3]


def still(clean: np.ndarray, painted: np.ndarray, found: np.ndarray) -> Image.Image:
    """The page where it cannot be painted on: a part, the same with a scratch, and its map.

    *Shape*: ``(3, S, S)`` uint8 twice, and ``(S, S)`` in [0, 1].
    """
    panels = [*(np.moveaxis(one, 0, -1) for one in (clean, painted)), coloured(found)]
    picture = Image.fromarray(np.concatenate(panels, axis=1))
    return picture.resize((3 * picture.width, 3 * picture.height))


def _part(records: Sequence[Record], folder: Path) -> dict[str, Any]:
    """One part with its networks, which are written into `folder`, and its static picture."""
    models, found, opened = [], [], {}
    for record in records:
        category, model, _ = open_run(record)
        told, scores = _exported(record, cast(Traced, model.cpu().float()), category, folder)
        models.append(told)
        found.append(scores / told["threshold"])
        opened[record.key] = category, model
    (first,) = (r for r in records if r.run.variant == SHOWN_FIRST and not r.run.shots)
    category, model = opened[first.key]
    pictures, clean, painted = pictures_of(category, np.max(found, axis=0))
    (map_there,) = in_batches(lambda x: (model(x),), painted[np.newaxis], IN_FULL)
    name = category.name
    still(clean, painted, map_there[0]).save(folder / f"{name}-{SHOWN_FIRST}.png")
    return {"name": name, "models": models} | pictures


def pictures_of(
    category: Category, scores: np.ndarray
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """What is painted on, and the first picture as it is and as the page opens with it.

    `scores` of the test images choose: the good ones with the lowest, and a true defect of median
    score.
    """
    good, bad = (np.flatnonzero(category.labels == kind) for kind in (False, True))
    calm = good[np.argsort(scores[good], kind="stable")][:GOOD_PICTURES]
    median = bad[np.argsort(scores[bad], kind="stable")][len(bad) // 2 :][:1]
    names = {i: f"good {k}" for k, i in enumerate(calm, 1)}
    names |= {i: f"a true defect: {category.defects[i].replace('_', ' ')}" for i in median}
    images = [
        {"name": name, "good": bool(~category.labels[i]), "pixels": packed(category.test[i])}
        for i, name in names.items()
    ]
    clean = category.test[calm[0]]
    border = np.concatenate([clean[:, edge] for edge in (0, -1)], axis=1)
    painted = scratched(clean)
    pictures = {
        "images": images,
        "background": np.median(border, axis=1).round().astype(int).tolist(),
        "start": packed(painted),
    }
    return pictures, clean, painted


def _exported(
    record: Record, model: Traced, category: Category, folder: Path
) -> tuple[dict[str, Any], np.ndarray]:
    """A run's network as the page knows it, written into `folder`, and its scores."""
    run, profile = record.run, record.profile
    name = f"{run.category}-{run.variant.replace('+', '-')}-{record.key.shots_name}"
    differs_by = export_shown(model, profile, folder / f"{name}.onnx")
    told, scores = judged(Shown(model, profile), category)
    named = {
        "id": name,
        "method": run.variant,
        "title": METHODS[run.variant].title,
        "shots": run.shots,
        "file": f"{name}.onnx",
        "differs_by": {n: float(f"{d:.2g}") for n, d in differs_by.items()},
    }
    return named | told, scores


def judged(network: Shown, category: Category) -> tuple[dict[str, Any], np.ndarray]:
    """What a network says of the test images, in short, and its scores of them all."""
    *maps, scores = in_batches(network, category.test, IN_FULL)
    scores, good = scores.astype(float).round(6), ~category.labels
    contrasts = {n: m[good] for n, m in zip(network.names, maps) if n.startswith("F_C")}
    told = {
        "threshold": choose_threshold(scores[good], FALSE_ALARMS),
        "good": scores[good].tolist(),
        "bad": scores[~good].tolist(),
        # what stands for black and for white in a picture of F_C
        "contrast": {n: [float(m.min()), 2 * float(m.max())] for n, m in contrasts.items()},
    }
    return told, scores


def scratched(image: np.ndarray) -> np.ndarray:
    """The picture with a painted scratch: what the page shows first.

    *Shape*: ``(3, S, S)`` uint8 to the same.
    """
    side = image.shape[-1]
    picture = Image.fromarray(np.moveaxis(image, 0, -1))
    scale = 4  # drawn larger, so that its edges are soft
    layer = Image.new("L", (scale * side,) * 2)
    bends = [(0.30, 0.36), (0.40, 0.30), (0.52, 0.33), (0.66, 0.27)]
    points = [(x * scale * side, y * scale * side) for x, y in bends]
    ImageDraw.Draw(layer).line(points, fill=225, width=round(0.035 * scale * side), joint="curve")
    layer = layer.resize((side, side), Image.Resampling.BOX)
    dark = image.mean() > 110
    picture.paste(
        Image.new("RGB", (side, side), (40, 30, 28) if dark else (215, 205, 190)), mask=layer
    )
    return np.moveaxis(np.asarray(picture), -1, 0).copy()

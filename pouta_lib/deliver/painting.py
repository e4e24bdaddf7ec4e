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
PLAIN = Compute(torch.device("cpu"), "fp32")  # what the page is compared with


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
    profile = chosen[0].profile
    parts = [_part([r for r in chosen if r.run.category == name], folder) for name in names]
    parts.sort(key=lambda part: -len(part["models"]))  # the most to compare comes first
    textures = load_textures("builtin", profile.size_px)
    return {
        "size": profile.size_px,
        "false_alarms": FALSE_ALARMS,
        "gamma": MAP_GAMMA,
        "colours": {"map": _colours(MAP_COLOURS), "weight": _colours(WEIGHT_COLOURS)},
        "textures": [{"name": n, "pixels": packed(textures[k])} for n, k in TEXTURES.items()],
        "parts": parts,
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


def _part(records: Sequence[Record], folder: Path) -> dict[str, Any]:
    """One part with its networks, and the picture that is painted on when the page opens."""
    models, found = [], []
    for record in records:
        category, model, _ = open_run(record)
        told, scores = _model(record, cast(Traced, model.cpu().float()), category, folder)
        models.append(told)
        found.append(scores / told["threshold"])
        if record.run.variant == SHOWN_FIRST and record.run.shots is None:
            shown_first = model
    highest = np.max(found, axis=0)  # of an image, over all networks, in units of their thresholds
    good = np.flatnonzero(~category.labels)
    calm = good[np.argsort(highest[good], kind="stable")][:GOOD_PICTURES]
    bad = np.flatnonzero(category.labels)
    median = bad[np.argsort(highest[bad], kind="stable")[len(bad) // 2]]
    images = [
        {"name": f"good {k}", "pixels": packed(category.test[i])} for k, i in enumerate(calm, 1)
    ]
    kind = category.defects[median].replace("_", " ")
    images.append({"name": f"a true defect: {kind}", "pixels": packed(category.test[median])})
    border = np.concatenate([category.test[calm[0]][:, edge] for edge in (0, -1)], axis=1)
    name, start = records[0].run.category, scratched(category.test[calm[0]])
    (found_there,) = in_batches(lambda x: (shown_first(x),), start[np.newaxis], PLAIN)
    panels = [
        *(np.moveaxis(p, 0, -1) for p in (category.test[calm[0]], start)),
        coloured(found_there[0]),
    ]
    picture = Image.fromarray(np.concatenate(panels, axis=1))
    picture.resize((3 * picture.width, 3 * picture.height)).save(
        folder / f"{name}-{SHOWN_FIRST}.png"
    )
    return {
        "name": name,
        "images": images,
        "background": np.median(border, axis=1).round().astype(int).tolist(),
        "start": packed(start),
        "models": models,
    }


def _model(
    record: Record, model: Traced, category: Category, folder: Path
) -> tuple[dict[str, Any], np.ndarray]:
    """A network as the page knows it, and its scores of all test images."""
    run, profile = record.run, record.profile
    name = f"{run.category}-{run.variant.replace('+', '-')}-{record.key.shots_name}"
    differs_by = export_shown(model, profile, folder / f"{name}.onnx")
    shown = Shown(model, profile)
    *maps, scores = in_batches(shown, category.test, PLAIN)
    scores, good = scores.astype(float).round(6), ~category.labels
    contrasts = {n: m[good] for n, m in zip(shown.names, maps) if n.startswith("F_C")}
    return {
        "id": name,
        "method": run.variant,
        "title": METHODS[run.variant].title,
        "shots": run.shots,
        "file": f"{name}.onnx",
        "threshold": choose_threshold(scores[good], FALSE_ALARMS),
        "good": scores[good].tolist(),
        "bad": scores[~good].tolist(),
        # what stands for black and for white in a picture of F_C
        "contrast": {n: [float(m.min()), 2 * float(m.max())] for n, m in contrasts.items()},
        "differs_by": {n: float(f"{d:.2g}") for n, d in differs_by.items()},
    }, scores


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

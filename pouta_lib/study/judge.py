"""Judging settings without any defect: good images that were held out, damaged and changed.

The settings of a profile have to be chosen by something, and the test split may not be it. The
training anomalies may not either: a network can learn the edge of a pasted texture so well that
its loss falls while real defects are found less. So a quarter of the good images is held out. A
model has to find what training never draws (:mod:`pouta_lib.study.damages`), and to keep calm
where nothing but the circumstances are others (:mod:`pouta_lib.study.changes`).
"""

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pouta_lib.data import Category, load_category, load_textures
from pouta_lib.data.images import digests
from pouta_lib.ground.errors import problem
from pouta_lib.ground.spread import every_fourth
from pouta_lib.method.device import compute_of
from pouta_lib.method.training import Progress, fit
from pouta_lib.score.evaluation import detect
from pouta_lib.score.metrics import image_metrics, pixel_metrics
from pouta_lib.study.changes import HARMLESS, change_harmlessly, move_along
from pouta_lib.study.damages import DAMAGES, damage
from pouta_lib.study.judgements import (
    STRENGTHS,
    Judgement,
    Metrics,
    partial_judgement,
    write_judgement,
)
from pouta_lib.study.run import Run

SIZE_PX = 224  # the images are damaged and changed at this size for every profile
GRID = 2  # and the maps compared with the masks at every second of its rows and columns
FEWEST = 4  # good images, of which every fourth is held out ...
MOST = 40  # ... but no more than these
PASSED = 0.95  # the share of the whole images that the threshold passes
STRENGTH = 0.5  # of the changes where every image is changed, each in one way

Look = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # images to maps and image scores


@dataclass(frozen=True)
class HeldOut:
    """What a model is judged by. *Shape*: N good images, P damages that can be seen."""

    whole: np.ndarray  # (N, 3, S, S) uint8
    damaged: np.ndarray  # (P, 3, S, S) uint8
    masks: np.ndarray  # (P, S, S) bool
    image_of: np.ndarray  # (P,) which of the whole images was damaged ...
    damage_of: np.ndarray  # (P,) ... and by which of DAMAGES


def judge(run: Run, progress: Progress | None = None, *, watch: bool = False) -> Judgement:
    """Trains on three quarters of the good images and judges by the rest; writes the record.

    Images of the test split are not read. With `watch`, the model is judged ten times along its
    training as well. A training that was stopped goes on from its checkpoint.

    *Raises* :class:`PoutaError` where there are too few good images to hold any out.
    """
    good = _good_images(run, run.profile.size_px)
    large = _good_images(run, SIZE_PX, quiet=True)
    held = every_fourth(len(good.train))
    if not held.any():
        where = f"{run.key.dataset}/{run.key.category}, training images"
        raise problem(f"at least {FEWEST} images", str(len(good.train)), where, "add good images")
    held_out = hold_out(large.train[held][:MOST])
    if copies := _copies(held_out.whole, large.train[~held]):
        told = f"{copies} of {len(held_out.whole)} held-out images are copies of training images"
        print(f"note: {told}: they are judged too well", file=sys.stderr)
    partial = partial_judgement(run.key)
    checkpoint = partial / ("watched.pt" if watch else "checkpoint.pt")

    def look_back(model: nn.Module) -> dict[str, float | None]:
        found = compare(look_of(run, model), held_out, each=False)
        moment = {f"image_auroc_{name}": found[name]["all"].image_auroc for name in found}
        return moment | {"pixel_ap_unchanged": found["unchanged"]["all"].pixel_ap}

    p, key = run.profile, run.key
    trained = fit(
        good.train[~held],
        load_textures(p.textures, p.size_px, max_images=p.max_textures),
        p,
        key.variant,
        key.seed,
        checkpoint=checkpoint,
        progress=progress,
        watch=look_back if watch else None,
    )
    started = time.perf_counter()
    look = look_of(run, trained.model)
    found: dict[str, Any] = compare(look, held_out) | alarms(look, held_out)
    seconds = {"train": trained.seconds, "judge": time.perf_counter() - started}
    record = found | {
        "device": trained.compute.describe(),
        "precision": trained.compute.precision,
        "data": {
            "manifest_hash": good.manifest_hash,
            "num_train": int((~held).sum()),
            "num_whole": len(held_out.whole),
            "num_damaged": len(held_out.damaged),
        },
        "steps": trained.steps,
        "watched": trained.watched if watch else None,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }
    judgement = write_judgement(run, record)
    shutil.rmtree(partial, ignore_errors=True)
    return judgement


def judged_todays_images(run: Run, judgement: Judgement) -> bool:
    """Whether a judgement is of the good images that are there."""
    today = _good_images(run, run.profile.size_px).manifest_hash
    return today == judgement.data.manifest_hash


def hold_out(whole: np.ndarray) -> HeldOut:
    """Good images and what becomes of them: ``(N, 3, S, S)`` uint8.

    *Raises* :class:`PoutaError` where no damage can be seen on them.
    """
    damaged, masks = damage(whole)
    image_of, damage_of = np.divmod(np.arange(len(masks)), len(DAMAGES))
    seen = masks.any(axis=(1, 2))
    if not seen.any():
        found, todo = f"none on {len(whole)}", "are they black? add good images, in better light"
        raise problem("damages that can be seen", found, "the held-out good images", todo)
    return HeldOut(whole, damaged[seen], masks[seen], image_of[seen], damage_of[seen])


def compare(look: Look, held: HeldOut, *, each: bool = True) -> dict[str, dict[str, Metrics]]:
    """How well damaged images are told from whole ones, and damage from its surroundings.

    ``unchanged``; ``changed``, where every image is harmlessly changed; and ``both``, pooled. Each
    has the metrics of ``all`` damages and, unless `each` is off, of every damage by its name.

    A whole image stands beside each damaged one, and is changed in the same way, so that a kind of
    change comes as often among the ones as among the others.
    """
    num = len(held.damaged)
    labels = np.repeat([False, True], num)
    damages = np.tile(held.damage_of, 2)
    masks = np.concatenate([np.zeros_like(held.masks), held.masks])

    whole_maps, whole_scores = look(held.whole)
    maps, scores = look(held.damaged)
    maps = np.concatenate([whole_maps[held.image_of], maps])
    scores = np.concatenate([whole_scores[held.image_of], scores])
    kinds = np.tile(np.arange(num) % len(HARMLESS), 2)
    pairs = np.concatenate([held.whole[held.image_of], held.damaged])
    changed_maps, changed_scores = look(change_harmlessly(pairs, kinds, STRENGTH))
    moved = move_along(masks, kinds, STRENGTH)

    takes = {
        "unchanged": [(masks, maps, scores)],
        "changed": [(moved, changed_maps, changed_scores)],
    }
    takes["both"] = takes["unchanged"] + takes["changed"]
    chosen = {"all": np.full(2 * num, True)}
    if each:
        chosen |= {draw.__name__: damages == k for k, draw in enumerate(DAMAGES)}

    def metrics(take: Sequence[tuple[np.ndarray, ...]], of: np.ndarray) -> Metrics:
        truth, maps, scores = (np.concatenate([a[of] for a in arrays]) for arrays in zip(*take))
        found = image_metrics(np.tile(labels[of], len(take)), scores)
        found |= pixel_metrics(truth[:, ::GRID, ::GRID], maps)
        return Metrics(**{field.name: found[field.name] for field in fields(Metrics)})

    return {
        name: {damage: metrics(take, of) for damage, of in chosen.items() if of.any()}
        for name, take in takes.items()
    }


def alarms(look: Look, held: HeldOut) -> dict[str, Any]:
    """What one threshold makes of every harmless change at every strength.

    The threshold passes 95 % of the whole images as they are. Above it, a whole image is a false
    alarm and a damaged one a detection; each image has one damage here, another one in turn.
    """

    def scores(images: np.ndarray) -> np.ndarray:
        return look(images)[1]

    unchanged = scores(held.whole)
    threshold = float(np.quantile(unchanged, PASSED))
    # of each image the damage whose turn it is, or the next one that can be seen
    wait = (held.damage_of - held.image_of) % len(DAMAGES)
    order = np.lexsort((wait, held.image_of))
    _, first = np.unique(held.image_of[order], return_index=True)
    damaged = held.damaged[order[first]]

    def share(found: np.ndarray) -> float:
        return float(np.mean(found > threshold))

    def shares(images: np.ndarray, unchanged: np.ndarray) -> dict[str, Any]:
        changed = {
            change.__name__: [
                share(scores(change_harmlessly(images, np.full(len(images), kind), strength)))
                for strength in STRENGTHS
            ]
            for kind, change in enumerate(HARMLESS)
        }
        return {"unchanged": share(unchanged), "changed": changed}

    return {
        "threshold": threshold,
        "false_alarms": shares(held.whole, unchanged),
        "detections": shares(damaged, scores(damaged)),
    }


def look_of(run: Run, model: nn.Module) -> Look:
    """How a model looks at images of any size: maps at every ``GRID``-th pixel, and scores."""
    p, method = run.profile, run.key.variant
    compute = compute_of(method, p)

    def look(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        maps, scores = detect(model, _resized(images, p.size_px), p, compute, method)
        return _resized(maps[:, None], SIZE_PX)[:, 0, ::GRID, ::GRID], scores

    return look


def _good_images(run: Run, size_px: int, *, quiet: bool = False) -> Category:
    key, most = run.key, run.profile.max_train
    return load_category(
        key.dataset, key.category, size_px, max_train=most, max_test=0, quiet=quiet
    )


def _copies(some: np.ndarray, others: np.ndarray) -> int:
    """How many of some images are among the others as well."""
    known = set(digests(others))
    return sum(digest in known for digest in digests(some))


def _resized(arrays: np.ndarray, size_px: int) -> np.ndarray:
    """``(N, C, H, W)`` at another size, of the same type."""
    tensor = torch.from_numpy(np.ascontiguousarray(arrays)).float()
    tensor = F.interpolate(tensor, (size_px, size_px), mode="bilinear", antialias=True)
    if arrays.dtype == np.uint8:
        tensor = tensor.round().clamp(0, 255)
    return tensor.numpy().astype(arrays.dtype)

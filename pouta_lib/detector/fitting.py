"""From photographs of good parts to a detector: which method, which threshold, how far to trust it.

No defective photograph is needed. Good ones are held out, damaged by the judge's rules and
harmlessly changed (:mod:`pouta_lib.study.judge`), and the method that tells the damaged ones best
from the others is taken. The threshold comes from good images that its model has not seen.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pouta_lib.data import load_textures
from pouta_lib.data.files import beside, child, folders_in, good_folders
from pouta_lib.data.images import bits_of
from pouta_lib.data.textures import dtd_files
from pouta_lib.detector.folds import FOLDS, deal, parts_of
from pouta_lib.detector.photos import look_at_folder, passed_over, read_files
from pouta_lib.detector.saved import (
    Detector,
    Fitted,
    Tried,
    choose_threshold,
    scale_between,
)
from pouta_lib.detector.telling import above, promise, why
from pouta_lib.ground.errors import PoutaError, problem, shown
from pouta_lib.ground.methods import (
    CANDIDATES,
    METHODS,
    find_method,
    require_warm_start,
    resolve,
)
from pouta_lib.ground.paths import atomic_path, sources_digest
from pouta_lib.ground.profiles import Profile, load_profile, profile_name
from pouta_lib.ground.progress import TrainingProgress
from pouta_lib.ground.spread import spread
from pouta_lib.method.device import Compute, compute_of
from pouta_lib.method.models import build_model
from pouta_lib.method.models.pair import join
from pouta_lib.method.models.patchcore import WORKING_PX
from pouta_lib.method.training import fit as fit_model
from pouta_lib.method.weights import FILE, load_weights, save_weights
from pouta_lib.score.evaluation import detect
from pouta_lib.study.damages import DAMAGES
from pouta_lib.study.judge import SIZE_PX, HeldOut, compare, hold_out, look_of
from pouta_lib.study.records import RunKey
from pouta_lib.study.run import Run

AUTO = "auto"
PROFILE = "real-cpu"  # where neither the caller nor $POUTA_PROFILE names one
FEWEST, MOST = 8, 1000  # photographs that are taken
MOST_DAMAGED = 24  # of the held-out photographs
FEWEST_STEPS = 200  # below which a network is not worth judging
PROBE_STEPS = (2, 8)
FOR_TRAINING = 0.85  # of a network's share of the time; the rest is for judging it

Tell = Callable[[str], None]


def fit(
    photos: str | Path,
    *,
    method: str = AUTO,
    minutes: float = 10.0,
    false_alarm_rate: float = 0.05,
    profile: str = "",
    overrides: dict[str, Any] | None = None,
    seed: int = 0,
    partial: str | Path | None = None,
    tell: Tell = print,
) -> Detector:
    """A detector made from a folder of photographs of good parts.

    ``"auto"`` tries the registry's candidates as far as the minutes go, those that need no training
    first; one with pretrained features at the size that these were learned at and at the profile's,
    unless `overrides` name a size; and pairs last, joined from what was made before. What was
    tried, and what each found, is in ``detector.fitted``. With `partial`, a folder, a fit that was
    stopped goes on from what it left there, if it is asked for the same.

    *Units*: minutes of wall-clock time, which the choice and the training keep to.
    *Raises* :class:`PoutaError` for fewer than eight photographs, and where no method can be made.
    """
    if not 0 < false_alarm_rate < 1 or not minutes > 0:
        found = f"{minutes} minutes, a rate of {false_alarm_rate}"
        raise problem("minutes above 0, a rate in (0, 1)", found, "fit", "say 0.05 for 5 %")
    if method != AUTO:
        find_method(method)
    deadline = time.monotonic() + 60 * minutes
    settings = _settings(profile, overrides or {}, tell)
    if settings.warm_start and method != AUTO:
        require_warm_start(method)
    candidates = _candidates(settings, method, overrides or {})
    work = _Work.of(photos, candidates, minutes, seed, partial, tell)
    tried = _try(candidates, work, deadline, false_alarm_rate, method)
    best = _best([one for one in tried if method in (AUTO, one.method)], work)
    detector = _finish(best, tried, work, deadline, false_alarm_rate)
    if work.folder is not None:
        shutil.rmtree(work.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            work.folder.parent.rmdir()  # which other attempts may need
    return detector


@dataclass
class Candidate:
    """One method with its settings, and what has become of it."""

    method: str
    profile: Profile
    model: nn.Module | None = None
    seconds: float = 0.0
    result: dict[str, Any] | None = None  # of the first fold
    why_not: str = ""
    members: "tuple[Candidate, ...]" = ()  # of a pair: what it is joined from

    @property
    def title(self) -> str:
        return find_method(self.method).title

    @property
    def needs_steps(self) -> bool:
        return find_method(self.method).trained and not self.members

    @property
    def folder(self) -> str:
        """Of its half-done work."""
        return f"{self.method}_{self.profile.size_px}px"


@dataclass
class _Work:
    """The photographs, how they are dealt out, and where half-done work is kept."""

    images: dict[int, np.ndarray]  # by size: (N, 3, S, S) uint8
    bits: int
    parts: np.ndarray  # (N,) which part a photograph shows
    folds: np.ndarray  # (N,)
    held: HeldOut
    seed: int
    folder: Path | None
    tell: Tell

    @classmethod
    def of(
        cls,
        photos: str | Path,
        candidates: Sequence[Candidate],
        minutes: float,
        seed: int,
        partial: str | Path | None,
        tell: Tell,
    ) -> "_Work":
        images, bits = _read(photos, {c.profile.size_px for c in candidates} | {SIZE_PX}, tell)
        parts = parts_of(images[SIZE_PX])
        if (several := parts.max() + 1) < len(parts):
            tell(f"they show {several} parts, as far as that can be told; one part, one fold")
        folds = deal(parts)
        out = np.flatnonzero(folds == 0)
        held = hold_out(images[SIZE_PX][out[spread(len(out), MOST_DAMAGED)]])
        folder = None
        if partial is not None:
            asked = json.dumps(
                [
                    [[c.method, c.profile.to_dict()] for c in candidates],
                    [minutes, seed, sources_digest(Path(__file__).parents[1])],
                ]
            )
            pictures = np.ascontiguousarray(images[SIZE_PX]).data
            digest = hashlib.sha256(asked.encode() + hashlib.sha256(pictures).digest())
            folder = Path(partial).expanduser() / digest.hexdigest()[:16]
        return cls(images, bits, parts, folds, held, seed, folder, tell)

    def keep(self, one: Candidate, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gives, from an earlier attempt where that came so far."""
        if self.folder is None:
            return make()
        path = self.folder / one.folder / f"{name}.json"
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        made = make()
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(made), encoding="utf-8")
        return made


def _settings(profile: str, overrides: dict[str, Any], tell: Tell) -> Profile:
    name = profile_name(profile, PROFILE)
    settings = load_profile(name, **overrides)
    if settings.textures == "dtd":
        try:
            dtd_files()
        except PoutaError:
            tell("DTD is not there: training takes the built-in textures (pouta data get dtd)")
            settings = load_profile(name, **overrides | {"textures": "builtin"})
    return settings


def _candidates(settings: Profile, method: str, overrides: dict[str, Any]) -> list[Candidate]:
    """What is tried, in this order: what remembers, what is trained, what is joined from these."""
    asked = CANDIDATES if method == AUTO else (method,)
    joined = {name: of for name in asked if (of := find_method(name).members)}
    single = dict.fromkeys(part for name in asked for part in joined.get(name, (name,)))
    candidates = [
        Candidate(name, sized)
        for name in sorted(single, key=lambda name: METHODS[name].trained)
        for sized in _sizes(settings, name, overrides)
        if name in asked or sized.size_px == settings.size_px
    ]
    own = {one.method: one for one in candidates if one.profile.size_px == settings.size_px}
    for name, parts in joined.items():
        members = tuple(own[part] for part in parts)
        candidates.append(Candidate(name, members[0].profile, members=members))
    return candidates


def _sizes(settings: Profile, method: str, overrides: dict[str, Any]) -> list[Profile]:
    """At the size that pretrained features were learned at as well, where none was asked for.

    Without the warm start where the method has none.
    """
    if settings.warm_start and not find_method(method).warm_start:
        settings = _with(settings, warm_start=False)
    if not find_method(method).backbone or "size_px" in overrides:
        return [settings]
    sizes = sorted({settings.size_px, WORKING_PX}, reverse=True)
    return [_with(settings, size_px=size) for size in sizes]


def _with(settings: Profile, **changes: Any) -> Profile:
    return load_profile(settings.name, **settings.overrides | changes)


def _read(photos: str | Path, sizes: set[int], tell: Tell) -> tuple[dict[int, np.ndarray], int]:
    """The good ones among the photographs at each size, and their bits."""
    folder = Path(photos).expanduser()
    goods = good_folders(folder) or good_folders(child(folder, "train")) or [folder]
    looks = [look_at_folder(good) for good in goods]
    files = [path for look in looks for path in look.files]
    chosen = [files[i] for i in spread(len(files), MOST)]
    bits = bits_of(chosen)
    read, images, unreadable = read_files(chosen, sizes, bits)
    left_out = [line for look in looks for line in passed_over(look)]
    if folder not in goods:  # photographs beside good/ are not taken for good ones
        left_out += beside(folder, folders_in(folder)).lines()
    for line in [*left_out, *map(str, unreadable)]:
        tell(f"left out: {line}")
    if len(read) < FEWEST:
        todo = "photograph more good parts; 20 are few, 100 are good"
        found = str(len(read))
        raise problem(f"at least {FEWEST} photographs of good parts", found, folder, todo)
    tell(f"{len(read)} of {len(files)} photographs: {', '.join(shown(good) for good in goods)}")
    return images, bits


def _try(
    candidates: list[Candidate], work: _Work, deadline: float, rate: float, asked: str
) -> list[Candidate]:
    """Each candidate made without the first fold and judged by it, as far as the time goes."""
    reserved = 0.0  # for what a method that only remembers needs after it was chosen
    waiting = sum(one.needs_steps for one in candidates)
    for one in candidates:
        try:
            if one.needs_steps:
                left = FOR_TRAINING * (deadline - time.monotonic() - reserved)
                share, waiting = left / waiting, waiting - 1
                steps = _steps(one, work, share, left)
                one.profile = _with(one.profile, steps=steps, epochs=None)
            elif one.members:
                one.profile = one.members[0].profile
            one.result = _first_fold(one, work, rate)
        except PoutaError as error:
            if asked != AUTO:
                raise
            one.why_not = str(error).splitlines()[0]
            continue
        if not find_method(one.method).trained:
            reserved = max(reserved, (FOLDS + 1) * one.result["fit_seconds"])
    return candidates


def _steps(one: Candidate, work: _Work, seconds: float, left: float) -> int:
    """As many of the profile's steps as its share of the time allows, timed on this machine.

    Where those are too few to be worth it, as few as are, if all that is left allows them.

    *Raises* :class:`PoutaError` where it does not.
    """
    images = work.images[one.profile.size_px]
    full: int = resolve(find_method(one.method).steps or "")(one.profile, len(images), None)
    fewest = min(full, FEWEST_STEPS)

    if seconds <= 0:
        todo = "allow more minutes, or name the method"
        raise problem(f"time for {one.title}", "none left", "the time budget", todo)

    def timed() -> dict[str, Any]:
        spent = []
        for count in PROBE_STEPS:
            short = _with(one.profile, steps=count, epochs=None)
            spent.append(fit_model(images, images, short, one.method, work.seed).seconds)
        first, last = PROBE_STEPS
        each = max(spent[1] - spent[0], 1e-6) / (last - first)
        steps = int(min(full, seconds / each))
        if steps < fewest <= left / each:
            steps = fewest
        return {"steps": steps, "each": each}

    found = work.keep(one, "steps", timed)
    if found["steps"] < fewest:
        needed = fewest * found["each"] / FOR_TRAINING / 60
        raise problem(
            f"{needed:.0f} more minutes for {fewest} steps of {one.title}",
            f"{left / FOR_TRAINING / 60:.1f}",
            "the time budget",
            "allow more minutes, or name the method",
        )
    steps: int = found["steps"]
    return steps


def _made(one: Candidate, work: _Work, images: np.ndarray, checkpoint: bool = False) -> nn.Module:
    p = one.profile
    trained = find_method(one.method).trained
    textures = images
    if trained:
        textures = load_textures(p.textures, p.size_px, max_images=p.max_textures)
    path = work.folder / one.folder / "checkpoint.pt" if work.folder and checkpoint else None
    progress = TrainingProgress(one.title) if trained else None
    return fit_model(
        images, textures, p, one.method, work.seed, checkpoint=path, progress=progress
    ).model


def _joined(one: Candidate, work: _Work, out: np.ndarray) -> nn.Module:
    """A pair of what was made before. *Raises* :class:`PoutaError` where a member was not made."""
    for member in one.members:
        if member.result is None:
            todo = "allow more minutes, or name the method"
            raise problem(f"{member.title} at {member.profile.size_px} px", "none", one.title, todo)
    images = work.images[one.profile.size_px]
    network, memory = (member.model or _made(member, work, images[~out]) for member in one.members)
    return join(network, memory, one.method, one.profile, images[out])


def _first_fold(one: Candidate, work: _Work, rate: float) -> dict[str, Any]:
    """The model without the first fold, its scores of that, and what it makes of the damages."""
    out = work.folds == 0
    images = work.images[one.profile.size_px]
    weights = work.folder / one.folder if work.folder else None
    name = f"{one.title} at {one.profile.size_px} px"
    work.tell(f"{name}: made from {(~out).sum()}, judged by {out.sum()} that it has not seen")

    def make() -> dict[str, Any]:
        started = time.monotonic()
        one.model = (
            _joined(one, work, out)
            if one.members
            else _made(one, work, images[~out], checkpoint=True)
        )
        made_in = time.monotonic() - started
        found = _scores(one, one.model, images[out])
        seen: list[np.ndarray] = []
        key = RunKey(one.profile.label, "folder", "photographs", one.method, None, work.seed)
        look = look_of(Run(key, one.profile), one.model)

        def recorded(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            maps, scores = look(pictures)
            seen.append(scores)
            return maps, scores

        judged = compare(recorded, work.held, each=False)
        _, damaged, changed = (scores.astype(float).tolist() for scores in seen)
        if weights is not None and find_method(one.method).trained:
            weights.mkdir(parents=True, exist_ok=True)
            save_weights(one.model, weights)
        return found | {
            "told_apart": judged["both"]["all"].image_auroc,
            "damaged": damaged,
            "changed": changed[: len(changed) // 2],  # the whole ones
            "fit_seconds": made_in,
            "seconds": time.monotonic() - started,
        }

    found = work.keep(one, "judged", make)
    if one.model is None and weights is not None and (weights / FILE).is_file():
        model = load_weights(build_model(one.method, one.profile), weights)
        one.model = model.to(compute_of(one.method, one.profile).device)
    one.seconds = found["seconds"]
    by_kind = {
        draw.__name__: np.array(found["damaged"])[of].tolist()
        for k, draw in enumerate(DAMAGES)
        if (of := work.held.damage_of == k).any()
    }
    threshold = choose_threshold(np.array(found["scores"]), rate)
    return found | {"by_kind": by_kind} | _at(by_kind, found["changed"], threshold)


def _scores(one: Candidate, model: nn.Module, images: np.ndarray) -> dict[str, Any]:
    """Image scores, and of the maps the sum and the highest: all that a threshold needs."""
    compute: Compute = compute_of(one.method, one.profile)
    scores: list[float] = []
    means, highest = [], -np.inf
    for start in range(0, len(images), 16):
        maps, found = detect(model, images[start : start + 16], one.profile, compute, one.method)
        scores += found.astype(float).tolist()
        means += maps.mean(axis=(1, 2)).tolist()
        highest = max(highest, float(maps.max()))
    if not np.isfinite(scores).all() or (len(images) > 1 and np.ptp(scores) == 0 == np.ptp(means)):
        todo = "train longer, with a lower lr, or with precision=fp32"
        raise problem("finite scores that differ", "others", one.title, todo)
    return {"scores": scores, "mean": float(np.mean(means)), "highest": highest}


def _at(by_kind: dict[str, list[float]], changed: list[float], threshold: float) -> dict[str, Any]:
    """How many of the damages lie above a threshold, and how many changed good images."""
    found = {name: above(scores, threshold) for name, scores in by_kind.items()}
    return {"found": found, "alarms": above(changed, threshold)}


def _best(tried: list[Candidate], work: _Work) -> Candidate:
    judged = [one for one in tried if one.result]
    if not judged:
        where = "; ".join(f"{one.title}: {one.why_not}" for one in tried)
        raise problem("a method that can be made", "none", where, "allow more minutes")
    best = max(judged, key=_told_apart)
    work.tell(f"{best.title} at {best.profile.size_px} px it is")
    return best


def _told_apart(one: Candidate) -> float:
    return (one.result or {}).get("told_apart") or 0.0


def _finish(
    best: Candidate, tried: list[Candidate], work: _Work, deadline: float, rate: float
) -> Detector:
    """The detector of the chosen method: made from all photographs where it only remembers."""
    assert best.result is not None
    parts, how = [best.result], "a quarter kept back from training"
    images = work.images[best.profile.size_px]
    model = best.model
    if not find_method(best.method).trained:
        model, how = None, "a quarter, scored before it was added"
        left = deadline - time.monotonic()
        if FOLDS * best.result["fit_seconds"] < left:
            how = "all of them, each scored without it and its neighbours"
            for k in range(1, FOLDS):
                work.tell(f"{best.title}: fold {k + 1} of {FOLDS}")
                parts.append(_fold(best, work, k))
        work.tell(f"{best.title}: from all photographs")
        model = _made(best, work, images)
    assert model is not None
    scores = np.concatenate([part["scores"] for part in parts])
    threshold = choose_threshold(scores, rate)
    out = work.folds < len(parts)
    num_parts = len(np.unique(work.parts[out]))
    mean = float(np.average([p["mean"] for p in parts], weights=[len(p["scores"]) for p in parts]))
    by_kind, changed = best.result["by_kind"], best.result["changed"]
    at = _at(by_kind, changed, threshold)
    all_tried = [_as_tried(one) for one in tried]
    fitted = Fitted(
        method=best.method,
        size_px=best.profile.size_px,
        num_photos=len(images),
        num_held_out=len(scores),
        false_alarm_rate=rate,
        tried=all_tried,
        found=at["found"],
        changed_alarms=at["alarms"],
        why=why(all_tried[tried.index(best)], all_tried),
        good=scores.tolist(),
        damaged=by_kind,
        changed=changed,
    )
    p = best.profile
    scale = scale_between(mean, max(part["highest"] for part in parts), best.method)
    detector = Detector(
        model,
        best.method,
        p,
        threshold,
        f"{promise(scores, threshold, rate, num_parts)} ({how})",
        scale,
        compute_of(best.method, p),
        fitted,
        work.bits,
    )
    detector.check(best.title)
    return detector


def _fold(one: Candidate, work: _Work, k: int) -> dict[str, Any]:
    images, out = work.images[one.profile.size_px], work.folds == k
    make = lambda: _scores(one, _made(one, work, images[~out]), images[out])  # noqa: E731
    return work.keep(one, f"fold{k}", make)


def _as_tried(one: Candidate) -> Tried:
    found = one.result or {}
    by_kind = found.get("found", {}).values()
    trained = find_method(one.method).trained and one.result
    return Tried(
        method=one.method,
        size_px=one.profile.size_px,
        steps=(one.profile.steps or 0) if trained else 0,
        seconds=round(one.seconds, 1),
        told_apart=found.get("told_apart"),
        found=(sum(k for k, _ in by_kind), sum(n for _, n in by_kind)) if by_kind else None,
        changed_alarms=found.get("alarms"),
        why_not=one.why_not,
    )

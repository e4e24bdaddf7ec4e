"""The methods that a fit tries: each made without the first fold, and judged by it."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from torch import nn

from pouta_lib.data import load_textures
from pouta_lib.detector.folds import FOLDS
from pouta_lib.detector.material import Work
from pouta_lib.detector.saved import Tried, choose_threshold
from pouta_lib.detector.telling import counted_at
from pouta_lib.ground.errors import PoutaError, TooLittleMemory, problem, shown
from pouta_lib.ground.methods import CANDIDATES, METHODS, find_method
from pouta_lib.ground.profiles import Profile, load_profile
from pouta_lib.ground.progress import TrainingProgress
from pouta_lib.ground.validation import STRICT, above
from pouta_lib.method.checkpoint import UnusableCheckpoint
from pouta_lib.method.device import compute_of
from pouta_lib.method.models import build_for_weights
from pouta_lib.method.models.pair import join, nothing_differs
from pouta_lib.method.models.patchcore import WORKING_PX
from pouta_lib.method.training import fit as fit_model
from pouta_lib.method.weights import load_weights, save_weights, weights_digest
from pouta_lib.score.evaluation import detect
from pouta_lib.study.damages import DAMAGES
from pouta_lib.study.judge import compare, look_of
from pouta_lib.study.plan import seconds_per_step
from pouta_lib.study.records import Fraction, RunKey
from pouta_lib.study.run import Run

AUTO = "auto"
FEWEST_STEPS = 200  # below which a network is not worth judging
TOGETHER = 16  # images whose maps are in memory at a time
FOR_TRAINING = 0.85  # of a network's share of the time; the rest is for judging it
MORE_TIME = "allow more minutes, or name the method"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What a training step takes here, and how many steps that leaves time for."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    steps: int
    each: Annotated[float, above(0)]  # seconds


@dataclass(frozen=True, kw_only=True)
class HeldOutScores:
    """Of good images that a model has not seen: all that a threshold needs."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    scores: list[float]
    mean: float  # of the maps
    highest: float  # of the maps


@dataclass(frozen=True, kw_only=True)
class FoldScores(HeldOutScores):
    """What a model made without the first fold says of that, as it is kept for another attempt."""

    told_apart: Fraction
    damaged: dict[str, list[float]]  # scores of the damages, by their kinds
    changed: list[float]  # scores of good images, harmlessly changed
    steps: int | None
    weights: str | None  # the digest of a network's, which are kept as well
    fit_seconds: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FirstFold(FoldScores):
    """And what a threshold from these scores makes of the damages."""

    found: dict[str, tuple[int, int]]
    alarms: tuple[int, int]


@dataclass
class Candidate:
    """One method with its settings, and what has become of it."""

    method: str
    profile: Profile
    until: float | None = None  # a time of ``time.monotonic()``, by which it is to be trained
    model: nn.Module | None = None
    seconds: float = 0.0
    result: FirstFold | None = None
    why_not: str = ""
    todo: str = ""  # about that
    lacked_memory: bool = False  # another time it may be made
    members: "tuple[Candidate, ...]" = ()  # of a pair: what it is joined from

    @property
    def title(self) -> str:
        return find_method(self.method).title

    @property
    def name(self) -> str:
        """What it is called where several sizes are tried."""
        return f"{self.title} at {self.profile.size_px} px"

    @property
    def needs_steps(self) -> bool:
        return find_method(self.method).trained and not self.members

    @property
    def folder(self) -> str:
        """Of its half-done work."""
        return f"{self.method}_{self.profile.size_px}px"

    @property
    def told_apart(self) -> float:
        return (self.result.told_apart if self.result else None) or 0.0

    def tried(self) -> Tried:
        """What is told of it."""
        result = self.result
        counts = list(result.found.values()) if result else []
        return Tried(
            method=self.method,
            size_px=self.profile.size_px,
            steps=(self.profile.steps or 0) if result and find_method(self.method).trained else 0,
            seconds=round(self.seconds, 1),
            told_apart=result.told_apart if result else None,
            found=(sum(k for k, _ in counts), sum(n for _, n in counts)) if counts else None,
            changed_alarms=result.alarms if result else None,
            why_not=self.why_not,
        )


def candidates_for(settings: Profile, method: str, overrides: dict[str, Any]) -> list[Candidate]:
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


def try_each(
    candidates: list[Candidate], work: Work, deadline: float, rate: float, asked: str
) -> list[Candidate]:
    """Each candidate made without the first fold and judged by it, as far as the time goes.

    *Raises* :class:`PoutaError` for one that cannot be made, where it was `asked` for; with
    :data:`AUTO` it is told of and left out.
    """
    reserved = 0.0  # for what a method that only remembers needs after it was chosen
    waiting = sum(one.needs_steps for one in candidates)
    for one in candidates:
        try:
            if one.needs_steps:
                left = FOR_TRAINING * (deadline - time.monotonic() - reserved)
                share, waiting = left / waiting, waiting - 1
                _allot(one, work, share, left)
            elif one.members:
                one.profile = one.members[0].profile
            one.result = _first_fold(one, work, rate)
        except PoutaError as error:
            if asked != AUTO:
                raise
            said, _, one.todo = str(error).partition("\n  to do: ")
            one.lacked_memory = isinstance(error, TooLittleMemory)
            one.why_not = f"not made: {said.splitlines()[0]}"
            work.tell(f"{one.name}: {one.why_not}")
            continue
        if not find_method(one.method).trained:
            reserved = max(reserved, (FOLDS + 1) * one.result.fit_seconds)
    return candidates


def _allot(one: Candidate, work: Work, seconds: float, left: float) -> None:
    """As many of the profile's steps as its share of the time allows, timed on this machine.

    Where those are too few to be worth it, as few as are, if all that is left allows them.

    *Raises* :class:`PoutaError` where it does not.
    """
    images = work.images[one.profile.size_px]
    full = find_method(one.method).num_steps(one.profile, len(images))
    fewest, now = min(full, FEWEST_STEPS), time.monotonic()

    if seconds <= 0:
        raise problem(f"time for {one.title}", "none left", "the time budget", MORE_TIME)

    def timed() -> Pace:
        each = seconds_per_step(one.profile, one.method, threads=None)
        steps = int(min(full, seconds / each))
        if steps < fewest <= left / each:
            steps = fewest
        return Pace(steps=steps, each=each)

    found = work.keep(one.folder, "steps", Pace, timed)
    if found.steps < fewest:
        needed = fewest * found.each / FOR_TRAINING / 60
        wanted = f"{np.ceil(10 * needed) / 10:.1f} minutes left for {fewest} steps of {one.title}"
        available = f"{left / FOR_TRAINING / 60:.1f}"
        raise problem(wanted, available, "the time budget", MORE_TIME)
    one.profile = _with(one.profile, steps=found.steps, epochs=None)
    one.until = now + (seconds if found.steps * found.each <= seconds else left)


def made_from(
    one: Candidate, work: Work, images: np.ndarray, checkpoint: bool = False
) -> nn.Module:
    """The model of a candidate, from these images ``(N, 3, S, S)``; resumable with `checkpoint`.

    Where the time did not allow all its steps, its profile has those that were done. A checkpoint
    that is of no use is told of, and the training begins again.
    """
    p = one.profile
    trained = find_method(one.method).trained
    textures = images
    if trained:
        textures = load_textures(p.textures, p.size_px, max_images=p.max_textures)
    path = work.folder / one.folder / "checkpoint.pt" if work.folder and checkpoint else None
    make = partial(
        fit_model,
        images,
        textures,
        p,
        one.method,
        work.seed,
        checkpoint=path,
        progress=TrainingProgress(one.title) if trained else None,
        until=one.until,
    )
    try:
        made = make()
    except UnusableCheckpoint as error:
        assert path is not None
        work.tell(f"trained from the start: {shown(path)}: {str(error).splitlines()[0]}")
        path.unlink()
        made = make()
    if one.needs_steps:
        one.profile = _with(p, steps=made.steps, epochs=None)
    return made.model


def _joined(one: Candidate, work: Work, out: np.ndarray) -> nn.Module:
    """A pair of what was made before. *Raises* :class:`PoutaError` where a member was not made."""
    for member in one.members:
        if member.result is None:
            raise problem(member.name, "none", one.title, MORE_TIME)
    images = work.images[one.profile.size_px]
    network, memory = (
        member.model or made_from(member, work, images[~out]) for member in one.members
    )
    return join(network, memory, one.method, one.profile, images[out])


def _first_fold(one: Candidate, work: Work, rate: float) -> FirstFold:
    """The model without the first fold, its scores of that, and what it makes of the damages."""
    out = work.folds == 0
    work.tell(f"{one.name}: made from {(~out).sum()}, judged by {out.sum()} that it has not seen")
    weights = work.folder / one.folder if work.folder else None
    keep = partial(
        work.keep, one.folder, "judged", FoldScores, lambda: _judged(one, work, out, weights)
    )
    judged = keep()
    if one.model is None and judged.weights is not None and weights is not None:
        try:
            one.model = _kept_model(one, judged, weights)
        except PoutaError as error:
            work.tell(f"made anew: {shown(weights)}: {str(error).splitlines()[0]}")
            judged = keep(anew=True)
    if one.needs_steps:
        one.profile = _with(one.profile, steps=judged.steps, epochs=None)
    one.seconds = judged.seconds
    threshold = choose_threshold(np.array(judged.scores), rate)
    found, alarms = counted_at(judged.damaged, judged.changed, threshold)
    return FirstFold(**vars(judged), found=found, alarms=alarms)


def _kept_model(one: Candidate, judged: FoldScores, folder: Path) -> nn.Module:
    """The network that an earlier attempt judged.

    *Raises* :class:`PoutaError` for weights of another, and for a pair whose network has had other
    steps since.
    """
    if one.members and judged.steps != one.profile.steps:
        wanted = f"a pair whose network had {one.profile.steps} steps"
        raise problem(wanted, str(judged.steps), folder, "remove it")
    model = load_weights(build_for_weights(one.method, one.profile), folder, judged.weights)
    return model.to(compute_of(one.method, one.profile).device)


def _judged(one: Candidate, work: Work, out: np.ndarray, weights: Path | None) -> FoldScores:
    """Makes the model without the images that are `out`, and has it look at these and at damages.

    In the folder `weights` those of a network are kept, to be chosen without a second training.
    """
    images = work.images[one.profile.size_px]
    started = time.monotonic()
    if one.members:
        one.model = _joined(one, work, out)
    else:
        one.model = made_from(one, work, images[~out], checkpoint=True)
    made_in = time.monotonic() - started
    held_out = held_out_scores(one, one.model, images[out])
    key = RunKey(one.profile.label, "folder", "photographs", one.method, None, work.seed)
    look = look_of(Run(key, one.profile), one.model)
    seen: list[np.ndarray] = []

    def recorded(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        maps, scores = look(pictures)
        seen.append(scores)
        return maps, scores

    compared = compare(recorded, work.held, each=False)
    _, damaged, changed = (scores.astype(float) for scores in seen)
    kinds = ((draw.__name__, work.held.damage_of == k) for k, draw in enumerate(DAMAGES))
    digest = None
    if weights is not None and find_method(one.method).trained:
        weights.mkdir(parents=True, exist_ok=True)
        save_weights(one.model, weights)
        digest = weights_digest(one.model.state_dict())
    return FoldScores(
        **vars(held_out),
        told_apart=compared["both"]["all"].image_auroc,
        damaged={name: damaged[of].tolist() for name, of in kinds if of.any()},
        changed=changed[: len(changed) // 2].tolist(),  # the whole ones
        steps=one.profile.steps,
        weights=digest,
        fit_seconds=made_in,
        seconds=time.monotonic() - started,
    )


def held_out_scores(one: Candidate, model: nn.Module, images: np.ndarray) -> HeldOutScores:
    """Image scores, and of the maps the mean and the highest, a few maps at a time.

    *Shape*: images ``(N, 3, S, S)`` uint8.
    *Raises* :class:`PoutaError` where they are not finite, or the same everywhere.
    """
    compute = compute_of(one.method, one.profile)
    scores: list[float] = []
    means, highest = [], -np.inf
    for start in range(0, len(images), TOGETHER):
        some = images[start : start + TOGETHER]
        maps, found = detect(model, some, one.profile, compute, one.method)
        scores += found.astype(float).tolist()
        means += maps.mean(axis=(1, 2)).tolist()
        highest = max(highest, float(maps.max()))
    if not np.isfinite(scores).all() or (len(images) > 1 and np.ptp(scores) == 0 == np.ptp(means)):
        said = f"{min(scores):.3g} to {max(scores):.3g} for {len(images)}"
        raise nothing_differs(one.method, images, said)
    return HeldOutScores(scores=scores, mean=float(np.mean(means)), highest=highest)

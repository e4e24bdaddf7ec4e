"""From photographs of good parts to a detector: which method, which threshold, how far to trust it.

No defective photograph is needed. Good ones are held out, damaged by the judge's rules and
harmlessly changed (:mod:`pouta_lib.study.judge`), and the method that tells the damaged ones best
from the others is taken. The threshold comes from good images that its model has not seen.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from pouta_lib.data.blank import usual_contrast
from pouta_lib.data.textures import dtd_files
from pouta_lib.detector.candidates import (
    AUTO,
    Candidate,
    FirstFold,
    HeldOutScores,
    candidates_for,
    held_out_scores,
    made_from,
    try_each,
)
from pouta_lib.detector.material import Tell, Work
from pouta_lib.detector.saved import KIND, Detector, Fitted, choose_threshold, scale_between
from pouta_lib.detector.telling import counted_at, promise, why
from pouta_lib.ground.errors import PoutaError, TooLittleMemory, problem, shown
from pouta_lib.ground.locks import only_one
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.outputs import replaceable
from pouta_lib.ground.profiles import Profile, load_profile, profile_name, require_suitable
from pouta_lib.method.device import compute_of
from pouta_lib.method.models.pair import Pair
from pouta_lib.study.judge import SIZE_PX

PROFILE = "real-cpu"  # where neither the caller nor $POUTA_PROFILE names one
MOST_MINUTES = 100_000  # ten weeks
PAIR_MARGIN = 0.05  # of *told apart*, which a single method has to be ahead of a pair


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
    output: str | Path | None = None,
    replace: bool = False,
    tell: Tell = print,
) -> Detector:
    """A detector made from a folder of photographs of good parts.

    ``"auto"`` tries the registry's candidates as far as the minutes go, those that need no training
    first; one with pretrained features at the size that these were learned at and at the profile's,
    unless `overrides` name a size; and pairs last, joined from what was made before. What was
    tried, and what each found, is in ``detector.fitted``. With `partial`, a folder, a fit that was
    stopped goes on from what it left there, if it is asked for the same; one that is refused leaves
    nothing there, unless memory was lacking. With `output` the detector is saved there, as
    :func:`save_detector` does, before that is removed: where it cannot be, nothing of the work is
    lost. One fit at a time makes one.

    *Units*: minutes of wall-clock time, which the choice and the training keep to.
    *Raises* :class:`PoutaError` for fewer than eight photographs, where no method can be made, and,
    before the work, for an `output` that is not to be written to or that another fit is at.
    """
    if not 0 < minutes < MOST_MINUTES:
        wanted = f"minutes above 0 and below {MOST_MINUTES}"
        raise problem(wanted, f"{minutes:g}", "fit", "say how many it may take, such as 10")
    if not 0 < false_alarm_rate < 1:
        wanted = "a share of false alarms between 0 and 1"
        raise problem(wanted, f"{false_alarm_rate:g}", "fit", "say 0.05 for 5 %")
    if not 0 <= seed < 1 << 64:
        raise problem("a seed in [0, 2^64)", str(seed), "fit", "choose one, such as 0")
    if method != AUTO:
        find_method(method)
    deadline = time.monotonic() + 60 * minutes
    settings = _settings(profile, overrides or {}, tell)
    if method != AUTO:
        require_suitable(settings, method)
    candidates = candidates_for(settings, method, overrides or {})
    asked = [(one.method, one.profile) for one in candidates]
    with nullcontext() if output is None else _alone_at(output, replace):
        work = Work.of(photos, asked, minutes, seed, partial, tell)
        try:
            tried = try_each(candidates, work, deadline, false_alarm_rate, method)
            best = _best([one for one in tried if method in (AUTO, one.method)], work)
            detector = _finish(best, tried, work, deadline, false_alarm_rate)
        except TooLittleMemory:
            raise
        except PoutaError:  # the same again would end the same
            work.clear()
            raise
        if output is not None:
            detector.save(output, replace=replace)
        work.clear()
    return detector


@contextmanager
def _alone_at(output: str | Path, replace: bool) -> Iterator[None]:
    """While the block runs, no other fit makes the detector in the folder `output`.

    The lock lies in it: above it, not all may write.
    """
    folder = replaceable(output, KIND, replace=replace)
    new = not folder.exists()
    try:
        with only_one(folder / ".fit.lock", f"the fit that makes {shown(folder.name)}"):
            yield
    finally:
        if new:
            with suppress(OSError):  # a detector lies in it
                folder.rmdir()


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


def _best(tried: list[Candidate], work: Work) -> Candidate:
    judged = [one for one in tried if one.result]
    if not judged:
        where = "; ".join(f"{one.title}: {one.why_not}" for one in tried)
        todo = "; ".join(dict.fromkeys(one.todo for one in tried if one.todo))
        none = problem("a method that can be made", "none", where, todo)
        raise TooLittleMemory(str(none)) if any(one.lacked_memory for one in tried) else none
    best = max(judged, key=lambda one: one.told_apart)
    # drawn damages rank methods otherwise than defects do, and of a pair either may be the better
    near = [one for one in judged if one.members and one.told_apart > best.told_apart - PAIR_MARGIN]
    best = max(near, default=best, key=lambda one: one.told_apart)
    work.tell(f"{best.name} it is")
    return best


def _finish(
    best: Candidate, tried: list[Candidate], work: Work, deadline: float, rate: float
) -> Detector:
    """The detector of the chosen method."""
    assert best.result is not None
    model, parts, how = _from_all(best, best.result, work, deadline)
    scores = np.concatenate([part.scores for part in parts])
    threshold = choose_threshold(scores, rate)
    mean = float(np.average([p.mean for p in parts], weights=[len(p.scores) for p in parts]))
    num_parts = len(np.unique(work.parts[work.folds < len(parts)]))
    damaged, changed = best.result.damaged, best.result.changed
    found, alarms = counted_at(damaged, changed, threshold)
    all_tried = [one.tried() for one in tried]
    p = best.profile
    detector = Detector(
        model=model,
        method=best.method,
        profile=p,
        threshold=threshold,
        how=f"{promise(scores, threshold, rate, num_parts)} ({how})",
        scale=scale_between(mean, max(part.highest for part in parts), best.method),
        compute=compute_of(best.method, p),
        fitted=Fitted(
            method=best.method,
            size_px=p.size_px,
            num_photos=len(work.folds),
            num_held_out=len(scores),
            false_alarm_rate=rate,
            tried=all_tried,
            found=found,
            changed_alarms=alarms,
            why=why(all_tried[tried.index(best)], all_tried),
            good=scores.tolist(),
            damaged=damaged,
            changed=changed,
        ),
        bits=work.bits,
        darkest=work.darkest,
        shapes=work.shapes,
        contrast=usual_contrast(work.images[SIZE_PX]),
    )
    detector.check(best.title)
    return detector


def _from_all(
    best: Candidate, first: FirstFold, work: Work, deadline: float
) -> tuple[nn.Module, list[HeldOutScores], str]:
    """The model, the scores of what was held out from it, and how that was done, in words.

    What it remembers is made from all photographs.
    """
    parts: list[HeldOutScores] = [first]
    images = work.images[best.profile.size_px]
    if find_method(best.method).trained:
        model, how = best.model, "a quarter kept back from training"
        assert model is not None
        if best.members:
            how += ", and scored before it was remembered"
            work.tell(f"{best.title}: what it remembers, from all photographs")
            cast(Pair, model).memory = made_from(best.members[1], work, images)
        return model, parts, how
    how = "a quarter, scored before it was added"
    num_folds = work.folds.max() + 1  # fewer where there are fewer parts
    if num_folds * first.fit_seconds < deadline - time.monotonic():
        how = "all of them, each scored without it and its neighbours"
        for k in range(1, num_folds):
            work.tell(f"{best.title}: fold {k + 1} of {num_folds}")
            parts.append(_fold(best, work, k))
    work.tell(f"{best.title}: from all photographs")
    return made_from(best, work, images), parts, how


def _fold(one: Candidate, work: Work, k: int) -> HeldOutScores:
    """Scores of a fold by a model that was made without it."""
    images, out = work.images[one.profile.size_px], work.folds == k

    def make() -> HeldOutScores:
        return held_out_scores(one, made_from(one, work, images[~out]), images[out])

    return work.keep(one.folder, f"fold{k}", HeldOutScores, make)

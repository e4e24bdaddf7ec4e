"""What is told of a detector: what was tried, why one was chosen, what to expect of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from pouta_lib.detector.saved import Detector, Fitted, Tried, false_alarm_rank
from pouta_lib.ground.methods import find_method


def told(detector: Detector) -> str:
    """What was tried, why one was chosen, and what to expect of it, for a person to read."""
    fitted = detector.fitted
    if fitted is None:
        return detector.how
    table = fitted_table(fitted).to_string(index=False)
    return "\n".join([table, "", fitted.why, *expectations(detector)])


def expectations(detector: Detector) -> list[str]:
    """Where the threshold comes from, what the detector finds and what it refuses."""
    if (fitted := detector.fitted) is None:
        return [f"Threshold {detector.threshold:.4g}: {detector.how}."]
    found = ", ".join(f"{k} of {n} {name}" for name, (k, n) in fitted.found.items())
    (k, n), (changed, of) = map(sum, zip(*fitted.found.values())), fitted.changed_alarms
    told = [
        f"Threshold {detector.threshold:.4g}: {detector.how}.",
        f"It finds {k} of {n} damages drawn on photographs that it had not seen: {found}.",
        f"Of good ones in another light, position or focus, it refuses {changed} of {of}.",
    ]
    if k * of <= changed * n:
        told.append(
            "Do not rely on it: at this threshold it refuses such good ones no less often than "
            "damaged ones."
        )
    return told


def fitted_table(fitted: Fitted) -> pd.DataFrame:
    """What was tried, one row per method, in percent; an empty cell where there was no time."""

    def share(pair: tuple[int, int] | None) -> str:
        return "" if pair is None else f"{100 * pair[0] / max(1, pair[1]):.0f}"

    def chosen(one: Tried) -> bool:
        return one.method == fitted.method and fitted.size_px in (0, one.size_px)

    rows = [
        {
            "method": find_method(one.method).title,
            "px": one.size_px,
            "steps": one.steps or "",
            "told apart": "" if one.told_apart is None else f"{100 * one.told_apart:.1f}",
            "damages found": share(one.found),
            "false alarms when changed": share(one.changed_alarms),
            "seconds": f"{one.seconds:.0f}",
            "": one.why_not or ("chosen" if chosen(one) else ""),
        }
        for one in fitted.tried
    ]
    return pd.DataFrame(rows)


def why(chosen: Tried, tried: Sequence[Tried]) -> str:
    """Why this one: how well it tells damaged photographs from whole ones, and what comes next."""
    assert chosen.told_apart is not None
    said = f"{_named(chosen)} tells {100 * chosen.told_apart:.1f} % of pairs of"
    said += " a damaged and a whole photograph apart (image AUROC, as they are and harmlessly"
    said += " changed)"
    others = [(o.told_apart, o) for o in tried if o.told_apart is not None and o is not chosen]
    if others:
        value, second = max(others, key=lambda pair: pair[0])
        comes = "next comes" if value <= chosen.told_apart else "a little ahead is"
        said += f"; {comes} {_named(second)} with {100 * value:.1f} %"
    if find_method(chosen.method).members:
        said += ", and two that are joined are safer than one: real defects are no drawn damages"
    return f"{said}."


def _named(one: Tried) -> str:
    return f"{find_method(one.method).title} at {one.size_px} px"


def promise(scores: np.ndarray, threshold: float, rate: float, num_parts: int | None = None) -> str:
    """What a threshold from held-out good scores stands for, and how sure that is.

    *Shape*: scores ``(n,)``. Of later good parts, drawn like these, the share above the k-th
    smallest of n scores has the distribution Beta(n + 1 - k, k). Photographs of one part resemble
    each other: n is then the number of parts.
    """
    n = num_parts or len(scores)
    said = _refused(scores, threshold)
    if n < len(scores):
        said += f", which show {n} parts"
    if 1 / (n + 1) > rate:
        said += (
            f"; they are too few for {100 * rate:.3g} %, and it stands for {100 / (n + 1):.3g} %"
        )
        said += f" ({np.ceil(1 / rate - 1):.0f} would do)"
    rank = false_alarm_rank(n, rate)
    low, high = 100 * stats.beta.ppf([0.05, 0.95], n + 1 - rank, rank)
    return f"{said}; expect {low:.1f} to {high:.1f} % of later good ones"


def _refused(scores: np.ndarray, threshold: float) -> str:
    above = int((np.asarray(scores) > threshold).sum())
    return f"{above} of {len(scores)} held-out good photographs lie above it"


def with_threshold(detector: Detector, threshold: float) -> Detector:
    """The detector with a threshold that a person chose, and what is to be expected of it then."""
    fitted, how = detector.fitted, "chosen by hand"
    if threshold == detector.threshold:
        return detector
    if fitted is not None and fitted.good:
        how += f"; {_refused(np.array(fitted.good), threshold)}"
        found, alarms = counted_at(fitted.damaged, fitted.changed, threshold)
        fitted = replace(fitted, found=found, changed_alarms=alarms)
    return replace(detector, threshold=threshold, how=how, fitted=fitted)


def counted_at(
    damaged: Mapping[str, Sequence[float]], changed: Sequence[float], threshold: float
) -> tuple[dict[str, tuple[int, int]], tuple[int, int]]:
    """Of a threshold: how many of the damages lie above it, and how many changed good images."""
    found = {name: count_above(scores, threshold) for name, scores in damaged.items()}
    return found, count_above(changed, threshold)


def count_above(scores: Sequence[float], threshold: float) -> tuple[int, int]:
    """How many scores lie above a threshold, of how many."""
    return int((np.array(scores) > threshold).sum()), len(scores)

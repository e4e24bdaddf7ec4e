"""Image and pixel metrics, exact: one ranking of the anomalous values gives them all."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from pouta_lib.ground.errors import problem

EIGHT_CONNECTED = np.ones((3, 3), bool)
BLOCK = 1 << 20  # values looked at together
MOST_CELLS = 1 << 22


def image_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """AUROC, AP and the best F1 of image scores, as fractions; None where a kind is missing.

    *Shape*: labels ``(M,)`` bool, True: defective; scores ``(M,)``, higher: more anomalous.
    *Source*: paper, IV-A "Metric" (CLS is the AUROC); AP and F1-max are our additions.
    """
    labels, scores = np.asarray(labels, bool), _floats(scores)
    _check(labels, scores, "labels", "scores")
    return _named("image", _rank(labels, scores))


def pixel_metrics(
    masks: np.ndarray, maps: np.ndarray, pro_limit: float = 0.3
) -> dict[str, float | None]:
    """AUROC, AP, best F1 and AUPRO over all pixels of a test set; None where a kind is missing.

    AUPRO: the overlap of each connected defect region (8 neighbours) with the thresholded maps,
    averaged over regions, against the share of normal pixels above the threshold; the area up to
    a share of `pro_limit`, divided by `pro_limit`.

    *Shape*: masks ``(M, H, W)`` bool; maps ``(M, H, W)`` float. docs/PERFORMANCE.md has what it
    takes.
    *Raises* :class:`PoutaError` for shapes that differ, for values that are not finite and for a
    limit outside (0, 1].
    *Source*: paper, IV-A "Metric" (LOC is AUROC and AP, pixels pooled, D19); AUPRO as in the
    MVTec AD paper (Bergmann et al. 2019); F1-max and AUPRO are our additions.
    """
    masks, maps = np.asarray(masks, bool), _floats(maps)
    _check(masks, maps, "masks", "maps")
    if not 0 < pro_limit <= 1:
        todo = "the field's usual limit is 0.3"
        raise problem("pro_limit above 0 and at most 1", str(pro_limit), "metrics", todo)
    ranking = _rank(masks, maps)
    found = _named("pixel", ranking)
    found["pixel_aupro"] = ranking and _aupro(ranking, _region_shares(masks), pro_limit)
    return found


def curves(truth: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """The points of the ROC and of the precision-recall curve, one a distinct threshold, falling.

    ``threshold``, ``false_positive_rate``, ``recall`` (the true positive rate) and ``precision``
    when everything at or above the threshold is called anomalous. The ROC starts at (0, 0), which
    is not among the points; :func:`pixel_metrics` and :func:`image_metrics` sum up these curves.

    *Shape*: truth bool and values float of one shape, labels or masks; four ``(T,)``.
    *Raises* :class:`PoutaError` as the metrics do, and where truth is of one kind only.
    """
    truth, values = np.asarray(truth, bool).ravel(), _floats(values).ravel()
    _check(truth, values, "truth", "values")
    if truth.all() or not truth.any():
        found = f"{np.count_nonzero(truth)} anomalous of {truth.size}"
        todo = "test on good and on defective images"
        raise problem("normal and anomalous ones", found, "metrics", todo)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    true = np.cumsum(truth[order], dtype=np.int64)[ends]
    false = ends + 1 - true
    return {
        "threshold": ranked[ends],
        "false_positive_rate": false / false[-1],
        "recall": true / true[-1],
        "precision": true / (ends + 1.0),
    }


def _floats(values: np.ndarray) -> np.ndarray:
    """As they are, or without loss, in a float type whose bits can be read as whole numbers."""
    values = np.asarray(values)
    if values.dtype == np.float16:
        return values.astype(np.float32)
    return values if values.dtype == np.float32 else values.astype(np.float64, copy=False)


def _check(truth: np.ndarray, values: np.ndarray, truth_name: str, values_name: str) -> None:
    if truth.shape != values.shape:
        wanted = f"{values_name} of shape {truth.shape}, like the {truth_name}"
        raise problem(wanted, f"{values.shape}", "metrics", "score each test image once")
    if not np.isfinite(values).all():
        found = f"{np.count_nonzero(~np.isfinite(values))} values that are not"
        todo = "train with a lower lr or precision=fp32"
        raise problem(f"finite {values_name}", found, "metrics", todo)


class _Ranking(NamedTuple):
    """Where the anomalous values stand; ``T`` of them differ, the highest first."""

    order: np.ndarray  # (P,): the anomalous values, falling
    ends: np.ndarray  # (T,): the last in that order of each run of equal ones
    false: np.ndarray  # (T,): normal values at or above it
    tied: np.ndarray  # (T,): normal values that equal it
    negatives: int


def _named(prefix: str, ranking: _Ranking | None) -> dict[str, float | None]:
    """AUROC, AP and best F1.

    With t and f the anomalous and the normal values at or above each distinct anomalous one: AUROC
    is the share of pairs in the right order, ties by half; AP the sum of precision times the rise
    in recall; F1 is ``2 t / (t + f + P)``. Thresholds between anomalous values add nothing to them.
    """
    names = [f"{prefix}_{name}" for name in ("auroc", "ap", "f1max")]
    if ranking is None:
        return dict.fromkeys(names)
    true, false, positives = ranking.ends + 1, ranking.false, len(ranking.order)
    rise = np.diff(true, prepend=0)
    pairs = np.sum(rise * (ranking.negatives - false + ranking.tied / 2.0))
    auroc = float(pairs / positives / ranking.negatives)
    ap = float(np.sum(rise * (true / (true + false))) / positives)
    f1 = float(np.max(2.0 * true / (true + false + positives)))
    return dict(zip(names, (auroc, ap, f1), strict=True))


def _rank(truth: np.ndarray, values: np.ndarray) -> _Ranking | None:
    """The ranking of one flattened test set; None where a kind is missing."""
    truth, values = truth.ravel(), values.ravel()
    anomalous, normal = values[truth], ~truth
    negatives = int(np.count_nonzero(normal))
    if not negatives or not len(anomalous):
        return None
    rising = np.argsort(anomalous)
    ranked = anomalous[rising]
    starts = np.append(0, np.flatnonzero(ranked[1:] != ranked[:-1]) + 1)
    below, up_to = _counts_below(ranked[starts], values, normal)
    ends = len(ranked) - 1 - starts[::-1]
    return _Ranking(rising[::-1], ends, negatives - below[::-1], (up_to - below)[::-1], negatives)


def _counts_below(
    thresholds: np.ndarray, values: np.ndarray, counted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many of the `counted` values are below each threshold, and how many are not above it.

    The thresholds' range is cut into cells. Where no threshold lies in a cell, the number of values
    there is all that matters; the others are sorted. A value's cell is read from the bits of a
    float, which grow with it: fine cells near the lower thresholds, coarser ones above. All values
    that do not count are thresholds.

    *Shape*: thresholds ``(T,)`` rising, each once; values and counted ``(N,)``; two ``(T,)``.
    """
    cell, num_cells = _cells(thresholds)
    shared = np.zeros(num_cells, bool)
    own = cell(thresholds)
    shared[own] = True
    held = np.zeros(num_cells, np.int64)
    close = []
    together = max(BLOCK, num_cells)
    for start in range(0, len(values), together):
        block = values[start : start + together]
        cells = cell(block)
        held += np.bincount(cells, minlength=num_cells)
        looked_at = shared.take(cells)
        looked_at &= counted[start : start + together]
        close.append(block[np.flatnonzero(looked_at)])
    held[shared] = 0
    near = np.sort(np.concatenate(close))
    below = np.searchsorted(near, thresholds)
    up_to = below.copy()
    tied = np.flatnonzero(np.append(near, np.inf)[below] == thresholds)
    up_to[tied] = np.searchsorted(near, thresholds[tied], side="right")
    apart = np.cumsum(held)[own]
    return below + apart, up_to + apart


def _cells(thresholds: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """A function from values to their cells, which rise with the values, and how many there are.

    Added to the values is what makes the lowest sixteenth of the thresholds lie in one power of
    two, or it would take most of the cells.
    """
    lowest, highest = thresholds[0], thresholds[-1]
    with np.errstate(over="ignore"):  # where the range is that of the type, one cell is left
        step = thresholds[min(1 + len(thresholds) // 16, len(thresholds) - 1)] - lowest
        step = step or np.ones_like(lowest)
        origin, bottom, top = lowest - step, step / 2, highest - lowest + step
    whole = np.int32 if thresholds.dtype == np.float32 else np.int64
    first, last = bottom.view(whole), top.view(whole)
    wanted = min(8 * len(thresholds), MOST_CELLS)
    shift = max(int(last - first).bit_length() - wanted.bit_length() + 1, 0)

    def cell(values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            bits = np.clip(values - origin, bottom, top).view(whole)
        bits -= first
        bits >>= shift
        return bits.astype(np.intp, copy=False)

    return cell, (int(last - first) >> shift) + 1


def _region_shares(masks: np.ndarray) -> np.ndarray:
    """What each anomalous pixel adds to the overlap averaged over regions: they sum up to 1."""
    shares, regions = [], 0
    for k in np.flatnonzero(masks.any(axis=(1, 2))):
        rows, columns = (np.flatnonzero(masks[k].any(axis=axis)) for axis in (1, 0))
        part = masks[k, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        labelled, count = ndimage.label(part, structure=EIGHT_CONNECTED)
        region = labelled[part]
        shares.append(1.0 / np.bincount(region)[region])
        regions += count
    return np.concatenate(shares) / regions


def _aupro(ranking: _Ranking, shares: np.ndarray, limit: float) -> float:
    """The curve's corners: before and after the normal pixels that tie with an anomalous value."""
    after = np.cumsum(shares[ranking.order])[ranking.ends]
    before = np.append(0.0, after[:-1])
    false = np.column_stack([ranking.false - ranking.tied, ranking.false]).ravel()
    x = np.concatenate([[0.0], false / ranking.negatives, [1.0]])
    y = np.concatenate([[0.0], np.column_stack([before, after]).ravel(), [1.0]])
    return min(_area_up_to(x, y, limit) / limit, 1.0)  # summed shares may be 1 and a rounding


def _area_up_to(x: np.ndarray, y: np.ndarray, limit: float) -> float:
    """The trapezoid area of a rising curve from 0 to `limit`, cut by interpolation."""
    inside = np.searchsorted(x, limit, side="right")
    x_cut, y_cut = np.append(x[:inside], limit), np.append(y[:inside], np.interp(limit, x, y))
    return float(np.trapezoid(y_cut, x_cut))

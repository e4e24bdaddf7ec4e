"""Image and pixel metrics, exact: one sort gives them all."""

import numpy as np
from scipy import ndimage

from pouta_lib.ground.errors import problem

EIGHT_CONNECTED = np.ones((3, 3), bool)


def image_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """AUROC, AP and the best F1 of image scores, as fractions; None where a kind is missing.

    *Shape*: labels ``(M,)`` bool, True: defective; scores ``(M,)``, higher: more anomalous.
    *Source*: paper, IV-A "Metric" (CLS is the AUROC); AP and F1-max are our additions.
    """
    labels, scores = np.asarray(labels, bool), _floats(scores)
    _check(labels, scores, "labels", "scores")
    return _named("image", *_ranking(labels, scores)[:3])


def pixel_metrics(
    masks: np.ndarray, maps: np.ndarray, pro_limit: float = 0.3
) -> dict[str, float | None]:
    """AUROC, AP, best F1 and AUPRO over all pixels of a test set; None where a kind is missing.

    AUPRO: the overlap of each connected defect region (8 neighbours) with the thresholded maps,
    averaged over regions, against the share of normal pixels above the threshold; the area up to
    a share of `pro_limit`, divided by `pro_limit`.

    *Shape*: masks ``(M, H, W)`` bool; maps ``(M, H, W)`` float. 50 million pixels of float32, each
    with a value of its own, take 3.5 GiB and 25 s.
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
    auroc, ap, f1, order, ends = _ranking(masks.ravel(), maps.ravel())
    found = _named("pixel", auroc, ap, f1)
    found["pixel_aupro"] = None if auroc is None else _aupro(masks, order, ends, pro_limit)
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
    order, ends, true, false = _counts(truth, values)
    return {
        "threshold": values[order[ends]],
        "false_positive_rate": false / false[-1],
        "recall": true / true[-1],
        "precision": true / (ends + 1.0),
    }


def _floats(values: np.ndarray) -> np.ndarray:
    """As they are where they are floats: whole numbers without a sign have no falling order."""
    values = np.asarray(values)
    return values if values.dtype.kind == "f" else values.astype(float)


def _check(truth: np.ndarray, values: np.ndarray, truth_name: str, values_name: str) -> None:
    if truth.shape != values.shape:
        wanted = f"{values_name} of shape {truth.shape}, like the {truth_name}"
        raise problem(wanted, f"{values.shape}", "metrics", "score each test image once")
    if not np.isfinite(values).all():
        found = f"{np.count_nonzero(~np.isfinite(values))} values that are not"
        todo = "train with a lower lr or precision=fp32"
        raise problem(f"finite {values_name}", found, "metrics", todo)


def _named(prefix: str, *values: float | None) -> dict[str, float | None]:
    return dict(zip((f"{prefix}_auroc", f"{prefix}_ap", f"{prefix}_f1max"), values, strict=True))


def _counts(
    truth: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The falling order, where each run of equal values ends, true and false positives there."""
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)[: len(ranked)]
    true = np.cumsum(truth[order], dtype=np.int64)[ends]
    return order, ends, true, ends + 1 - true


def _ranking(
    truth: np.ndarray, values: np.ndarray
) -> tuple[float | None, float | None, float | None, np.ndarray, np.ndarray]:
    """AUROC, AP, best F1, the falling order, and where each run of equal values ends.

    With t and f the true and false positives at each distinct threshold: AUROC is the trapezoid
    area of t over f, AP the sum of precision times the rise in recall, F1 is
    ``2 t / (t + f + P)``.
    """
    order, ends, true, false = _counts(truth, values)
    if not len(ends) or not true[-1] or not false[-1]:
        return None, None, None, order, ends
    positives, negatives = int(true[-1]), int(false[-1])
    rise, run = np.diff(true, prepend=0), np.diff(false, prepend=0)
    auroc = float(np.sum(run * (true - rise / 2.0)) / positives / negatives)
    ap = float(np.sum(rise * (true / (ends + 1.0))) / positives)
    f1 = float(np.max(2.0 * true / (ends + 1.0 + positives)))
    return auroc, ap, f1, order, ends


def _aupro(masks: np.ndarray, order: np.ndarray, ends: np.ndarray, limit: float) -> float:
    """Every anomalous pixel adds the inverse of its region's size to the summed overlap."""
    weights = np.zeros(masks.shape)  # float64: sums of up to 50 million inverses
    regions = 0
    for k in np.flatnonzero(masks.any(axis=(1, 2))):
        labelled, count = ndimage.label(masks[k], structure=EIGHT_CONNECTED)
        sizes = np.bincount(labelled.ravel())
        weights[k] = np.where(labelled > 0, 1.0 / np.maximum(sizes, 1)[labelled], 0.0)
        regions += count
    overlap = np.cumsum(weights.ravel()[order])[ends] / regions
    normal = np.cumsum(~masks.ravel()[order], dtype=np.int64)[ends]
    share = normal / normal[-1]
    return _area_up_to(np.append(0.0, share), np.append(0.0, overlap), limit) / limit


def _area_up_to(x: np.ndarray, y: np.ndarray, limit: float) -> float:
    """The trapezoid area of a rising curve from 0 to `limit`, cut by interpolation."""
    inside = np.searchsorted(x, limit, side="right")
    x_cut, y_cut = np.append(x[:inside], limit), np.append(y[:inside], np.interp(limit, x, y))
    return float(np.trapezoid(y_cut, x_cut))

"""How sure a number is: resampled test images, and the price of picking the best moment."""

from collections.abc import Callable, Iterator

import numpy as np

from pouta_lib.ground.errors import problem

ENDS = (0.025, 0.975)  # of an interval: 95 % lie between


def drawn_again(labels: np.ndarray, repeats: int) -> Iterator[np.ndarray]:
    """The test images drawn again, `repeats` times: their indices, the same at each call.

    Good and defective images are resampled apart, each with replacement, so that their numbers
    stay what they are.

    *Shape*: labels ``(M,)`` bool; indices ``(M,)``.
    *Raises* :class:`PoutaError` where a kind is missing.
    """
    good, bad = np.flatnonzero(~np.asarray(labels, bool)), np.flatnonzero(labels)
    if not len(good) or not len(bad):
        found = f"{len(good)} good and {len(bad)} defective"
        raise problem("test images of both kinds", found, "bootstrap", "add the missing kind")
    generator = np.random.default_rng(0)
    for _ in range(repeats):
        yield np.concatenate([generator.choice(group, len(group)) for group in (good, bad)])


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float], labels: np.ndarray, repeats: int = 1000
) -> tuple[float, float]:
    """The 95 % interval of ``statistic(indices)`` over the images of :func:`drawn_again`.

    It tells how far the number depends on which images were in the test set; of other training
    runs it knows nothing.

    *Shape*: labels ``(M,)`` bool; `statistic` takes indices ``(M,)``.
    *Raises* :class:`PoutaError` where a kind is missing.
    *Source*: Efron and Tibshirani 1993; our addition (D28).
    """
    low, high = np.quantile([statistic(chosen) for chosen in drawn_again(labels, repeats)], ENDS)
    return float(low), float(high)


def best_moment(watched: list[dict[str, float | None]], metric: str) -> tuple[float, float, int]:
    """The metric at the last step, at its best step, and that step.

    Picking the best step by its test score is what D23 refuses; the difference of the two is how
    much that would have flattered the result.

    *Raises* :class:`PoutaError` where the metric was not watched.
    """
    points = [
        (value, int(step))
        for point in watched
        if (value := point[metric]) is not None and (step := point["step"]) is not None
    ]
    if not points:
        raise problem(f"{metric} along the training", "none", "the record", "make the run again")
    best, step = max(points, key=lambda point: (point[0], -point[1]))
    return points[-1][0], best, step

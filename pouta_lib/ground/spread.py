"""Which of many to take where a few have to stand for all."""

import numpy as np


def spread(total: int, most: int | None) -> list[int]:
    """At most `most` of the indices below `total`, evenly spread, the first and the last included.

    All of them where there are no more than that, or where `most` is None.

    >>> spread(9, 3), spread(2, 3), spread(2, None)
    ([0, 4, 8], [0, 1], [0, 1])
    """
    if most is None or most >= total:
        return list(range(total))
    step = (total - 1) / max(1, most - 1)
    return [round(k * step) for k in range(most)]


def every_fourth(total: int) -> np.ndarray:
    """Which of so many good images are held out from a training that is to be judged by them.

    *Shape*: ``(total,)`` bool: the fourth, the eighth, and so on.
    """
    return np.arange(total) % 4 == 3

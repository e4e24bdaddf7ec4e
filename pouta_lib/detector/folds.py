"""How photographs are dealt into folds, so that what is held out is new to what was not."""

import numpy as np
from scipy.sparse.csgraph import connected_components

from pouta_lib.data.blank import small_gray

FOLDS = 4
BLOCKS = 5  # a fold is made of so many runs of neighbours
LARGE, FEW = 1 / 8, 3  # more than this share, and than so many, is a kind of part, not a part
ALIKE = 0.03  # a median distance below which photographs differ by little more than noise
SAME = 0.3  # of the median distance of two photographs: nearer ones show one part


def deal(parts: np.ndarray, folds: int = FOLDS, blocks: int = BLOCKS) -> np.ndarray:
    """Which fold each photograph belongs to.

    *Shape*: parts ``(N,)``: which part each shows, from :func:`parts_of`; gives ``(N,)``.

    What shows one part stays together, and so do neighbours in the folder, since photographs that
    were taken one after another resemble each other: a fold that held out every fourth would be
    too easy, and its threshold too low. A fold has several such runs, so that no kind of part is
    held out whole.

    >>> deal(np.arange(10), 2, 2).tolist()
    [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    >>> deal(np.array([0, 1, 2, 0]), 3, 1).tolist()
    [0, 1, 2, 0]
    """
    # parts in the order in which they first come
    _, first, part = np.unique(parts, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))
    runs = np.array_split(np.arange(len(first)), min(len(first), folds * blocks))
    fold_of = np.repeat(np.arange(len(runs)) % folds, [len(run) for run in runs])
    return fold_of[place[part]]


def parts_of(images: np.ndarray) -> np.ndarray:
    """Which photographs show one and the same part: a number for each.

    Small, gray and freed of brightness and contrast, two photographs of one part are much nearer
    to each other than any two are as a rule. What is linked by such pairs is one part; or, where
    it is a large share of all, one of a few kinds, in which parts are looked for by themselves; but
    where nearly nothing differs in it, it is one part that was taken again and again.

    *Shape*: images ``(N, 3, S, S)`` uint8; gives ``(N,)``.
    *Source*: our choice, from training images alone: of 240 of magnetic_tile, 157 lie as near as
    that to another one, in groups of several exposures; of transistor and macaroni1 none do.
    """
    return _linked(np.stack([_small(image) for image in images]))


def hardly_differ(images: np.ndarray) -> bool:
    """Do most of the photographs show one and the same thing, as if it were taken again and again?

    *Shape*: images ``(N, 3, S, S)`` uint8, N two or more.
    *Source*: our choice: of 40 of toothbrush, the most alike that we have, it is 0.18.
    """
    return _usual(_apart(np.stack([_small(image) for image in images]))) < ALIKE


def _apart(small: np.ndarray) -> np.ndarray:
    """The distance of any two. *Shape*: ``(N, D)`` of length 1 gives ``(N, N)``."""
    apart: np.ndarray = np.sqrt(np.clip(2 - 2 * small @ small.T, 0, None))
    return apart


def _usual(apart: np.ndarray) -> float:
    return float(np.median(apart[np.triu_indices(len(apart), 1)])) if len(apart) > 1 else 0.0


def _linked(small: np.ndarray) -> np.ndarray:
    apart = _apart(small)
    count, found = connected_components(apart < SAME * _usual(apart), directed=False)
    if count == 1:  # nothing says that some are nearer than others are
        return np.arange(len(small))
    for k in range(count):
        alike = found == k
        many = alike.sum() > max(FEW, len(small) * LARGE)
        if many and _usual(apart[np.ix_(alike, alike)]) >= ALIKE:
            inside = _linked(small[alike])
            found[alike] = found.max() + 1 + inside
    return np.unique(found, return_inverse=True)[1]


def _small(image: np.ndarray) -> np.ndarray:
    """*Shape*: ``(3, S, S)`` uint8 gives ``(D,)`` of mean 0 and length 1."""
    values = small_gray(image).ravel()
    values -= values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-9)

"""Photographs that show nothing: through a covered lens, without light, or with far too much."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pouta_lib.ground.errors import in_short

SMALL_PX = 32
LITTLE = 0.1  # of the contrast that such photographs have as a rule
NEXT_TO_NONE = 1.0  # gray levels, of 255
MOST_NAMED = 8
FEW_LEVELS = 16  # of 256: what 12 bits are beside a single pixel of 16
NEARLY_ALL = 0.95  # of a photograph's pixels


def told_of_blank(contrasts: Mapping[Path, float]) -> list[str]:
    """What to say of photographs that belong together, of which some show next to nothing.

    These have less than a tenth of the contrast that is usual among them, or none worth the name.
    A dark part beside bright ones keeps more than that.

    *Source*: our choice: of six categories of photographs, the least is 0.28 of the usual contrast,
    of the exposures of magnetic_tile; in the others it is 0.84 and more.
    """
    least = max(NEXT_TO_NONE, least_contrast(float(np.median([*contrasts.values()] or [0.0]))))
    blank = [path for path, contrast in contrasts.items() if contrast < least]
    if not blank:
        return []
    names = ", ".join(map(in_short, blank[:MOST_NAMED]))
    more = f" and {len(blank) - MOST_NAMED} more" if len(blank) > MOST_NAMED else ""
    said = f"{len(blank)} of {len(contrasts)} photographs show next to nothing"
    todo = "look at them, and remove them unless good parts look so: such would pass as good"
    return [f"{said} (a covered lens, no light, or too much?): {names}{more}: {todo}"]


def told_of_dim(highest: Mapping[Path, float]) -> list[str]:
    """What to say of photographs of more than 8 bits of which a few pixels alone are bright.

    `highest` is :func:`nearly_highest` of each of them.
    """
    dim = [path for path, value in highest.items() if value <= FEW_LEVELS]
    if not dim:
        return []
    said = f"{len(dim)} of {len(highest)} images of more than 8 bits have no more than {FEW_LEVELS}"
    said += f" of 256 gray levels in {NEARLY_ALL:.0%} of their pixels (a scale bar burnt in?)"
    todo = "if so, save them without it, or as 8 bits"
    return [f"{said}, first {in_short(dim[0])}: {todo}"]


def nearly_highest(image: np.ndarray) -> float:
    """What nearly all values of an image stay below. *Shape*: ``(3, S, S)`` uint8."""
    return float(np.quantile(image, NEARLY_ALL))


def usual_contrast(images: np.ndarray) -> float:
    """The median contrast of photographs. *Shape*: images ``(N, 3, S, S)`` uint8; 0 where N is."""
    return float(np.median([contrast_of(image) for image in images])) if len(images) else 0.0


def least_contrast(usual: float | None) -> float:
    """Below which a photograph shows next to nothing; 0 where nobody knows what is usual."""
    return LITTLE * (usual or 0.0)


def is_blank(image: np.ndarray, usual: float | None) -> bool:
    """Has it less than a tenth of the `usual` contrast? *Shape*: ``(3, S, S)`` uint8."""
    return contrast_of(image) < least_contrast(usual)


def contrast_of(image: np.ndarray) -> float:
    """The standard deviation of the small, gray picture. *Shape*: ``(3, S, S)`` uint8."""
    return float(small_gray(image).std())


def small_gray(image: np.ndarray) -> np.ndarray:
    """An image in gray, so small that noise is averaged away: ``(32, 32)`` of ``(3, S, S)``."""
    gray = Image.fromarray(np.moveaxis(image, 0, -1)).convert("L")
    return np.asarray(gray.resize((SMALL_PX, SMALL_PX), Image.Resampling.BOX), float)

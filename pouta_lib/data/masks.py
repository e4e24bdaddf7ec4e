"""From a mask's file to what it marks, on its photograph's grid."""

from pathlib import Path

import numpy as np
from PIL import Image

from pouta_lib.data.images import TURNS, Picture
from pouta_lib.ground.errors import problem

MANY_LEVELS = 32  # more values than class numbers have: a mask in gray levels
MOST_MARKED = 0.9  # of the image


def read_mask(mask: Picture, path: Path, photo: Picture, size_px: int) -> np.ndarray:
    """What a mask marks, nearest neighbour: ``(size_px, size_px)`` bool.

    Marked is what is above 0, for VisA's masks hold small class numbers: no division (D20). In a
    mask in gray levels, such as a JPEG, it is what is above half of the highest value. A defect
    that the resize would lose keeps the pixel its centre falls on.

    *Raises* :class:`PoutaError` for a mask of another size than its photograph, of a photograph
    that EXIF turns without saying whether the mask is turned, and for a mask that marks nothing
    or nearly everything.
    """
    marked = _marked(_on_grid(mask, path, photo), mask.lossy)
    if not marked.any():
        todo = "mark the defect, or move the image to the good ones"
        above = "127 in a file stored with losses" if mask.lossy else "0"
        raise problem("a mask that marks the defect", f"nothing above {above}", path, todo)
    if marked.mean() > MOST_MARKED:
        found = f"{marked.mean():.0%} of the image marked"
        todo = "mark the defect white on black: it may be inverted, or the photograph itself"
        raise problem("a mask that marks the defect alone", found, path, todo)
    whole = Image.fromarray(marked.astype(np.uint8) * 255)
    small = np.asarray(whole.resize((size_px, size_px), Image.Resampling.NEAREST)) > 0
    if not small.any():
        small = small.copy()
        rows, columns = np.nonzero(marked)
        height, width = marked.shape
        small[int(rows.mean() * size_px / height), int(columns.mean() * size_px / width)] = True
    return small


def _marked(image: Image.Image, lossy: bool) -> np.ndarray:
    """What is marked, at the mask's own size."""
    values = np.asarray(image.convert("L") if image.mode in ("P", "PA", "LA") else image)
    if values.ndim == 3:
        values = values[..., :3].max(axis=-1)
    highest = values.max()
    if lossy and highest <= 127:
        return np.zeros(values.shape, bool)
    if lossy or (highest > 127 and len(np.unique(values)) > MANY_LEVELS):
        return values > highest / 2
    return values > 0


def _on_grid(mask: Picture, path: Path, photo: Picture) -> Image.Image:
    """The mask, turned as its photograph was.

    Tools that heed EXIF draw masks on the upright photograph, others on the file's own pixels.
    Where both grids have the same size, nothing tells which.
    """
    turn = TURNS.get(photo.orientation)
    wanted = f"a mask of its image's size, {photo.size[0]} x {photo.size[1]}"
    found = f"{mask.size[0]} x {mask.size[1]}"
    if turn is None or mask.orientation != 1:
        if mask.size != photo.size:
            raise problem(wanted, found, path, "export the mask again at the image's own size")
        return mask.image
    raw_size = photo.size[::-1] if photo.orientation >= 5 else photo.size
    told = f"of a photograph that EXIF turns (orientation {photo.orientation})"
    if mask.size not in (photo.size, raw_size):
        raise problem(wanted, f"{found} {told}", path, "export the mask again at the image's size")
    if raw_size == photo.size:
        todo = "save the photograph upright, without EXIF, and see that the mask lies on the defect"
        raise problem("a mask that says how it lies", f"one {told}", path, todo)
    return mask.image.transpose(turn) if mask.size == raw_size else mask.image

"""From a mask's file to what it marks, on its photograph's grid."""

from pathlib import Path

import numpy as np
from PIL import Image

from pouta_lib.data.images import TURNS, Picture, looked_up
from pouta_lib.ground.errors import problem

MOST_MARKED = 0.9  # of the image; half of it, where the whole edge is marked
MOST_BETWEEN = 0.25  # of a mask in gray levels, from a quarter of the highest value to three
OFTEN_ALIKE = 0.8  # of the neighbours in a mask of class numbers


def read_mask(mask: Picture, path: Path, photo: Picture, size_px: int) -> np.ndarray:
    """What a mask marks, nearest neighbour: ``(size_px, size_px)`` bool.

    Marked is what is above 0, for VisA's masks hold small class numbers: no division (D20). In a
    mask in gray levels, such as a JPEG, it is what is above half of the highest value. Where parts
    of a mask are transparent, it is the rest, whatever its colour. A defect that the resize would
    lose keeps the pixel its centre falls on.

    *Raises* :class:`PoutaError` for a mask of another size than its photograph, of a photograph
    that EXIF turns without saying whether the mask is turned, for a mask that marks nothing,
    nearly everything, or more than half and the whole edge, as an inverted one does, and for a
    photograph in its place.
    """
    marked = marked_in(_on_grid(mask, path, photo), mask.lossy, path)
    if not marked.any():
        todo = "mark the defect, or move the image to the good ones"
        above = "127 in a file stored with losses" if mask.lossy else "0"
        raise problem("a mask that marks the defect", f"nothing above {above}", path, todo)
    edge = np.concatenate([marked[[0, -1]].ravel(), marked[:, [0, -1]].ravel()])
    if marked.mean() > (MOST_MARKED if not edge.all() else 0.5):
        found = f"{marked.mean():.0%} of the image marked"
        found += ", and all of its edge" if edge.all() else ""
        todo = "mark the defect white on black: it may be inverted, or the photograph itself"
        if _opacity(mask.image) is not None:
            found += ", which is what is not transparent"
            todo = "mark the defect white on black, without transparency, or leave all else so"
        raise problem("a mask that marks the defect alone", found, path, todo)
    whole = Image.fromarray(marked.astype(np.uint8) * 255)
    small = np.asarray(whole.resize((size_px, size_px), Image.Resampling.NEAREST)) > 0
    if not small.any():
        small = small.copy()
        rows, columns = np.nonzero(marked)
        height, width = marked.shape
        small[int(rows.mean() * size_px / height), int(columns.mean() * size_px / width)] = True
    return small


def marked_in(image: Image.Image, lossy: bool, path: Path) -> np.ndarray:
    """What is marked, at the mask's own size; `lossy` says how the file is stored.

    *Raises* :class:`PoutaError` for a gray photograph in the mask's place.
    """
    image = _opacity(image) or image
    if image.mode in ("CMYK", "LAB", "YCbCr"):  # where black is no 0, and comes back as almost 0
        image, lossy = image.convert("RGB"), True
    gray = image.mode in ("P", "PA", "LA")
    values = np.asarray(looked_up(image).convert("L") if gray else image)
    if values.ndim == 3:
        values = values[..., :3].max(axis=-1)
    highest = values.max()
    if highest <= 127:
        return np.zeros(values.shape, bool) if lossy else values > 0
    if not (lossy or _in_gray_levels(values)):
        return values > 0
    between = ((values > highest / 4) & (values < highest * 0.75)).mean()
    if between > MOST_BETWEEN:
        found = f"a photograph, as it seems: {between:.0%} of it neither black nor white"
        raise problem("a mask, white on black", found, path, "put the defect's mask there")
    return values > highest / 2


def _opacity(image: Image.Image) -> Image.Image | None:
    """A mask's alpha channel, where it says anything."""
    if image.mode not in ("L", "LA", "P", "PA", "RGB", "RGBA") or not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    low, high = alpha.getextrema()
    return alpha if low != high else None


def _in_gray_levels(values: np.ndarray) -> bool:
    """Are neighbours that are neither unmarked nor of the highest value seldom alike?

    So it is along soft edges and in the noise of compression. Class numbers fill areas.
    """
    alike = []
    for one, other in ((values[1:], values[:-1]), (values[:, 1:], values[:, :-1])):
        both = (one > 0) & (other > 0) & (np.minimum(one, other) < values.max())
        alike += [(one == other)[both].mean()] if both.any() else []
    return min(alike, default=1.0) < OFTEN_ALIKE


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

"""Photographs as a detector sees them, read by several workers and a few at a time."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from pouta_lib.data.files import (
    Contents,
    PassedOver,
    Reason,
    beside,
    child,
    good_folders,
    look_into,
    readable_suffixes,
)
from pouta_lib.data.images import num_bits, peaks_of, read_picture, resize_image, to_rgb
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.outputs import holds
from pouta_lib.ground.spread import spread

WORKERS = min(4, os.cpu_count() or 1)
FULL_PEAK = 1 << 14  # that a photograph of 16 bits reaches, where the others have 8
FEWER_BITS = 4  # than the others have: too few gray levels are left, whatever the light
ANSWER = "answer"  # what an answer to a folder of photographs is called in its manifest
SHAPE_MARGIN = 1.05  # of width : height, within which a photograph is shaped as others are
NEAR_PX = 256  # large photographs are decoded as if for this size, whatever the detector's is

Item = TypeVar("Item")
Result = TypeVar("Result")


def look_at_folder(folder: str | Path, outside: Sequence[str] = ()) -> Contents:
    """The photographs of a folder, and what else lies there.

    Where there are none, what is told of what lies `outside` of it is told as well.

    *Raises* :class:`PoutaError` for a folder that is not there or has no image file in it, and for
    an answer, whose overlays are no photographs.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        absent = "a link to nothing" if folder.is_symlink() else "no such folder"
        found = "a file" if folder.exists() else absent
        raise problem("a folder of images", found, folder, "check the path")
    if holds(folder, ANSWER):
        todo = "name the folder of photographs that it was made of"
        raise problem("a folder of images", "an answer, whose pictures are overlays", folder, todo)
    look = look_into(folder)
    if not look.files:
        wanted = f"image files ({', '.join(readable_suffixes())})"
        found = "; ".join(["none", *look.passed_over.lines(), *outside])
        raise problem(wanted, found, folder, "put images directly into this folder")
    return look


class GoodPhotos(NamedTuple):
    """The photographs of good parts in a folder."""

    folders: list[Path]  # that they lie in
    files: list[Path]
    left_out: list[str]  # what was passed over, a sentence for each reason


def folders_of_good(folder: Path) -> list[Path]:
    """Where the photographs of good parts are looked for."""
    return good_folders(folder) or good_folders(child(folder, "train")) or [folder]


def good_photos(folder: str | Path) -> GoodPhotos:
    """The photographs in ``good`` or ``train/good``, by whatever spelling, else in `folder` itself.

    *Raises* :class:`PoutaError` as :func:`look_at_folder` does.
    """
    folder = Path(folder).expanduser()
    goods = folders_of_good(folder)
    outside: list[str] = []
    if folder not in goods:  # photographs beside good/ are not taken for good ones
        parents = list(dict.fromkeys([folder, *(good.parent for good in goods)]))
        known = [*goods, *parents, *(child(folder, name) for name in ("test", "ground_truth"))]
        outside = sum((beside(path, known) for path in parents), PassedOver()).lines()
    looks = [look_at_folder(good, outside) for good in goods]
    left_out = [line for look in looks for line in passed_over(look)] + outside
    return GoodPhotos(goods, [path for look in looks for path in look.files], left_out)


def passed_over(look: Contents) -> list[str]:
    """A sentence for each reason why files are not looked at, where they may be photographs.

    No masks are read here: what is named as the mask of a photograph may be another one of it.
    """
    named = look.passed_over.files.get(Reason.MASK, [])
    masks = PassedOver({Reason.MASK: named}).lines(lost=False)
    return [*look.passed_over.lines(), *masks]


def read_upright(
    path: Path, size_px: int, bits: int = 16, darkest: int | None = None
) -> Image.Image:
    """The photograph, upright, 8-bit RGB; a large one at about the size that is needed.

    Its ``info`` has the orientation that EXIF said it had, 1 for none.

    *Raises* :class:`PoutaError` also for one whose highest value is not what :func:`least_peak`
    says: it is of another depth than the others, and would be taken for a dark one. So is one of 8
    bits where the others have more, and it is darker than any of them by half.
    """
    picture = read_picture(path, max(size_px, NEAR_PX))
    photo = to_rgb(picture, path, bits)
    least, white = least_peak(bits, darkest), (1 << bits) - 1
    peak, found = picture.peak, f"values up to {picture.peak} in a file of 16 bits"
    if not peak and darkest:
        found = f"values up to {np.asarray(photo).max()} in a file of 8 bits"
        peak = int(np.asarray(photo).max()) * white // 255
    if (picture.peak or darkest) and peak < least:
        wanted = f"values up to {least} or more, of {white}, as in the photographs it belongs to"
        todo = "save all with the same depth, such as 8 bits"
        raise problem(wanted, found, path, todo)
    photo.info["orientation"] = picture.orientation
    return photo


def least_peak(bits: int, darkest: int | None) -> int:
    """The highest value that a photograph of more than 8 bits is to have at the least.

    It is half of that of the `darkest` one among those that a detector is made from; 0 stands for
    photographs of 8 bits alone, of which nobody knows how deep others are; None: for a detector
    that does not say.
    """
    if darkest == 0:
        return FULL_PEAK
    return max(1 << (bits - FEWER_BITS), (darkest or 0) // 2)


def told_of_shape(
    shapes: Sequence[float],
    usual: tuple[float, float] | None,
    whose: str = "those that the detector was made from",
) -> list[str]:
    """What to say of photographs of other shapes than those that a detector is made from.

    *Units*: width : height; `usual` is the narrowest and the widest, None where nobody knows.
    """
    low, high = usual or (0, math.inf)
    others = [one for one in shapes if not low / SHAPE_MARGIN <= one <= high * SHAPE_MARGIN]
    if not others:
        return []
    said = f"{len(others)} of {len(shapes)} photographs have a width : height of {_span(others)}"
    said += f", {whose} have {_span((low, high))}"
    return [f"{said}: each is squeezed into a square, so parts look otherwise: cut alike"]


def _span(shapes: Sequence[float]) -> str:
    low, high = f"{min(shapes):.2f}", f"{max(shapes):.2f}"
    return low if low == high else f"{low} to {high}"


def read_photos(
    folder: str | Path, size_px: int, most: int | None = None
) -> tuple[list[Path], np.ndarray, list[PoutaError]]:
    """The photographs of a folder of good parts, decoded and resized, and what could not be read.

    `most` of them, evenly spread; of more than 8 bits they have the depth that these have.

    *Shape*: ``(N, 3, size_px, size_px)`` uint8, in the order of the returned files.
    *Raises* :class:`PoutaError` as :func:`good_photos` does.
    """
    files = good_photos(folder).files
    chosen = [files[i] for i in spread(len(files), most)]
    bits = num_bits(peaks_of(chosen).values())
    files, images, _, unreadable = read_files(chosen, [size_px], bits)
    return files, images[size_px], unreadable


def read_files(
    paths: list[Path], sizes: Iterable[int], bits: int = 16
) -> tuple[list[Path], dict[int, np.ndarray], list[float], list[PoutaError]]:
    """Photographs at several sizes, each decoded once; their width : height; and what is unread.

    *Shape*: ``(N, 3, S, S)`` uint8 of each size S, in the order of the returned files.
    """
    sizes = sorted(sizes)

    def read(path: Path) -> tuple[float, list[np.ndarray]] | PoutaError:
        try:
            photo = read_upright(path, sizes[-1], bits)
        except PoutaError as error:
            return error
        return photo.width / photo.height, [resize_image(photo, size) for size in sizes]

    files, columns, shapes, unreadable = [], [], [], []
    with ThreadPoolExecutor(WORKERS) as pool:
        for path, found in zip(paths, in_order(pool, read, paths), strict=True):
            if isinstance(found, PoutaError):
                unreadable.append(found)
            else:
                files.append(path)
                shapes.append(found[0])
                columns.append(found[1])
    images = {
        size: np.stack([column[k] for column in columns])
        if columns
        else np.empty((0, 3, size, size), np.uint8)
        for k, size in enumerate(sizes)
    }
    return files, images, shapes, unreadable


def in_order(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 16
) -> Iterator[Result]:
    """What `function` gives for each of the items, at most `ahead` of them under way at a time."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()

"""From a listing to arrays: decode, check, resize and hash each file once."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from pouta_lib.data.category import Item, Listing
from pouta_lib.data.images import content_of, decode, num_bits, resize_image, to_rgb
from pouta_lib.data.masks import read_mask
from pouta_lib.ground.errors import PoutaError, shown
from pouta_lib.ground.progress import tqdm


@dataclass(frozen=True)
class Decoded:
    """One item, read."""

    image: np.ndarray  # (3, S, S) uint8
    mask: np.ndarray | None  # (S, S) bool
    lines: list[bytes]  # its part of the manifest: a name and a content's SHA-256 each
    peak: int = 0  # the image's highest value, where it has more than 8 bits


def read_listing(
    listing: Listing, folder: Path, size_px: int, bits: int = 16
) -> tuple[dict[str, np.ndarray], str]:
    """The arrays ``train``, ``test`` and ``masks`` of a listing, and the hash of all that was read.

    Where images have more than 8 bits, the highest value in any of them says how many; the array
    ``bits`` has the number, and 16 where there are none.

    The hash covers the size in pixels, and of each file, in a fixed order, its path below
    `folder` and the SHA-256 of its content: it says which data a run saw, wherever they lay.

    *Raises* :class:`PoutaError` for the first damaged file.
    """
    digest = hashlib.sha256(f"size {size_px}\n".encode())
    for path in listing.extra_files:
        digest.update(_line(path, folder, content_of(path)))
    count = len(listing.train)
    images = np.empty((count + len(listing.test), 3, size_px, size_px), np.uint8)
    masks = np.zeros((len(listing.test), size_px, size_px), bool)
    peak = 0
    for k, item in enumerate(read_items([*listing.train, *listing.test], folder, size_px, bits)):
        if isinstance(item, PoutaError):
            raise item
        images[k] = item.image
        if item.mask is not None:
            masks[k - count] = item.mask
        digest.update(b"".join(item.lines))
        peak = max(peak, item.peak)
    if num_bits(peak) < bits:
        return read_listing(listing, folder, size_px, num_bits(peak))
    arrays = {"train": images[:count], "test": images[count:], "masks": masks}
    return arrays | {"bits": np.array(bits)}, digest.hexdigest()


def read_items(
    items: list[Item], folder: Path, size_px: int, bits: int = 16
) -> Iterator[Decoded | PoutaError]:
    """Each item in order, or the error that it made, with a bar when it takes longer.

    Decoders let go of Python's lock, so threads serve; they see one file each at a time.
    """
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        results = pool.map(_attempt, items, repeat(folder), repeat(size_px), repeat(bits))
        yield from tqdm(
            results,
            total=len(items),
            desc=f"reading {shown(folder.name)}",
            unit="image",
            delay=3,
            leave=False,
            disable=os.environ.get("POUTA_PROGRESS") == "lines",
        )


def _attempt(item: Item, folder: Path, size_px: int, bits: int) -> Decoded | PoutaError:
    try:
        return read_item(item, folder, size_px, bits)
    except PoutaError as error:
        return error


def read_item(item: Item, folder: Path, size_px: int, bits: int = 16) -> Decoded:
    """One image with its mask. *Raises* :class:`PoutaError` when either is damaged."""
    content = content_of(item.image)
    lines = [_line(item.image, folder, content)]
    picture = decode(content, item.image, size_px)
    image = resize_image(to_rgb(picture, item.image, bits), size_px)
    mask = None
    if item.mask is not None:
        content = content_of(item.mask)
        lines.append(_line(item.mask, folder, content))
        mask = read_mask(decode(content, item.mask), item.mask, picture, size_px)
    return Decoded(image, mask, lines, picture.peak)


def _line(path: Path, folder: Path, content: bytes) -> bytes:
    name = path.relative_to(folder).as_posix()
    return f"{name} {hashlib.sha256(content).hexdigest()}\n".encode("utf-8", "surrogatepass")

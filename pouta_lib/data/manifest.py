"""From a listing to arrays: decode, check, resize and hash each file once."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from pouta_lib.data.category import Item, Listing
from pouta_lib.data.images import content_of, decode, num_bits, resize_image, to_rgb
from pouta_lib.data.masks import read_mask
from pouta_lib.ground.errors import PoutaError, shown
from pouta_lib.ground.progress import tqdm

READ_AHEAD = 256  # items that are read ahead
Room = Callable[[str, tuple[int, ...], Any], np.ndarray]  # zeros, of a name, shape and dtype


@dataclass(frozen=True)
class Decoded:
    """One item, read."""

    image: np.ndarray  # (3, S, S) uint8
    mask: np.ndarray | None  # (S, S) bool
    lines: list[bytes]  # its part of the manifest: a name and a content's SHA-256 each
    peak: int = 0  # the image's highest value, where it has more than 8 bits


def in_memory(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Room for the array of a name."""
    return np.zeros(shape, dtype)


def read_listing(
    listing: Listing, folder: Path, size_px: int, bits: int = 16, room: Room = in_memory
) -> tuple[dict[str, np.ndarray], str]:
    """The arrays ``train``, ``test`` and ``masks`` of a listing, and the hash of all that was read.

    They are filled one image after another, in memory or wherever there is `room`.

    Where images have more than 8 bits, the highest value in any of them says how many; the array
    ``peaks`` has that of each, 0 for an image of 8 bits, first of those to train on.

    The hash covers the size in pixels, and of each file, in a fixed order, its path below
    `folder` and the SHA-256 of its content: it says which data a run saw, wherever they lay.

    *Raises* :class:`PoutaError` for the first damaged file.
    """
    digest = hashlib.sha256(f"size {size_px}\n".encode())
    for path in listing.extra_files:
        digest.update(_line(path, folder, content_of(path)))
    side, count = (size_px, size_px), len(listing.train)
    arrays = {
        "train": room("train", (count, 3, *side), np.uint8),
        "test": room("test", (len(listing.test), 3, *side), np.uint8),
        "masks": room("masks", (len(listing.test), *side), bool),
    }
    peaks: list[int] = []
    for k, item in enumerate(read_items([*listing.train, *listing.test], folder, size_px, bits)):
        if isinstance(item, PoutaError):
            raise item
        split, row = ("train", k) if k < count else ("test", k - count)
        arrays[split][row] = item.image
        if item.mask is not None:
            arrays["masks"][row] = item.mask
        digest.update(b"".join(item.lines))
        peaks.append(item.peak)
    if (fewer := num_bits(peaks)) < bits:
        return read_listing(listing, folder, size_px, fewer, room)
    return arrays | {"peaks": np.array(peaks, np.int32)}, digest.hexdigest()


def read_items(
    items: list[Item], folder: Path, size_px: int, bits: int = 16
) -> Iterator[Decoded | PoutaError]:
    """Each item in order, or the error that it made, with a bar when it takes longer.

    Decoders let go of Python's lock, so threads serve, one a core; they see one file each at a
    time, and read ahead of who takes the items by no more than READ_AHEAD.
    """
    alike = repeat(folder), repeat(size_px), repeat(bits)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = (items[k : k + READ_AHEAD] for k in range(0, len(items), READ_AHEAD))
        yield from tqdm(
            chain.from_iterable(pool.map(_attempt, part, *alike) for part in parts),
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

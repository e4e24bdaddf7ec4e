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
from pouta_lib.data.images import decode, resize_image, resize_mask, to_rgb
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.progress import tqdm


@dataclass(frozen=True)
class Decoded:
    """One item, read."""

    image: np.ndarray  # (3, S, S) uint8
    mask: np.ndarray | None  # (S, S) bool
    lines: list[str]  # its part of the manifest: a name and a content's SHA-256 each


def read_listing(listing: Listing, folder: Path, size_px: int) -> tuple[dict[str, np.ndarray], str]:
    """The arrays ``train``, ``test`` and ``masks`` of a listing, and the hash of all that was read.

    The hash covers the size in pixels, and of each file, in a fixed order, its path below
    `folder` and the SHA-256 of its content: it says which data a run saw, wherever they lay.

    *Raises* :class:`PoutaError` for the first damaged file.
    """
    digest = hashlib.sha256(f"size {size_px}\n".encode())
    for path in listing.extra_files:
        digest.update(_line(path, folder, _content(path)).encode())
    count = len(listing.train)
    images = np.empty((count + len(listing.test), 3, size_px, size_px), np.uint8)
    masks = np.zeros((len(listing.test), size_px, size_px), bool)
    for k, item in enumerate(read_items([*listing.train, *listing.test], folder, size_px)):
        if isinstance(item, PoutaError):
            raise item
        images[k] = item.image
        if item.mask is not None:
            masks[k - count] = item.mask
        digest.update("".join(item.lines).encode())
    return {"train": images[:count], "test": images[count:], "masks": masks}, digest.hexdigest()


def read_items(items: list[Item], folder: Path, size_px: int) -> Iterator[Decoded | PoutaError]:
    """Each item in order, or the error that it made, with a bar when it takes longer.

    Decoders let go of Python's lock, so threads serve; they see one file each at a time.
    """
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        results = pool.map(_attempt, items, repeat(folder), repeat(size_px))
        yield from tqdm(
            results,
            total=len(items),
            desc=f"reading {folder.name}",
            unit="image",
            delay=3,
            leave=False,
            disable=os.environ.get("POUTA_PROGRESS") == "lines",
        )


def _attempt(item: Item, folder: Path, size_px: int) -> Decoded | PoutaError:
    try:
        return read_item(item, folder, size_px)
    except PoutaError as error:
        return error


def read_item(item: Item, folder: Path, size_px: int) -> Decoded:
    """One image with its mask. *Raises* :class:`PoutaError` when either is damaged."""
    content = _content(item.image)
    lines = [_line(item.image, folder, content)]
    image = to_rgb(decode(content, item.image), item.image)
    mask = None
    if item.mask is not None:
        content = _content(item.mask)
        lines.append(_line(item.mask, folder, content))
        mask = resize_mask(decode(content, item.mask), item.mask, image.size, size_px)
    return Decoded(resize_image(image, size_px), mask, lines)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        todo = "check the file and its permissions"
        raise problem("a readable file", error.strerror or str(error), path, todo) from error


def _line(path: Path, folder: Path, content: bytes) -> str:
    name = path.relative_to(folder).as_posix()
    return f"{name} {hashlib.sha256(content).hexdigest()}\n"

"""Decoded images on disk, memory-mapped, for datasets whose decoding takes a while."""

import hashlib
import os
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pouta_lib.data.category import Listing
from pouta_lib.data.manifest import read_listing
from pouta_lib.ground.paths import atomic_path, data_root, sweep

WORTH_BYTES = 32_000_000  # of files; below this, decoding again costs about a second
NAMES = ("train", "test", "masks", "peaks")
HASH_FILE = "manifest_hash"
VERSION = 3  # of the decoding: raise it when the same files give other arrays

Read = tuple[dict[str, np.ndarray], str]


def cache_root(root: str | Path | None = None) -> Path:
    """``$POUTA_CACHE``, else .cache in the data folder. It may be removed at any time."""
    return Path(os.environ.get("POUTA_CACHE") or data_root(root) / ".cache")


def read_through_cache(
    listing: Listing, folder: Path, size_px: int, root: str | Path | None = None
) -> Read:
    """As :func:`read_listing`, from disk where the same files were read before.

    An entry is found by the paths, sizes and times of the files, so that a look-up opens none of
    them; the manifest hash that it gives was made from their contents. The arrays of an entry
    are mapped copy-on-write: writing to them never reaches the disk. Images are read straight into
    the entry, so that they may be more than memory holds. What killed processes had begun to write
    is removed before that. Where the cache cannot be written or is damaged, the files are read into
    memory.
    """
    key = _key(listing, size_px)
    if key is None:
        return read_listing(listing, folder, size_px)
    entry = cache_root(root) / key
    with suppress(OSError, ValueError, EOFError):
        return _mapped(entry, listing, size_px)
    with suppress(OSError):
        sweep(entry.parent, deep=False)
        with atomic_path(entry) as temporary:
            temporary.mkdir(parents=True)
            room = partial(_room, temporary)
            arrays, manifest_hash = read_listing(listing, folder, size_px, room=room)
            np.save(temporary / "peaks.npy", arrays["peaks"])
            (temporary / HASH_FILE).write_text(manifest_hash, encoding="ascii")
            del arrays  # Windows does not move files that are mapped
        return _mapped(entry, listing, size_px)
    return read_listing(listing, folder, size_px)


def _mapped(entry: Path, listing: Listing, size_px: int) -> Read:
    """An entry's arrays. *Raises* :class:`ValueError` where they are not those of `listing`."""
    arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="c") for name in NAMES}
    train, test, side = len(listing.train), len(listing.test), (size_px, size_px)
    shapes = [(train, 3, *side), (test, 3, *side), (test, *side), (train + test,)]
    types = [np.uint8, np.uint8, np.bool_, np.int32]
    manifest_hash = (entry / HASH_FILE).read_text(encoding="ascii")
    fits = [(a.shape, a.dtype) for a in arrays.values()] == list(zip(shapes, types, strict=True))
    if not fits or re.fullmatch("[0-9a-f]{64}", manifest_hash) is None:
        raise ValueError("another entry's")
    return arrays, manifest_hash


def _room(entry: Path, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros in a file, mapped. Its space is taken now: later, a full disk would end the process."""
    path = entry / f"{name}.npy"
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _key(listing: Listing, size_px: int) -> str | None:
    """A name for these files in this state; nothing where a cache is not worth it."""
    items = [*listing.train, *listing.test]
    paths = [*listing.extra_files, *(i.image for i in items), *(i.mask for i in items if i.mask)]
    stats = [path.stat() for path in paths if path.is_file()]
    if len(stats) < len(paths) or sum(s.st_size for s in stats) < WORTH_BYTES:
        return None
    lines = [f"{VERSION} {size_px} {len(listing.train)}"]
    # a file can be replaced by one of the same size whose time of writing was kept, or never set
    times = [f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}" for s in stats]
    lines += [f"{path} {of}" for path, of in zip(paths, times, strict=True)]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:32]

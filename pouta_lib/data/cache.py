"""Decoded categories on disk, memory-mapped, for datasets whose decoding takes a while."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from pouta_lib.data.category import Listing
from pouta_lib.paths import atomic_path, data_root

WORTH_BYTES = 32_000_000  # below this, decoding again takes about as long as looking up
NAMES = ("train", "test", "masks")
VERSION = 1  # of the decoding: raise it when the same files give other arrays


def cache_root() -> Path:
    """``$POUTA_CACHE``, else .cache in the data folder."""
    return Path(os.environ.get("POUTA_CACHE") or data_root() / ".cache")


def through_cache(
    listing: Listing, size_px: int, decode_all: Callable[[], tuple[dict[str, np.ndarray], str]]
) -> tuple[dict[str, np.ndarray], str]:
    """The arrays and the manifest hash of a listing, from disk where they are there.

    A cache entry is found by the paths, sizes and times of the files, so that a look-up reads none
    of them; the manifest hash inside was made from their contents. Where the cache cannot be
    written, nothing is kept.
    """
    items = [*listing.train, *listing.test]
    paths = [*listing.extra_files, *(i.image for i in items), *(i.mask for i in items if i.mask)]
    stats = [path.stat() for path in paths if path.is_file()]
    if len(stats) < len(paths) or sum(s.st_size for s in stats) < WORTH_BYTES:
        return decode_all()
    state = [f"{p} {s.st_size} {s.st_mtime_ns}" for p, s in zip(paths, stats, strict=True)]
    key = hashlib.sha256("\n".join([f"{VERSION} {size_px}", *state]).encode()).hexdigest()
    folder = cache_root() / key[:32]
    if not folder.is_dir():
        arrays, manifest_hash = decode_all()
        with suppress(OSError), atomic_path(folder) as temporary:
            temporary.mkdir(parents=True)
            for name in NAMES:
                np.save(temporary / f"{name}.npy", arrays[name])
            (temporary / "manifest_hash").write_text(manifest_hash, encoding="ascii")
        return arrays, manifest_hash
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in NAMES}
    return arrays, (folder / "manifest_hash").read_text(encoding="ascii")

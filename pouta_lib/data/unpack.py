"""Unpacking what came from elsewhere: nothing may land outside the folder that was meant."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from pouta_lib.ground.errors import problem
from pouta_lib.ground.progress import Bar, tqdm

DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # an encrypted zip
    NotImplementedError,  # a zip by a method that Python does not know
)


class _Unsafe(Exception):
    """A member that reaches outside, or is no plain file or folder."""


def unpack(path: Path, folder: Path) -> None:
    """Unpacks a tar (plain, gz, bz2, xz) or a zip into `folder`, which is made.

    *Raises* :class:`PoutaError` for an archive that is damaged or cut off, that holds absolute
    paths, paths with "..", links or devices, or that needs more room than the disk has. What was
    unpacked until then is left for the caller to remove.
    """
    folder.mkdir(parents=True)
    free = shutil.disk_usage(folder).free
    try:
        if zipfile.is_zipfile(path):
            _unpack_zip(path, folder, free)
        else:
            _unpack_tar(path, folder, free)
    except _Unsafe as error:
        todo = "do not use this archive; get the official one"
        raise problem("files inside the dataset's folder only", str(error), path, todo) from error
    except DAMAGED as error:
        found = f"one that cannot be unpacked ({error})"
        todo = "get it again, or make room where the disk is full"
        raise problem("a whole tar or zip archive", found, path, todo) from error


def _unpack_tar(path: Path, folder: Path, free: int) -> None:
    safely: dict[str, Any] = (
        {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    )  # Python 3.11.4
    with path.open("rb") as raw, _bar(path) as bar, tarfile.open(fileobj=raw) as archive:
        for member in archive:
            _check_name(member.name)
            if not (member.isreg() or member.isdir()):
                raise _Unsafe(f"a link or a device, {member.name}")
            free = _take(free, member.size)
            archive.extract(member, folder, **safely)
            bar.update(raw.tell() - bar.n)
        if archive.fileobj is raw:
            raw.seek(archive.offset)
            if raw.read(512) != bytes(512):  # how a tar ends; a compressed one tells by itself
                raise EOFError("it ends too early")


def _unpack_zip(path: Path, folder: Path, free: int) -> None:
    with _bar(path) as bar, zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            _check_name(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _Unsafe(f"a link, {member.filename}")
            free = _take(free, member.file_size)
            archive.extract(member, folder)  # checks its CRC
            bar.update(member.compress_size)


def _check_name(name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name:
        raise _Unsafe(name)


def _take(free: int, size: int) -> int:
    """The room that is left after `size` bytes: an archive may unpack to more than it seems."""
    if size > free:
        raise OSError("it holds more than the disk has room for")
    return free - size


def _bar(path: Path) -> Bar:
    size = path.stat().st_size
    return tqdm(total=size, unit="B", unit_scale=True, desc="unpacking", delay=1)

"""Unpacking what came from elsewhere: nothing lands outside the folder, and all of it is bounded.

An archive's claims are not believed: names are checked, headers, files and bytes are counted, and
only what has been read to the end of its stream, where its checksum stands, is called whole.
"""

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from pouta_lib.ground.errors import problem, shown
from pouta_lib.ground.progress import Bar, tqdm

MOST_FILES = 50_000  # of the datasets here VisA has the most, 12,000
MOST_BYTES = 50 * 10**9  # MVTec AD has 5 GB
MOST_RATIO = 100  # of the bytes in the archive: pictures are packed by themselves
FREE_BYTES = 100 * 10**6  # whatever the ratio
MOST_HEADER = 1 << 16  # of one member, in bytes
MOST_LIST = 32 << 20  # of a zip: the list of its members
NAME_BYTES, PATH_BYTES = 255, 1024
CHUNK = 1 << 20
READERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}

DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,  # numbers in headers that are none
    OverflowError,
    RuntimeError,  # an encrypted zip; headers about headers without end
    NotImplementedError,  # a zip by a method that Python does not know
)


class _Unsafe(Exception):
    """A member that reaches outside, or is no plain file or folder, or too much of anything."""


class _Entry(NamedTuple):
    name: str
    size: int  # as claimed
    content: IO[bytes] | None  # nothing for a folder


def unpack(path: Path, folder: Path) -> None:
    """Unpacks a tar (plain, gz, bz2, xz) or a zip into `folder`, which is made.

    Contents are written, and nothing else of a member: neither its owner, mode nor time.

    *Raises* :class:`PoutaError` for an archive that is damaged or cut off, that holds absolute
    paths, paths with "..", links, devices or one name twice, and that holds more files or bytes
    than a dataset has or the disk has room for. What was unpacked until then is left for the
    caller to remove.
    """
    folder.mkdir(parents=True)
    try:
        with path.open("rb") as raw, _bar(path) as bar:
            first, packed = raw.read(2), path.stat().st_size
            raw.seek(0)
            most = min(MOST_BYTES, FREE_BYTES + MOST_RATIO * packed)
            room = min(most, shutil.disk_usage(folder).free)
            entries = _zip(raw) if first == b"PK" else _tar(raw, most)
            for number, entry in enumerate(entries):
                if number == MOST_FILES:
                    raise _Unsafe(f"more than {MOST_FILES} files")
                if entry.size > room:
                    if room == most or entry.size > most:
                        raise _Unsafe(f"more than {most / 1e9:.1f} GB, from {packed} bytes")
                    raise OSError("it holds more than the disk has room for")
                room -= _write(entry, folder)
                bar.update(min(raw.tell(), packed) - bar.n)
    except _Unsafe as error:
        todo = "do not use this archive; get the official one"
        raise problem("files inside the dataset's folder only", str(error), path, todo) from error
    except DAMAGED as error:
        found = f"one that cannot be unpacked ({error})"
        todo = "get it again, or make room where the disk is full"
        raise problem("a whole tar or zip archive", found, path, todo) from error


def _write(entry: _Entry, folder: Path) -> int:
    """Writes one member below `folder`, and no more of it than it claims; its bytes."""
    target = folder / _inside(entry.name)
    if entry.content is None:
        target.mkdir(parents=True, exist_ok=True)
        return 0
    if target.exists():
        raise _Unsafe(f"{shown(entry.name)} twice")
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.size
    with target.open("xb") as out:
        while chunk := entry.content.read(min(left, CHUNK) + 1):
            left -= len(chunk)
            if left < 0:
                raise _Unsafe(f"{shown(entry.name)}, larger than it claims")
            out.write(chunk)
    if left:
        raise EOFError(f"{shown(entry.name)} ends too early")
    return entry.size


def _inside(name: str) -> PurePosixPath:
    """The path of a member below the folder. *Raises* :class:`_Unsafe` where it leads elsewhere."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise _Unsafe(shown(name))
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in path.parts]
    if sum(sizes) > PATH_BYTES or max(sizes, default=0) > NAME_BYTES:
        raise _Unsafe(f"a name of {sum(sizes)} bytes, {name[:40]!r}...")
    return path


class _Member(tarfile.TarInfo):
    """A tar's header that is not believed."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Member":
        """As tarfile's, which takes a cut or damaged header for the end of the archive."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # an empty block: the end of a tar
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a damaged header, or none: {error}") from error

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise _Unsafe(f"a file with holes, {shown(self.name)}")
        if not self.isreg() and self.size > MOST_HEADER:
            raise _Unsafe(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]  # tarfile's hook for subclasses


class _Bounded:
    """A stream that ends in an error where it gives more than `most` bytes."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self.stream, self.left = stream, most

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise _Unsafe("more bytes than pictures are packed into")
        return content


def _tar(raw: IO[bytes], most: int) -> Iterator[_Entry]:
    first = raw.read(6)
    raw.seek(0)
    opener = next((READERS[magic] for magic in READERS if first.startswith(magic)), None)
    stream: Any = _Bounded(opener(raw) if opener else raw, most + MOST_FILES * 2048)
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:
        for member in archive:
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise _Unsafe(f"a link or a device, {shown(member.name)}")
            yield _Entry(member.name, member.size, archive.extractfile(member))
        rest: Any = archive.fileobj
        while chunk := rest.read(CHUNK):  # to its end, where a checksum stands
            if any(chunk):
                raise tarfile.ReadError("something behind its end")


def _zip(raw: IO[bytes]) -> Iterator[_Entry]:
    end: Any = zipfile._EndRecData(raw)  # type: ignore[attr-defined]  # before the list is read
    if end and end[5] > MOST_LIST:
        raise _Unsafe(f"a list of members of {end[5]} bytes")
    with zipfile.ZipFile(raw) as archive:
        if len(archive.infolist()) > MOST_FILES:
            raise _Unsafe(f"more than {MOST_FILES} files")
        for member in archive.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _Unsafe(f"a link, {shown(member.filename)}")
            if member.is_dir():
                yield _Entry(member.filename, 0, None)
                continue
            with archive.open(member) as content:  # checks its CRC at its end
                yield _Entry(member.filename, member.file_size, content)


def _bar(path: Path) -> Bar:
    size = path.stat().st_size
    return tqdm(total=size, unit="B", unit_scale=True, desc="unpacking", delay=1)

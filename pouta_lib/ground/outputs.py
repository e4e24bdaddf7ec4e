"""Folders to write results to, in which nothing is ever lost but what this program wrote itself.

Beside its files, a folder has a manifest (:data:`MANIFEST`): which they are, by name and digest.
Only files that stand there, unchanged since, are replaced. All else stays.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pouta_lib.ground.errors import problem, shown
from pouta_lib.ground.labels import OF_WINDOWS, WHY_NOT, WINDOWS
from pouta_lib.ground.locks import only_one
from pouta_lib.ground.paths import sweep, temporary_beside
from pouta_lib.ground.validation import write_json

MANIFEST = "pouta_files.json"
ANOTHER = "name another folder"
REPLACE = f"{ANOTHER}, or ask to replace it (--replace)"


@contextlib.contextmanager
def own_files(folder: str | Path, kind: str, last: str) -> Iterator[Path]:
    """A temporary folder to write files to; at the end they stand in `folder`.

    An earlier result of the same `kind` makes way for them. When the block raises, `folder` stays
    as it was. The file called `last`, without which a result is none, leaves first and comes last.
    A link to a folder is followed and stays. What a killed process had begun there is removed.

    *Raises* :class:`PoutaError`, before anything is written, as :func:`replaceable` does.
    """
    folder = replaceable(folder, kind)
    new = not folder.exists()
    sweep(folder, deep=False)
    temporary = temporary_beside(folder / kind)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise problem("a folder that can be written to", str(error), folder, ANOTHER) from error
    try:
        yield temporary
        with only_one(folder / f".{kind}.lock", f"the {kind} in {shown(folder.name)}", wait=True):
            _move_in(temporary, folder, kind, last)
    finally:
        shutil.rmtree(temporary)
        if new and not any(folder.iterdir()):
            folder.rmdir()


def replaceable(
    folder: str | Path, kind: str, names: Iterable[str] = (), *, replace: bool = True
) -> Path:
    """`folder`, its links followed, when a result of `kind` may be written to it.

    It is new or empty (hidden files do not count), or holds an earlier result of that kind. Other
    files may lie beside that, unless they bear one of the `names` that are to be written.

    *Raises* :class:`PoutaError` for all else, and where nothing may be written; with
    ``replace=False`` for an earlier result too.
    """
    if WINDOWS and OF_WINDOWS.fullmatch(Path(folder).name):
        raise problem("a folder's name", repr(Path(folder).name), folder, f"{ANOTHER}: {WHY_NOT}")
    folder, wanted = _real(folder), f"a new folder, or an earlier {kind}"
    if folder.is_symlink():
        raise problem(wanted, "a link to itself", folder, ANOTHER)
    if folder.exists() and not folder.is_dir():
        raise problem(wanted, "a file", folder, ANOTHER)
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    if why_not := _unwritable(there):
        raise problem("a folder that can be written to", why_not, there, ANOTHER)
    if not folder.exists() or all(path.name.startswith(".") for path in folder.iterdir()):
        return folder
    files = _written(folder, kind)
    if files is None:
        raise problem(wanted, "other files", folder, ANOTHER)
    if not replace:
        raise problem("a new folder", f"an earlier {kind}", folder, REPLACE)
    changed = sorted(
        name for name, digest in files.items() if digest_of(folder / name) not in (None, digest)
    )
    if changed:
        found = f"{len(changed)} of its files changed since, first {changed[0]!r}"
        raise problem(f"an earlier {kind} as it was written", found, folder, ANOTHER)
    for name in names:
        if name not in files and os.path.lexists(folder / name):
            raise problem(f"no other file called {name!r}", "one", folder, ANOTHER)
    return folder


def holds(folder: Path, kind: str) -> bool:
    """Does a result of `kind` lie in the folder?"""
    return _written(folder, kind) is not None


def add_own(folder: Path, kind: str, path: Path) -> None:
    """Notes a file that was added to an earlier result of `kind`: it makes way with the rest."""
    files = _written(folder, kind)
    if files is not None and path.parent.resolve() == folder.resolve():
        noted = files | {path.name: digest_of(path)}
        write_json(folder / MANIFEST, {"kind": kind, "files": noted})


def refuse_overlap(output: str | Path, inputs: dict[str, str | Path]) -> None:
    """*Raises* :class:`PoutaError` where `output` is, lies in, or holds one of the named inputs.

    Links are followed, and a folder is the same under every spelling of its name.
    """
    own = _real(output)
    for words, path in inputs.items():
        other = _real(path)
        for found, inner, outer in (
            (f"{words} itself, or a folder in it", own, other),
            (f"a folder that holds {words}", other, own),
        ):
            if any(_same(one, outer) for one in (inner, *inner.parents)):
                raise problem(f"an output apart from {words}", found, own, ANOTHER)


def digest_of(path: Path) -> str | None:
    """The SHA-256 of a file; None where there is nothing, and no digest where something else is."""
    if not path.is_file():
        return "no file" if os.path.lexists(path) else None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unwritable(folder: Path) -> str:
    """Why nothing can be written to a folder, which its mode alone does not tell; else nothing."""
    try:
        os.rmdir(tempfile.mkdtemp(".tmp", ".", folder))
    except OSError as error:
        return f"one that may not be ({error.strerror})"
    return ""


def _real(path: str | Path) -> Path:
    """The path without links; a link that leads to itself stays."""
    return Path(os.path.realpath(Path(path).expanduser()))


def _same(one: Path, other: Path) -> bool:
    return one == other or (one.exists() and other.exists() and one.samefile(other))


def _written(folder: Path, kind: str) -> dict[str, str] | None:
    """What the manifest says was written, name and digest; None where there is no such result."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["kind"] != kind:
            return None
        files = dict(manifest["files"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    inside = all(isinstance(name, str) and Path(name).name == name for name in files)
    return files if inside else None


def _move_in(temporary: Path, folder: Path, kind: str, last: str) -> None:
    new = {path.name: digest_of(path) for path in temporary.iterdir()}
    replaceable(folder, kind, new)  # again: something may have come meanwhile
    old = _written(folder, kind) or {}
    for name in sorted(old, key=lambda name: name != last):
        (folder / name).unlink(missing_ok=True)
    write_json(folder / MANIFEST, {"kind": kind, "files": new})
    for name in sorted(new, key=lambda name: name == last):
        (temporary / name).replace(folder / name)

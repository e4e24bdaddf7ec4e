"""Where things live, resolved the same from a notebook, a batch job and a test."""

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

# what temporary_beside and atomic_path name what is not finished
LEFT = re.compile(r"\.(?P<name>.+)\.(?P<node>\w+)-(?P<pid>\d+)-[0-9a-f]{8}\.(?P<kind>tmp|old)")


def project_root() -> Path:
    """The folder that holds notebooks/, results/ and published/.

    ``$POUTA_HOME`` where it is set (for a library installed away from its checkout), else the
    folder above the package.
    """
    return Path(os.environ.get("POUTA_HOME") or Path(__file__).resolve().parents[2]).resolve()


def _root(override: str | Path | None, variable: str, folder: str) -> Path:
    chosen = override or os.environ.get(variable) or project_root() / folder
    return Path(chosen).expanduser().resolve()


def sources_digest(folder: Path) -> str:
    """The SHA-256 of a folder's modules, names and contents: the same code, the same digest."""
    digest = hashlib.sha256()
    for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py")):
        content = (folder / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def data_root(override: str | Path | None = None) -> Path:
    """The folder that holds the datasets: the argument, else ``$POUTA_DATA``, else data/."""
    return _root(override, "POUTA_DATA", "data")


def results_root(override: str | Path | None = None) -> Path:
    """The folder of run records and tables: the argument, ``$POUTA_RESULTS``, else results/."""
    return _root(override, "POUTA_RESULTS", "results")


def roots_to_read() -> tuple[Path, Path]:
    """Where a reader of records looks: the results, then ``real``, the committed photographs'."""
    root = results_root()
    return root, root / "real"


def figures_root() -> Path:
    """The folder of pictures: ``$POUTA_FIGURES``, else figures/."""
    return _root(None, "POUTA_FIGURES", "figures")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary sibling of `path` to write a file or a folder to; renamed to `path` at the end.

    When the block raises, the temporary is removed and `path` stays as it was: a reader never
    sees half of a file. A folder that is already there is moved aside first and removed last.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        if path.is_dir():
            old = temporary.with_suffix(".old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A name beside `path` for what is not finished, from which :func:`sweep` knows its process."""
    return path.with_name(f".{path.name}.{_node()}-{os.getpid()}-{uuid4().hex[:8]}.tmp")


def sweep(folder: Path, *, deep: bool = True) -> None:
    """Removes what killed processes of this machine left half-written in `folder`, or below it.

    What was whole before, and had been moved aside to make room, is put back.
    """
    import psutil

    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            left = LEFT.fullmatch(name)
            if left is None or left["node"] != _node() or psutil.pid_exists(int(left["pid"])):
                continue
            path, whole = Path(place, name), Path(place, left["name"])
            with suppress(OSError):  # another process sweeps as well
                if left["kind"] == "old" and not whole.exists():
                    path.rename(whole)
                elif path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        folders[:] = folders if deep else []


def _node() -> str:
    """This machine in a name: a digest, since long names of one cluster differ at their ends."""
    return hashlib.sha256(platform.node().encode("utf-8", "surrogateescape")).hexdigest()[:12]

"""Where things live, resolved the same from a notebook, a batch job and a test."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def project_root() -> Path:
    """The folder that holds notebooks/, results/ and published/.

    ``$POUTA_HOME`` where it is set (for a library installed away from its checkout), else the
    folder above the package.
    """
    return Path(os.environ.get("POUTA_HOME") or Path(__file__).resolve().parents[2]).resolve()


def _root(override: str | Path | None, variable: str, folder: str) -> Path:
    chosen = override or os.environ.get(variable) or project_root() / folder
    return Path(chosen).expanduser().resolve()


def data_root(override: str | Path | None = None) -> Path:
    """The folder that holds the datasets: the argument, else ``$POUTA_DATA``, else data/."""
    return _root(override, "POUTA_DATA", "data")


def results_root(override: str | Path | None = None) -> Path:
    """The folder of run records and tables: the argument, ``$POUTA_RESULTS``, else results/."""
    return _root(override, "POUTA_RESULTS", "results")


def figures_root(override: str | Path | None = None) -> Path:
    """The folder of pictures: the argument, ``$POUTA_FIGURES``, else figures/."""
    return _root(override, "POUTA_FIGURES", "figures")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary sibling of `path` to write a file or a folder to; renamed to `path` at the end.

    When the block raises, the temporary is removed and `path` stays as it was: a reader never
    sees half of a file. A folder that is already there is moved aside first and removed last.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
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

"""Tests and notebooks run at the smoke profile and write to a folder of their own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent
if find_spec("panel") is None:  # the extra `app`: the rest of it is tested without
    collect_ignore = ["pouta_lib/deliver/app.py"]
_FOLDERS = {"POUTA_DATA": "data", "POUTA_RESULTS": "results", "POUTA_FIGURES": "figures"}


def pytest_configure(config: pytest.Config) -> None:
    """Point the library away from the committed results before anything is collected.

    Notebook kernels, command lines and pytest-xdist's workers inherit these variables. Where
    ``$POUTA_TRIAL`` is set (`make test`), that folder is used and kept; else a temporary one.
    """
    if hasattr(config, "workerinput"):
        return
    trial = os.environ.get("POUTA_TRIAL")
    if not trial:
        trial = tempfile.mkdtemp(prefix="pouta-test-")
        config.add_cleanup(lambda: shutil.rmtree(trial, ignore_errors=True))
    os.environ["POUTA_PROFILE"] = "smoke"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("POUTA_DEVICE", "cpu")  # where numbers repeat to the bit
    for variable, folder in _FOLDERS.items():
        os.environ[variable] = str(Path(trial, folder).resolve())


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that is being tested."""
    return REPOSITORY


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with ``results`` and ``figures`` as they are in git's index.

    The prose quotes these, and `make study` writes a reader's own over those in the checkout. Where
    there is no git or no clone, the checkout's are all that is there.
    """
    git = ["git", "-C", str(REPOSITORY)]
    listed = b""
    if shutil.which("git"):
        command = [*git, "ls-files", "-z", "results", "figures"]
        listed = subprocess.run(command, capture_output=True, check=False).stdout
    if not listed:
        return REPOSITORY
    folder = tmp_path_factory.mktemp("committed")
    command = [*git, "checkout-index", "-z", "--stdin", f"--prefix={folder}{os.sep}"]
    subprocess.run(command, input=listed, check=True)
    return folder


@pytest.fixture
def bolt(tmp_path, monkeypatch):
    """A folder with one small category, mvtec/bolt, where data is read and results are written."""
    from trees import mvtec_tree

    monkeypatch.setenv("POUTA_DATA", str(tmp_path))
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path / "results"))
    mvtec_tree(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Nothing that a test sets, or the command line for it, reaches the notebooks after it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)

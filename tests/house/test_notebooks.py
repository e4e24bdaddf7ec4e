"""The course runs from top to bottom through papermill; and the gates do stop a bad notebook.

nbval runs the notebooks too (pytest collects them), in their own folder and comparing outputs.
papermill runs them in another folder, and stops where nbval does not: see the unknown magic. The
study's notebooks, 10 to 16, are run through papermill by the smoke study of `make test`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import nbformat
import papermill
import pytest
from clean_notebooks import KERNEL
from nbformat.v4 import new_code_cell, new_notebook, new_output
from papermill.exceptions import PapermillExecutionError

from conftest import REPOSITORY
from pouta_lib.method.weights import FILE
from pouta_lib.study.records import RunKey

NOTEBOOKS = sorted(
    path
    for pattern in ("0*.ipynb", "20*.ipynb", "solutions/*.ipynb")
    for path in (REPOSITORY / "notebooks").glob(pattern)
)


def execute(source: Path, folder: Path, **parameters: str) -> Path:
    """The executed copy of a notebook, run by papermill with `folder` as its working directory."""
    target = folder / f"executed-{source.name}"
    settings = {"kernel_name": "python3", "progress_bar": False, "execution_timeout": 600}
    papermill.execute_notebook(source, target, parameters, cwd=folder, **settings)
    return target


@pytest.fixture(scope="module")
def own_results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A copy of the results, since nbval may be writing the same runs at the same time."""
    copies = tmp_path_factory.mktemp("papermill")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("POUTA_RESULTS", "POUTA_FIGURES"):
            source = Path(os.environ[variable])
            if source.is_dir():
                unfinished = shutil.ignore_patterns("*.partial", ".*.tmp", ".*.old")
                shutil.copytree(source, copies / source.name, ignore=unfinished)
            patch.setenv(variable, str(copies / source.name))
        yield


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_anywhere(source: Path, own_results: None, tmp_path: Path) -> None:
    executed = nbformat.read(execute(source, tmp_path), as_version=4)
    counts = [cell.execution_count for cell in executed.cells if cell.cell_type == "code"]
    assert None not in counts


def test_patchcore_is_made_inspected_and_carried_away(own_results: None, tmp_path: Path) -> None:
    def run(name: str, **parameters: str) -> None:
        execute(REPOSITORY / "notebooks" / f"{name}.ipynb", tmp_path, **parameters)

    inspected = {"dataset": "mini-mvtec", "category": "nut", "variant": "patchcore"}
    run("07_patchcore", category="nut")
    run("06_inspect_run", **inspected)
    run("20_your_own_images", method="patchcore")
    path = RunKey("smoke", "mini-mvtec", "nut", "patchcore").folder() / FILE
    weights = path.read_bytes()
    path.write_bytes(weights[:-2] + bytes([weights[-2] ^ 4]) + weights[-1:])
    with pytest.raises(PapermillExecutionError, match="the weights as they were saved"):
        run("06_inspect_run", **inspected)
    path.write_bytes(weights)


@pytest.mark.parametrize(
    ("name", "variant", "other"),
    [
        ("05_train_category", "patchcore", "open 07_patchcore.ipynb"),
        ("07_patchcore", "pouta", "open 05_train_category.ipynb"),
    ],
)
def test_a_notebook_refuses_what_another_one_makes(
    name: str, variant: str, other: str, tmp_path: Path
) -> None:
    with pytest.raises(PapermillExecutionError, match=other):
        execute(REPOSITORY / "notebooks" / f"{name}.ipynb", tmp_path, variant=variant)


def write(folder: Path, *cells: nbformat.NotebookNode) -> Path:
    """A small notebook on disk."""
    path = folder / "bad.ipynb"
    nbformat.write(new_notebook(cells=list(cells), metadata={"kernelspec": KERNEL}), path)
    return path


def nbval(path: Path) -> subprocess.CompletedProcess[str]:
    """pytest on one notebook, with the project's own settings."""
    command = [sys.executable, "-m", "pytest", "-c", REPOSITORY / "pyproject.toml", "-p"]
    return subprocess.run(
        [*command, "no:cacheprovider", path.name], cwd=path.parent, capture_output=True, text=True
    )


def test_papermill_stops_at_a_magic_that_hides_an_exception(tmp_path: Path) -> None:
    bad = write(tmp_path, new_code_cell("%nosuchmagic\nraise RuntimeError('not seen')"))
    with pytest.raises(PapermillExecutionError) as stopped:
        execute(bad, tmp_path)
    assert "nosuchmagic" in stopped.value.source


def test_papermill_stops_at_an_exception(tmp_path: Path) -> None:
    bad = write(tmp_path, new_code_cell("1 / 0"))
    with pytest.raises(PapermillExecutionError, match="ZeroDivisionError"):
        execute(bad, tmp_path)


def test_nbval_stops_at_an_exception(tmp_path: Path) -> None:
    done = nbval(write(tmp_path, new_code_cell("1 / 0")))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stdout


def test_nbval_compares_tagged_outputs_only(tmp_path: Path) -> None:
    stale = [new_output("stream", text="4\n")]
    untagged = new_code_cell("print(3)", outputs=stale, execution_count=1)
    assert nbval(write(tmp_path, untagged)).returncode == 0
    tagged = deepcopy(untagged)
    tagged.metadata.tags = ["nbval-check-output"]
    done = nbval(write(tmp_path, tagged))
    assert done.returncode == 1
    assert "mismatch" in done.stdout

"""`pouta study` makes runs, tables and figures through Snakemake, and makes none of them twice."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from conftest import REPOSITORY
from pouta_lib.data import list_categories
from pouta_lib.study.batch import execute_notebook
from pouta_lib.study.records import read_record


def study(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command a user types, at smoke size, writing below `folder`."""
    roots = {"POUTA_RESULTS": str(folder / "results"), "POUTA_FIGURES": str(folder / "figures")}
    command = [sys.executable, "-m", "pouta_lib.cli", "study", "--profile", "smoke", *arguments]
    return subprocess.run(command, env=os.environ | roots, capture_output=True, text=True)


def made(folder: Path) -> dict[str, int]:
    """Every file below `folder`, with the time it was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def category() -> str:
    return f"mini-mvtec/{list_categories('mini-mvtec')[0]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, category: str) -> Path:
    """A finished study of one category, in a folder whose name has a space in it."""
    folder = tmp_path_factory.mktemp("a study")
    done = study(folder, "--categories", category)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_study_leaves_records_tables_and_notebooks(folder: Path, category: str) -> None:
    runs = folder / "results" / "smoke" / "runs"
    record = read_record(runs / category / "pouta" / "all" / "seed0" / "record.json")
    assert f"{record.run.dataset}/{record.run.category}" == category
    files = made(folder)
    for name in ("model.safetensors", "maps.npz", "train.ipynb"):
        assert f"results/smoke/runs/{category}/pouta/all/seed0/{name}" in files
    assert [name for name in files if name.startswith("results/smoke/tables/")]
    assert "results/smoke/notebooks/10_benchmarks.ipynb" in files
    assert [name for name in files if ".partial" in name or name.endswith(".tmp")] == []


def test_a_finished_study_is_not_made_again(folder: Path, category: str) -> None:
    before = made(folder)
    done = study(folder, "--categories", category)
    assert done.returncode == 0, done.stderr
    assert made(folder) == before


def test_an_unknown_category_stops_the_study(tmp_path: Path) -> None:
    done = study(tmp_path, "--categories", "mini-mvtec/nothing_like_it")
    assert done.returncode != 0
    assert "nothing_like_it" in done.stdout + done.stderr
    assert not [name for name in made(tmp_path) if name.endswith("record.json")]


def test_executed_notebooks_are_small_and_name_no_folder_of_this_machine(folder: Path) -> None:
    copies = list((folder / "results").rglob("*.ipynb"))
    assert len(copies) == 2
    for copy in copies:
        text = copy.read_text(encoding="utf-8")
        assert str(folder) not in text and str(REPOSITORY) not in text, copy.name
        assert len(text) < 2_000_000, copy.name
        assert '"image/jpeg"' in text, copy.name


def test_an_executed_notebook_has_no_path_of_this_machine(tmp_path):
    source = nbformat.v4.new_notebook()
    code = "import sys\nprint(sys.prefix + '/lib/x.py:3: careful', file=sys.stderr)\nprint('plain')"
    source.cells = [nbformat.v4.new_code_cell(code)]
    nbformat.write(source, tmp_path / "warns.ipynb")
    execute_notebook(tmp_path / "warns.ipynb", tmp_path / "done.ipynb", {})
    outputs = nbformat.read(tmp_path / "done.ipynb", as_version=4).cells[-1].outputs
    assert "".join(sorted(output.text for output in outputs)) == "lib/x.py:3: careful\nplain\n"

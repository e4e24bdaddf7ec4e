"""A run or a picture is made again when, and only when, a file behind it has changed."""

import json
import os
import re
import shutil
import subprocess
import sys
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from conftest import REPOSITORY
from pouta_lib.ground.methods import METHODS
from pouta_lib.ground.paths import results_root
from pouta_lib.ground.profiles import load_profile
from pouta_lib.study.plan import planned_study
from pouta_lib.study.sources import sources_of

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def depends(notebook: str, *names: str) -> list[bool]:
    """Whether a notebook depends on each of these files."""
    (path,) = (REPOSITORY / "notebooks").glob(f"{notebook}_*.ipynb")
    files = sources_of(path, REPOSITORY)
    return [REPOSITORY / name in files for name in names]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_python_finds_is_among_the_sources(notebook: Path, tmp_path: Path) -> None:
    """The standard library's module finder reads byte code, functions' and all, on its own."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (tmp_path / "cells.py").write_text("\n".join(code), encoding="utf-8")
    finder = ModuleFinder([str(REPOSITORY)])
    finder.run_script(str(tmp_path / "cells.py"))
    found = {Path(m.__file__) for name, m in finder.modules.items() if name.startswith("pouta")}
    assert len(found) > 20
    assert found <= set(sources_of(notebook, REPOSITORY))


def test_a_run_depends_on_what_its_numbers_come_from_and_on_no_more():
    wanted = ["study/run", "ground/profiles", "method/training", "data/mini/chip", "data/visa"]
    for notebook in ("05", "07"):
        assert all(depends(notebook, *(f"pouta_lib/{name}.py" for name in wanted)))
        others = ["cli", "report/table_files", "report/published", "score/uncertainty"]
        assert not any(depends(notebook, *(f"pouta_lib/{name}.py" for name in others)))
        assert not any(depends(notebook, "published/table_1.csv", "docs/SCALING.md"))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_run_depends_on_all_that_its_method_is_bound_to(method):
    bound = (method.build, method.fit, method.recipe, method.steps, method.detect, method.deployed)
    files = {name.partition(":")[0].replace(".", "/") + ".py" for name in bound if name}
    assert all(depends(method.notebook[:2], *files))


def test_a_table_depends_on_its_own_code_and_on_the_papers_numbers():
    tables = ["pouta_lib/report/table_files.py", "published/table_1.csv"]
    assert all(depends("10", *tables, "pouta_lib/report/published.py"))
    assert not any(depends("13", *tables))
    assert depends("16", "pouta_lib/score/uncertainty.py") == [True]
    assert depends("10", "pouta_lib/score/uncertainty.py", "pouta_lib/cli.py") == [False, False]
    assert depends("04", "pouta_lib/report/architecture.py") == [False]
    assert depends("03", "pouta_lib/report/architecture.py") == [True]


def test_names_that_are_bound_late_and_public_names_are_followed(tmp_path: Path) -> None:
    files = {
        "__init__.py": 'PUBLIC = {"train": "deep.training"}\n',
        "methods.py": 'TABLE = {"a": "pouta_lib.deep.late:build"}\n"""Not pouta_lib.deep.prose."""',
        "deep/__init__.py": "",
        "deep/late.py": "def build():\n    from pouta_lib.deep import lazy",
        "deep/lazy.py": "",
        "deep/prose.py": "",
        "deep/training.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "pouta_lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def found(code: str) -> list[str]:
        notebook = tmp_path / f"{abs(hash(code))}.ipynb"
        cells = [{"cell_type": "code", "source": ["%matplotlib inline\n", code]}]
        notebook.write_text(json.dumps({"cells": cells}))
        paths = [
            path.relative_to(tmp_path / "pouta_lib") for path in sources_of(notebook, tmp_path)
        ]
        return [path.as_posix() for path in paths]

    late = ["__init__.py", "deep/__init__.py", "deep/late.py", "deep/lazy.py", "methods.py"]
    assert found("from pouta_lib.methods import TABLE") == late
    public = ["__init__.py", "deep/__init__.py", "deep/training.py"]
    assert found("from pouta_lib import train") == public
    assert found("import pouta_lib") == public
    assert found("import numpy") == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, beside a smoke study that looks finished."""
    home = tmp_path_factory.mktemp("home") / "a copy"
    for name in ("pouta_lib", "notebooks", "configs", "published"):
        shutil.copytree(REPOSITORY / name, home / name)
    shutil.copy(REPOSITORY / "Snakefile", home)
    past = (REPOSITORY / "Snakefile").stat().st_mtime - 1000
    for path in home.rglob("*"):
        os.utime(path, (past, past))
    study = planned_study(load_profile("smoke"), [])
    names = ["record.json", "model.safetensors", "maps.npz", "train.ipynb"]
    results = home / "results"
    made = [key.folder(results) / name for key in study.runs for name in names]
    others = [*study.judgements, *study.notebooks]
    made += [results / path.relative_to(results_root()) for path in others]
    for age, path in enumerate(made):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (past + 10 + age / 100, past + 10 + age / 100))
    return home


@pytest.mark.parametrize(
    ("changed", "runs", "notebooks"),
    [
        ("pouta_lib/cli.py", 0, []),
        ("pouta_lib/report/table_files.py", 0, ["10", "11", "12", "15"]),
        ("published/table_4.csv", 0, ["10", "11", "12", "15", "16"]),
        ("pouta_lib/score/uncertainty.py", 0, ["16"]),
        ("notebooks/07_patchcore.ipynb", 1, ["10", "15"]),
        ("pouta_lib/study/run.py", 16, ["03", "10", "11", "12", "13", "14", "15", "16"]),
    ],
)
def test_a_change_makes_the_right_things_anew(finished, changed, runs, notebooks):
    path = finished / changed
    before = path.stat().st_mtime
    os.utime(path)
    roots = {"POUTA_HOME": str(finished), "POUTA_RESULTS": str(finished / "results")}
    command = [sys.executable, "-m", "snakemake", "--snakefile", finished / "Snakefile"]
    command += ["--directory", finished, "--cores", "1", "--dry-run", "--nolock"]
    done = subprocess.run(
        [*command, "--config", "profile=smoke"],
        env=os.environ | roots,
        capture_output=True,
        text=True,
        check=False,
    )
    os.utime(path, (before, before))
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout + done.stderr
    assert len(re.findall(r"^ *rule train:", told, re.MULTILINE)) == runs
    # 17 and 18 wait for judgements, which the study that looks finished has not
    outputs = re.findall(r"^    output: .*notebooks/(?!17|18)(\d\d)_\w+\.ipynb", told, re.MULTILINE)
    assert sorted(outputs) == notebooks

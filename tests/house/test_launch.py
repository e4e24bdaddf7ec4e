"""The buttons that open the course on Binder and Colab, and the cell that Colab needs."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

from conftest import REPOSITORY

NOTEBOOKS = REPOSITORY / "notebooks"
COURSE = sorted(path.relative_to(NOTEBOOKS) for path in NOTEBOOKS.rglob("*.ipynb"))


@pytest.fixture(scope="module")
def address() -> str:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return project["project"]["urls"]["Repository"]


def test_the_buttons_lead_to_this_repository(address):
    name = address.removeprefix("https://github.com/")
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    binder = re.findall(
        r"\(https://mybinder\.org/v2/gh/([^)]+)/HEAD\?urlpath=lab/tree/([^)]+)\)", text
    )
    colab = re.findall(
        r"\(https://colab\.research\.google\.com/github/([^)]+)/blob/main/([^)]+)\)", text
    )
    assert [repository for repository, _ in binder + colab] == [name, name]
    for _, path in binder + colab:
        assert (REPOSITORY / path).is_file()
    assert (REPOSITORY / "environment.yml").is_file(), "what Binder builds from"


def colab_cell(name: Path) -> str:
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    (cell,) = (c for c in notebook.cells if "colab" in c.metadata.get("tags", []))
    first = next(c for c in notebook.cells if c.cell_type == "code")
    assert cell is first, f"{name}: nothing can run before it"
    return cell.source


def test_the_course_has_one_cell_for_colab(address):
    assert len({colab_cell(name) for name in COURSE}) == 1
    assert f'"{address}"' in colab_cell(COURSE[0])


def test_the_cell_fetches_the_repository(address, tmp_path):
    """Run by a Python without this library, with git and pip led to this checkout."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("no repository to clone")
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    record = "import json, sys; json.dump(sys.argv[1:], open('asked.json', 'w'))"
    (tmp_path / "pip" / "__main__.py").write_text(record)
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": f"url.{REPOSITORY.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": "*",
    }
    python = [sys._base_executable, "-c"]

    def run(program: str) -> str:
        return subprocess.run(
            [*python, program],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    look = "import importlib.util; print(importlib.util.find_spec('pouta_lib'))"
    if run(look).strip() != "None":
        pytest.skip("the base Python has the library")
    after = "\nprint(importlib.util.find_spec('pouta_lib').origin)"
    found = run(colab_cell(COURSE[0]) + after).strip()
    assert found.endswith(os.path.join("pouta", "pouta_lib", "__init__.py"))
    assert (tmp_path / "pouta" / "configs" / "demo.yaml").is_file()
    assert json.loads((tmp_path / "asked.json").read_text()) == ["install", "--quiet", "./pouta"]


def test_the_cell_does_nothing_where_the_library_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(colab_cell(COURSE[0]), "cell", "exec"), {})
    assert not list(tmp_path.iterdir())

"""What `make lint` runs, and what its checks refuse."""

import re
import shutil
import subprocess
import sys
import tomllib

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

from conftest import REPOSITORY


def lint_commands() -> list[str]:
    """The commands of the Makefile's target, without the environment's folder."""
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1]
    return [line.strip().removeprefix("$(BIN)/") for line in recipe.splitlines()]


def test_lint_checks_style_form_floors_types_and_notebooks():
    names = [command.split()[0] for command in lint_commands()]
    assert names == ["ruff", "ruff", "lint-imports", "mypy", "python"]


def test_a_notebook_with_outputs_fails_the_check_and_stays_as_it_is(tmp_path):
    cells = [new_code_cell("1 + 1", outputs=[new_output("stream", text="2\n")])]
    path = tmp_path / "run.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    script = REPOSITORY / "tools" / "clean_notebooks.py"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, script, *words, tmp_path]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    before = path.read_bytes()
    refused = run("--check")
    assert refused.returncode == 1
    assert "run.ipynb ('make format' does it)" in refused.stdout
    assert path.read_bytes() == before
    assert run().returncode == 0
    assert run("--check").returncode == 0


def test_a_wrong_type_fails(tmp_path):
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    shutil.copytree(REPOSITORY / "pouta_lib", tmp_path / "pouta_lib")
    with (tmp_path / "pouta_lib" / "ground" / "paths.py").open("a", encoding="utf-8") as module:
        module.write("\n\ndef size(path: Path) -> int:\n    return path\n")
    command = [sys.executable, "-m", "mypy", "--no-incremental"]
    # of this file alone, since it imports nothing above it
    options = ["--config-file", "pyproject.toml", "pouta_lib/ground/paths.py"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pouta_lib/ground/paths.py" in done.stdout.replace("\\", "/")
    assert "[return-value]" in done.stdout


def test_what_mypy_passes_over_is_named():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    settings = project["tool"]["mypy"]
    assert settings["strict"]
    assert not {"ignore_errors", "ignore_missing_imports"} & set(settings), "for all modules"
    ignore = re.compile(r"#\s*type:\s*ignore(?!\[[\w, -]+\]\s+#\s+\w)")
    assert settings["files"] == ["pouta_lib", "tools", "benchmarks"]
    for folder in settings["files"]:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            assert not ignore.search(text), f"{path.name}: an ignore without its code and reason"

"""The floors of the library: README and contract name the same, and imports run down."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from conftest import REPOSITORY


def layers() -> list[str]:
    """The contract's floors, from the top down."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    return contract["layers"]


def test_the_readme_says_the_order_of_the_contract():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"^pouta_lib/\n((?:  .*\n)+)", text, re.MULTILINE)[1]
    names = [line.split()[0] for line in tree.splitlines()]
    assert [name.removesuffix("/").removesuffix(".py") for name in names] == layers()
    assert [name for name in names if not (REPOSITORY / "pouta_lib" / name).exists()] == []


def test_an_import_that_runs_up_breaks_the_contract(tmp_path: Path):
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    shutil.copytree(REPOSITORY / "pouta_lib", tmp_path / "pouta_lib")
    command = [sys.executable, "-c", "from importlinter.cli import *; lint_imports_command()"]
    command += ["--no-cache", "--no-logo"]

    def lint() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert lint().returncode == 0
    with (tmp_path / "pouta_lib" / "ground" / "paths.py").open("a", encoding="utf-8") as module:
        module.write("\n\ndef tables():\n    from pouta_lib.report import tables\n")
    broken = lint()
    assert broken.returncode != 0
    assert "pouta_lib.ground.paths -> pouta_lib.report.tables" in broken.stdout
    (tmp_path / "pouta_lib" / "ground" / "paths.py").write_text("")
    (tmp_path / "pouta_lib" / "attic.py").touch()
    assert "attic" in lint().stdout, "a module that stands on no floor"

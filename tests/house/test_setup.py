"""The three lists of packages say the same, and the set-up commands do what the README says."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PINNED = re.compile(r"^(?P<pin>[A-Za-z0-9][\w.-]*==[^\\]+?) *\\?$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
ADDRESS = re.compile(r"\w+://|@ file:|--(extra-)?index-url|--find-links|(?<![\w-])-i ")


def read_lock(text: str) -> dict[str, int]:
    """Each ``name==version ; marker`` of a lock, with the number of its hashes."""
    pins: dict[str, int] = {}
    for line in text.splitlines():
        if match := PINNED.match(line):
            pins[match["pin"]] = 0
        elif HASH.match(line):
            pins[next(reversed(pins))] += 1
        else:
            raise ValueError(f"neither a pin nor a hash: {line!r}")
    return pins


def uncovered(direct: list[str], pins: list[str]) -> list[str]:
    """The direct requirements that no pin satisfies."""
    versions: dict[str, list[str]] = {}
    for pin in map(Requirement, pins):
        version = str(pin.specifier).removeprefix("==")
        versions.setdefault(canonicalize_name(pin.name), []).append(version)
    missing = []
    for text in direct:
        wanted = Requirement(text)
        found = versions.get(canonicalize_name(wanted.name), [])
        if not found or not all(wanted.specifier.contains(version) for version in found):
            missing.append(text)
    return missing


@pytest.fixture(scope="module")
def lock(repository: Path) -> dict[str, int]:
    return read_lock((repository / "requirements.lock").read_text())


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def conda(repository: Path) -> dict:
    return yaml.safe_load((repository / "environment.yml").read_text())


def test_every_pin_of_the_lock_has_a_hash(lock: dict[str, int]) -> None:
    assert len(lock) > 100
    assert [pin for pin, hashes in lock.items() if hashes == 0] == []


def test_a_lock_with_anything_else_in_it_is_refused() -> None:
    with pytest.raises(ValueError, match="neither"):
        read_lock("numpy>=2.0\n")
    assert read_lock("numpy==2.4.6 ; python_version < '3.12' \\\n") == {
        "numpy==2.4.6 ; python_version < '3.12'": 0
    }


def test_conda_pins_are_the_locks(conda: dict, lock: dict[str, int]) -> None:
    pip = conda["dependencies"][-1]["pip"]
    assert pip[:-1] == list(lock)
    assert pip[-1] == "-e ."


def test_conda_brings_a_python_the_package_accepts(conda: dict, project: dict) -> None:
    assert conda["name"] == "pouta"
    assert conda["channels"] == ["conda-forge"]
    python, pip = conda["dependencies"][:2]
    accepted = Requirement(f"python{project['project']['requires-python']}").specifier
    assert accepted.contains(python.removeprefix("python=") + ".0")
    assert pip == "pip"


def test_the_lock_covers_what_the_package_asks_for(lock: dict[str, int], project: dict) -> None:
    direct = project["project"]["dependencies"] + project["build-system"]["requires"]
    direct += project["project"]["optional-dependencies"]["dev"]
    assert uncovered(direct, list(lock)) == []


def test_a_missing_or_older_pin_is_noticed() -> None:
    assert uncovered(["torch>=2.6", "numpy"], ["numpy==2.0"]) == ["torch>=2.6"]
    assert uncovered(["numpy>=2.0"], ["numpy==2.1", "numpy==1.9 ; os_name == 'nt'"]) == [
        "numpy>=2.0"
    ]


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock", "environment.yml"])
def test_no_list_names_an_index(repository: Path, name: str) -> None:
    lines = (repository / name).read_text().splitlines()
    # the project's own home, from which nothing is installed
    named = [line for line in lines if ADDRESS.search(line)]
    assert [line for line in named if not line.startswith("Repository = ")] == []


@pytest.mark.parametrize("line", ["--index-" + "url x", "a @ https:" + "//b/c.whl", "-i x"])
def test_an_index_address_would_be_noticed(line: str) -> None:
    assert ADDRESS.search(line)


needs_make = pytest.mark.skipif(
    os.name == "nt" or shutil.which("make") is None,
    reason="the Makefile is for Linux and macOS, and needs make",
)


def make(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What make prints, started as a user would rather than from within `make test`."""
    kept = {key: value for key, value in os.environ.items() if key not in {"PROFILE", "ARGS"}}
    kept = {key: value for key, value in kept.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=kept | variables, capture_output=True, text=True
    )


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    """A fresh copy of what set-up reads, in a folder whose name has a space in it."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(repository / name, folder)
    return folder


@needs_make
@pytest.mark.parametrize(
    "target", ["study", "test", "smoke", "coverage", "lab", "data", "lint", "format"]
)
def test_each_target_makes_the_environment_first(clone: Path, target: str) -> None:
    plan = make("-n", target, folder=clone).stdout
    assert plan.index("-m venv .venv") < plan.index("-e .\n")
    assert plan.index("-e .\n") < plan.rindex(".venv/bin/")


@needs_make
def test_an_environment_that_stands_is_not_made_again(clone: Path) -> None:
    (clone / ".venv").mkdir()
    for stamp in (".locked", ".ready"):
        (clone / ".venv" / stamp).touch()
    assert "venv .venv" not in make("-n", "study", folder=clone).stdout
    (clone / ".venv" / ".locked").unlink()  # an attempt that was cut short
    assert "rm -rf .venv && " in make("-n", "study", folder=clone).stdout


@needs_make
def test_the_profile_is_one_word(clone: Path) -> None:
    assert "study --profile demo" in make("-n", "study", folder=clone).stdout
    assert "study --profile paper" in make("-n", "study", "PROFILE=paper", folder=clone).stdout
    assert "study --profile paper" in make("-n", "study", folder=clone, PROFILE="paper").stdout


@needs_make
def test_what_make_starts_waits_passively(clone: Path) -> None:
    (clone / "more.mk").write_text("include Makefile\nshow:\n\t@echo $$OMP_WAIT_POLICY\n")
    assert make("-f", "more.mk", "show", folder=clone, OMP_WAIT_POLICY="").stdout == "PASSIVE\n"


@needs_make
def test_a_python_that_is_too_old_is_refused(clone: Path) -> None:
    old = clone / "old python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make("study", f"PYTHON={old}", folder=clone)
    assert done.returncode != 0
    assert "expected Python 3.11 or later" in done.stderr
    assert str(old) in done.stderr
    assert not (clone / ".venv").exists()


@needs_make
def test_clean_keeps_finished_work(clone: Path) -> None:
    kept = [".venv/.ready", "data/mini/1.png", "results/demo/runs/a/record.json", "Makefile"]
    kept += ["build/peers/bin/python"]
    gone = ["results/demo/runs/b.partial/x", "results/smoke/x", "build/x", "tests/__pycache__/x"]
    for name in [*kept, *gone]:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).touch()
    for name in ("pouta_lib", "notebooks"):
        (clone / name).mkdir()
    assert make("clean", folder=clone).returncode == 0
    assert [name for name in kept if not (clone / name).exists()] == []
    assert [name for name in gone if (clone / name).exists()] == []


def test_the_makefile_runs_on_macos_make(repository: Path) -> None:
    text = (repository / "Makefile").read_text()
    newer_than_3_81 = r"\.ONESHELL|\.SHELLFLAGS|^\w+ *!=|&:|::=|\$\(file |\$\(let |\$\(intcmp "
    assert re.findall(newer_than_3_81, text, re.MULTILINE) == []


def test_coverage_measures_what_test_runs(repository: Path) -> None:
    """The same study and the same pytest, with `coverage run` before them."""

    def recipe(target: str) -> list[str]:
        text = (repository / "Makefile").read_text(encoding="utf-8")
        found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)[1]
        return [" ".join(line.split()) for line in found.replace("\\\n", " ").splitlines()]

    def plain(command: str) -> str:
        command = command.replace("$(BIN)/coverage run $(BIN)/pouta", "$(BIN)/pouta")
        return command.replace("$(BIN)/coverage run -m pytest", "$(BIN)/python -m pytest")

    assert [plain(c) for c in recipe("coverage")][2:4] == recipe("test")[2:4]


def test_ci_runs_the_readmes_command(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "\nmake test\n" in script.read_text()

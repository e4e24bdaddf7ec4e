"""The command line: its version, errors without a traceback, threads that wait."""

import os
import subprocess
import sys
import tomllib
from unittest.mock import Mock

import pytest

import pouta_lib
from pouta_lib import cli
from pouta_lib.commands import results, study


def test_it_prints_errors_without_a_traceback(bolt, capsys):
    assert cli.main(["run", "--dataset", "mvtec", "--category", "nail"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("pouta: expected a category out of ['bolt'], found 'nail'")
    assert "Traceback" not in text


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("study", "run", "data"))


def test_help_waits_for_no_large_package():
    program = "import sys\nfrom pouta_lib import cli\ntry:\n    cli.main(['--help'])\n"
    program += "except SystemExit:\n    large = {'torch', 'numpy', 'pandas', 'pydantic'}\n"
    program += "    print(large & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_the_version_is_that_of_the_project(repository, capsys):
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == project["project"]["version"] + "\n"
    assert pouta_lib.__version__ == project["project"]["version"]


@pytest.mark.parametrize("variable", cli.FOLDERS)
def test_a_folder_that_a_variable_names_is_the_same_for_notebooks(variable, monkeypatch, tmp_path):
    """They run in a folder of their own: a run's record would be looked for elsewhere."""
    monkeypatch.setattr(results, "_tables", lambda options: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "mine")
    assert cli.main(["tables"]) == 0
    assert os.environ[variable] == str(tmp_path / "mine")
    if option := cli.FOLDERS[variable]:
        assert cli.main(["tables", f"--{option.replace('_', '-')}", "theirs"]) == 0
        assert os.environ[variable] == str(tmp_path / "theirs"), "what is typed goes first"


def test_stopping_says_how_to_go_on(monkeypatch, capsys):
    def stop(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "_tables", stop)
    monkeypatch.setattr(study, "_run", stop)
    assert cli.main(["tables"]) == cli.main(["run"]) == 130
    begins, goes_on = capsys.readouterr().err.splitlines()
    assert begins == "pouta: stopped; the same command begins again"
    assert goes_on == "pouta: stopped; the same command goes on from the checkpoints"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device", "/r/x"), "found No space left on device"),
        (PermissionError(30, "Read-only file system", "/r/x"), "found Read-only file system"),
        (IsADirectoryError(21, "Is a directory", "/r/x"), "found Is a directory"),
        (OSError(28, "No space left on device"), "found No space left on device"),
    ],
)
def test_what_the_system_refuses_has_four_parts(error, message, monkeypatch, capsys):
    monkeypatch.setattr(results, "_tables", Mock(side_effect=error))
    assert cli.main(["tables"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("pouta: expected a disk to read and write")
    where = error.filename or "not told by the system"
    assert message in text and f"where: {where}" in text and "to do: " in text


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_too_little_memory_has_four_parts(error, monkeypatch, capsys):
    monkeypatch.setattr(results, "_tables", Mock(side_effect=error))
    assert cli.main(["tables"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("pouta: expected memory for this, found too little of it (")
    assert "\n  where: " in text and "\n  to do: end other programs" in text


def test_errors_of_programs_stay_what_they_are(monkeypatch):
    error = RuntimeError("shapes that do not go together")
    monkeypatch.setattr(results, "_tables", Mock(side_effect=error))
    with pytest.raises(RuntimeError, match="shapes"):
        cli.main(["tables"])


@pytest.mark.parametrize("error", [OSError("broken data stream"), ConnectionResetError(104, "x")])
def test_what_no_disk_refused_is_not_blamed_on_one(error, monkeypatch):
    monkeypatch.setattr(results, "_tables", Mock(side_effect=error))
    with pytest.raises(OSError, match=str(error.args[-1])):
        cli.main(["tables"])


@pytest.mark.parametrize(("told", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "x"}, "x")])
def test_threads_wait_passively_before_torch_is_there(told, policy):
    program = """
import os, sys
from pouta_lib import cli
from pouta_lib.commands import results, study
results._tables = lambda options: print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
cli.main(["tables"])
"""
    bare = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=bare | told, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [policy, "False"]

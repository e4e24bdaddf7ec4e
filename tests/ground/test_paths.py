"""Where things live, and files that are never half written."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pouta_lib.ground.paths import (
    atomic_path,
    data_root,
    figures_root,
    project_root,
    results_root,
    sweep,
    temporary_beside,
)


@pytest.mark.parametrize(
    ("root", "variable", "folder"),
    [
        (data_root, "POUTA_DATA", "data"),
        (results_root, "POUTA_RESULTS", "results"),
    ],
)
def test_an_argument_goes_before_the_variable_before_the_project(
    root, variable, folder, tmp_path, monkeypatch
):
    monkeypatch.setenv(variable, str(tmp_path / "told"))
    assert root(tmp_path / "given") == (tmp_path / "given").resolve()
    assert root() == (tmp_path / "told").resolve()
    monkeypatch.setenv(variable, "")
    assert root() == project_root() / folder
    monkeypatch.setenv("POUTA_HOME", str(tmp_path))
    assert root() == tmp_path.resolve() / folder


def test_pictures_go_where_the_variable_says_or_into_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("POUTA_FIGURES", str(tmp_path))
    assert figures_root() == tmp_path.resolve()
    monkeypatch.setenv("POUTA_FIGURES", "")
    assert figures_root() == project_root() / "figures"


def test_a_tilde_is_the_home_folder():
    assert data_root("~/images") == (Path.home() / "images").resolve()


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    with atomic_path(path) as temporary:
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("folder", [False, True])
def test_what_fails_leaves_what_was_there(tmp_path, folder):
    path = tmp_path / "a"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            if folder:
                temporary.mkdir()
                temporary = temporary / "b"
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "run"
    for name in ("one", "two"):
        with atomic_path(path) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [p.name for p in path.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_swept_and_no_more(tmp_path):
    code = """
import os, sys
from pathlib import Path
from pouta_lib.ground.paths import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.mkdir()
    (temporary / "half").touch()
    print(temporary.name, flush=True)
    os.kill(os.getpid(), 9)
"""
    target = tmp_path / "deep" / "a.folder"
    command = [sys.executable, "-c", code, str(target)]
    left = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    old = target.with_name(left.replace("a.folder", "b", 1).removesuffix("tmp") + "old")
    old.mkdir()
    others = ".c.elsewhere-1-00000000.tmp"
    (target.parent / others).mkdir()
    with atomic_path(target) as live:
        live.mkdir()
        sweep(tmp_path, deep=False)
        assert (target.parent / left).exists()
        sweep(tmp_path)
        assert live.exists()
    there = sorted(path.name for path in target.parent.iterdir())
    assert there == sorted([others, "a.folder", "b"])  # b was whole, and moved aside


def test_the_work_of_another_host_is_left_alone_however_long_its_name(tmp_path, monkeypatch):
    """On a shared disk: whether a process of another host lives cannot be asked here."""
    hosts = [f"a-partition-with-a-long-name-node-{k}" for k in (1, 2)]
    monkeypatch.setattr(platform, "node", lambda: hosts[0])
    name = temporary_beside(tmp_path / "seed1").name.replace(f"-{os.getpid()}-", f"-{2**30}-")
    (tmp_path / name).mkdir()
    monkeypatch.setattr(platform, "node", lambda: hosts[1])
    sweep(tmp_path)
    assert (tmp_path / name).is_dir()
    monkeypatch.setattr(platform, "node", lambda: hosts[0])
    sweep(tmp_path)
    assert not (tmp_path / name).exists()

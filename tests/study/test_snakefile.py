"""What Snakemake makes of a plan, with a stand-in for `pouta` that only writes the files."""

import json
import os
import shutil
import sys

import pytest
from trees import mvtec_tree

from pouta_lib.ground.errors import PoutaError
from pouta_lib.study import batch
from pouta_lib.study.plan import planned_runs
from pouta_lib.study.records import RUN_FILES, is_whole

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
STAND_IN = """
import json, os, sys
from pathlib import Path
from pouta_lib.cli import _parser
from pouta_lib.study.records import RUN_FILES, RunKey

options = _parser().parse_args(sys.argv[1:])
with open(os.environ["STAND_IN_LOG"], "a") as log:
    print(json.dumps(sys.argv[1:]), file=log)
files = [options.target] if hasattr(options, "target") else [
    RunKey("smoke", options.dataset, options.category, options.variant, options.shots,
           options.seed).folder() / name for name in RUN_FILES
]
for path in files:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
"""
DATASET = "my photos of it's"
CATEGORIES = ["$(touch PWNED) `touch PWNED`; touch PWNED", "\"q\" 'q' & * ~ #", "ü 夜"]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Runs the study of DATASET by Snakemake; the commands that it gave."""
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "stand_in.py").write_text(STAND_IN, encoding="utf-8")
    for name, program in (("python", ""), ("pouta", f"'{bin / 'stand_in.py'}'")):
        (bin / name).write_text(f"#!/bin/sh\nexec '{sys.executable}' {program} \"$@\"\n")
        (bin / name).chmod(0o755)
    log = tmp_path / "log"
    monkeypatch.setattr(sys, "executable", str(bin / "python"))
    monkeypatch.setattr(batch, "_announce", lambda *_: None)
    monkeypatch.setattr(batch, "_require_unchanged", lambda *_: None)  # its files are empty
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    monkeypatch.setenv("POUTA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path / "results in $HOME it's"))
    monkeypatch.setenv("POUTA_FIGURES", str(tmp_path / "figures"))
    for shown in ("results in $HOME it's/smoke/tables", "figures/smoke"):
        (tmp_path / shown).mkdir(parents=True)  # the stand-in's notebooks write none
    for category in CATEGORIES:
        mvtec_tree(tmp_path / "data", DATASET, category)

    def run() -> list[list[str]]:
        log.write_text("")
        assert batch.run_study("smoke", [DATASET], [], cores=2) == 0
        return [json.loads(line) for line in log.read_text().splitlines()]

    return run


def test_any_name_stays_a_name_and_a_missing_run_is_made_again(made, tmp_path, repository):
    commands = made()
    keys = planned_runs("smoke", [DATASET])
    assert [key.category for key in keys] == sorted(CATEGORIES)
    assert all(is_whole(key) for key in keys)
    assert sorted(words[0] for words in commands) == ["notebook", "run", "run", "run"]
    assert not list(tmp_path.rglob("PWNED*"))
    assert not (repository / "PWNED").exists()

    shutil.rmtree(keys[1].folder())
    again = made()
    assert [words[0] for words in again] == ["run", "notebook"]
    assert keys[1].category in again[0]
    assert is_whole(keys[1])
    assert made() == []


def test_a_study_that_lacks_something_at_its_end_is_not_done(made, monkeypatch):
    key, *others = planned_runs("smoke", [DATASET])
    for folder in (k.folder() for k in others):
        folder.mkdir(parents=True)
        for name in RUN_FILES:
            (folder / name).touch()
    monkeypatch.setattr(batch, "_follow", lambda *_: 0)
    with pytest.raises(PoutaError) as refused:
        made()
    assert "all of 3 runs, 0 judgements, 1 notebooks, found 2 missing" in str(refused.value)
    assert str(key.folder()) in str(refused.value)
    assert key.command() in str(refused.value)


@pytest.mark.parametrize("where", ["results", "category"])
def test_braces_are_refused(where, tmp_path, monkeypatch):
    """Snakemake has no way of writing them."""
    name = "bolt {seed}" if where == "category" else "bolt"
    mvtec_tree(tmp_path, "photos", name)
    monkeypatch.setenv("POUTA_DATA", str(tmp_path))
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path / ("{a}" if where == "results" else "a")))
    with pytest.raises(PoutaError, match="names without braces, which Snakemake fills in"):
        batch.run_study("smoke", [f"photos/{name}"], [], cores=2)

"""`pouta study` makes runs, tables and figures through Snakemake, and makes none of them twice."""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import torch
from fakes import fake_run
from faults import kill_groups

from conftest import REPOSITORY
from pouta_lib.data import list_categories, load_category
from pouta_lib.ground.locks import only_one
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.training import fit
from pouta_lib.score.evaluation import evaluate
from pouta_lib.study import batch
from pouta_lib.study.records import RunKey, read_record
from pouta_lib.study.run import load_run_data, prepare_run, save_run, watch_test


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command a user types, at smoke size, writing below `folder`."""
    roots = {"POUTA_RESULTS": str(folder / "results"), "POUTA_FIGURES": str(folder / "figures")}
    command = [sys.executable, "-m", "pouta_lib.cli", "study", "--profile", "smoke", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | roots, start_new_session=True, **pipes)


def study(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same, to its end."""
    begun = start(folder, *arguments)
    out, err = begun.communicate()
    return subprocess.CompletedProcess(begun.args, begun.returncode, out, err)


def made(folder: Path) -> dict[str, int]:
    """Every file below `folder`, with the time it was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def category() -> str:
    return f"mini-mvtec/{list_categories('mini-mvtec')[0]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, category: str) -> Path:
    """A finished study of one category, in a folder whose name has a space in it.

    It was killed once on its way, with all that it had started: in the midst of its run.
    """
    folder = tmp_path_factory.mktemp("a study")
    begun = start(folder, "--categories", category)
    while begun.poll() is None and not list(folder.rglob(".train.ipynb.*.tmp")):
        time.sleep(0.1)
    kill_groups(begun)
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
    assert not [name for name in files if re.search(r"\.(partial|tmp|old|lock)\b|failed", name)]


def test_the_same_seed_gives_the_same_record_in_another_process_and_folder(
    folder: Path, category: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece, too, where the study's run was killed on its way."""
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path))
    run = prepare_run("smoke", *category.split("/"))
    data, support, textures = load_run_data(run)
    options = {"watch": watch_test(run, data)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the study has it, on however many cores
    try:
        trained = fit(data.train[support], textures, run.profile, run.key.variant, 0, **options)
        found = evaluate(trained.model, data, run.profile, trained.compute, run.key.variant)
        path = save_run(run, data, support, trained, found)
    finally:
        torch.set_num_threads(threads)
    theirs = folder / "results" / path.relative_to(tmp_path)
    own, other = (asdict(read_record(place)) for place in (path, theirs))
    for record in (own, other):  # weights and arrays are told by their digests
        del record["seconds"], record["path"]
    assert own == other


def test_a_finished_study_is_not_made_again(folder: Path, category: str) -> None:
    before = made(folder)
    done = study(folder, "--categories", category)
    assert done.returncode == 0, done.stderr
    assert made(folder) == before


@pytest.mark.parametrize(
    ("name", "told", "status"),
    [("model.safetensors", "weights", 2), ("maps.npz", "maps", 1)],  # before the work, and amid it
)
def test_a_study_with_a_damaged_run_is_not_done(folder, category, name, told, status) -> None:
    path = folder / "results" / "smoke" / "runs" / category / "pouta" / "all" / "seed0" / name
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :])
    done = study(folder, "--categories", category)
    path.write_bytes(content)
    assert done.returncode == status and told in done.stderr and str(path) in done.stderr
    assert "to do: " in done.stderr and "Traceback" not in done.stderr


def test_a_finished_study_says_where_the_images_are_others(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path))
    settings = load_profile("smoke")
    sizes = {"max_train": settings.max_train, "max_test": settings.max_test}
    today = load_category("mini-mvtec", "nut", settings.size_px, **sizes).manifest_hash
    runs = [("mini-mvtec", "nut", "base"), ("mini-mvtec", "nut", "pouta"), ("nowhere", "bolt")]
    paths = [fake_run(tmp_path, *run, label="smoke") for run in runs]  # of a hash of zeros
    record = paths[0] / "record.json"
    record.write_text(record.read_text("utf-8").replace("0" * 64, today), "utf-8")
    keys = [read_record(path).key for path in paths]
    batch._tell_of_other_images([keys[0], keys[2]], settings)
    assert capsys.readouterr().out == ""
    batch._tell_of_other_images(keys, settings)
    said = capsys.readouterr().out
    assert said.startswith("note: 1 of 2 finished runs of mini-mvtec/nut are of other images than")
    assert f"remove {paths[0].parents[2]} to" in said


def test_figures_that_were_removed_are_drawn_again(folder: Path, category: str) -> None:
    before = made(folder)
    drawn = {name for name in before if name.startswith("figures/")}
    shutil.rmtree(folder / "figures")
    assert drawn and study(folder, "--categories", category).returncode == 0
    after = made(folder)
    assert drawn <= set(after)
    runs = [name for name in before if "/runs/" in name]
    assert [after[name] for name in runs] == [before[name] for name in runs]


def test_an_unknown_category_stops_the_study(tmp_path: Path) -> None:
    done = study(tmp_path, "--categories", "mini-mvtec/nothing_like_it")
    assert done.returncode != 0
    assert "nothing_like_it" in done.stdout + done.stderr
    assert not [name for name in made(tmp_path) if name.endswith("record.json")]


def test_a_second_study_at_the_same_place_is_refused(folder: Path, category: str) -> None:
    before = made(folder)
    with only_one(folder / "results" / "smoke" / ".study.lock", "the first"):
        done = study(folder, "--categories", category)
    assert done.returncode == 2
    assert "one process at a time for study smoke" in done.stderr
    assert f"process {os.getpid()} on {platform.node()}" in done.stderr
    assert made(folder) == before


@pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")
def test_what_stops_a_study_stops_all_that_it_has_started(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from pouta_lib.ground.locks import only_one, stoppable
from pouta_lib.study.batch import _follow
inner = '''
import subprocess
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
child.wait()
'''
with stoppable(), only_one(Path(sys.argv[1]), "x") as lock:
    _follow([sys.executable, "-c", inner], None, lock)
"""
    lock = tmp_path / ".lock"
    command = [sys.executable, "-c", code, str(lock)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    grandchild = int(started.stdout.readline())
    note = lock.read_text()
    assert f"process {started.pid} on {platform.node()} (its Snakemake: process " in note
    started.terminate()
    assert "KeyboardInterrupt" in started.communicate(timeout=30)[1]
    assert not psutil.pid_exists(grandchild)
    assert not lock.exists()


def test_executed_notebooks_are_small_and_name_no_folder_of_this_machine(folder: Path) -> None:
    copies = list((folder / "results").rglob("*.ipynb"))
    assert len(copies) == 2
    for copy in copies:
        text = copy.read_text(encoding="utf-8")
        assert str(folder) not in text and str(REPOSITORY) not in text, copy.name
        assert len(text) < 2_000_000, copy.name
        assert '"image/jpeg"' in text, copy.name


@pytest.mark.parametrize(("named", "runs"), [("", 1), ("cpu", 4)])
def test_runs_go_one_by_one_on_a_card_and_side_by_side_on_cores(monkeypatch, named, runs):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv("POUTA_DEVICE", named)
    assert batch._parallel_runs(4) == runs


def test_the_minutes_are_those_of_each_methods_steps(monkeypatch, capsys):
    a_step = {"pouta": 1.0, "draem": 6.0}
    pace = lambda profile, method, **_: a_step[method]  # noqa: E731
    monkeypatch.setattr(batch, "seconds_per_step", pace)
    monkeypatch.setattr(batch, "_parallel_runs", lambda cores: cores)
    methods = ("pouta", "pouta", "draem", "patchcore")
    missing = [RunKey("paper", "mvtec", "bolt", method, seed=k) for k, method in enumerate(methods)]
    batch._announce(load_profile("paper", max_train=80), missing, 2)
    pouta, draem = 600 * 80 / 8, 700 * 80 / 8
    minutes = (2 * pouta * 1 + draem * 6) / 2 / 60
    told = f"1.00 s (POUTA), 6.00 s (DRAEM) here: about {minutes:.0f} minutes of training"
    assert told in capsys.readouterr().out
    batch._announce(load_profile("paper"), missing[-1:], 2)
    assert capsys.readouterr().out == "", "nothing is trained"

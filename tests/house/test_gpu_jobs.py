"""The list of jobs for a borrowed GPU, run here on the CPU with hardly a package installed."""

import json
import os
import re
import subprocess
import sys
import zipfile
from concurrent.futures import BrokenExecutor, Future
from types import SimpleNamespace

import gpu_jobs
import numpy as np
import pytest
import torch
from fakes import record_body
from trees import mvtec_tree, photo, save

from conftest import REPOSITORY
from pouta_lib.cli import main
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.study.judgements import find_judgements
from pouta_lib.study.plan import planned_runs
from pouta_lib.study.records import RunKey, find_records, read_record, write_run
from pouta_lib.study.run import open_run

SCRIPT = REPOSITORY / "tools" / "gpu_jobs.py"
pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="without its variables, PATH among them, Windows loads no torch"
)
# what a CUDA image need not have
ABSENT = "IPython annotated_types fastjsonschema ipywidgets matplotlib nbformat papermill pydantic"
ABSENT += " pydantic_core seaborn skimage snakemake tabulate tqdm yaml"


@pytest.fixture
def bare(tmp_path):
    """Runs the script where none of `ABSENT` can be imported, by its workers either."""
    absent = tmp_path / "absent"
    absent.mkdir()
    block = f"import sys; sys.modules.update(dict.fromkeys({ABSENT.split()}))\n"
    (absent / "sitecustomize.py").write_text(block)
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", "POUTA_RESULTS": str(tmp_path / "results")}

    def run(*words: str, data) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, SCRIPT, *words],
            env=environment | {"POUTA_DATA": str(data), "PYTHONPATH": str(absent)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """Three good training images of a category, five test images, and two textures."""
    root = tmp_path / "data"
    mvtec_tree(root)
    for k in range(2):
        save(root / "dtd" / "images" / "banded" / f"{k}.png", photo(k))
    monkeypatch.setenv("POUTA_DATA", str(root))
    return root


def test_a_list_is_run_within_its_budget(bare, data_folder, tmp_path, capsys):
    words = ["mvtec/bolt", "mvtec/bolt/base/k2/seed1", "mvtec/bolt/patchcore", "mvtec/nothere"]
    settings = ["--set", "textures=dtd", "--set", "steps=4", "--set", "few_shot_steps=4"]
    made = subprocess.run(
        [sys.executable, SCRIPT, "plan", "--profile", "smoke", *settings, *words],
        capture_output=True,
        text=True,
        check=True,
    )
    # the machine's copy of the tree may show another HEAD, but holds the same sources
    plan = json.loads(made.stdout) | {"commit": "0" * 40, "dirty": False}
    (tmp_path / "list.json").write_text(json.dumps(plan))
    keep, results = tmp_path / "out", tmp_path / "unpacked"
    words = ["run", tmp_path / "list.json", "--budget", "1e6", "--weights", "2", "--keep", keep]
    done = bare(*words, data=data_folder)
    assert done.returncode == 1, f"the last job has no data: {done.stderr}"
    log = json.loads((keep / "log.json").read_text())
    assert [{"failed", "left_out"} & set(entry) for entry in log] == [*[set()] * 3, {"failed"}]
    assert "a category out of" in log[3]["failed"]
    folders = gpu_jobs.unpack(keep, results)
    label = "smoke~few_shot_steps=4~steps=4~textures=dtd"
    records = {r.run.variant: r for r in find_records(label, results)}  # checks them
    assert {records[name].path for name in ("pouta", "base", "patchcore")} == set(folders)
    for entry, record in zip(log, (records[name] for name in ("pouta", "base", "patchcore"))):
        assert record.metrics["image_auroc"] == entry["image_auroc"]
        assert (record.commit, record.dirty) == ("0" * 40, False)
        with np.load(record.path / "small.npz") as arrays:
            assert arrays["maps"].shape == (record.data.num_test, 56, 56)
    _, model, _ = open_run(records["base"])
    assert {tensor.dtype for tensor in model.state_dict().values()} >= {torch.float32}
    with pytest.raises(PoutaError, match="expected saved weights"):  # of the first two jobs alone
        open_run(records["patchcore"])
    words = ["tables", "--as-is", "--profile", "smoke", *settings, "--results", str(results)]
    assert main(words) == 0
    assert "table_1_mvtec.csv" in capsys.readouterr().out
    # nothing is made twice
    again = bare("run", tmp_path / "list.json", "--budget", "1e6", "--keep", keep, data=data_folder)
    assert again.returncode == 1
    log = json.loads((keep / "log.json").read_text())
    assert [entry.get("left_out") for entry in log[:3]] == ["there already"] * 3


@pytest.mark.parametrize(("sources", "commit"), [(None, "plan's"), ("other code", "machine's")])
def test_a_record_gets_the_commit_of_the_same_sources_alone(tmp_path, sources, commit):
    arrays = {"maps": np.zeros((4, 8, 8), np.float16), "scores": np.zeros(4, np.float32)}
    body = record_body() | {"commit": "machine's", "dirty": True}
    key = RunKey("demo", "mini-mvtec", "nut")
    folder = write_run(key, body, torch.nn.Conv2d(3, 2, 1), arrays, tmp_path / "results")
    plan = {"commit": "plan's", "dirty": False, "sources": sources or gpu_jobs.sources_digest()}
    (tmp_path / "kept").mkdir()
    gpu_jobs._keep_small(folder, tmp_path / "kept", key.place, plan)
    (unpacked,) = gpu_jobs.unpack(tmp_path / "kept", tmp_path / "unpacked")
    record = read_record(unpacked)
    assert (record.commit, record.dirty) == (commit, commit != "plan's")


@pytest.mark.parametrize(
    ("room", "kept"), [(gpu_jobs.MAPS_BYTES, {"scores", "maps"}), (0, {"scores"})]
)
def test_maps_come_home_while_there_is_room_and_scores_always(tmp_path, monkeypatch, room, kept):
    monkeypatch.setattr(gpu_jobs, "MAPS_BYTES", room)
    arrays = {"maps": np.zeros((4, 8, 8), np.float16), "scores": np.zeros(4, np.float32)}
    key = RunKey("demo", "mini-mvtec", "nut")
    folder = write_run(key, record_body(), torch.nn.Conv2d(3, 2, 1), arrays, tmp_path / "results")
    (tmp_path / "kept").mkdir()
    plan = {"commit": "plan's", "dirty": False, "sources": "other code"}
    gpu_jobs._keep_small(folder, tmp_path / "kept", key.place, plan)
    (unpacked,) = gpu_jobs.unpack(tmp_path / "kept", tmp_path / "unpacked")
    with np.load(unpacked / "small.npz") as small:
        assert set(small) == kept and len(small["scores"]) == 4


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x"])
def test_what_comes_home_stays_in_the_results(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "runs.zip", "w") as archive:
        archive.writestr("demo/record.json", "{}")
        archive.writestr(name, "{}")
    with pytest.raises(PoutaError, match=f"folder only, found {name}"):
        gpu_jobs.unpack(tmp_path, tmp_path / "results")
    assert [path.name for path in tmp_path.iterdir()] == ["runs.zip"]


def test_what_comes_home_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("pouta_lib.data.unpack.FREE_BYTES", 0)
    with zipfile.ZipFile(tmp_path / "runs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("demo/record.json", bytes(10**6))
    with pytest.raises(PoutaError, match="folder only, found more than"):
        gpu_jobs.unpack(tmp_path, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_the_digest_is_that_of_names_and_contents(tmp_path, monkeypatch):
    monkeypatch.setenv("POUTA_HOME", str(tmp_path))
    (tmp_path / "pouta_lib").mkdir()
    (tmp_path / "pouta_lib" / "a.py").write_text("x = 1\n")
    first = gpu_jobs.sources_digest()
    assert first == gpu_jobs.sources_digest()
    (tmp_path / "pouta_lib" / "a.py").write_text("x = 2\n")
    second = gpu_jobs.sources_digest()
    (tmp_path / "pouta_lib" / "a.py").rename(tmp_path / "pouta_lib" / "b.py")
    assert len({first, second, gpu_jobs.sources_digest()}) == 3


def test_a_job_that_is_too_long_is_left_out(bare, data_folder, tmp_path):
    words = ["plan", "--profile", "smoke", "--set", "textures=dtd", "mvtec/bolt"]
    made = subprocess.run(
        [sys.executable, SCRIPT, *words], capture_output=True, text=True, check=True
    )
    (tmp_path / "list.json").write_text(made.stdout)
    keep = tmp_path / "out"
    done = bare("run", tmp_path / "list.json", "--budget", "0", "--keep", keep, data=data_folder)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((keep / "log.json").read_text())
    assert entry["left_out"] == "the time was up"
    assert not (keep / "runs.zip").exists()


def test_two_workers_run_and_judge_and_bring_both_home(data_folder, tmp_path, monkeypatch):
    for k in range(5):
        save(data_folder / "mvtec" / "bolt" / "train" / "good" / f"more{k}.png", photo(k))
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path / "results"))
    profile = ["--profile", "smoke", "--set", "textures=dtd", "--set", "steps=4"]
    lists = []
    for k, word in enumerate(["mvtec/bolt/base", "judge:mvtec/bolt/base"]):
        command = [sys.executable, SCRIPT, "plan", *profile, word]
        made = subprocess.run(command, capture_output=True, text=True, check=True)
        lists.append(tmp_path / f"list{k}.json")
        lists[-1].write_text(made.stdout)
    keep, unpacked = tmp_path / "out", tmp_path / "unpacked"
    command = [sys.executable, SCRIPT, "run", *lists, "--workers", "2", "--probe"]
    command += ["--budget", "1e6"]
    done = subprocess.run([*command, "--keep", keep], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    probed, *log = json.loads((keep / "log.json").read_text())
    assert min(probed["recorded_ms"], probed["plain_ms"]) > 0, "no card: plain both times"
    jobs = {entry["job"] for entry in log}
    assert {job.startswith("judge:") for job in jobs} == {True, False}
    (folder,) = gpu_jobs.unpack(keep, unpacked)
    label = "smoke~steps=4~textures=dtd"
    assert [r.path for r in find_records(label, unpacked)] == [folder]
    (judgement,) = find_judgements("smoke", unpacked)
    assert (judgement.label, judgement.steps) == (label, 4)


@pytest.mark.parametrize(
    ("times", "recorded"),
    [([5.2, 40.0], True), ([40.0, 30.0], False), ([RuntimeError("no memory")], True)],
)
def test_the_faster_way_is_taken_and_a_failed_probe_costs_nothing(monkeypatch, times, recorded):
    todo = iter(times)

    class Pool(Stuck):
        def submit(self, function, job, way):
            future, told = Future(), next(todo)
            assert function is gpu_jobs.probe and way is (told == times[0])
            if isinstance(told, Exception):
                future.set_exception(told)
            else:
                future.set_result(told)
            return future

    monkeypatch.setattr(gpu_jobs, "ProcessPoolExecutor", Pool)
    told = gpu_jobs.faster_way(gpu_jobs._job("mvtec/bolt", load_profile("smoke")))
    assert told["recorded"] is recorded
    assert ("failed_probe" in told) == isinstance(times[0], Exception)


def test_what_the_probe_found_is_what_the_jobs_do(monkeypatch):
    monkeypatch.setattr(gpu_jobs.training, "RECORDING", True)
    job = gpu_jobs._job("mvtec/nothere", load_profile("smoke"))
    assert "failed" in gpu_jobs._try_one(job, 1e6, {}, recorded=False)
    assert gpu_jobs.training.RECORDING is False
    card = SimpleNamespace(device=torch.device("cuda"))
    recipe = gpu_jobs.training.PAPER
    assert not gpu_jobs.training._records(recipe, load_profile("smoke"), card)
    monkeypatch.setattr(gpu_jobs.training, "RECORDING", True)
    assert gpu_jobs.training._records(recipe, load_profile("smoke"), card)


def test_the_lists_of_the_page_can_be_planned(capsys):
    page = (REPOSITORY / "docs" / "SCALING.md").read_text(encoding="utf-8")
    lines = re.findall(r"^python tools/gpu_jobs.py (plan .*) > (?:list|\d).json$", page, re.M)
    assert len(lines) == 5
    for line in lines:
        assert gpu_jobs.main(line.split()) == 0
        jobs = json.loads(capsys.readouterr().out)["jobs"]
        assert [gpu_jobs._run_of(job).key.category for job in jobs], line


def test_without_words_the_whole_study_is_planned_the_first_seed_first():
    runs = [gpu_jobs._run_of(job) for job in gpu_jobs.plan("demo", [], [])["jobs"]]
    assert {run.key for run in runs} == set(planned_runs("demo"))
    assert [run.key.seed for run in runs] == sorted(run.key.seed for run in runs)
    assert any(run.key.shots for run in runs)


def test_what_is_not_done_when_the_time_is_up_is_said_and_stopped(tmp_path, monkeypatch):
    words = ["mvtec/bolt", "mvtec/bolt/base"]
    jobs = [gpu_jobs._job(word, load_profile("smoke")) for word in words]
    monkeypatch.setattr(gpu_jobs, "ProcessPoolExecutor", Stuck)
    log = gpu_jobs.run_jobs({"jobs": jobs}, 0.0, tmp_path)
    assert [entry["left_out"] for entry in log] == ["the time was up"] * 2


def test_a_killed_worker_costs_its_own_job_alone(tmp_path, monkeypatch):
    pools = []

    class Mortal(Stuck):
        """The first pool dies of its first job; the next one does what it is given."""

        def __init__(self, *_):
            pools.append(self)

        def submit(self, *_):
            future = Future()
            if self is pools[0]:
                future.set_exception(BrokenExecutor("killed"))
            else:
                future.set_result({"left_out": "there already"})
            return future

    words = ["mvtec/bolt", "mvtec/bolt/base"]
    jobs = [gpu_jobs._job(word, load_profile("smoke")) for word in words]
    monkeypatch.setattr(gpu_jobs, "ProcessPoolExecutor", Mortal)
    first, second = gpu_jobs.run_jobs({"jobs": jobs}, 1e6, tmp_path)
    assert first["failed"] == "BrokenExecutor: killed"
    assert second["left_out"] == "there already" and len(pools) == 2
    assert json.loads((tmp_path / "log.json").read_text()) == [first, second]


class Stuck:
    """A pool whose jobs never end."""

    def __init__(self, *_):
        pass

    def submit(self, *_):
        return Future()

    def shutdown(self, **_):
        pass

"""Runs a list of training jobs on a borrowed GPU, unattended and within a time budget.

A GPU machine often has torch and little else, and is there for minutes. So a list is made where
the whole environment is, run where the GPU is, and its records are brought home:

    python tools/gpu_jobs.py plan --profile paper mvtec/transistor mvtec/transistor/base > list.json
    python tools/gpu_jobs.py run list.json --budget 540 --keep out
    python tools/gpu_jobs.py unpack out results/real
    pouta tables --as-is --profile paper --results results/real

A job is ``[judge:]dataset/category[/method[/k<shots>[/seed<n>]]]``: a run, or a judgement. `run`
takes several lists and does their jobs in order, `--workers` of them side by side. It needs torch,
torchvision, numpy, scipy, pandas, scikit-learn and safetensors, for judgements pydantic and Pillow
as well. It starts a job only if, at the pace of those before it, it will end within the budget, and
stops what is left then. What it leaves in `--keep` is few files, whole at any moment: runs.zip with
each run's record, its image scores and, while there is room for it, its maps in small, and each
judgement; the weights of the first jobs of the lists in half precision, in parts of at most 15 MiB;
log.json: how fast each job was and why one was left out.

With `--probe` a few steps of the first job are timed in the first minute, recorded as a graph and
kernel by kernel, and the faster way is taken for all jobs; log.json has both times.

One training leaves most of a card idle at small sizes. Where CUDA's Multi-Process Service is at
hand, the workers' kernels run at once; else they take turns.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, load_file, save
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pouta_lib.ground import paths
from pouta_lib.ground.errors import problem
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.profiles import Profile, load_profile, parse_overrides
from pouta_lib.ground.validation import write_json
from pouta_lib.method import training
from pouta_lib.method.weights import save_weights
from pouta_lib.score.evaluation import evaluate
from pouta_lib.study.records import ALL_SHOTS, SHOWN_METRICS, RunKey, commit, shots_of
from pouta_lib.study.run import Run, load_run_data, save_run, watch_test

MARGIN = 1.1  # a job may take so many times its estimate
SMALL_PX = 56  # side of the maps that are kept
PART_BYTES = 15 * 2**20  # of a part of the weights
PART = re.compile(r"weights\d+\.part")
MOST_PARTS = 5  # with weights.json, runs.zip and log.json eight files
MAPS_BYTES = 10 * 2**20  # of runs.zip; beyond it a run's maps stay behind
JUDGED = "judge:"
PROBED_STEPS = 100
PROBED_IMAGES = 32
PROBE_SECONDS = 60.0  # that a probe may take


def plan(profile: str, words: list[str], overrides: list[str]) -> dict[str, Any]:
    """The jobs with all their settings, which need no YAML reader where they are run.

    Without any words: all runs of the profile's study, those of the first seed first.
    """
    settings = load_profile(profile, **parse_overrides(overrides))
    head, dirty = commit()
    made_from = {"commit": head, "dirty": dirty, "sources": sources_digest()}
    if not words:
        from pouta_lib.study.plan import planned_runs

        keys = planned_runs(profile, **parse_overrides(overrides))
        words = [_word(key) for key in sorted(keys, key=lambda key: key.seed)]
    return made_from | {"jobs": [_job(word, settings) for word in words]}


def _word(key: RunKey) -> str:
    return f"{key.dataset}/{key.category}/{key.variant}/{key.shots_name}/seed{key.seed}"


def sources_digest() -> str:
    """Of the library that this script runs."""
    return paths.sources_digest(paths.project_root() / "pouta_lib")


def _job(word: str, settings: Profile) -> dict[str, Any]:
    path = word.removeprefix(JUDGED)
    dataset, category, method, shots, seed = (*path.split("/"), *[""] * 5)[:5]
    method = find_method(method or "pouta").id
    run = {
        "dataset": dataset,
        "category": category,
        "variant": method,
        "shots": shots_of(shots or ALL_SHOTS),
        "seed": int(seed[4:] or 0),
    }
    return {"run": run, "settings": settings.to_dict(), "judged": word.startswith(JUDGED)}


Pace = dict[str, float]  # seconds per step, by label and method


def probe(job: dict[str, Any], recorded: bool) -> float:
    """Milliseconds of a training step of the job's kind, recorded as a graph or not.

    The images are noise: a step takes the same time with any. The first half of the steps warms up.
    """
    run, marks = _run_of(job), list[float]()
    few: dict[str, Any] = {"steps": PROBED_STEPS, "epochs": None, "few_shot_steps": PROBED_STEPS}
    profile = dataclasses.replace(run.profile, **few)
    shape = (PROBED_IMAGES, 3, profile.size_px, profile.size_px)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def mark(done: int, steps: int, losses: dict[str, float]) -> None:  # each tenth step
        marks.append(time.perf_counter())

    training.RECORDING = recorded
    training.train(noise, noise, profile, run.key.variant, 0, progress=mark)
    half = marks[len(marks) // 2 - 1 :]
    return 1000 * (half[-1] - half[0]) / (10 * (len(half) - 1))


def faster_way(job: dict[str, Any]) -> dict[str, Any]:
    """Both times of :func:`probe` in ms, and whether recorded steps are no slower than plain ones.

    Where a probe fails or takes too long, steps are recorded: a recording that fails falls back.
    """
    told: dict[str, Any] = {"probed": _job_name(job), "recorded": True}
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    try:
        for name, recorded in (("recorded_ms", True), ("plain_ms", False)):
            told[name] = round(pool.submit(probe, job, recorded).result(PROBE_SECONDS / 2), 2)
        told["recorded"] = told["recorded_ms"] <= told["plain_ms"]
    except Exception as error:  # the jobs may do better
        told["failed_probe"] = f"{type(error).__name__}: {error}"
    finally:
        _stop(pool)
    return told


def _stop(pool: ProcessPoolExecutor) -> None:
    """Ends a pool and what its workers are at; no other pool may be running."""
    for process in multiprocessing.active_children():
        process.kill()
    pool.shutdown(wait=False, cancel_futures=True)


def run_jobs(
    plan: dict[str, Any],
    budget: float,
    keep: Path,
    workers: int = 1,
    weights: int = 1,
    probed: bool = False,
) -> list[dict[str, Any]]:
    """Runs what fits into `budget` seconds, in order; the log.

    The first `weights` jobs' weights are kept. Where `probed`, the first job's kind is.
    """
    started, pace = time.monotonic(), Pace()
    weighty = plan["jobs"][:weights]
    log: list[dict[str, Any]] = []
    todo, running = list(plan["jobs"]), dict[Future[dict[str, Any]], dict[str, Any]]()
    keep.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with _shared_card(workers), Utilisation() as used:
        recorded = True
        if probed and todo:
            told = faster_way(todo[0])
            recorded = told["recorded"]
            _write_log(log, told, keep)
        pool = ProcessPoolExecutor(workers, context)
        try:
            while todo or running:
                left = budget - (time.monotonic() - started)
                while todo and len(running) < workers:
                    job = todo.pop(0)
                    running[pool.submit(_try_one, job, left, dict(pace), recorded)] = job
                done, _ = wait(running, max(left, 0) + 1, FIRST_COMPLETED)
                for future in done:
                    job = running.pop(future)
                    try:
                        made = future.result()
                    except BrokenExecutor as error:  # a worker was killed, for its memory say
                        made = {"failed": f"{type(error).__name__}: {error}"}
                        pool = ProcessPoolExecutor(workers, context)
                    entry = _log_entry(job, made, pace, keep, plan, job in weighty)
                    entry["since_start"] = round(time.monotonic() - started, 1)
                    entry["utilisation_percent"] = used.mean()
                    _write_log(log, entry, keep)
                if not done:
                    break
        finally:
            _stop(pool)
    for job in [*running.values(), *todo]:
        _write_log(log, {"job": _job_name(job), "left_out": "the time was up"}, keep)
    return log


def _log_entry(
    job: dict[str, Any],
    entry: dict[str, Any],
    pace: Pace,
    keep: Path,
    plan: dict[str, Any],
    weighty: bool,
) -> dict[str, Any]:
    """What is to be told of a job, once what it made is kept and its pace known."""
    folder = entry.pop("made", None)
    if folder is not None:
        pace[_kind(_run_of(job))] = entry["seconds"] / max(entry["steps"], 1)
        place = _run_of(job).key.place
        if job["judged"]:
            _keep_judgement(Path(folder), keep, plan)
        else:
            _keep_small(Path(folder), keep, place, plan)
            if weighty:
                _keep_weights(Path(folder) / "model.safetensors", keep, place)
    return {"job": _job_name(job)} | entry


def _write_log(log: list[dict[str, Any]], entry: dict[str, Any], keep: Path) -> None:
    log.append(entry)
    print(json.dumps(entry), flush=True)
    write_json(keep / "log.json", log)


def _run_of(job: dict[str, Any]) -> Run:
    profile = Profile(**job["settings"])
    return Run(RunKey(profile.label, **job["run"]), profile)


def _kind(run: Run) -> str:
    return f"{run.key.label} {run.key.variant}"


def _job_name(job: dict[str, Any]) -> str:
    return JUDGED * job["judged"] + _run_of(job).key.place


def _try_one(job: dict[str, Any], left: float, pace: Pace, recorded: bool = True) -> dict[str, Any]:
    """What became of a job: what it made and measured, or why it was left out or failed."""
    training.RECORDING = recorded
    try:
        return _do_one(job, left, pace)
    except Exception as error:  # the next job may do better; its turn is paid for
        return {"failed": f"{type(error).__name__}: {error}"}


def _do_one(job: dict[str, Any], left: float, pace: Pace) -> dict[str, Any]:
    started, run = time.monotonic(), _run_of(job)
    key = run.key
    if job["judged"]:
        from pouta_lib.study.judge import judge  # needs pydantic
        from pouta_lib.study.judgements import judgement_path

        made = judgement_path(key)
    else:
        made = key.folder() / "record.json"
    if made.is_file():
        return {"left_out": "there already"}
    category, support, textures = load_run_data(run)
    images = category.train[support]
    if steps := find_method(key.variant).num_steps(run.profile, len(images), key.shots):
        estimate = steps * pace.get(_kind(run), 0.0)
        left -= time.monotonic() - started
        if estimate * MARGIN > left or left <= 0:
            return {"left_out": f"{estimate:.0f} s of training in {left:.0f} s left"}
    device = {"card": torch.cuda.get_device_name() if torch.cuda.is_available() else "none"}
    if job["judged"]:
        judgement = judge(run, watch=True)
        judged = {"both": judgement.both["all"].image_auroc, "steps": judgement.steps}
        return {"made": str(made)} | judged | {"seconds": judgement.seconds.train} | device
    watch = watch_test(run, category)
    trained = training.fit(
        images, textures, run.profile, key.variant, key.seed, shots=key.shots, watch=watch
    )
    found = evaluate(trained.model, category, run.profile, trained.compute, key.variant)
    folder = save_run(run, category, support, trained, found)
    told: dict[str, Any] = {name: found.metrics[name] for name in SHOWN_METRICS}
    told |= {"steps": trained.steps, "seconds": round(trained.seconds, 1)}
    speed = trained.steps * run.profile.batch_size / trained.seconds
    told |= {"images_per_second": round(speed, 1), "precision": trained.compute.precision}
    return {"made": str(folder)} | told | device


@contextlib.contextmanager
def _shared_card(workers: int) -> Iterator[None]:
    """Workers whose kernels run side by side, where CUDA's Multi-Process Service can be had."""
    control = shutil.which("nvidia-cuda-mps-control")
    if workers == 1 or control is None:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        subprocess.run([control, "-d"], check=False)
        try:
            yield
        finally:
            subprocess.run([control], input="quit -t 2\n", text=True, timeout=20, check=False)


def _signed(record: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """The record with the commit of the plan, where the code is that of the plan.

    A copied tree may have no history, or another HEAD: the code itself says what it is.
    """
    if plan["sources"] != sources_digest():
        return record
    return record | {"commit": plan["commit"], "dirty": plan["dirty"]}


def _keep_judgement(path: Path, keep: Path, plan: dict[str, Any]) -> None:
    """Adds a judgement to runs.zip, under its own place in the results."""
    record = _signed(json.loads(path.read_text(encoding="utf-8")), plan)
    inside = path.relative_to(paths.results_root()).as_posix()
    _add(keep, {inside: json.dumps(record, indent=1) + "\n"})


def _add(keep: Path, files: dict[str, str | bytes]) -> None:
    """Adds files to runs.zip, in one move: a machine may be taken away at any moment."""
    whole = keep / "runs.zip"
    with paths.atomic_path(whole) as temporary:
        if whole.is_file():
            shutil.copyfile(whole, temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            for name, content in files.items():
                archive.writestr(name, content)


def _keep_small(folder: Path, keep: Path, name: str, plan: dict[str, Any]) -> None:
    """Adds a run to runs.zip: its record, its scores and, if there is room, maps of `SMALL_PX`."""
    record = _signed(json.loads((folder / "record.json").read_text(encoding="utf-8")), plan)
    # they travel in half precision, or smaller, and are others afterwards
    record |= {"weights": None, "arrays": None}
    with np.load(folder / "maps.npz") as arrays:
        maps = torch.from_numpy(arrays["maps"].astype(np.float32)).unsqueeze(1)
        small = F.interpolate(maps, (SMALL_PX, SMALL_PX), mode="area").squeeze(1)
        scores = arrays["scores"]
    packed = _packed(maps=small.numpy().astype(np.float16), scores=scores)
    archive = keep / "runs.zip"
    used = archive.stat().st_size if archive.is_file() else 0
    if used + len(packed) > MAPS_BYTES:
        packed = _packed(scores=scores)
    whole = json.dumps(record, indent=1) + "\n"
    _add(keep, {f"{name}/record.json": whole, f"{name}/small.npz": packed})


def _packed(**arrays: np.ndarray) -> bytes:
    """A compressed npz file's content."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # its third argument is no array
    return content.getvalue()


def _keep_weights(weights: Path, keep: Path, name: str) -> None:
    """Half of the weights' bits, in parts, while there is room for whole ones."""
    state = load_file(weights)
    whole = save({k: v.half() if v.is_floating_point() else v for k, v in state.items()})
    index = _weights_index(keep)
    parts = [whole[i : i + PART_BYTES] for i in range(0, len(whole), PART_BYTES)]
    used = sum(len(names) for names in index.values())
    if used + len(parts) > MOST_PARTS:
        return
    index[name] = [f"weights{used + k}.part" for k in range(len(parts))]
    for file, part in zip(index[name], parts):
        (keep / file).write_bytes(part)
    (keep / "weights.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def _weights_index(keep: Path) -> dict[str, list[str]]:
    """The parts that each run's weights are kept in."""
    path = keep / "weights.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def unpack(kept: Path, results: Path) -> list[Path]:
    """The run folders that `kept` holds, put into `results`; weights as float32 again.

    *Raises* :class:`PoutaError` for an archive that is damaged, or that would write elsewhere or
    without bounds, and for weights of runs that are not in it.
    """
    from pouta_lib.data.unpack import unpack as unpack_safely  # at home, where it can be imported

    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / "runs"
        unpack_safely(kept / "runs.zip", unpacked)
        records = sorted(unpacked.rglob("record.json"))
        folders = [results / path.parent.relative_to(unpacked) for path in records]
        shutil.copytree(unpacked, results, dirs_exist_ok=True)
    for name, parts in _weights_index(kept).items():
        if results / name not in folders or not all(map(PART.fullmatch, parts)):
            wanted = "weights of the runs in runs.zip, in files beside it"
            raise problem(wanted, f"{name}: {parts}", kept, "fetch the files of the card again")
        state = load(b"".join((kept / part).read_bytes() for part in parts))
        whole = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        save_weights(whole, results / name)
    return folders


class Utilisation:
    """How busy the card was while the block ran, as nvidia-smi tells; nothing without one."""

    def __enter__(self) -> "Utilisation":
        self.samples: list[float] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        if torch.cuda.is_available() and shutil.which("nvidia-smi"):
            self.thread.start()
        return self

    def _watch(self) -> None:
        words = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self.over.wait(2):
            told = subprocess.run(words, capture_output=True, text=True, check=False).stdout
            self.samples += [float(line) for line in told.split()[:1] if line.isdigit()]

    def __exit__(self, *raised: object) -> None:
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()

    def mean(self) -> float | None:
        return round(statistics.mean(self.samples), 1) if self.samples else None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    actions = parser.add_subparsers(required=True, dest="action")
    planning = actions.add_parser("plan", help="print a list of jobs as JSON")
    planning.add_argument("--profile", default="paper")
    planning.add_argument("--set", dest="overrides", action="append", default=[])
    planning.add_argument("jobs", nargs="*", help="default: the whole study of the profile")
    running = actions.add_parser("run", help="run the jobs of one list or of several")
    running.add_argument("lists", type=Path, nargs="+")
    running.add_argument("--workers", type=int, default=1, help="jobs side by side; default 1")
    running.add_argument(
        "--weights", type=int, default=1, help="jobs whose weights are kept; default 1"
    )
    running.add_argument("--probe", action="store_true", help="time a step both ways first")
    running.add_argument("--budget", type=float, required=True, help="seconds")
    running.add_argument("--keep", type=Path, required=True, help="for records and small maps")
    unpacking = actions.add_parser("unpack", help="put the runs of a kept folder into results")
    unpacking.add_argument("kept", type=Path)
    unpacking.add_argument("results", type=Path)
    options = parser.parse_args(arguments)
    if options.action == "unpack":
        print(*unpack(options.kept, options.results), sep="\n")
        return 0
    if options.action == "plan":
        print(json.dumps(plan(options.profile, options.jobs, options.overrides), indent=1))
        return 0
    plans = [json.loads(path.read_text(encoding="utf-8")) for path in options.lists]
    jobs = plans[0] | {"jobs": [job for plan in plans for job in plan["jobs"]]}
    log = run_jobs(
        jobs, options.budget, options.keep, options.workers, options.weights, options.probe
    )
    return 1 if any("failed" in entry for entry in log) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs a list of training jobs on a borrowed GPU, unattended and within a time budget.

A GPU machine often has torch and little else, and is there for minutes. So a list is made where
the whole environment is, run where the GPU is, and its records are brought home:

    python tools/gpu_jobs.py plan --profile paper mvtec/transistor mvtec/transistor/base > list.json
    python tools/gpu_jobs.py run list.json --budget 540 --keep out
    python tools/gpu_jobs.py unpack out results/real
    pouta tables --profile paper --results results/real

A job is ``dataset/category[/method[/k<shots>[/seed<n>]]]``. `run` needs torch, torchvision,
numpy, scipy, pandas, scikit-learn and safetensors. It starts a job only if it will end within
the budget and finishes what it starts. What it leaves in `--keep` is few files, of at most 15 MiB,
and whole after each job: runs.zip with each run's record, its image scores and small maps; the
weights of the first runs in half precision, in parts; log.json: how fast each job was and why one
was left out.
"""

import argparse
import hashlib
import io
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, load_file, save
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.paths import project_root
from pouta_lib.ground.profiles import Profile, load_profile, parse_overrides
from pouta_lib.method.training import fit, num_steps
from pouta_lib.method.weights import save_weights
from pouta_lib.score.evaluation import evaluate
from pouta_lib.study.records import RunKey, commit
from pouta_lib.study.run import Run, load_run_data, save_run, watch_test

PROBE_STEPS = 30
MARGIN = 1.1  # a job may take so many times its estimate
WORTH_COMPILING = 60  # seconds of training from which on torch.compile is tried
SMALL_PX = 56  # side of the maps that are kept
PART_BYTES = 15 * 2**20  # of a part of the weights
MOST_PARTS = 6


def plan(profile: str, words: list[str], overrides: list[str]) -> dict[str, Any]:
    """The jobs with all their settings, which need no YAML reader where they are run."""
    settings = load_profile(profile, **parse_overrides(overrides))
    head, dirty = commit()
    made_from = {"commit": head, "dirty": dirty, "sources": sources_digest()}
    return made_from | {"jobs": [_job(word, settings) for word in words]}


def sources_digest() -> str:
    """The SHA-256 of the library's modules, names and contents: the same code, the same digest."""
    digest, library = hashlib.sha256(), project_root() / "pouta_lib"
    for path in sorted(
        library.rglob("*.py"), key=lambda path: path.relative_to(library).as_posix()
    ):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(library).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _job(word: str, settings: Profile) -> dict[str, Any]:
    dataset, category, method, shots, seed = (*word.split("/"), *[""] * 5)[:5]
    method = find_method(method or "pouta").id
    run = {"dataset": dataset, "category": category, "variant": method}
    run |= {"shots": int(shots[1:]) if shots not in ("", "all") else None}
    return {"run": run | {"seed": int(seed[4:] or 0)}, "settings": settings.to_dict()}


def run_jobs(plan: dict[str, Any], budget: float, keep: Path) -> list[dict[str, Any]]:
    """Runs what fits into `budget` seconds, in order; the log."""
    started, log, pace = time.monotonic(), [], {}
    keep.mkdir(parents=True, exist_ok=True)
    for job in plan["jobs"]:
        profile = Profile(**job["settings"])
        run = Run(RunKey(profile.label, **job["run"]), profile)
        entry = {"run": _name(run.key), "gpu": _gpu_name()}
        log.append(entry)
        try:
            entry |= _run_one(run, budget - (time.monotonic() - started), pace, keep, plan)
        except Exception as error:  # the next job may do better; its turn is paid for
            entry |= {"failed": f"{type(error).__name__}: {error}"}
        entry["since_start"] = round(time.monotonic() - started, 1)
        print(json.dumps(entry), flush=True)
        (keep / "log.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    return log


def _name(key: RunKey) -> str:
    return key.folder("/").relative_to("/").as_posix()


def _run_one(run: Run, left: float, pace: dict, keep: Path, plan: dict) -> dict[str, Any]:
    if (run.key.folder() / "record.json").is_file():
        return {"left_out": "there already"}
    started = time.monotonic()
    category, support, textures = load_run_data(run)
    images, key = category.train[support], run.key
    in_steps = find_method(key.variant).trained
    steps = num_steps(run.profile, len(images), key.shots) if in_steps else 0
    kind = (key.label, key.variant)
    if kind not in pace:
        pace[kind] = _probe(run, images, textures, steps) if steps else (False, 0.0)
    compiled, a_step = pace[kind]
    estimate = steps * a_step
    left -= time.monotonic() - started
    if estimate * MARGIN > left:
        return {"left_out": f"{estimate:.0f} s of training in {left:.0f} s left"}
    profile = replace(run.profile, compile=compiled)
    run = Run(key, profile)
    torch.compiler.reset()
    with Utilisation() as used:
        watch = watch_test(run, category)
        trained = fit(
            images, textures, profile, key.variant, key.seed, shots=key.shots, watch=watch
        )
    pace[kind] = compiled, trained.seconds / max(steps, 1)
    found = evaluate(trained.model, category, profile, trained.compute, key.variant)
    folder = save_run(run, category, support, trained, found)
    _keep_small(folder, keep, _name(key), plan)
    metrics = {name: found.metrics[name] for name in ("image_auroc", "pixel_auroc", "pixel_ap")}
    speed = {"images_per_second": round(steps * profile.batch_size / trained.seconds, 1)}
    speed |= {"seconds": round(trained.seconds, 1), "utilisation_percent": used.mean()}
    return metrics | speed | {"precision": trained.compute.precision, "compiled": compiled}


def _probe(run: Run, images: np.ndarray, textures: np.ndarray, steps: int) -> tuple[bool, float]:
    """Whether compiled steps are the faster ones, and the seconds of a step."""
    best = False, _seconds_a_step(run, images, textures, compiled=False)
    if run.profile.compile and torch.cuda.is_available() and best[1] * steps > WORTH_COMPILING:
        try:
            seconds = _seconds_a_step(run, images, textures, compiled=True)
            best = min(best, (True, seconds), key=lambda found: found[1])
        except Exception as error:  # no compiler, or one that cannot do it: eager steps serve
            print(f"not compiled: {type(error).__name__}: {str(error)[:200]}", flush=True)
    return best


def _seconds_a_step(run: Run, images: np.ndarray, textures: np.ndarray, compiled: bool) -> float:
    """The seconds of a training step, the second time: kernels are chosen by then."""
    probe = {"steps": PROBE_STEPS, "few_shot_steps": PROBE_STEPS, "epochs": None}
    profile = replace(run.profile, compile=compiled, **probe)
    for _ in range(2):
        torch.compiler.reset()
        ticks: list[float] = []
        fit(
            images,
            textures,
            profile,
            run.key.variant,
            run.key.seed,
            progress=lambda *_, ticks=ticks: ticks.append(time.monotonic()),
        )
    seconds = (ticks[-1] - ticks[0]) / (PROBE_STEPS - 10)
    print(f"{run.key.variant}: {'compiled' if compiled else 'eager'} {seconds:.4f} s", flush=True)
    return seconds


def _keep_small(folder: Path, keep: Path, name: str, plan: dict[str, Any]) -> None:
    """Adds a run to runs.zip: record, scores and maps of `SMALL_PX`; and keeps its weights."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    # a copied tree may have no history, or another HEAD: the code itself says what it is
    if plan["sources"] == sources_digest():
        record |= {"commit": plan["commit"], "dirty": plan["dirty"]}
    with np.load(folder / "maps.npz") as arrays:
        maps = torch.from_numpy(arrays["maps"].astype(np.float32)).unsqueeze(1)
        small = F.interpolate(maps, (SMALL_PX, SMALL_PX), mode="area").squeeze(1)
        scores = arrays["scores"]
    packed = io.BytesIO()
    np.savez_compressed(packed, maps=small.numpy().astype(np.float16), scores=scores)
    with zipfile.ZipFile(keep / "runs.zip", "a") as archive:
        archive.writestr(f"{name}/record.json", json.dumps(record, indent=1) + "\n")
        archive.writestr(f"{name}/small.npz", packed.getvalue())
    _keep_weights(folder / "model.safetensors", keep, name)


def _keep_weights(weights: Path, keep: Path, name: str) -> None:
    """Half of the weights' bits, in parts, while there is room for whole ones."""
    state = load_file(weights)
    whole = save({k: v.half() if v.is_floating_point() else v for k, v in state.items()})
    index = json.loads((keep / "weights.json").read_text()) if _has(keep, "weights.json") else {}
    parts = [whole[i : i + PART_BYTES] for i in range(0, len(whole), PART_BYTES)]
    used = sum(len(names) for names in index.values())
    if used + len(parts) > MOST_PARTS:
        return
    index[name] = [f"weights{used + k}.part" for k in range(len(parts))]
    for file, part in zip(index[name], parts):
        (keep / file).write_bytes(part)
    (keep / "weights.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def unpack(kept: Path, results: Path) -> list[Path]:
    """The run folders that `kept` holds, put into `results`; weights as float32 again."""
    with zipfile.ZipFile(kept / "runs.zip") as archive:
        archive.extractall(results)
        folders = [results / Path(n).parent for n in archive.namelist() if n.endswith(".json")]
    index = json.loads((kept / "weights.json").read_text()) if _has(kept, "weights.json") else {}
    for name, parts in index.items():
        state = load(b"".join((kept / part).read_bytes() for part in parts))
        whole = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        save_weights(whole, results / name)
    return folders


class Utilisation:
    """How busy the card was while the block ran, as nvidia-smi tells; nothing without one."""

    def __enter__(self) -> "Utilisation":
        self.samples, self.over = [], threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        if torch.cuda.is_available() and shutil.which("nvidia-smi"):
            self.thread.start()
        return self

    def _watch(self) -> None:
        words = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self.over.wait(2):
            told = subprocess.run(words, capture_output=True, text=True, check=False).stdout
            self.samples += [float(line) for line in told.split()[:1] if line.isdigit()]

    def __exit__(self, *_) -> None:
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()

    def mean(self) -> float | None:
        return round(statistics.mean(self.samples), 1) if self.samples else None


def _gpu_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none: on the CPU"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    actions = parser.add_subparsers(required=True, dest="action")
    planning = actions.add_parser("plan", help="print a list of jobs as JSON")
    planning.add_argument("--profile", default="paper")
    planning.add_argument("--set", dest="overrides", action="append", default=[])
    planning.add_argument("jobs", nargs="+")
    running = actions.add_parser("run", help="run the jobs of a list")
    running.add_argument("list", type=Path)
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
    jobs = json.loads(options.list.read_text(encoding="utf-8"))
    log = run_jobs(jobs, options.budget, options.keep)
    return 1 if any("failed" in entry for entry in log) else 0


if __name__ == "__main__":
    sys.exit(main())

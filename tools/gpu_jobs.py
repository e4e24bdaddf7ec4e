"""Runs a list of training jobs on a borrowed GPU, unattended and within a time budget.

A GPU machine often has torch and little else, and is there for minutes. So a list is made where
the whole environment is, run where the GPU is, and its records are brought home:

    python tools/gpu_jobs.py plan --profile paper mvtec/transistor mvtec/transistor/base > list.json
    python tools/gpu_jobs.py run list.json --budget 540 --keep out
    pouta tables --profile paper --results out

A job is ``dataset/category[/variant[/k<shots>[/seed<n>]]]``. `run` needs torch, torchvision,
numpy, scipy, pandas, scikit-learn and safetensors. It starts a job only if it will end within
the budget, finishes what it starts, and leaves in `--keep` each run's record, its image scores
and small maps, and log.json: how fast each job was and why one was left out.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pouta_lib.evaluation import evaluate
from pouta_lib.profiles import Profile, load_profile, parse_overrides
from pouta_lib.records import RunKey, commit
from pouta_lib.run import Run, load_run_data, save_run, watch_test
from pouta_lib.training import num_steps, train

PROBE_STEPS = 30
MARGIN = 1.1  # a job may take so many times its estimate
SMALL_PX = 56  # side of the maps that are kept


def plan(profile: str, words: list[str], overrides: list[str]) -> dict[str, Any]:
    """The jobs with all their settings, which need no YAML reader where they are run."""
    settings = load_profile(profile, **parse_overrides(overrides))
    head, dirty = commit()
    return {"commit": head, "dirty": dirty, "jobs": [_job(word, settings) for word in words]}


def _job(word: str, settings: Profile) -> dict[str, Any]:
    dataset, category, variant, shots, seed = (*word.split("/"), *[""] * 5)[:5]
    run = {"dataset": dataset, "category": category, "variant": variant or "pouta"}
    run |= {"shots": int(shots[1:]) if shots not in ("", "all") else None}
    return {"run": run | {"seed": int(seed[4:] or 0)}, "settings": settings.to_dict()}


def run_jobs(plan: dict[str, Any], budget: float, keep: Path) -> list[dict[str, Any]]:
    """Runs what fits into `budget` seconds, in order; the log."""
    started, log, pace = time.monotonic(), [], {}
    keep.mkdir(parents=True, exist_ok=True)
    for job in plan["jobs"]:
        settings = job["settings"] | {"overrides": tuple(job["settings"]["overrides"])}
        profile = Profile(**settings)
        run = Run(RunKey(profile.label, **job["run"]), profile)
        entry = {"run": "/".join(run.key.folder("/").parts[1:]), "gpu": _gpu_name()}
        log.append(entry)
        try:
            entry |= _run_one(run, budget - (time.monotonic() - started), pace, keep, plan)
        except Exception as error:  # the next job may do better; its turn is paid for
            entry |= {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(entry), flush=True)
        (keep / "log.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    return log


def _run_one(run: Run, left: float, pace: dict, keep: Path, plan: dict) -> dict[str, Any]:
    if (run.key.folder() / "record.json").is_file():
        return {"left_out": "there already"}
    category, support, textures = load_run_data(run)
    images, key, profile = category.train[support], run.key, run.profile
    steps = num_steps(profile, len(images), key.shots)
    kind = (key.profile, key.variant)
    if kind not in pace:
        probe = replace(profile, steps=PROBE_STEPS, few_shot_steps=PROBE_STEPS, epochs=None)
        train(images, textures, probe, key.variant, key.seed)  # compiles, chooses kernels
        pace[kind] = train(images, textures, probe, key.variant, key.seed).seconds / PROBE_STEPS
    estimate = steps * pace[kind]
    if estimate * MARGIN > left:
        return {"left_out": f"{estimate:.0f} s of training in {left:.0f} s left"}
    with Utilisation() as used:
        watch = watch_test(run, category)
        trained = train(
            images, textures, profile, key.variant, key.seed, shots=key.shots, watch=watch
        )
    pace[kind] = trained.seconds / steps
    found = evaluate(trained.model, category, profile, trained.compute)
    folder = save_run(run, category, support, trained, found)
    _keep_small(folder, keep / key.folder("/").relative_to("/"), plan)
    metrics = {name: found.metrics[name] for name in ("image_auroc", "pixel_auroc", "pixel_ap")}
    speed = {"images_per_second": round(steps * profile.batch_size / trained.seconds, 1)}
    speed |= {"seconds": round(trained.seconds, 1), "utilisation_percent": used.mean()}
    return metrics | speed | {"precision": trained.compute.precision}


def _keep_small(folder: Path, target: Path, plan: dict[str, Any]) -> None:
    """Copies a run without weights: record, scores and maps of `SMALL_PX`, in one move."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    if record["commit"] is None:  # a copy of the tree, without its history
        record |= {"commit": plan["commit"], "dirty": plan["dirty"]}
    text = json.dumps(record, indent=1) + "\n"
    (partial / "record.json").write_text(text, encoding="utf-8")
    with np.load(folder / "maps.npz") as arrays:
        maps = torch.from_numpy(arrays["maps"].astype(np.float32)).unsqueeze(1)
        small = F.interpolate(maps, (SMALL_PX, SMALL_PX), mode="area").squeeze(1)
        scores = arrays["scores"]
    np.savez_compressed(partial / "small.npz", maps=small.numpy().astype(np.float16), scores=scores)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


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
    options = parser.parse_args(arguments)
    if options.action == "plan":
        print(json.dumps(plan(options.profile, options.jobs, options.overrides), indent=1))
        return 0
    jobs = json.loads(options.list.read_text(encoding="utf-8"))
    log = run_jobs(jobs, options.budget, options.keep)
    return 1 if any("failed" in entry for entry in log) else 0


if __name__ == "__main__":
    sys.exit(main())

"""The batch: a study by Snakemake, from the plan to the end of its last process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pouta_lib.data.loading import count_good
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.labels import folder_name, setting_words
from pouta_lib.ground.locks import Lock, only_one
from pouta_lib.ground.methods import Method, find_method
from pouta_lib.ground.paths import figures_root, project_root, results_root, sweep
from pouta_lib.ground.profiles import Profile, load_profile, parse_overrides
from pouta_lib.ground.threads import wait_passively
from pouta_lib.study.cluster import cluster_options, own_queue
from pouta_lib.study.plan import Study, planned_study, seconds_per_step
from pouta_lib.study.records import RunKey, is_whole, load_arrays, read_record
from pouta_lib.study.run import Run, todays_category
from pouta_lib.study.warm import nursery

PATIENCE = 20.0  # seconds from SIGTERM to SIGKILL


def run_study(
    profile: str,
    categories: list[str],
    overrides: list[str],
    *,
    cores: int,
    dry_run: bool = False,
    cluster: Path | None = None,
) -> int:
    """Makes what is missing of a study through the Snakefile; Snakemake's exit status.

    With `cluster`, the folder of a Snakemake profile, on the cluster that it describes.

    *Raises* :class:`PoutaError` for a study without runs, for no cores, and for what its plan
    refuses.
    """
    if cores < 1:
        raise problem("one core or more", str(cores), "--cores", "leave it out: all are taken then")
    settings = load_profile(profile, **parse_overrides(overrides))
    plan = planned_study(settings, categories)
    if not plan.runs:
        raise problem("at least one run", "none", f"configs/{settings.name}.yaml", "add a group")
    study = results_root() / folder_name(settings.label)
    _refuse_braces(plan)
    missing = [key for key in plan.runs if not is_whole(key)]
    _refuse_shots(missing, settings)
    _tell_of_other_images([key for key in plan.runs if key not in missing], settings)
    if cluster is None:
        where = ["--cores", str(cores), "--resources", f"gpu={_parallel_runs(cores)}"]
    else:
        where = cluster_options(cluster, study)
    shown = (study / "tables", figures_root() / study.name)
    if plan.notebooks and not all(folder.is_dir() for folder in shown):
        # written by notebooks as they are executed: Snakemake does not know of them
        where += ["--forcerun", "study"]
    told = f"study {settings.label}: {len(plan.runs)} runs, {len(missing)} to make"
    print(f"{told}, {cluster or f'{cores} cores'}", flush=True)
    # the first notebook's tables, I to III, are what a reader waits for: its runs come first
    command = _snakemake(settings, categories, where, next(iter(plan.notebooks)))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "POUTA_PROGRESS": "lines"}
    wait_passively(environment)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if dry_run:
        return subprocess.run([*command, "--dry-run"], env=environment, check=False).returncode
    started = time.monotonic()
    with only_one(study / ".study.lock", f"study {settings.label}") as lock:
        sweep(study)
        sweep(figures_root() / study.name)
        if missing and cluster is None:
            _announce(settings, missing, cores)
        if cluster is None:
            with nursery(environment) as files:
                status = _follow(command, environment, lock, files)
        else:
            with own_queue(study):
                status = _follow(command, environment, lock)
    if status == 0:
        _require_whole(plan)
        _require_unchanged(plan)
        minutes = (time.monotonic() - started) / 60
        print(f"study {settings.label}: done in {minutes:.1f} minutes")
        _summarise(study, figures_root() / study.name)
    return status


def _refuse_braces(plan: Study) -> None:
    """*Raises* :class:`PoutaError` where a folder has what Snakemake would fill in."""
    for path in (project_root(), *(key.folder() for key in plan.runs)):
        if set("{}") & set(str(path)):
            wanted = "folders and names without braces, which Snakemake fills in"
            raise problem(wanted, "braces", path, "rename it, or name another --results")


def _refuse_shots(missing: Sequence[RunKey], settings: Profile) -> None:
    """*Raises* :class:`PoutaError` for more shots than there are images, before any other work."""
    there: dict[tuple[str, str], int] = {}
    for key in missing:
        name = (key.dataset, key.category)
        if key.shots is not None and name not in there:
            there[name] = count_good(*name, settings.max_train)
        if key.shots is not None and key.shots > there[name]:
            wanted, where = f"at most {there[name]} shots", "/".join(name)
            raise problem(wanted, str(key.shots), where, "ask for fewer shots")


def _tell_of_other_images(made: Sequence[RunKey], settings: Profile) -> None:
    """Says of which categories there are other images now than the finished runs were made with.

    They are not made again: only the user knows whether the new images are meant. Of a category
    whose images are not here nothing is said.
    """
    for dataset, category in dict.fromkeys((key.dataset, key.category) for key in made):
        runs = [key for key in made if (key.dataset, key.category) == (dataset, category)]
        with suppress(PoutaError):
            there = todays_category(Run(runs[0], settings), quiet=True)
            of = [read_record(key.folder()).data.manifest_hash for key in runs]
            if others := sum(one != there.manifest_hash for one in of):
                where = results_root() / folder_name(settings.label) / "runs" / dataset / category
                told = f"{others} of {len(of)} finished runs of {dataset}/{category} are of other"
                todo = f"remove {where} to have them made again"
                print(f"note: {told} images than there are now; {todo}", flush=True)


def _snakemake(
    settings: Profile, categories: list[str], where: list[str], first: Path
) -> list[str | Path]:
    """Snakemake's command for a study: `where` it runs, and the notebook that it makes `first`."""
    command: list[str | Path] = [sys.executable, "-m", "snakemake"]
    command += ["--snakefile", project_root() / "Snakefile"]
    command += ["--directory", project_root(), "--rerun-incomplete", *where]
    command += ["--quiet", "rules", "host", "reason", "--keep-going", "--nolock"]
    # Snakemake weighs all that is ready once a timespan for each job that it has started
    command += ["--max-jobs-per-timespan", "100/10s"]
    command += ["--config", f"profile={settings.name}"]
    command += [f"categories={json.dumps(categories, ensure_ascii=False)}"]
    command += [f"overrides={json.dumps(setting_words(settings.overrides))}"]
    return [*command, "--prioritize", first]


def _follow(
    command: list[str | Path], environment: dict[str, str], lock: Lock, files: Sequence[int] = ()
) -> int:
    """Runs Snakemake to its end. What stops this process stops all that Snakemake has started.

    Where this process is killed, and Snakemake is not, the lock and `files` stay with Snakemake.
    """
    own_group: dict[str, Any] = {}
    if os.name == "posix":
        own_group = {"start_new_session": True, "pass_fds": [lock.file, *files]}
    process = subprocess.Popen(command, env=environment, **own_group)
    lock.note(f" (its Snakemake: process {process.pid})")
    try:
        return process.wait()
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process and its group, kindly first."""
    if os.name != "posix":
        process.terminate()
        return
    with suppress(ProcessLookupError):  # when none of them is left
        os.killpg(process.pid, signal.SIGTERM)
        patience = time.monotonic() + PATIENCE
        while time.monotonic() < patience:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _require_whole(plan: Study) -> None:
    """*Raises* :class:`PoutaError` where a finished study lacks something that was planned."""
    missing = [(key.folder(), key.command()) for key in plan.runs if not is_whole(key)]
    missing += [(path, todo) for path, todo in plan.judgements.items() if not path.is_file()]
    missing += [(path, "give the command again") for path in plan.notebooks if not path.is_file()]
    if missing:
        counts = (len(plan.runs), len(plan.judgements), len(plan.notebooks))
        wanted = "all of {} runs, {} judgements, {} notebooks".format(*counts)
        raise problem(wanted, f"{len(missing)} missing", *missing[0])


def _require_unchanged(plan: Study) -> None:
    """*Raises* :class:`PoutaError` where weights or maps are not those that a record tells of."""
    from pouta_lib.method.weights import read_weights

    for key in plan.runs:
        todo = f"remove it, and make it again: {key.command()}"
        read_weights(key.folder(), read_record(key.folder()).weights, todo)
        load_arrays(key.folder())


def _summarise(results: Path, figures: Path) -> None:
    """Names what there is now, and where."""
    for name, folder, pattern in (
        ("run records", results / "runs", "*/*/*/*/seed*/record.json"),
        ("tables", results / "tables", "*.md"),
        ("notebooks", results / "notebooks", "*.ipynb"),
        ("figures", figures, "*.png"),
    ):
        found = sorted(folder.glob(pattern))
        print(f"  {len(found):3} {name} in {folder}")
        if name != "run records":
            print(f"      {', '.join(path.stem for path in found)}")


def _parallel_runs(cores: int) -> int:
    """Runs side by side: one where runs compute on a card, otherwise one per core."""
    from pouta_lib.method.device import choose_compute

    return cores if choose_compute().device.type == "cpu" else 1


def _announce(settings: Profile, missing: list[RunKey], cores: int) -> None:
    """Says beforehand how long it will take: a few training steps of each method tell."""
    images = settings.max_train or 250  # where epochs count: a typical category
    steps: Counter[Method] = Counter()
    for key in missing:
        method = find_method(key.variant)
        if method.trained:
            steps[method] += method.num_steps(settings, images, key.shots)
    if not steps:
        return
    a_step = {method: seconds_per_step(settings, method.id, probe_seconds=1) for method in steps}
    side_by_side = min(_parallel_runs(cores), len(missing))
    minutes = sum(steps[method] * a_step[method] for method in steps) / side_by_side / 60
    each = ", ".join(f"{seconds:.2f} s ({method.title})" for method, seconds in a_step.items())
    told = f"  a training step takes {each} here: about {minutes:.0f} minutes of training"
    print(told, flush=True)

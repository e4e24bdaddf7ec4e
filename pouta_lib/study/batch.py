"""The batch: Snakemake over notebooks, and papermill over one notebook."""

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.locks import Lock, only_one
from pouta_lib.ground.paths import (
    figures_root,
    project_root,
    results_root,
    sweep,
    temporary_beside,
)
from pouta_lib.ground.threads import wait_passively

if TYPE_CHECKING:
    from pouta_lib.ground.profiles import Profile
    from pouta_lib.study.plan import Study
    from pouta_lib.study.records import RunKey
    from pouta_lib.study.run import Run

LARGE_PICTURE = 40_000  # characters of base64
PATIENCE = 20.0  # seconds from SIGTERM to SIGKILL
# Of the kernel: pictures are not packed well before they are made small; no warnings of its own,
# about its sockets (a cell's still appear).
PICTURES = {"bbox_inches": "tight", "pil_kwargs": {"compress_level": 1}}
KERNEL = [f"--InlineBackend.print_figure_kwargs={PICTURES}", "--log-level=40"]


def execute_notebook(source: Path, target: Path, parameters: dict[str, Any]) -> None:
    """Executes a notebook with papermill; the executed copy appears at `target` when it is whole.

    Where a cell fails, the copy up to that cell is kept as ``<target>.failed.ipynb``.

    *Raises* :class:`PoutaError` with the failing cell's error.
    """
    # jsonschema would build a grammar of web addresses, a second's work that nobody here asks for
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None: not to be found
    import papermill
    from nbclient.exceptions import DeadKernelError

    failed = target.with_suffix(".failed.ipynb")
    folder = temporary_beside(target)
    partial = folder / target.name
    try:
        folder.mkdir(parents=True)
        papermill.execute_notebook(
            _no_template(source),
            _no_template(partial),
            parameters,
            cwd=source.parent,
            kernel_name="python3",
            progress_bar=False,
            request_save_on_cell_execute=False,  # the copy counts when it is whole
            stderr_file=sys.stderr,
            extra_arguments=KERNEL,
            # the executed copy is complete by then: a farewell would take two seconds
            shutdown_kernel="immediate",
        )
        _tidy(partial)
        partial.replace(target)
        failed.unlink(missing_ok=True)
    except papermill.PapermillExecutionError as error:
        with suppress(FileNotFoundError):
            partial.replace(failed)
        raise PoutaError(
            f"{source.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"  where: {failed}\n  to do: open this copy; the failing cell is marked"
        ) from error
    except DeadKernelError as error:
        raise problem(
            f"the kernel of {source.name} to live until the end",
            "it was stopped, or ended by the system, which does so where memory runs out",
            target,
            "give the command again: it goes on from the checkpoint",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _no_template(path: Path) -> str:
    """A path as papermill takes it, which fills in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _tidy(path: Path) -> None:
    """Takes this machine's paths out of an executed notebook and makes its pictures small.

    Photographs as PNG are what makes an executed notebook large; as JPEG they take a tenth. Lines
    stay as they are, since JPEG gains little there.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)  # what they showed; they live in a kernel alone
    for name in ("input_path", "output_path"):
        notebook.metadata.papermill.pop(name, None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":  # a warning names the file it comes from
                for folder in (sys.prefix, str(project_root()), tempfile.gettempdir()):
                    output.text = output.text.replace(folder + os.sep, "")
            picture = output.get("data", {}).get("image/png", "")
            if len(picture) > LARGE_PICTURE and len(jpeg := _as_jpeg(picture)) < len(picture) / 2:
                output.data.pop("image/png")
                output.data["image/jpeg"] = jpeg
    nbformat.write(notebook, path)


def _as_jpeg(png: str) -> str:
    from PIL import Image

    jpeg = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").save(jpeg, "JPEG", quality=75)
    return base64.b64encode(jpeg.getvalue()).decode()


def execute_run(**parameters: Any) -> Path:
    """One run by its method's notebook; its folder, with the executed copy in it.

    Where another process makes the same run, this one waits, and takes what that has made if it
    is what it would have made itself.
    """
    from pouta_lib.ground.methods import find_method
    from pouta_lib.study.records import (
        in_percent,
        lock_path,
        partial_folder,
        read_record,
        remove_partial,
    )
    from pouta_lib.study.run import prepare_run

    run = prepare_run(**parameters)
    key = run.key
    os.environ.setdefault("POUTA_PROGRESS", "lines")
    source = project_root() / "notebooks" / f"{find_method(key.variant).notebook}.ipynb"
    with only_one(lock_path(key), f"run {key.name}", wait=True) as lock:
        if lock.waited_since is None or not _made_since(lock.waited_since, run, source):
            sweep(key.folder().parent)
            copy = partial_folder(key) / "train.ipynb"
            execute_notebook(source, copy, parameters)
            copy.replace(key.folder() / "train.ipynb")
            remove_partial(key)
    found = in_percent(read_record(key.folder()).metrics)
    print(f"{key.dataset}/{key.category} {key.variant}: {found}", flush=True)
    return key.folder()


def _made_since(began: float, run: "Run", notebook: Path) -> bool:
    """Whether a run has been made by a process that began then, with today's settings and code."""
    from pouta_lib.study.records import is_whole, read_record
    from pouta_lib.study.sources import sources_of

    sources = [notebook, *sources_of(notebook, project_root())]
    return (
        is_whole(run.key)
        and (run.key.folder() / "train.ipynb").stat().st_mtime >= began
        and max(path.stat().st_mtime for path in sources) < began
        and read_record(run.key.folder()).profile == run.profile
    )


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
    """
    from pouta_lib.ground.labels import folder_name, setting_words
    from pouta_lib.ground.profiles import load_profile, parse_overrides
    from pouta_lib.study.cluster import cluster_options, own_queue
    from pouta_lib.study.plan import planned_study
    from pouta_lib.study.records import is_whole

    settings = load_profile(profile, **parse_overrides(overrides))
    plan = planned_study(settings, categories)
    if not plan.runs:
        raise problem("at least one run", "none", f"configs/{settings.name}.yaml", "add a group")
    study = results_root() / folder_name(settings.label)
    for path in (project_root(), *(key.folder() for key in plan.runs)):
        if set("{}") & set(str(path)):
            wanted = "folders and names without braces, which Snakemake fills in"
            raise problem(wanted, "braces", path, "rename it, or name another --results")
    missing = [key for key in plan.runs if not is_whole(key)]
    if cluster is None:
        where = ["--cores", str(cores), "--resources", f"gpu={_parallel_runs(cores)}"]
    else:
        where = cluster_options(cluster, study)
    told = f"study {settings.label}: {len(plan.runs)} runs, {len(missing)} to make"
    print(f"{told}, {cluster or f'{cores} cores'}", flush=True)
    command: list[str | Path] = [sys.executable, "-m", "snakemake"]
    command += ["--snakefile", project_root() / "Snakefile"]
    command += ["--directory", project_root(), "--rerun-incomplete", *where]
    command += ["--quiet", "rules", "host", "reason", "--keep-going", "--nolock"]
    command += [
        "--config",
        f"profile={settings.name}",
        f"categories={json.dumps(categories, ensure_ascii=False)}",
    ]
    command += [f"overrides={json.dumps(setting_words(settings.overrides))}"]
    # the first notebook's tables, I to III, are what a reader waits for: its runs come first
    command += ["--prioritize", next(iter(plan.notebooks))]
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
        with nullcontext() if cluster is None else own_queue(study):
            status = _follow(command, environment, lock)
    if status == 0:
        _require_whole(plan)
        minutes = (time.monotonic() - started) / 60
        print(f"study {settings.label}: done in {minutes:.1f} minutes")
        _summarise(study, figures_root() / study.name)
    return status


def _follow(command: list[str | Path], environment: dict[str, str], lock: Lock) -> int:
    """Runs Snakemake to its end. What stops this process stops all that Snakemake has started.

    Where this process is killed, and Snakemake is not, the lock stays with Snakemake.
    """
    own_group: dict[str, Any] = {}
    if os.name == "posix":
        own_group = {"start_new_session": True, "pass_fds": [lock.file]}
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


def _require_whole(plan: "Study") -> None:
    """*Raises* :class:`PoutaError` where a finished study lacks something that was planned."""
    from pouta_lib.study.records import is_whole

    missing = [(key.folder(), key.command()) for key in plan.runs if not is_whole(key)]
    missing += [(path, todo) for path, todo in plan.judgements.items() if not path.is_file()]
    missing += [(path, "give the command again") for path in plan.notebooks if not path.is_file()]
    if missing:
        counts = (len(plan.runs), len(plan.judgements), len(plan.notebooks))
        wanted = "all of {} runs, {} judgements, {} notebooks".format(*counts)
        raise problem(wanted, f"{len(missing)} missing", *missing[0])


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
    """Runs side by side: one per accelerator, otherwise one per core."""
    import torch

    return 1 if torch.cuda.is_available() or torch.backends.mps.is_available() else cores


def _announce(settings: "Profile", missing: "list[RunKey]", cores: int) -> None:
    """Says beforehand how long it will take: a few training steps of each method tell."""
    from pouta_lib.ground.methods import Method, find_method
    from pouta_lib.study.plan import seconds_per_step

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

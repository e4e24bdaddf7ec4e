"""A batch on a cluster: Snakemake's options for it, and the jobs that a killed one has left."""

import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from pouta_lib.ground.errors import problem
from pouta_lib.ground.validation import read_yaml_file

SLURM = "slurm"
PATIENCE = 120.0  # seconds for cancelled jobs to end; Slurm's own is 30 from SIGTERM to SIGKILL


def cluster_options(folder: Path, study: Path) -> list[str]:
    """Snakemake's options for a batch of the results folder `study` on the cluster of a profile.

    *Raises* :class:`PoutaError` where the folder is no Snakemake profile of a cluster, or where
    Snakemake's plugin or the cluster's own commands are missing.
    """
    config = folder / "config.yaml"
    todo = "name a folder like configs/slurm"
    if not config.is_file():
        raise problem("a Snakemake profile with its config.yaml", "none", folder, todo)
    read = read_yaml_file(config)
    executor = read.get("executor") if isinstance(read, dict) else None
    if not isinstance(executor, str):
        raise problem("the name of an executor", repr(executor), config, "write executor: slurm")
    if find_spec(f"snakemake_executor_plugin_{executor.replace('-', '_')}") is None:
        wanted = f"Snakemake's plugin for {executor}"
        todo = (
            f"install snakemake-executor-plugin-{executor} (pip install -e '.[slurm]' has Slurm's)"
        )
        raise problem(wanted, "none installed", config, todo)
    options = ["--workflow-profile", str(folder.resolve())]
    if executor == SLURM:
        if shutil.which("sbatch") is None:
            todo = "give the command where jobs are submitted, or leave out --cluster"
            raise problem("Slurm's commands", "no sbatch", "the folders of $PATH", todo)
        options += ["--slurm-jobname-prefix", job_prefix(study)]
    return options


def job_prefix(study: Path) -> str:
    """What the names of a study's jobs begin with: the results folder, as a digest."""
    return f"pouta_{hashlib.sha256(str(study).encode()).hexdigest()[:12]}"


@contextmanager
def own_queue(study: Path) -> Iterator[None]:
    """While the block runs, Slurm's queue has no jobs of this study but those of the block.

    To be entered under the study's lock. A batch that was killed leaves its jobs in the queue, and
    Snakemake leaves them there when it is told to stop. Such a job would begin a run anew that the
    next batch has finished, and take it away meanwhile; cancelled, it goes on from its checkpoint.

    *Raises* :class:`PoutaError` where the jobs do not end.
    """
    _cancel(study)
    try:
        yield
    finally:
        _cancel(study)


def _cancel(study: Path) -> None:
    patience = time.monotonic() + PATIENCE
    while left := _queued(job_prefix(study)):
        if time.monotonic() > patience:
            todo = (
                f"see squeue --jobs {','.join(left)}; give the command again when they have ended"
            )
            raise problem("no job of an earlier batch", f"{len(left)} in the queue", study, todo)
        subprocess.run(["scancel", *left], check=False)
        time.sleep(1)


def _queued(prefix: str) -> list[str]:
    """The numbers of this user's jobs whose names begin so, those that are ending among them."""
    if shutil.which("squeue") is None:
        return []
    ask = ["squeue", "--me", "--noheader", "--format", "%A %j"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    if done.returncode:  # a controller that is busy, say: no answer is not an empty queue
        todo = "give the command again when squeue answers"
        raise problem("the list of queued jobs", done.stderr.strip(), "squeue", todo)
    jobs = [line.partition(" ") for line in done.stdout.splitlines()]
    return [number for number, _, name in jobs if name.startswith(prefix)]

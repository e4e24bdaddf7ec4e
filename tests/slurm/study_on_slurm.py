"""A study on a real Slurm ends with the tables of the local one, whatever is killed on its way.

``make test-slurm`` runs this, as root, where Debian's slurm-wlm and munge are installed; ``make
test`` does not. Slurm is started for it on this machine alone (one_machine.sh), and ended after.
Commit nothing meanwhile: the tables name the commit of their runs.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults import Place, kill_groups

from conftest import REPOSITORY
from pouta_lib.ground.errors import problem

HERE = Path(__file__).parent
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
CLUSTER = REPOSITORY / "configs" / "slurm"


@pytest.fixture(scope="module")
def _slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    missing += [] if os.geteuid() == 0 else ["root's rights"]
    if missing:
        todo = "apt install slurm-wlm munge, and give the command as root"
        where = "this machine"
        pytest.fail(str(problem("a Slurm to start", f"no {missing}", where, todo)), pytrace=False)
    script, folder = HERE / "one_machine.sh", tmp_path_factory.mktemp("slurm")
    try:
        subprocess.run([script, "start", folder], check=True)
        yield
    finally:
        subprocess.run([script, "stop", folder], check=True)


def queue(states: str, columns: str) -> list[str]:
    """Slurm's jobs in these states, with what stands in these columns."""
    words = ["squeue", "--noheader", "--states", states, "--Format", columns]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def training() -> dict[str, str]:
    """The jobs that train one run each and are running: by number, which run."""
    jobs = dict(line.split() for line in queue("RUNNING", "JobID:20,Comment:200"))
    return {number: run for number, run in jobs.items() if run.startswith("rule_train")}


def until(what: str, condition: Callable[[], object], seconds: float = 900) -> None:
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience, f"waited in vain for {what}"
        time.sleep(0.5)


@pytest.mark.usefixtures("_slurm")
def test_whatever_is_killed_the_tables_are_the_local_ones(tmp_path: Path) -> None:
    data = tmp_path / "data"
    here = Place(tmp_path / "here", data, [])
    there = Place(tmp_path / "there", data, ["--cluster", str(CLUSTER)])
    there.environment["SNAKEMAKE_PROFILE"] = str(HERE / "site")

    text, _ = (study := here.study()).communicate()
    assert study.returncode == 0, text

    began = time.monotonic()
    first = there.study()
    until("a training", lambda: training() and list(there.folder.rglob(".train.ipynb.*.tmp")))
    killed, run = next(iter(training().items()))
    subprocess.run(["scancel", "--signal", "KILL", killed], check=True)
    until(
        "the same run as another job",
        lambda: (killed, run) not in training().items() and run in training().values(),
    )
    kill_groups(first)
    assert queue("RUNNING,PENDING", "JobID"), "the jobs of a killed coordinator go on"
    text, _ = (second := there.study()).communicate()
    print(text, f"{time.monotonic() - began:.0f} s", sep="\n")
    assert second.returncode == 0

    assert there.made() == here.made()
    assert there.litter() == []
    assert not queue("RUNNING,PENDING,COMPLETING", "JobID")
    jobs = [line.split() for line in queue("all", "Comment:200,tres-per-job:40,StateCompact")]
    print(*jobs, sep="\n")
    gpus = {comment.partition("_wildcards")[0]: gpus for comment, gpus, _ in jobs}
    assert gpus.pop("rule_study") == "N/A"
    one = "gres:gpu:1"
    assert gpus == {"rule_train": one, "rule_short_train": one, "rule_judge": one}

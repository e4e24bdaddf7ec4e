"""Faults, injected into the smoke study: it is killed at random moments, doubled, and run dry.

`make test-faults` runs it and writes results/reliability.md. The study ends after all of them with
the same tables, weights and maps as one that nothing disturbed, or the exit status is 1.

    python tools/faults.py --kills 20 --categories mini-mvtec/nut mini-mvtec/cap
"""

import argparse
import hashlib
import os
import platform
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from wrong import counts

from pouta_lib.ground.paths import LEFT, project_root
from pouta_lib.method.device import cpu_name
from pouta_lib.study.nursery import KERNEL
from pouta_lib.study.records import load_arrays, made_by, read_record

SETTLE = 15  # seconds for a kernel to notice that it is alone
POUTA = [sys.executable, "-m", "pouta_lib.cli"]
Row = tuple[str, int, int, str]  # fault, how often, survived, what it cost or said


class Place:
    """A folder of results and figures, and the study that is made in it."""

    def __init__(self, folder: Path, data: Path, words: list[str]) -> None:
        self.folder, self.words = folder, words
        self.results = folder / "results" / "smoke"
        self.environment = os.environ | {
            "POUTA_DEVICE": os.environ.get("POUTA_DEVICE", "cpu"),
            "POUTA_DATA": str(data),
            "POUTA_RESULTS": str(folder / "results"),
            "POUTA_FIGURES": str(folder / "figures"),
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command of pouta's, in a process group of its own."""
        return subprocess.Popen(
            [*POUTA, *command, "--profile", "smoke"],
            env=self.environment,
            start_new_session=True,
            preexec_fn=_interruptible,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def study(self) -> subprocess.Popen[str]:
        """The study, started."""
        return self.start("study", *self.words)

    def living(self) -> list[psutil.Process]:
        """All processes that work for this folder: they inherited its name."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = process.environ().get("POUTA_RESULTS") == self.environment["POUTA_RESULTS"]
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def settle(self, seconds: float = SETTLE) -> list[str]:
        """What still lives after a while, by its command."""
        patience = time.monotonic() + seconds
        while (living := self.living()) and time.monotonic() < patience:
            time.sleep(0.2)
        told = []
        for process in living:
            with suppress(psutil.Error):
                told.append(" ".join(process.cmdline())[:80])
        return told

    def litter(self) -> list[str]:
        """What is half-made, and not a checkpoint."""
        paths = [path for path in self.folder.rglob("*") if "__pycache__" not in path.parts]
        bad = [p for p in paths if LEFT.fullmatch(p.name) or p.suffix in (".lock", ".partial")]
        return [p.name for p in bad + [p for p in paths if ".failed" in p.name]]

    def made(self) -> dict[str, str]:
        """Digests of the tables' files, of the weights and of the arrays of every run."""
        files = sorted((self.results / "tables").iterdir())
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        for path in sorted(self.results.glob("runs/*/*/*/*/seed*")):
            name = path.relative_to(self.results).as_posix()
            found[f"{name} weights"] = read_record(path).weights or "not noted"
            for key, array in load_arrays(path).items():
                content = np.ascontiguousarray(array).data
                found[f"{name} {key}"] = hashlib.sha256(content).hexdigest()
        return found


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell starts what is in its background without


def is_kernel(process: psutil.Process) -> bool:
    """Whether a process is a notebook's kernel, forked from a nursery or started by itself."""
    try:
        return process.name() == KERNEL or "ipykernel_launcher" in " ".join(process.cmdline())
    except psutil.Error:  # it has ended in between
        return False


def kill_groups(process: subprocess.Popen[str]) -> None:
    """SIGKILL to a study's group and to those of its children, but to no notebook kernel."""
    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                if not is_kernel(member):
                    member.kill()
    process.communicate()


def killed_at_random(place: Place, kills: int, seconds: float, whole: dict[str, str]) -> list[Row]:
    """The study killed `kills` times on its way, then left alone to its end."""
    spent, orphans, survived = 0.0, [], 0
    for _ in range(kills):
        began = time.monotonic()
        study = place.study()
        # at any moment, the first and the last second among them
        wait = random.uniform(0, 1.2 * seconds / max(1, kills / 2))
        with suppress(subprocess.TimeoutExpired):
            study.wait(wait)
        kill_groups(study)
        spent += time.monotonic() - began
        orphans += place.settle()
        survived += 1
        print(f"killed after {wait:.0f} s; left alive: {orphans or 'nothing'}", flush=True)
    began = time.monotonic()
    text, _ = (study := place.study()).communicate()
    spent += time.monotonic() - began
    fine = study.returncode == 0 and place.made() == whole and not orphans and not place.litter()
    if not fine:
        print(text, orphans, place.litter(), sep="\n")
    lost = f"{max(0.0, spent - seconds) / kills:.0f} s lost a kill, of {seconds:.0f} s in all"
    name = "SIGKILL of the whole batch at a random moment"
    return [(name, kills, survived if fine else 0, lost)]


def two_batches(place: Place) -> list[Row]:
    """A second study beside a first one, whose end it may not disturb."""
    first = place.study()
    lock = place.results / ".study.lock"
    while first.poll() is None and not (lock.is_file() and "Snakemake" in lock.read_text()):
        time.sleep(0.1)
    text, _ = (second := place.study()).communicate()
    refused = second.returncode == 2 and "one process at a time" in text
    said = f"process {first.pid} on {platform.node()}"
    row = (
        "a second batch beside a running one",
        1,
        int(refused and said in text),
        "told the first one's process and host",
    )
    # the study alone is killed: its Snakemake goes on, and still holds the lock
    os.kill(first.pid, signal.SIGKILL)
    text, _ = (third := place.study()).communicate()
    refused = third.returncode == 2 and "its Snakemake: process" in text
    alone = (
        "SIGKILL of the study alone, and the same again",
        1,
        int(refused),
        "refused until then",
    )
    kill_tree(place)
    return [row, alone]


def stopped(place: Place, number: signal.Signals) -> list[Row]:
    """A study that is told to stop: all that it started ends."""
    study = place.study()
    while study.poll() is None and not any(map(is_kernel, place.living())):
        time.sleep(0.2)
    began = time.monotonic()
    study.send_signal(number)
    study.communicate()
    left = place.settle(1)
    told = f"all ended after {time.monotonic() - began:.0f} s"
    return [(f"{number.name} to the study alone", 1, int(not left), told)]


def two_runs(place: Place) -> list[Row]:
    """Two equal runs at once: one makes it, the other waits and takes it."""
    command = ["run", "--category", "nut"]
    first = place.start(*command)
    second = place.start(*command)
    texts = [run.communicate()[0] for run in (first, second)]
    fine = not (first.returncode or second.returncode) and "waiting for process" in "".join(texts)
    return [("two equal runs at once", 1, int(fine and not place.litter()), "one waits, takes it")]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own in `folder`."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def full_disk(place: Place) -> list[Row]:
    """A run whose disk fills: it says so, and leaves nothing half-written."""
    name = "a disk that fills"
    try:
        with small_disk(place.folder / "results", "600k"):
            text, _ = (run := place.start("run", "--category", "cap")).communicate()
            records = list(place.folder.rglob("record.json")) + place.living()
            said = "No space left" in text and "to do:" in text and "Traceback" not in text
            fine = run.returncode == 2 and said and not records
            if not fine:
                print(text)
    except (OSError, subprocess.CalledProcessError):
        return [(name, 0, 0, "not tried: only root may mount")]
    return [(name, 1, int(fine), "told in four parts; no record")]


def kill_tree(place: Place) -> None:
    """Ends whatever works for a folder."""
    for process in place.living():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    place.settle()


def made_on() -> str:
    """The commit and the machine that faults were injected on."""
    made = made_by()
    told = f"commit {(made['commit'] or 'unknown')[:10]}{' with changes' if made['dirty'] else ''}"
    told += f", {os.cpu_count()} cores ({cpu_name()}), {platform.system()}"
    return told + f", Python {made['versions']['python']}, torch {made['versions']['torch']}"


def report(
    rows: list[Row], words: list[str], how: str, tried: dict[str, tuple[int, int]], where: str
) -> str:
    """results/reliability.md: made by the command `how`, on a commit and a machine `where`.

    `tried` has the wrong inputs by their kind: how many were refused, how many told.
    """
    lines = [
        "# Faults, and what became of them\n",
        f"Made by {how}, on the smoke study",
        f"of {', '.join(words) or 'all its runs'}, with {where}.\n",
        "*Survived*: afterwards the study ended with",
        "the same tables byte for byte, the same weights and maps as one that nothing",
        "disturbed, no process was left, and nothing half-made lay about; or, where a command",
        "has to be refused, that it was, in four parts.\n",
        "| fault | injected | survived | |",
        "|---|---|---|---|",
    ]
    lines += [f"| {name} | {times} | {survived} | {told} |" for name, times, survived, told in rows]
    lines += [
        "\n## Bad inputs tried\n",
        "Each is drawn and read as a user would have it. *Refused*: with an error of four parts.",
        "*Told*: the work goes on without it, or reads it as is said, or makes it again.",
        "[docs/ERRORS.md](../docs/ERRORS.md) has the message of each.\n",
        "| kind | tried | refused | told |",
        "|---|---|---|---|",
    ]
    refused, told = map(sum, zip(*tried.values()))
    for kind, (no, yes) in (tried | {"**all**": (refused, told)}).items():
        lines += [f"| {kind} | {no + yes} | {no} | {yes} |"]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--categories", nargs="+", default=[])
    parser.add_argument("--output", type=Path, default=project_root() / "results/reliability.md")
    parser.add_argument("--data", type=Path, help="where the mini datasets are; default: drawn")
    options = parser.parse_args()
    random.seed(options.seed)
    words = ["--categories", *options.categories] if options.categories else []
    command = shlex.join(["python", "tools/faults.py", "--kills", str(options.kills), *words])
    how = f"`{command}` (moments drawn with seed {options.seed})"
    tried, where = counts(), made_on()
    folder = Path(tempfile.mkdtemp(prefix="pouta-faults-"))
    data = options.data or folder / "data"

    def place(name: str) -> Place:
        return Place(folder / name, data, words)

    whole = place("whole")
    subprocess.run([*POUTA, "data", "mini"], env=whole.environment, check=True)
    began = time.monotonic()
    text, _ = (study := whole.study()).communicate()
    if study.returncode:
        print(text)
        return 1
    seconds, expected = time.monotonic() - began, whole.made()
    print(f"undisturbed: {seconds:.0f} s", flush=True)

    broken, rows = place("broken"), []
    faults: list[Callable[[], list[Row]]] = [
        lambda: two_runs(place("runs")),
        lambda: full_disk(place("disk")),
        lambda: stopped(broken, signal.SIGTERM),
        lambda: stopped(broken, signal.SIGINT),
        lambda: two_batches(broken),
        lambda: killed_at_random(broken, options.kills, seconds, expected),
    ]
    for fault in faults:
        rows += fault()
        print(rows[-1], flush=True)
        text = report(rows, options.categories, how, tried, where)
        options.output.write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(times == survived for _, times, survived, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

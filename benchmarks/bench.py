"""The library beside its peers: `make bench` writes results/bench/.

    python benchmarks/bench.py --works pixel_metrics coreset --rounds 9
    python benchmarks/bench.py --works steps_demo --baseline HEAD~20

Every contestant of a work (benchmarks/works.py) is a process of its own, and they take turns: where
a machine's speed wanders, the ratios stay fair. The first round warms up: of it the memory alone
counts. First with one thread, then with all cores. anomalib takes part where
``tools/peers_env.py`` has made its environment.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm
from works import SIZES, WORKS

from pouta_lib.ground.paths import project_root, results_root
from pouta_lib.ground.validation import write_json
from pouta_lib.method.device import cpu_has_bf16_units, cpu_name
from pouta_lib.study.peers import peers_python

WORKER = Path(__file__).with_name("works.py")
MEMORY = ("mib", "own_mib")
UNITS = ("cpu_s", "wall_s", *MEMORY)
Taken = dict[str, dict[str, list[float | None]]]  # by contestant and unit, one a round


def interpreters(work: str) -> dict[str, Path]:
    """What runs each contestant; those whose environment is missing are left out, with a word."""
    found = {}
    for name in WORKS[work]:
        python = peers_python() if name == "anomalib" else Path(sys.executable)
        if python is None:
            print(f"{work}: without anomalib; tools/peers_env.py makes its environment")
        else:
            found[name] = python
    return found


@contextlib.contextmanager
def library_at(revision: str) -> Iterator[Path]:
    """A folder with this repository as it was at a revision of git."""
    with tempfile.TemporaryDirectory() as folder:
        git = ["git", "-C", str(project_root()), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", folder, revision], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run([*git, "remove", "--force", folder], check=True)


def take_turns(
    work: str, size: str, rounds: int, threads: int, former: tuple[str, Path] | None = None
) -> Taken:
    """What each contestant took in each round but the first, and the memory of that one too.

    With `former`, a revision and its folder, the first takes part a second time, as it was then.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}

    def start(python: Path, name: str, **more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [python, "-W", "ignore", WORKER, work, name, size],
            env=environment | more,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    running = {name: start(python, name) for name, python in interpreters(work).items()}
    if former is not None:
        first, (revision, folder) = next(iter(running)), former
        name = f"{first}, at {revision}"
        running[name] = start(Path(sys.executable), first, PYTHONPATH=str(folder))
    taken: Taken = {name: {unit: [] for unit in UNITS} for name in running}
    for turn in tqdm(range(rounds + 1), desc=f"{work}, threads: {threads}"):
        for name, process in running.items():
            assert process.stdin and process.stdout  # they are pipes
            process.stdin.write("\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise SystemExit(f"{work}, {name}: stopped; its message stands above")
            for unit, value in json.loads(answer).items():
                if turn or unit in MEMORY:  # what is freed stays with the process for later rounds
                    taken[name][unit].append(value)
    for process in running.values():
        process.communicate()
    return taken


def keep(told: dict[str, Any], file: Path) -> None:
    """Writes a record; what it says of other numbers of threads, measured before, stays."""
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        if {**before, "threads": {}} == {**told, "threads": {}}:  # the same machine and size
            told = {**told, "threads": before["threads"] | told["threads"]}
    write_json(file, told)


def known(values: list[float | None]) -> list[float]:
    """Those that could be measured."""
    return [value for value in values if value is not None]


def rows(work: str, threads: str, taken: Taken) -> list[dict[str, str]]:
    """A row a contestant: medians with their range, and the ratio of CPU time to the first's."""
    first = statistics.median(known(next(iter(taken.values()))["cpu_s"]))
    found = []
    for name, values in taken.items():
        cpu = known(values["cpu_s"])
        most = {unit: known(values.get(unit, [])) for unit in MEMORY}
        found.append(
            {
                "work": work,
                "threads": threads,
                "who": name,
                "CPU-s": f"{statistics.median(cpu):.3g} ({min(cpu):.3g} to {max(cpu):.3g})",
                "s": f"{statistics.median(known(values['wall_s'])):.3g}",
                "CPU-s, times the first's": f"{statistics.median(cpu) / first:.2f}",
                "MiB": f"{max(most['mib']):.0f}" if most["mib"] else "–",
                "not of files": f"{max(most['own_mib']):.0f}" if most["own_mib"] else "–",
            }
        )
    return found


def table(folder: Path) -> str:
    """What the records in a folder say, in Markdown."""
    found = []
    for path in sorted(folder.glob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        for threads, taken in told["threads"].items():
            found += rows(told["work"], threads, taken)
    return pd.DataFrame(found).to_markdown(index=False, disable_numparse=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, os.cpu_count() or 1])
    parser.add_argument("--baseline", metavar="REV", help="the first of each work as it was then")
    parser.add_argument("--output", type=Path, default=results_root() / "bench")
    chosen = parser.parse_args(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    with library_at(chosen.baseline) if chosen.baseline else contextlib.nullcontext() as folder:
        former = (chosen.baseline, folder) if folder else None
        for work in chosen.works:
            told: dict[str, Any] = {"work": work, "size": chosen.size, "machine": cpu_name()}
            told |= {"cores": os.cpu_count(), "bf16_units": cpu_has_bf16_units(), "threads": {}}
            for threads in dict.fromkeys(chosen.threads):
                taken = take_turns(work, chosen.size, chosen.rounds, threads, former)
                told["threads"][str(threads)] = taken
            keep(told, chosen.output / f"{work}.json")
    text = table(chosen.output)
    (chosen.output / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""What a run of one step costs, which is what every run costs beside its training.

    python benchmarks/beside_training.py --rounds 5

With a kernel of its own, as `pouta run` has it, and with one that is forked from a nursery, as in a
batch (pouta_lib/study/warm.py); they take turns. CPU seconds of all processes of the run; a
forked kernel, no child of these, is looked at twenty times a second.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from pouta_lib.study.warm import nursery


@contextmanager
def kernels_time(spent: dict[int, float]) -> Iterator[None]:
    """While the block runs, keeps in `spent` the CPU seconds of each process of a nursery's."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            for child in (
                kernel for one in psutil.Process().children() for kernel in one.children()
            ):
                with suppress(psutil.Error):
                    if "nursery.py" in " ".join(child.cmdline()):
                        times = child.cpu_times()
                        spent[child.pid] = times.user + times.system

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def one_run(profile: str, environment: dict[str, str]) -> tuple[float, float]:
    """CPU seconds and seconds of a run of one step."""
    command = [sys.executable, "-m", "pouta_lib.cli", "run", "--profile", profile]
    command += ["--set", "steps=1"]
    kernels: dict[int, float] = {}
    before, began = os.times(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, kernels_time(kernels):
        subprocess.run([*command, "--results", folder], env=environment, check=True)
    after, took = os.times(), time.perf_counter() - began
    own = (
        after.children_user - before.children_user + after.children_system - before.children_system
    )
    return own + sum(kernels.values()), took


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    cold = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    warm = dict(cold)
    taken: dict[str, list[tuple[float, float]]] = {"a kernel of its own": [], "forked": []}
    with nursery(warm):
        for _ in range(1 + options.rounds):  # the first warms up
            for rounds, environment in zip(taken.values(), (cold, warm), strict=True):
                rounds.append(one_run(options.profile, environment))
    print(f"\n| one step of {options.profile} | CPU-s, median (range) | s | times the first's |")
    print("|---|---|---|---|")
    (first, _), *_ = middles = [
        [statistics.median(values) for values in zip(*rounds[1:], strict=True)]
        for rounds in taken.values()
    ]
    for (name, rounds), (cpu, wall) in zip(taken.items(), middles, strict=True):
        low, high = (pick(cpu for cpu, _ in rounds[1:]) for pick in (min, max))
        print(f"| {name} | {cpu:.1f} ({low:.1f} to {high:.1f}) | {wall:.1f} | {cpu / first:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

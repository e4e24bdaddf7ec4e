"""Locks end with their holder, whatever ends it, and name who holds them."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pouta_lib.ground import locks
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.locks import only_one, stoppable

posix = pytest.mark.skipif(os.name == "nt", reason="signals and inherited files of POSIX")
HOLD = """
import subprocess, sys, time
from pathlib import Path
from pouta_lib.ground.locks import only_one
with only_one(Path(sys.argv[1]), "a thing") as lock:
    if "child" in sys.argv:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lock.file])
        print(child.pid, flush=True)
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def hold():
    """Starts a process that holds a lock until it reads a line."""
    started = []

    def start(path: Path, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, str(path), *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_second_is_refused_and_told_who_is_the_first(tmp_path, hold):
    path = tmp_path / "made" / ".lock"
    holder = hold(path)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(PoutaError) as refused, only_one(path, "study smoke"):
        pytest.fail("two at once")
    assert "one process at a time for study smoke" in str(refused.value)
    assert f"process {holder.pid} on {platform.node()}, since " in str(refused.value)
    assert f"where: {path}" in str(refused.value)


def test_the_second_waits_and_knows_since_when(tmp_path, hold, capfd):
    path = tmp_path / ".lock"
    before = time.time() - 1
    holder = hold(path)
    assert holder.stdout.readline() == "held\n"
    subprocess.Popen(["sh", "-c", f"sleep 0.7; kill -9 {holder.pid}"])
    with only_one(path, "run x", wait=True) as lock:
        assert before <= lock.waited_since <= time.time()
    assert f"run x: waiting for process {holder.pid} on" in capfd.readouterr().err
    assert not path.exists()


def test_a_third_knows_since_when_the_first_had_it(tmp_path, monkeypatch, capsys):
    """The second takes what the first has made; the third is not to make it once more."""
    path, locked, began = tmp_path / ".lock", locks._locked, [100, 200]
    path.touch()

    def held(path):
        if not began:
            return locked(path)
        os.utime(path, (0, began.pop(0)))
        return None

    monkeypatch.setattr(locks, "_locked", held)
    monkeypatch.setattr(locks, "LOOK_EVERY", 0)
    with only_one(path, "run x", wait=True) as lock:
        assert lock.waited_since == 100
    assert capsys.readouterr().err.count("waiting for") == 1


@posix
def test_a_killed_holder_keeps_nothing_but_its_child_does(tmp_path, hold):
    path = tmp_path / ".lock"
    holder = hold(path, "child")
    child = int(holder.stdout.readline())
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    with pytest.raises(PoutaError, match=f"process {holder.pid}"), only_one(path, "x"):
        pass
    os.kill(child, signal.SIGKILL)
    with only_one(path, "x", wait=True):
        assert path.exists()


def test_many_take_turns(tmp_path):
    code = """
import sys
from pathlib import Path
from pouta_lib.ground import locks
locks.LOOK_EVERY = 0.002
folder = Path(sys.argv[1])
for _ in range(5):
    with locks.only_one(folder / ".lock", "x", wait=True):
        (folder / "inside").mkdir()
        (folder / "inside").rmdir()
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    racers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [racer.wait() for racer in racers] == [0] * 4
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_block_tidy_up(number):
    tidied, before = [], signal.signal(number, signal.SIG_DFL)  # nohup would have it ignored

    def work():
        with stoppable():
            try:
                os.kill(os.getpid(), number)
                time.sleep(5)
            finally:
                tidied.append(number)

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert tidied == [number]

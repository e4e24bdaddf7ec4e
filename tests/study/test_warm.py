"""Kernels from a nursery: imports done, otherwise as ever; and nothing of it stays behind."""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from pouta_lib.study import warm
from pouta_lib.study.nursery import KERNEL, require_own
from pouta_lib.study.warm import ADDRESS, FAREWELL, ForkedKernel, nursery

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a fork is safe on Linux alone")
ASKS = """
import json, os, sys
import matplotlib.pyplot as plt
found = [os.getpid(), os.getppid(), "torch" in sys.modules, "pouta_lib" in sys.modules]
import numpy, torch
print(json.dumps([torch.initial_seed(), float(numpy.random.rand())]))
print(json.dumps([*found, os.getcwd(), os.environ["WHO"], sys.argv[0], sys.path[0]]))
figure = plt.figure()
plt.plot([1])
"""
EXECUTE = """
from pathlib import Path
from pouta_lib.study.execution import execute_notebook
execute_notebook(Path("asks.ipynb").resolve(), Path("out.ipynb").resolve(), {})
"""


@pytest.fixture(scope="module")
def environment():
    """What a study starts its processes with."""
    own = os.environ | {"WHO": "a test", "OMP_NUM_THREADS": "1"}
    with nursery(own):
        yield own
    with pytest.raises(OSError):
        ForkedKernel([], own, "/")


def kernels():
    """The kernels that live, of this process's nurseries."""
    return {p.pid for p in psutil.Process().children(recursive=True) if p.name() == KERNEL}


def until(is_so):
    """Whether something becomes so within some seconds."""
    patience = time.monotonic() + 20
    while not is_so() and time.monotonic() < patience:
        time.sleep(0.1)
    return is_so()


def executed(folder, environment):
    """What a kernel says of itself, and how many pictures its notebook has."""
    source = folder / "asks.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(ASKS)]), source)
    subprocess.run([sys.executable, "-c", EXECUTE], env=environment, cwd=folder, check=True)
    outputs = nbformat.read(folder / "out.ipynb", 4).cells[-1].outputs
    (text,) = (output.text for output in outputs if output.output_type == "stream")
    drawn, told = map(json.loads, text.splitlines())
    return told, drawn, sum("image/png" in output.get("data", {}) for output in outputs)


def test_a_kernel_of_a_nursery_is_as_any_other_with_its_imports_done(tmp_path, environment):
    (first, *forked), drawn, again = executed(tmp_path, environment)
    (second, *others), drawn_too, _ = executed(tmp_path, environment)
    assert not set(drawn) & set(drawn_too)  # chance is another one's
    assert "nursery.py" in " ".join(psutil.Process(forked[0]).cmdline())
    assert first != second and others == forked  # a process each, of the same parent
    assert until(lambda: not kernels() & {first, second})

    nobody = environment | {ADDRESS: str(tmp_path / "nobody")}
    (_, parent, *usual), _, pictures = executed(tmp_path, nobody)  # started as ever
    assert parent != forked[0]
    assert usual[:2] == [False, False] and forked[1:3] == [True, False]
    assert forked[3:] == usual[2:] and pictures == again == 1
    with pytest.raises(OSError):
        ForkedKernel([], nobody, str(tmp_path))


def test_a_kernel_ends_with_its_owner(tmp_path, environment):
    kernel = ForkedKernel(["-f", str(tmp_path / "kernel.json")], environment, str(tmp_path))
    assert kernel.poll() is None and os.getpgid(kernel.pid) == kernel.pid
    assert kernels() == {kernel.pid}
    kernel.send_signal(0)
    kernel._tie.close()  # as the system does when the owner is killed
    assert kernel.wait() == kernel.poll() == 0 and until(lambda: not kernels())
    kernel.send_signal(signal.SIGKILL)  # to nobody


def test_a_kernel_ends_whose_owner_is_killed_before_it_has_read_anything(tmp_path, environment):
    request = {"arguments": ["-f", str(tmp_path / "kernel.json")], "env": environment, "cwd": "/"}
    with socket.socket(socket.AF_UNIX) as owner, open(os.devnull) as nothing:
        owner.connect(f"\0{environment[ADDRESS]}")
        socket.send_fds(owner, [b"\n"], [nothing.fileno()] * 3)
        owner.sendall(json.dumps(request).encode() + b"\n")
        assert until(kernels)
    assert until(lambda: not kernels())


def test_one_that_asks_for_nothing_holds_nobody_up_for_long(tmp_path, environment):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(f"\0{environment[ADDRESS]}")
        assert ForkedKernel(["--version"], environment, str(tmp_path)).wait() == 0


def test_another_users_process_is_not_spoken_to(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        require_own(ours)
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        with pytest.raises(PermissionError):
            require_own(ours)


def test_a_study_that_ends_at_once_does_not_wait_for_imports(environment):
    own = dict(environment)
    with nursery(own):
        began = time.monotonic()
    assert time.monotonic() - began < FAREWELL
    assert own[ADDRESS] != environment[ADDRESS]


def test_where_there_is_no_room_kernels_start_as_usual(environment, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.EAGAIN, "no room")

    monkeypatch.setattr(subprocess, "Popen", full)
    own = {"PATH": environment["PATH"]}
    with nursery(own) as files:
        assert files == [] and ADDRESS not in own


def test_a_kernel_that_cannot_start_leaves_the_nursery_as_it_was(tmp_path, environment):
    with pytest.raises(OSError, match="the nursery ended"):
        ForkedKernel([], environment, str(tmp_path / "no such folder"))
    assert ForkedKernel(["--version"], environment, str(tmp_path)).wait() == 0


KILLED = """
import os, signal, subprocess, sys
from pouta_lib.study.nursery import KERNEL
from pouta_lib.study.warm import ADDRESS, nursery
environment = dict(os.environ)
with nursery(environment) as files:
    subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=files)
    print(environment[ADDRESS], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_nursery_lives_as_long_as_those_who_inherited_it(tmp_path, environment):
    """The study is killed, and its Snakemake goes on."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", KILLED], env=environment, **pipes) as killed:
        address = killed.stdout.readline().strip()
        assert killed.wait() == -signal.SIGKILL
        own = environment | {ADDRESS: address}
        assert ForkedKernel(["--version"], own, str(tmp_path)).wait() == 0

    def is_gone():  # the heir's input has ended, and so has the heir
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(OSError):
            patch.setattr(warm, "PATIENCE", 1.0)
            ForkedKernel(["--version"], own, str(tmp_path))
            return False
        return True

    assert until(is_gone)

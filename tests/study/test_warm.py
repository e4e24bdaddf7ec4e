"""Kernels from a nursery: imports done, otherwise as ever; and nothing of it stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from pouta_lib.study.nursery import KERNEL
from pouta_lib.study.warm import ADDRESS, ForkedKernel, nursery

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a fork is safe on Linux alone")
ASKS = """
import json, os, sys
import matplotlib.pyplot as plt
found = [os.getpid(), os.getppid(), "torch" in sys.modules, "pouta_lib" in sys.modules]
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
        assert Path(own[ADDRESS]).parent.stat().st_mode & 0o777 == 0o700
        yield own
    assert not Path(own[ADDRESS]).parent.exists()


def executed(folder, environment):
    """What a kernel says of itself, and how many pictures its notebook has."""
    source = folder / "asks.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(ASKS)]), source)
    subprocess.run([sys.executable, "-c", EXECUTE], env=environment, cwd=folder, check=True)
    outputs = nbformat.read(folder / "out.ipynb", 4).cells[-1].outputs
    (text,) = (output.text for output in outputs if output.output_type == "stream")
    return json.loads(text), sum("image/png" in output.get("data", {}) for output in outputs)


def has_ended(number):
    """Whether a process is gone within some seconds."""
    patience = time.monotonic() + 20
    while psutil.pid_exists(number) and time.monotonic() < patience:
        time.sleep(0.1)
    return not psutil.pid_exists(number)


def test_a_kernel_of_a_nursery_is_as_any_other_with_its_imports_done(tmp_path, environment):
    (first, *warm), again = executed(tmp_path, environment)
    (second, *others), _ = executed(tmp_path, environment)
    assert "nursery.py" in " ".join(psutil.Process(warm[0]).cmdline())
    assert first != second and others == warm  # a process each, of the same parent
    assert has_ended(first) and has_ended(second)

    nobody = environment | {ADDRESS: str(tmp_path / "nobody")}
    (_, parent, *usual), pictures = executed(tmp_path, nobody)  # started as ever
    assert parent != warm[0]
    assert usual[:2] == [False, False] and warm[1:3] == [True, False]
    assert warm[3:] == usual[2:] and pictures == again == 1
    with pytest.raises(OSError):
        ForkedKernel([], nobody, str(tmp_path))


def test_a_kernel_ends_with_its_owner(tmp_path, environment):
    kernel = ForkedKernel(["-f", str(tmp_path / "kernel.json")], environment, str(tmp_path))
    assert kernel.poll() is None and os.getpgid(kernel.pid) == kernel.pid
    assert psutil.Process(kernel.pid).name() == KERNEL
    kernel.send_signal(0)
    kernel._tie.close()  # as the system does when the owner is killed
    assert has_ended(kernel.pid)


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
    patience = time.monotonic() + 20  # the heir's input has ended, and so has the heir
    while Path(address).parent.exists() and time.monotonic() < patience:
        time.sleep(0.1)
    assert not Path(address).parent.exists()

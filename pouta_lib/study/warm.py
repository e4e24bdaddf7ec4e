"""Kernels that start with their imports done: forked from one process that serves a whole batch.

What a run's kernel imports costs as much as thirty training steps of the demo, and is the same for
every run. So a batch starts `nursery.py` beside Snakemake, and jupyter_client, which takes the
kernel provisioner that the environment names, gets kernels from there; each is a process of its
own, as ever. Where nobody answers, a kernel is started as usual. Our choice.
"""

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

ADDRESS = "POUTA_NURSERY"
NAME = "pouta-warm"  # of the entry point in pyproject.toml
MOST = 60  # characters of a folder, so that a socket in it has at most 107 bytes
PROGRAM = Path(__file__).with_name("nursery.py")


@contextmanager
def nursery(environment: MutableMapping[str, str]) -> Iterator[list[int]]:
    """While the block runs, kernels of processes with `environment` are forked from a warm one.

    Yields open files: it lives until the block, and the last process that inherited them, has
    ended. Yields none, and starts nothing, on other systems than Linux, where a fork is not safe;
    where the package was installed before it had this; and where temporary files lie too deep for
    a socket's name.
    """
    factory = KernelProvisionerFactory
    known = entry_points(group=factory.GROUP_NAME, name=NAME)
    if sys.platform != "linux" or not known or len(tempfile.gettempdir()) > MOST:
        yield []
        return
    address = str(Path(tempfile.mkdtemp(prefix="pouta-")) / "nursery")
    read, write = os.pipe()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        inherited = [door.fileno(), read]
        command = [sys.executable, str(PROGRAM), *map(str, inherited)]
        process = subprocess.Popen(
            command, env=dict(environment), pass_fds=inherited, start_new_session=True
        )
    os.close(read)
    environment[ADDRESS], environment[factory.default_provisioner_name_env] = address, NAME
    try:
        yield [write]
    finally:
        os.close(write)
        process.wait()


class ForkedKernel:
    """A kernel of a nursery, as `subprocess.Popen` would have it. It ends when this object does.

    *Raises* :class:`OSError` where no nursery answers.
    """

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], env: dict[str, str], cwd: str) -> None:
        self._tie = socket.socket(socket.AF_UNIX)
        self._tie.connect(env[ADDRESS])
        with open(os.devnull, "rb") as nothing:
            socket.send_fds(self._tie, [b"\n"], [nothing.fileno(), 1, 2])
        request = {"arguments": arguments, "env": env, "cwd": cwd}
        self._tie.sendall(json.dumps(request).encode() + b"\n")
        self.pid = int(self._tie.makefile().readline() or -1)
        if self.pid < 0:
            raise ConnectionError("the nursery ended")

    def poll(self) -> int | None:
        """None while the kernel lives; how it ended is not known."""
        return 0 if select.select([self._tie], [], [], 0)[0] else None

    def wait(self) -> int:
        """Comes back when the kernel has ended."""
        with self._tie:
            self._tie.recv(1)
        return 0

    def send_signal(self, number: int) -> None:
        """Sends the kernel a signal."""
        os.kill(self.pid, number)


class WarmProvisioner(LocalProvisioner):
    """jupyter_client's own, but that the kernel is forked from a nursery where there is one."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Starts a kernel with `cmd`, whose first three words are Python and ipykernel."""
        try:
            kernel = ForkedKernel(cmd[3:], kwargs["env"], kwargs.get("cwd") or os.getcwd())
        except OSError:
            return await super().launch_kernel(cmd, **kwargs)
        self.process = cast("subprocess.Popen[bytes]", kernel)
        self.pid = self.pgid = kernel.pid
        return self.connection_info

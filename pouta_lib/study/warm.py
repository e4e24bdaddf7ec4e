"""Kernels that start with their imports done: forked from one process that serves a whole batch.

What a run's kernel imports costs as much as thirty training steps of the demo, and is the same for
every run. So a batch starts `nursery.py` beside Snakemake, and jupyter_client, which takes the
kernel provisioner that the environment names, gets kernels from there; each is a process of its
own, as ever. Where nobody answers, a kernel is started as usual. Our choice.
"""

import json
import os
import secrets
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from pouta_lib.study.nursery import require_own

ADDRESS = "POUTA_NURSERY"  # a name of Linux's own: no file, and gone with its process
NAME = "pouta-warm"  # of the entry point in pyproject.toml
PROGRAM = Path(__file__).with_name("nursery.py")
USUAL = [sys.executable, "-m", "ipykernel_launcher"]
PATIENCE = 120.0  # seconds for a kernel: a nursery imports first
FAREWELL = 5.0  # seconds for a nursery to end


@contextmanager
def nursery(environment: MutableMapping[str, str]) -> Iterator[list[int]]:
    """While the block runs, kernels of processes with `environment` are forked from a warm one.

    Yields open files: where this process is killed, the nursery lives until the last process that
    inherited them has ended. Yields none, and starts nothing, on other systems than Linux, where a
    fork is not safe; where the package was installed before it had this; and where the system has
    no room for it.
    """
    factory = KernelProvisionerFactory
    known = entry_points(group=factory.GROUP_NAME, name=NAME)
    if sys.platform != "linux" or not known:
        yield []
        return
    address = f"pouta-{secrets.token_hex(16)}"
    try:
        process, life = _start(address, dict(environment))
    except OSError:
        yield []
        return
    environment[ADDRESS], environment[factory.default_provisioner_name_env] = address, NAME
    try:
        yield [life]
    finally:
        os.close(life)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(FAREWELL)
        process.kill()
        process.wait()


def _start(address: str, environment: dict[str, str]) -> "tuple[subprocess.Popen[bytes], int]":
    """A nursery, and the open file that it lives as long as."""
    read, write = os.pipe()
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(f"\0{address}")
            door.listen()
            inherited = [door.fileno(), read]
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), *map(str, inherited)],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=inherited,
                start_new_session=True,
            )
    except OSError:
        os.close(write)
        raise
    finally:
        os.close(read)
    return process, write


class ForkedKernel:
    """A kernel of a nursery, as `subprocess.Popen` would have it. It ends when this object does.

    *Raises* :class:`OSError` where no nursery of this user answers.
    """

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], env: dict[str, str], cwd: str) -> None:
        self._tie = socket.socket(socket.AF_UNIX)
        try:
            self._tie.settimeout(PATIENCE)
            self._tie.connect(f"\0{env[ADDRESS]}")
            require_own(self._tie)
            with open(os.devnull, "rb") as nothing:
                socket.send_fds(self._tie, [b"\n"], [nothing.fileno(), 1, 2])
            request = {"arguments": arguments, "env": env, "cwd": cwd}
            self._tie.sendall(json.dumps(request).encode() + b"\n")
            number = self._tie.makefile().readline()
            if not number:
                raise ConnectionError("the nursery ended")
            self.pid = int(number)
            self._process = os.pidfd_open(self.pid)  # another process cannot take its place
        except OSError:
            self._tie.close()
            raise
        self._ended = select.poll()
        self._ended.register(self._process, select.POLLIN)

    def poll(self) -> int | None:
        """None while the kernel lives; how it ended is not known."""
        return 0 if self._ended.poll(0) else None

    def wait(self) -> int:
        """Comes back when the kernel has ended."""
        self._ended.poll()
        return 0

    def send_signal(self, number: int) -> None:
        """Sends a signal to the kernel and its children."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def __del__(self) -> None:
        self._tie.close()
        if hasattr(self, "_process"):
            os.close(self._process)


class WarmProvisioner(LocalProvisioner):
    """jupyter_client's own, but that the kernel is forked from a nursery where there is one."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Starts a kernel with `cmd`: forked where it would be a usual one of this Python."""
        environment = kwargs["env"]
        if cmd[:3] == USUAL and ADDRESS in environment:
            with suppress(OSError):
                kernel = ForkedKernel(cmd[3:], environment, kwargs.get("cwd") or os.getcwd())
                self.process = cast("subprocess.Popen[bytes]", kernel)
                self.pid = kernel.pid
                return self.connection_info
        return await super().launch_kernel(cmd, **kwargs)

"""The process that kernels are forked from: it imports what they need, waits, and forks.

    python nursery.py DOOR LIFE

DOOR is an open Unix socket that listens; LIFE an open pipe, at whose end this process ends. Who
connects sends three open files and a line of JSON, and reads the new kernel's process number; the
kernel ends when that connection does. Nothing of `pouta_lib` is imported: a kernel reads that
anew, so that what is edited while a batch runs is what the next run is made from.
"""

import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from typing import Any

# What the notebooks of runs and of the study have in common.
IMPORTS = [
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "pandas",
    "pydantic",
    "scipy.ndimage",
    "torch",
    "tqdm.auto",
]
# What is asked for at import. Where a kernel's pictures go is ipykernel's own answer; the process
# that it serves it need not look for, since `_end_with` does.
ASKED = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "JPY_PARENT_PID": "1"}
KERNEL = "pouta-kernel"
PATIENCE = 10.0  # seconds for one that has connected to ask


def main(door: socket.socket, life: int) -> None:
    """Serves until `life` ends."""
    os.environ.update(ASKED)
    for name in IMPORTS:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system forgets kernels that have ended
    while life not in select.select([door.fileno(), life], [], [])[0]:
        try:
            owner, files, request = _asked(door)
            forked = os.fork()
        except (OSError, ValueError):  # it was killed before it had asked; no room for a process
            continue
        if not forked:
            door.close()
            os.close(life)
            become_kernel(owner, files, request)
            return
        owner.close()
        for file in files:
            file.close()


def _asked(door: socket.socket) -> tuple[socket.socket, list[io.FileIO], dict[str, Any]]:
    """The next one that connects, its three files, and what it wants.

    *Raises* :class:`OSError` for one of another user, and for one that is silent.
    """
    owner, _ = door.accept()
    require_own(owner)
    owner.settimeout(PATIENCE)
    files = [io.FileIO(file) for file in socket.recv_fds(owner, 1, 3)[1]]
    request = json.loads(owner.makefile().readline())
    owner.settimeout(None)
    return owner, files, request


def require_own(other: socket.socket) -> None:
    """*Raises* :class:`OSError` where the other end is another user's process."""
    told = other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    if struct.unpack("3i", told)[1] != os.getuid():
        raise PermissionError("the other end is another user's")


def become_kernel(owner: socket.socket, files: list[io.FileIO], request: dict[str, Any]) -> None:
    """Turns this process into the kernel of `owner`, until it is shut down."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    with suppress(OSError), open("/proc/self/comm", "w") as title:  # as `top` shows it
        title.write(KERNEL)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
        file.close()
    threading.Thread(target=_end_with, args=[owner.dup()], daemon=True).start()
    for name in ("numpy.random", "torch"):  # as in a process of its own
        importlib.import_module(name).seed()
    owner.sendall(f"{os.getpid()}\n".encode())
    sys.argv[1:] = request["arguments"]
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)


def _end_with(owner: socket.socket) -> None:
    with suppress(OSError):
        owner.recv(1)  # comes back when the other end is closed, by its process or its death
    os._exit(1)


if __name__ == "__main__":
    if sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))

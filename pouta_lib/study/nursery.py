"""The process that kernels are forked from: it imports what they need, waits, and forks.

    python nursery.py DOOR LIFE

DOOR is an open Unix socket that listens; LIFE an open pipe, at whose end this process ends. Who
connects sends three open files and a line of JSON, and reads the new kernel's process number; the
kernel ends when that connection does. Nothing of `pouta_lib` is imported: a kernel reads that
anew, so that what is edited while a batch runs is what the next run is made from.
"""

import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
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
KERNEL = "pouta-kernel"
ASKED = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "JPY_PARENT_PID": "1"}


def main(door: socket.socket, life: int) -> None:
    """Serves until `life` ends."""
    os.environ.update(ASKED)
    for name in IMPORTS:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system forgets kernels that have ended
    while life not in select.select([door.fileno(), life], [], [])[0]:
        visitor, _ = door.accept()
        with visitor:
            try:
                _, files, _, _ = socket.recv_fds(visitor, 1, 3)
                request = json.loads(visitor.makefile().readline())
            except (OSError, ValueError):  # it was killed before it had asked
                continue
            if os.fork() == 0:
                door.close()
                os.close(life)
                become_kernel(visitor, request, files)
                return
        for file in files:
            os.close(file)
    address = door.getsockname()
    os.unlink(address)
    os.rmdir(os.path.dirname(address))


def become_kernel(owner: socket.socket, request: dict[str, Any], files: list[int]) -> None:
    """Turns this process into the kernel of `owner`, until it is shut down."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    with open("/proc/self/comm", "w") as name:  # as `top` shows it
        name.write(KERNEL)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    owner.sendall(f"{os.getpid()}\n".encode())
    threading.Thread(target=_end_with, args=[owner.dup()], daemon=True).start()
    sys.argv[1:] = request["arguments"]
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)


def _end_with(owner: socket.socket) -> None:
    owner.recv(1)  # comes back when the other end is closed, by its process or its death
    os._exit(1)


if __name__ == "__main__":
    del sys.path[0]  # this file's folder
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))

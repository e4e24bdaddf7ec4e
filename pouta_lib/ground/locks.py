"""One process at a time, by a lock that ends with its holder; and the signals that stop one."""

import errno
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pouta_lib.ground.errors import problem

LOOK_EVERY = 0.5  # seconds
HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
NOT_HERE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}  # what file systems without locks say
NOTE_BYTES, FAR = 1000, 1 << 20  # Windows locks a byte beyond the note, which others may read


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds."""

    file: int  # open: a child that inherits it holds the lock too
    waited_since: float | None  # when the first one began that was waited for; None: nobody

    def note(self, more: str = "") -> None:
        """Writes into the lock's file who holds it."""
        holder = f"process {os.getpid()} on {platform.node()}{more}, since {time.ctime()}"
        os.ftruncate(self.file, 0)
        os.lseek(self.file, 0, os.SEEK_SET)
        os.write(self.file, holder.encode()[:NOTE_BYTES])


@contextmanager
def only_one(path: Path, what: str, *, wait: bool = False) -> Iterator[Lock]:
    """Holds the lock of the file `path` for `what` while the block runs.

    The operating system lets go of it when its last holder ends, however that happens; a file
    that a killed process left behind locks nothing.

    *Raises* :class:`PoutaError` where another process holds it, naming that process and its
    machine; with `wait` it says so and waits instead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    since = None
    while (file := _locked(path)) is None:
        holder = "another process"
        with suppress(OSError):
            holder = path.read_text(encoding="utf-8", errors="replace") or holder
        if not wait:
            todo = "wait until it has ended, or end that process and give the command again"
            raise problem(f"one process at a time for {what}", holder, path, todo)
        if since is None:
            print(f"{what}: waiting for {holder}", file=sys.stderr, flush=True)
            with suppress(OSError):  # of the first: what it made is there for all that waited
                since = path.stat().st_mtime
        time.sleep(LOOK_EVERY)
    lock = Lock(file, since)
    try:
        lock.note()
        yield lock
    finally:
        with suppress(OSError):  # Windows removes no open file; it stays, unlocked
            path.unlink()
        os.close(file)


def _locked(path: Path) -> int | None:
    """The open, locked file; None where another process has it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(file):
                os.close(file)
                return None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder removed it in between: the next one has another file


def _lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, FAR, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        if error.errno not in NOT_HERE:
            raise
        told = f"pouta: this file system has no locks ({error.strerror}): start nothing twice"
        print(told, file=sys.stderr, flush=True)
    return True


@contextmanager
def stoppable() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP stop it as Ctrl-C does, and it can tidy up.

    A signal that is ignored, as SIGHUP after ``nohup``, stays so.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)]
    taken = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)

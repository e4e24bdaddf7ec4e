"""Pillow's warnings, which name no file, given again with the name of the file."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock, local
from typing import Any, cast

from pouta_lib.ground.errors import shown

KINDS = (UserWarning, RuntimeWarning)  # the others are for programmers


class _Ear:
    """Hears what is warned of in each thread that reads a file; the rest goes on as before.

    How warnings are shown is one for all threads, so ``warnings.catch_warnings`` would mix them up.
    """

    def __init__(self) -> None:
        self.lock, self.readers, self.of_thread = Lock(), 0, local()
        self.before = warnings.showwarning
        self.filters: list[Any] = []

    def open(self) -> list[str]:
        """Begins; what is heard in this thread from now on."""
        with self.lock:
            if not self.readers:
                for kind in KINDS:
                    warnings.filterwarnings("always", category=kind, module=r"PIL\.")
                self.filters = list(warnings.filters[: len(KINDS)])
                if warnings.showwarning != self.hear:
                    self.before = warnings.showwarning
                warnings.showwarning = self.hear
            self.readers += 1
        self.of_thread.heard = []
        return cast(list[str], self.of_thread.heard)

    def close(self) -> None:
        """Ends, and leaves all as it was, where nobody else has changed it."""
        self.of_thread.heard = None
        with self.lock:
            self.readers -= 1
            if self.readers:
                return
            for one in self.filters:
                with suppress(ValueError):
                    cast(list[Any], warnings.filters).remove(one)
            if warnings.showwarning == self.hear:
                warnings.showwarning = self.before

    def hear(self, message: Warning | str, *more: Any, **named: Any) -> None:
        """In place of ``warnings.showwarning``."""
        heard = getattr(self.of_thread, "heard", None)
        if heard is None:
            self.before(message, *more, **named)
        else:
            heard.append(" ".join(str(message).split()))


_ear = _Ear()


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What is warned of in the block is given again at its end with `path`, once for a file."""
    heard = _ear.open()
    try:
        yield
    finally:
        _ear.close()
    for text in dict.fromkeys(heard):
        _warn_once(f"{shown(path)}: {text}")


@cache
def _warn_once(text: str) -> None:
    warnings.warn(text, stacklevel=3)

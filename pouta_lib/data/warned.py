"""Pillow's warnings, which name no file, given again with the name of the file."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from threading import Lock, local
from typing import Any

from PIL.Image import DecompressionBombWarning

from pouta_lib.ground.errors import shown

KINDS = (UserWarning, RuntimeWarning)  # the others are for programmers


class _Ear:
    """Hears what is warned of in each thread that reads a file; the rest goes on as before.

    How warnings are shown is one for all threads: the first to read changes it, and the last one
    changes it back.
    """

    def __init__(self) -> None:
        self.lock, self.readers, self.of_thread = Lock(), 0, local()
        self.changed, self.before = ExitStack(), warnings.showwarning

    @contextmanager
    def open(self) -> Iterator[list[str]]:
        """What is heard in this thread while the block runs."""
        heard: list[str] = []
        with self.lock:
            if not self.readers:
                self.changed.enter_context(warnings.catch_warnings())
                for kind in KINDS:
                    warnings.filterwarnings("always", category=kind, module=r"PIL\.")
                # how large a picture may be is not for Pillow to say
                warnings.simplefilter("ignore", DecompressionBombWarning)
                if warnings.showwarning != self.hear:  # else a catch_warnings brought ours back
                    self.before = warnings.showwarning
                warnings.showwarning = self.hear
            self.readers += 1
        self.of_thread.heard = heard
        try:
            yield heard
        finally:
            self.of_thread.heard = None
            with self.lock:
                self.readers -= 1
                if not self.readers:
                    self.changed.close()

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
    with _ear.open() as heard:
        yield
    for text in dict.fromkeys(heard):
        _warn_once(f"{shown(path)}: {text}")


@cache
def _warn_once(text: str) -> None:
    warnings.warn_explicit(text, UserWarning, "Pillow", 0)  # no line of code has to do with it

"""How a training run tells how far it is."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeAlias

__all__ = ["Bar", "TrainingProgress", "tqdm"]

EVERY_SECONDS = 15.0  # a line for a log


class _Silent:
    """Shows nothing."""

    n = 0

    def __init__(self, iterable: Iterable[Any] = (), **options: Any) -> None:
        self.iterable = iterable

    def __iter__(self) -> Iterator[Any]:
        return iter(self.iterable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


try:
    from tqdm.auto import tqdm
except ImportError:  # a bare GPU machine (tools/gpu_jobs.py)
    tqdm = _Silent  # type: ignore[assignment, misc]  # it answers to all that is asked of a bar

Bar: TypeAlias = "tqdm[Any]"


class TrainingProgress:
    """A bar for a person; with ``$POUTA_PROGRESS=lines`` a line every few seconds for a log.

    *Source*: our choice: bars of runs that go side by side would overwrite each other.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = self.last = time.monotonic()
        lines = os.environ.get("POUTA_PROGRESS") == "lines"
        self.bar = None if lines else tqdm(desc=title, unit="step")

    def __call__(self, step: int, steps: int, losses: dict[str, float]) -> None:
        if self.bar is not None:
            self.bar.total = steps
            self.bar.set_postfix({k: f"{v:.3f}" for k, v in losses.items()}, refresh=False)
            self.bar.update(step - self.bar.n)
            if step == steps:
                self.bar.close()
            return
        now = time.monotonic()
        if now - self.last >= EVERY_SECONDS or step == steps:
            self.last = now
            spent = now - self.started
            line = f"{self.title}: step {step}/{steps}, loss {losses['total']:.3f}, {spent:.0f} s"
            print(line, file=sys.stderr, flush=True)

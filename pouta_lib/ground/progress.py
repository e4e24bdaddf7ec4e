"""How a training run tells how far it is."""

import os
import sys
import time

try:
    from tqdm.auto import tqdm
except ImportError:  # a bare GPU machine (tools/gpu_jobs.py)

    class tqdm:
        """Shows nothing."""

        def __init__(self, iterable=(), **options) -> None:
            self.iterable = iterable

        def __iter__(self):
            return iter(self.iterable)

        def __getattr__(self, name):
            return lambda *_, **__: None


class TrainingProgress:
    """A bar for a person; with ``$POUTA_PROGRESS=lines`` a line every few seconds for a log.

    *Source*: our choice: bars of runs that go side by side would overwrite each other.
    """

    def __init__(self, title: str, every_seconds: float = 15.0) -> None:
        self.title, self.every = title, every_seconds
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
        if now - self.last >= self.every or step == steps:
            self.last = now
            spent = now - self.started
            line = f"{self.title}: step {step}/{steps}, loss {losses['total']:.3f}, {spent:.0f} s"
            print(line, file=sys.stderr, flush=True)

"""All that a training's steps change, kept in a file to go on from, and whose file that is."""

import hashlib
import time
import zipfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pouta_lib.ground.errors import PoutaError, in_a_line, lacks_memory, problem
from pouta_lib.ground.paths import atomic_path, sources_digest
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.device import Compute


class UnusableCheckpoint(PoutaError):
    """A checkpoint that is damaged, or another run's: a training can but begin again."""


@dataclass
class State:
    """All that the steps change."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    losses: Tensor  # (steps, 4): a row for each step that is done, then zeros
    average: nn.Module | None = None  # of the model's weights and statistics along the steps
    watched: list[dict[str, float | None]] = field(default_factory=list)
    done: int = 0  # steps
    seconds: float = 0.0  # that they took, those before a stop among them, watching left out

    @property
    def kept(self) -> nn.Module:
        """What the run will keep: the average where there is one, else the model itself."""
        return self.model if self.average is None else self.average

    @property
    def steps(self) -> int:
        """How many the training is to have."""
        return len(self.losses)

    def shorten(self, steps: int) -> None:
        """The training is to have no more than `steps`."""
        self.losses = self.losses[:steps]

    def time_since(self, begun: float) -> float:
        """Adds what has passed since `begun` to the time that the steps took; the time now."""
        now = time.monotonic()
        self.seconds += now - begun
        return now

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Writes the checkpoint of the run that `identity` tells of.

        *Raises* :class:`OSError` where the disk does not take it.
        """
        kept = {
            "identity": identity,
            "step": self.done,
            "steps": self.steps,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "losses": self.losses[: self.done],
            "watched": self.watched,
            "seconds": self.seconds,
        }
        with atomic_path(path) as temporary:
            _write(kept, temporary)

    def load(self, path: Path, identity: dict[str, Any]) -> None:
        """Goes on from a checkpoint.

        *Raises* :class:`UnusableCheckpoint` for a damaged one, and for one of another run, of other
        code, of another kind of device, or of another version of torch, whose steps would be
        others.
        """
        try:
            with zipfile.ZipFile(path) as parts:  # torch does not look at the checksums
                if (broken := parts.testzip()) is not None:
                    raise zipfile.BadZipFile(f"other bytes in {broken} than were written")
            kept = torch.load(path, map_location=self.losses.device, weights_only=True)
            theirs = dict(kept["identity"])
        except Exception as error:
            if lacks_memory(error):  # another time it is read
                raise
            found = f"an unreadable file ({in_a_line(error)})"
            raise _unusable("a checkpoint", found, path) from error
        differing = [k for k in identity | theirs if identity.get(k) != theirs.get(k)]
        if differing:
            pairs = ((k, theirs.get(k), identity.get(k)) for k in differing)
            found = ", ".join(f"{k}={other} in place of {own}" for k, other, own in pairs)
            raise _unusable("a checkpoint of this run", f"another's: {found}", path)
        try:
            self._take(kept)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            if lacks_memory(error):
                raise
            found = f"{type(error).__name__}: {in_a_line(error)}"
            raise _unusable("a whole checkpoint", found, path) from error

    def _take(self, kept: dict[str, Any]) -> None:
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(kept["average"])
        done, steps, losses = kept["step"], kept["steps"], kept["losses"]
        if not 0 < done <= steps <= self.steps or losses.shape != self.losses[:done].shape:
            raise ValueError(f"step {done} of {steps} with {len(losses)} losses")
        if not all(t.isfinite().all() for t in self.kept.state_dict().values()):
            raise ValueError("weights that are not finite")
        self.shorten(steps)
        self.losses[:done] = losses
        self.done, self.watched = done, list(kept["watched"])
        self.seconds = float(kept["seconds"])


def _write(kept: dict[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:  # of a path torch would not say what the system refused
            torch.save(kept, file)
    except RuntimeError as error:  # of its own, about the file that it could not end
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _unusable(expected: str, found: str, path: Path) -> UnusableCheckpoint:
    todo = "delete this file to train from the start"
    return UnusableCheckpoint(str(problem(expected, found, path, todo)))


def identity_of(
    method: str,
    profile: Profile,
    seed: int,
    steps: int,
    compute: Compute,
    images: np.ndarray,
    textures: np.ndarray,
    warm: str | None,
) -> dict[str, Any]:
    """All that the steps of a training depend on: a checkpoint is of the run that has the same."""
    return profile.to_dict() | {
        "variant": method,
        "seed": seed,
        "steps": steps,
        "device": compute.device.type,
        "precision": compute.precision,
        "images": _digest(images),
        "textures": _digest(textures),
        "torch": str(torch.__version__),
        "sources": _sources_digest(),
        "warm_start": warm,
    }


@cache
def _sources_digest() -> str:
    """Of the code that makes a training step: a checkpoint goes on with what it began with."""
    return sources_digest(Path(__file__).parent)[:16]


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()[:16]

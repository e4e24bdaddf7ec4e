"""Making a model from the good images of one category; training is resumable to the bit.

Every random draw of step t is a pure function of (seed, t): the weights, the optimiser's state
and the step number are all that a checkpoint has to keep.
"""

import copy
import hashlib
import inspect
import json
import math
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Generator, Tensor, nn

from pouta_lib.ground.errors import problem
from pouta_lib.ground.methods import find_method, require_warm_start, resolve
from pouta_lib.ground.paths import atomic_path, sources_digest
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.device import Compute, compute_of, keep_freed_memory, within_memory
from pouta_lib.method.losses import MSS_WEIGHTS, total_loss
from pouta_lib.method.models import build_model
from pouta_lib.method.replay import Plain, Recorded
from pouta_lib.method.synthesis import SyntheticBatch, synthesize
from pouta_lib.method.warm_start import start_warm, warm_digest

LOSSES = ("total", "reconstruction", "anomaly", "mss")
HISTORY_POINTS = 200
WATCHED_POINTS = 10
AVERAGE_START = 10
NOT_FINITE, LED_THERE = "not_finite.json", 10  # why a training ended early, with so many steps
Progress = Callable[[int, int, dict[str, float]], None]  # step, steps, the latest losses
Watch = Callable[[nn.Module], dict[str, float | None]]  # a model's metrics


@dataclass(frozen=True)
class Trained:
    """A trained model and how it came to be."""

    model: nn.Module  # in eval mode, float32 weights, on the device it was trained on
    history: dict[str, list[float]]  # "step" and one list for each of LOSSES
    steps: int
    seconds: float
    compute: Compute
    watched: list[dict[str, float | None]]  # "step" and what `watch` said of the model then
    warm_start: str | None = None  # the digest of the weights it began with, where not fresh (D44)


def num_steps(profile: Profile, num_images: int, shots: int | None = None) -> int:
    """Optimiser steps of a run.

    An epoch is one pass over the category's good training images; a k-shot run has a fixed number
    of steps, ``few_shot_steps`` (D16).
    """
    if shots is not None:
        return profile.few_shot_steps
    if profile.steps is not None:
        return profile.steps
    assert profile.epochs is not None  # a profile has either steps or epochs
    return math.ceil(profile.epochs * num_images / profile.batch_size)


def learning_rate(profile: Profile, step: int, steps: int) -> float:
    """The rate of step 0 .. steps-1: ``lr`` times ``lr_gamma`` for each milestone passed."""
    passed = sum(step >= milestone * steps for milestone in profile.lr_milestones)
    return profile.lr * profile.lr_gamma**passed


def average_weight(profile: Profile, step: int, steps: int) -> float:
    """How far the averaged weights go towards those of step 0 .. steps-1: in (0, 1].

    An exponential average over about ``average_share`` of the run; early on over a tenth of the
    steps so far, so that nothing of the first weights is left.
    *Source*: our choice (D42).
    """
    horizon = max(1.0, profile.average_share * steps)
    return max(1 / horizon, AVERAGE_START / (AVERAGE_START + step))


def batch_indices(num_images: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Which images step `step` takes, out of an endless row of shuffled passes.

    Every batch is full: one that begins near the end of a pass is filled from the next, so that a
    category with fewer images than a batch (few-shot) works alike (D16).
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    passes = {
        p: np.random.default_rng([seed, 1, p]).permutation(num_images)
        for p in np.unique(positions // num_images)
    }
    return np.array([passes[i // num_images][i % num_images] for i in positions])


def step_seed(seed: int, step: int) -> int:
    """What the generator of one step's synthesis is seeded with: a function of (seed, step)."""
    return int(np.random.SeedSequence([seed, 2, step]).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class Recipe:
    """What the training steps of a method are made of; a method with its own names its own."""

    batch: Callable[[Tensor, Tensor, Generator, Profile], SyntheticBatch]  # of good, textures
    losses: Callable[[dict[str, Tensor], SyntheticBatch], dict[str, Tensor]]  # by LOSSES
    needed: frozenset[str]  # the tensors of the model's trace that `losses` looks at
    rate: Callable[[Profile, int, int], float]  # of step, steps
    recordable: bool = True  # whether `batch` and `losses` never ask a card what it computed


class _Traced(Protocol):
    """A network that is trained in steps."""

    def trace(self, image: Tensor) -> dict[str, Tensor]: ...


def make_batch(
    good: Tensor, textures: Tensor, generator: Generator, profile: Profile
) -> SyntheticBatch:
    """Good images in varied light, a share of them with a synthetic anomaly: paper, III-A."""
    return synthesize(good, textures, generator, profile.synthesis)


def paper_losses(named: dict[str, Tensor], batch: SyntheticBatch) -> dict[str, Tensor]:
    """Equation 8 and its parts."""
    return total_loss(named, batch.original, batch.mask)


PAPER = Recipe(
    make_batch,
    paper_losses,
    frozenset({"I_r", "logits", *(f"logits{i}" for i in MSS_WEIGHTS)}),
    learning_rate,
)


def fit(
    images: np.ndarray,
    textures: np.ndarray,
    profile: Profile,
    method: str,
    seed: int,
    *,
    shots: int | None = None,
    device: str = "auto",
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Trained:
    """A model of any method, made from good images: trained in steps, or remembered.

    The arguments are those of :func:`train`; a method leaves unused what it has no need of.

    *Shape*: images ``(N, 3, S, S)`` uint8; textures ``(K, 3, S, S)`` uint8.
    *Raises* :class:`PoutaError` for the name of no method, where the memory is too small, and what
    the method's own way raises.
    """
    if profile.warm_start:
        require_warm_start(method)
    with within_memory(profile):
        return resolve(find_method(method).fit)(
            images,
            textures,
            profile,
            method,
            seed,
            shots=shots,
            device=device,
            checkpoint=checkpoint,
            progress=progress,
            watch=watch,
        )


def train(
    images: np.ndarray,
    textures: np.ndarray,
    profile: Profile,
    method: str,
    seed: int,
    *,
    shots: int | None = None,
    device: str = "auto",
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    recipe: Recipe | None = None,
) -> Trained:
    """The network of `method`, trained on good images and synthetic anomalies.

    By the method's own recipe, unless another is given.

    *Shape*: images ``(N, 3, S, S)`` uint8; textures ``(K, 3, S, S)`` uint8.
    With `checkpoint`, the run goes on from that file where it exists, writes it every
    ``checkpoint_steps``, and ends with the same weights, bit for bit on a CPU, as an unbroken one.
    `watch` is asked ten times, evenly spread, what the model is worth by then; its answers are
    kept, and nothing is chosen by them.

    *Raises* :class:`PoutaError` for a checkpoint of another run and for a loss that is not finite.
    *Source*: paper, IV-A; equation 8.
    """
    keep_freed_memory()
    compute = compute_of(method, profile, device)
    named = find_method(method)
    if named.steps is None:
        todo = "call fit, which takes every method"
        raise problem("a method that is trained in steps", repr(method), "train", todo)
    steps: int = resolve(named.steps)(profile, len(images), shots)
    recipe = recipe or cast(Recipe, resolve(named.recipe))
    recorded = _records(recipe, profile, compute)
    state = _begin(method, profile, seed, steps, compute, recorded)
    identity = profile.to_dict() | {"variant": method, "seed": seed, "steps": steps}
    identity |= {"precision": compute.precision, "images": _digest(images)}
    identity |= {"textures": _digest(textures), "torch": str(torch.__version__)}
    identity |= {"sources": _sources_digest()}
    warm = warm_digest() if profile.warm_start else None
    identity |= {"warm_start": warm}
    if checkpoint is not None and checkpoint.is_file():
        state.load(checkpoint, identity)
    one_step = _stepper(state, images, textures, profile, seed, compute, recipe, recorded)
    watch_at = {round(steps * k / WATCHED_POINTS) for k in range(1, WATCHED_POINTS + 1)}
    started = time.perf_counter()
    while state.done < steps:
        one_step()
        if watch is not None and state.done in watch_at:
            state.watched.append({"step": state.done} | watch(state.kept.eval()))
            state.model.train()
        if state.done % profile.checkpoint_steps == 0 or state.done == steps:
            _check_finite(state, checkpoint, identity)
            if checkpoint is not None:
                state.save(checkpoint, identity)
        if progress is not None and (state.done % 10 == 0 or state.done == steps):
            latest = state.losses[state.done - 1].tolist()
            progress(state.done, steps, dict(zip(LOSSES, latest, strict=True)))
    seconds = time.perf_counter() - started
    history = summarise(state.losses.cpu())
    return Trained(state.kept.eval(), history, steps, seconds, compute, state.watched, warm)


class PlainAdam(torch.optim.Adam):
    """torch's Adam without what its methods are wrapped in for torch.compile.

    The steps are the same; an import of a second, nearly as long as torch's own, is not made.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


@dataclass
class _State:
    """All that the steps change, which is what a checkpoint keeps."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    losses: Tensor  # (steps, 4): a row for each step that is done, then zeros
    average: nn.Module | None = None  # of the model's weights and statistics along the steps
    watched: list[dict[str, float | None]] = field(default_factory=list)
    done: int = 0  # steps

    @property
    def kept(self) -> nn.Module:
        """What the run will keep: the average where there is one, else the model itself."""
        return self.model if self.average is None else self.average

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Writes the checkpoint of the run that `identity` tells of."""
        kept = {
            "identity": identity,
            "step": self.done,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "losses": self.losses[: self.done],
            "watched": self.watched,
        }
        with atomic_path(path) as temporary:
            torch.save(kept, temporary)

    def load(self, path: Path, identity: dict[str, Any]) -> None:
        """Goes on from a checkpoint.

        *Raises* :class:`PoutaError` for a damaged one, and for one of another run, of other code,
        or of another version of torch, whose steps would be others.
        """
        todo = "delete this file to train from the start"
        try:
            with zipfile.ZipFile(path) as parts:  # torch does not look at the checksums
                if (broken := parts.testzip()) is not None:
                    raise zipfile.BadZipFile(f"other bytes in {broken} than were written")
            kept = torch.load(path, map_location=self.losses.device, weights_only=True)
            theirs = dict(kept["identity"])
        except Exception as error:
            found = f"an unreadable file ({' '.join(str(error).split())[:300]})"
            raise problem("a checkpoint", found, path, todo) from error
        differing = [k for k in identity | theirs if identity.get(k) != theirs.get(k)]
        if differing:
            pairs = ((k, theirs.get(k), identity.get(k)) for k in differing)
            found = ", ".join(f"{k}={other} in place of {own}" for k, other, own in pairs)
            raise problem("a checkpoint of this run", f"another's: {found}", path, todo)
        try:
            self._take(kept)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            found = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise problem("a whole checkpoint", found, path, todo) from error

    def _take(self, kept: dict[str, Any]) -> None:
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(kept["average"])
        done, losses = kept["step"], kept["losses"]
        if not 0 < done <= len(self.losses) or losses.shape != self.losses[:done].shape:
            raise ValueError(f"step {done} of {len(self.losses)} with {len(losses)} losses")
        if not all(t.isfinite().all() for t in self.kept.state_dict().values()):
            raise ValueError("weights that are not finite")
        self.losses[:done] = losses
        self.done, self.watched = done, list(kept["watched"])


def _begin(
    method: str, profile: Profile, seed: int, steps: int, compute: Compute, recorded: bool
) -> _State:
    """Fresh weights, drawn from the seed alone, and an optimiser that has seen nothing.

    Or those of the warm start (D44), the same for every seed.
    """
    torch.manual_seed(seed)
    model = build_model(method, profile)
    if profile.warm_start:
        start_warm(model)
    model = model.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads lack memory_format
    # in a recorded step the rate is a number on the card, which each step sets anew
    rate = torch.tensor(profile.lr, device=compute.device) if recorded else profile.lr
    fused = compute.device.type in ("cpu", "cuda")
    optimizer = PlainAdam(model.parameters(), lr=rate, fused=fused, capturable=recorded)
    losses = torch.zeros(steps, len(LOSSES), device=compute.device)
    average = copy.deepcopy(model).requires_grad_(False) if profile.average_share else None
    return _State(model.train(), optimizer, losses, average)


def _records(recipe: Recipe, profile: Profile, compute: Compute) -> bool:
    return recipe.recordable and compute.device.type == "cuda" and not profile.compile


def _stepper(
    state: _State,
    images: np.ndarray,
    textures: np.ndarray,
    profile: Profile,
    seed: int,
    compute: Compute,
    recipe: Recipe,
    recorded: bool,
) -> Callable[[], None]:
    """A function that does the next training step, whichever that is."""
    steps, device = len(state.losses), compute.device
    network, low, full = _cast_at_once(state.model, compute)
    trace = _loss_inputs(network, recipe.needed, profile.compile and device.type == "cuda")
    originals = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    bank = torch.from_numpy(np.ascontiguousarray(textures)).to(device)

    share = torch.zeros((), device=device)  # of the way that the average goes in a step
    average = _floats(state.average) if state.average is not None else []
    weights = _floats(state.model)

    def update(chosen: Tensor, generator: Generator) -> Tensor:
        good = originals[chosen].float() / 255
        batch = recipe.batch(good, bank, generator, profile)
        state.optimizer.zero_grad(set_to_none=True)
        _copy(full, low)
        with compute.autocast():
            named = trace(batch.image.contiguous(memory_format=torch.channels_last))
        losses = recipe.losses(named, batch)
        losses["total"].backward()
        for kept, used in zip(full, low, strict=True):
            if used.grad is not None:
                kept.grad, used.grad = used.grad.float(), None
        state.optimizer.step()
        if average:
            _move_towards(average, weights, share)
        return torch.stack([losses[name].detach() for name in LOSSES])

    run = Recorded(update, device) if recorded else Plain(update, device)

    def one_step() -> None:
        step = state.done
        chosen = torch.from_numpy(batch_indices(len(images), profile.batch_size, step, seed))
        for group in state.optimizer.param_groups:
            _set_rate(group, recipe.rate(profile, step, steps))
        share.fill_(average_weight(profile, step, steps))
        state.losses[step] = run(chosen.to(device), step_seed(seed, step))
        state.done += 1

    return one_step


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _move_towards(average: list[Tensor], weights: list[Tensor], share: Tensor) -> None:
    """Parameters and statistics of the average go that share of the way to the model's."""
    for ours, theirs in zip(average, weights, strict=True):
        ours.lerp_(theirs, share)


def _cast_at_once(
    model: nn.Module, compute: Compute
) -> tuple[nn.Module, list[Tensor], list[Tensor]]:
    """`model` with bf16 weights in its convolutions, these weights, and those they come from.

    Autocast does the same, weight by weight, which on a CPU takes time that small images do not
    leave; elsewhere the model itself is given. All but the convolutions' weights is shared.
    """
    if compute.device.type != "cpu" or compute.precision != "bf16":
        return model, [], []
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    full: list[Tensor] = [p for module in convolutions for p in module.parameters()]
    tensors = [*model.parameters(), *model.buffers()]
    shared: dict[int, Any] = {id(t): t for t in tensors}
    for tensor in full:
        del shared[id(tensor)]
    network = copy.deepcopy(model, shared)
    low: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            low += list(module.bfloat16().parameters())
    return network, low, full


@torch.no_grad()
def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if source:
        torch._foreach_copy_(target, source)


def _floats(model: nn.Module) -> list[Tensor]:
    tensors = [*model.parameters(), *model.buffers()]
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]


def _loss_inputs(
    model: nn.Module, needed: frozenset[str], compiled: bool
) -> Callable[[Tensor], dict[str, Tensor]]:
    """The part of the model's trace that the losses look at; the rest need not be kept."""
    network = cast(_Traced, model)

    def trace(image: Tensor) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in network.trace(image).items() if name in needed}

    return torch.compile(trace) if compiled else trace


def summarise(losses: Tensor, points: int = HISTORY_POINTS) -> dict[str, list[float]]:
    """The losses averaged over at most `points` equal stretches, each named by its last step.

    *Shape*: ``(steps, 4)``.
    """
    stretches = torch.tensor_split(losses, min(points, len(losses)))
    ends = np.cumsum([len(part) for part in stretches]).tolist()
    means = torch.stack([part.mean(dim=0) for part in stretches]).T.tolist()
    return {"step": ends} | dict(zip(LOSSES, means, strict=True))


@cache
def _sources_digest() -> str:
    """Of the code that makes a training step: a checkpoint goes on with what it began with."""
    return sources_digest(Path(__file__).parent)[:16]


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()[:16]


def _check_finite(state: _State, checkpoint: Path | None, identity: dict[str, Any]) -> None:
    """*Raises* :class:`PoutaError` after a loss that is not finite.

    Beside the checkpoint then stands what led there: :data:`NOT_FINITE`.
    """
    losses = state.losses[: state.done].cpu()
    bad = (~losses.isfinite().all(dim=1)).nonzero()
    if not len(bad):
        return
    step = int(bad[0, 0])
    lr, precision = identity["lr"], identity["precision"]
    where: str | Path = f"training at lr={lr}, precision={precision}"
    if checkpoint is not None:
        first = max(0, step - LED_THERE)
        rows = losses[first : step + 1].tolist()  # NaN and infinity as words: JSON has none
        led = [[value if math.isfinite(value) else str(value) for value in row] for row in rows]
        told = {"step": step, "losses": list(LOSSES), "of_steps": dict(enumerate(led, first))}
        where = checkpoint.with_name(NOT_FINITE)
        with atomic_path(where) as temporary:
            text = json.dumps(told | {"settings": identity}, indent=1, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    named = dict(zip(LOSSES, losses[step].tolist(), strict=True))
    todo = f"lower lr (it is {lr}), or choose precision=fp32 (it is {precision})"
    raise problem("finite losses", f"{named} at step {step}", where, todo)

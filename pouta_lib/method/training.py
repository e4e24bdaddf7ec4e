"""Making a model from the good images of one category; training is resumable to the bit."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Generator, Tensor, nn

from pouta_lib.ground.errors import problem
from pouta_lib.ground.methods import find_method, resolve
from pouta_lib.ground.profiles import Profile, require_suitable
from pouta_lib.method.adam import PlainAdam
from pouta_lib.method.average import average_weight, floats, move_towards
from pouta_lib.method.cast import cast_at_once
from pouta_lib.method.checkpoint import State, identity_of
from pouta_lib.method.device import Compute, compute_of, keep_freed_memory, within_memory
from pouta_lib.method.finite import check_finite
from pouta_lib.method.history import LOSSES, summarise
from pouta_lib.method.losses import MSS_WEIGHTS, total_loss
from pouta_lib.method.models import build_model
from pouta_lib.method.models.blocks import freeze_statistics
from pouta_lib.method.replay import Plain, Recorded
from pouta_lib.method.schedule import batch_indices, learning_rate, step_seed
from pouta_lib.method.synthesis import SyntheticBatch, synthesize
from pouta_lib.method.warm_start import start_warm, warm_digest

WATCHED_POINTS = 10
RECORDING = True  # of steps on a CUDA card; tools/gpu_jobs.py has it off where it does not pay
Progress = Callable[[int, int, dict[str, float]], None]  # step, steps, the latest losses
Watch = Callable[[nn.Module], dict[str, float | None]]  # a model's metrics


@dataclass(frozen=True)
class Trained:
    """A trained model and how it came to be."""

    model: nn.Module  # in eval mode, float32 weights, on the device it was trained on
    history: dict[str, list[float]]  # "step" and one list for each of LOSSES
    steps: int
    seconds: float  # of the steps alone, those before a stop among them
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


@dataclass(frozen=True)
class Recipe:
    """What the training steps of a method are made of; a method with its own names its own."""

    batch: Callable[[Tensor, Tensor, Generator, Profile], SyntheticBatch]  # of good, textures
    losses: Callable[[dict[str, Tensor], SyntheticBatch], dict[str, Tensor]]  # by LOSSES
    needed: frozenset[str]  # the tensors of the model's trace that `losses` looks at
    rate: Callable[[Profile, int, int], float]  # of step, steps
    recordable: bool = True  # whether its steps are alike and never ask a card what it computed
    frozen_from: float = 1.0  # share of the steps from which on batch statistics stay as they are


def make_batch(
    good: Tensor, textures: Tensor, generator: Generator, profile: Profile
) -> SyntheticBatch:
    """Good images, in other light and position and with noise where the profile asks for it (D38,
    D40, D41), a share of them with a synthetic anomaly: paper, III-A.

    *Shape*: good ``(B, 3, S, S)`` in [0, 1]; textures ``(K, 3, S, S)`` uint8.
    """
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
    until: float | None = None,
) -> Trained:
    """A model of any method, made from good images: trained in steps, or remembered.

    The arguments are those of :func:`train`; a method leaves unused what it has no need of.

    *Shape*: images ``(N, 3, S, S)`` uint8; textures ``(K, 3, S, S)`` uint8.
    *Raises* :class:`PoutaError` for the name of no method, where the memory is too small, and what
    the method's own way raises.
    """
    require_suitable(profile, method)
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
            until=until,
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
    until: float | None = None,
) -> Trained:
    """The network of `method`, trained on good images and synthetic anomalies.

    *Shape*: images ``(N, 3, S, S)`` uint8; textures ``(K, 3, S, S)`` uint8.
    With `checkpoint`, the run goes on from that file where it exists, writes it every
    ``checkpoint_steps``, and ends with the same weights, bit for bit on a CPU, as an unbroken one.
    `watch` is asked ten times, evenly spread, what the model is worth by then; its answers are
    kept, and nothing is chosen by them. A training that will not have ended by `until`, a time of
    ``time.monotonic()``, is shortened, and its schedule with it: every ``checkpoint_steps`` its
    pace says what there is time for.

    *Raises* :class:`PoutaError` for a checkpoint of another run and for a loss that is not finite.
    *Source*: paper, IV-A; equation 8.
    """
    keep_freed_memory()
    compute = compute_of(method, profile, device)
    named = find_method(method)
    if not named.trained:
        todo = "call fit, which takes every method"
        raise problem("a method that is trained in steps", repr(method), "train", todo)
    steps = named.num_steps(profile, len(images), shots)
    recipe: Recipe = resolve(named.recipe)
    recorded = _records(recipe, profile, compute)
    state = _begin(method, profile, seed, steps, compute, recorded)
    warm = warm_digest() if profile.warm_start else None
    identity = identity_of(method, profile, seed, steps, compute, images, textures, warm)
    if checkpoint is not None and checkpoint.is_file():
        state.load(checkpoint, identity)
    one_step = _stepper(state, images, textures, profile, seed, compute, recipe, recorded)
    begun, started = state.done, time.monotonic()
    since = started
    while state.done < state.steps:
        one_step()
        due = state.done % profile.checkpoint_steps == 0 or state.done == state.steps
        if due and until is not None:
            state.shorten(_possible(until, started, begun, state.done))
        if watch is not None and state.done in _watched_steps(state.steps):
            state.time_since(since)
            state.watched.append({"step": state.done} | watch(state.kept.eval()))
            state.model.train()
            since = time.monotonic()
        if due:
            check_finite(state.losses[: state.done], checkpoint, identity)
            since = state.time_since(since)
            if checkpoint is not None:
                state.save(checkpoint, identity)
        if progress is not None and (state.done % 10 == 0 or state.done == state.steps):
            latest = state.losses[state.done - 1].tolist()
            progress(state.done, state.steps, dict(zip(LOSSES, latest, strict=True)))
    history = summarise(state.losses.cpu())
    kept = state.kept.eval()
    return Trained(kept, history, state.steps, state.seconds, compute, state.watched, warm)


def _watched_steps(steps: int) -> set[int]:
    return {round(steps * k / WATCHED_POINTS) for k in range(1, WATCHED_POINTS + 1)}


def _possible(until: float, started: float, begun: int, done: int) -> int:
    """How many steps a training can have by `until`, at its pace since step `begun`."""
    now = time.monotonic()
    return done + int(max(0.0, until - now) * (done - begun) / (now - started))


def _begin(
    method: str, profile: Profile, seed: int, steps: int, compute: Compute, recorded: bool
) -> State:
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
    return State(model.train(), optimizer, losses, average)


def _records(recipe: Recipe, profile: Profile, compute: Compute) -> bool:
    can_be = recipe.recordable and compute.device.type == "cuda" and not profile.compile
    return can_be and RECORDING


def _stepper(
    state: State,
    images: np.ndarray,
    textures: np.ndarray,
    profile: Profile,
    seed: int,
    compute: Compute,
    recipe: Recipe,
    recorded: bool,
) -> Callable[[], None]:
    """A function that does the next training step, whichever that is."""
    device = compute.device
    low = cast_at_once(state.model, compute)
    trace = _loss_inputs(low.network, recipe.needed, profile.compile and device.type == "cuda")
    originals = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    bank = torch.from_numpy(np.ascontiguousarray(textures)).to(device)

    share = torch.zeros((), device=device)  # of the way that the average goes in a step
    average = floats(state.average) if state.average is not None else []
    weights = floats(state.model)

    def update(chosen: Tensor, generator: Generator) -> Tensor:
        good = originals[chosen].float() / 255
        batch = recipe.batch(good, bank, generator, profile)
        state.optimizer.zero_grad(set_to_none=True)
        low.refresh()
        with compute.autocast():
            named = trace(batch.image.contiguous(memory_format=torch.channels_last))
        losses = recipe.losses(named, batch)
        losses["total"].backward()
        low.give_back()
        state.optimizer.step()
        if average:
            move_towards(average, weights, share)
        return torch.stack([losses[name].detach() for name in LOSSES])

    run = Recorded(update, device) if recorded else Plain(update, device)

    def one_step() -> None:
        step = state.done
        if step >= recipe.frozen_from * state.steps:
            freeze_statistics(low.network)
        chosen = torch.from_numpy(batch_indices(len(images), profile.batch_size, step, seed))
        for group in state.optimizer.param_groups:
            _set_rate(group, recipe.rate(profile, step, state.steps))
        share.fill_(average_weight(profile, step, state.steps))
        state.losses[step] = run(chosen.to(device), step_seed(seed, step))
        state.done += 1

    return one_step


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _loss_inputs(
    model: nn.Module, needed: frozenset[str], compiled: bool
) -> Callable[[Tensor], dict[str, Tensor]]:
    """The part of the model's trace that the losses look at; the rest need not be kept."""
    traced: Callable[[Tensor], dict[str, Tensor]] = cast(Any, model).trace

    def trace(image: Tensor) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in traced(image).items() if name in needed}

    return torch.compile(trace) if compiled else trace

"""Training one model on one category, resumable to the bit.

Every random draw of step t is a pure function of (seed, t): the weights, the optimiser's state
and the step number are all that a checkpoint has to keep.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from pouta_lib.ground.errors import problem
from pouta_lib.ground.paths import atomic_path
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.device import Compute, choose_compute
from pouta_lib.method.draem_training import draem_losses, draem_settings, draem_synthesize
from pouta_lib.method.losses import MSS_WEIGHTS, total_loss
from pouta_lib.method.models import DRAEM, build_model
from pouta_lib.method.models.patchcore import PatchCore
from pouta_lib.method.synthesis import synthesize

LOSSES = ("total", "reconstruction", "anomaly", "mss")
HISTORY_POINTS = 200
WATCHED_POINTS = 10
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


def own_settings(profile: Profile, variant: str) -> Profile:
    """The settings that a run of `variant` takes out of `profile`: DRAEM has its own paper's."""
    return draem_settings(profile) if variant == DRAEM else profile


def num_steps(profile: Profile, num_images: int, shots: int | None = None) -> int:
    """Optimiser steps of a run.

    An epoch is one pass over the category's good training images; a k-shot run has a fixed number
    of steps, ``few_shot_steps`` (D16).
    """
    if shots is not None:
        return profile.few_shot_steps
    if profile.steps is not None:
        return profile.steps
    return math.ceil(profile.epochs * num_images / profile.batch_size)


def learning_rate(profile: Profile, step: int, steps: int) -> float:
    """The rate of step 0 .. steps-1: ``lr`` times ``lr_gamma`` for each milestone passed."""
    passed = sum(step >= milestone * steps for milestone in profile.lr_milestones)
    return profile.lr * profile.lr_gamma**passed


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


def step_generator(seed: int, step: int, device: torch.device) -> Generator:
    """The generator of one step's synthesis: a function of (seed, step) alone."""
    state = int(np.random.SeedSequence([seed, 2, step]).generate_state(1, np.uint64)[0] >> 1)
    return Generator(device).manual_seed(state)


def train(
    images: np.ndarray,
    textures: np.ndarray,
    profile: Profile,
    variant: str,
    seed: int,
    *,
    shots: int | None = None,
    device: str = "auto",
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Trained:
    """A `variant` trained on good images and synthetic anomalies.

    *Shape*: images ``(N, 3, S, S)`` uint8; textures ``(K, 3, S, S)`` uint8.
    With `checkpoint`, the run goes on from that file where it exists, writes it every
    ``checkpoint_steps``, and ends with the same weights, bit for bit on a CPU, as an unbroken one.
    `watch` is asked ten times, evenly spread, what the model is worth by then; its answers are
    kept, and nothing is chosen by them.

    *Raises* :class:`PoutaError` for a checkpoint of another run and for a loss that is not finite.
    *Source*: paper, IV-A; equation 8.
    """
    profile = own_settings(profile, variant)
    compute = choose_compute(device, profile.precision)
    torch.manual_seed(seed)
    model = build_model(variant, profile.width, profile.norm, profile.normalisation).to(
        compute.device, memory_format=torch.channels_last
    )
    fused = compute.device.type in ("cpu", "cuda")
    optimizer = torch.optim.Adam(model.parameters(), lr=profile.lr, fused=fused)
    steps = num_steps(profile, len(images), shots)
    losses = torch.zeros(steps, len(LOSSES), device=compute.device)
    identity = profile.to_dict() | {"variant": variant, "seed": seed, "steps": steps}
    identity |= {"precision": compute.precision, "images": _digest(images)}
    identity |= {"textures": _digest(textures)}
    first, watched = _resume(checkpoint, identity, model, optimizer, losses)
    watch_at = {round(steps * k / WATCHED_POINTS) for k in range(1, WATCHED_POINTS + 1)}
    model.train()
    losses_of = draem_losses if variant == DRAEM else total_loss
    anomalies = draem_synthesize if variant == DRAEM else synthesize
    trace = _loss_inputs(model, compiled=profile.compile and compute.device.type == "cuda")
    originals = torch.from_numpy(np.ascontiguousarray(images)).to(compute.device)
    bank = torch.from_numpy(np.ascontiguousarray(textures)).to(compute.device)
    started = time.perf_counter()
    for step in range(first, steps):
        chosen = batch_indices(len(images), profile.batch_size, step, seed)
        generator = step_generator(seed, step, compute.device)
        good = originals[torch.from_numpy(chosen).to(compute.device)].float() / 255
        batch = anomalies(good, bank, generator, profile.synthesis)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(profile, step, steps)
        optimizer.zero_grad(set_to_none=True)
        with compute.autocast():
            named = trace(batch.image.contiguous(memory_format=torch.channels_last))
        parts = losses_of(named, batch.original, batch.mask)
        parts["total"].backward()
        optimizer.step()
        losses[step] = torch.stack([parts[name].detach() for name in LOSSES])
        done = step + 1
        if watch is not None and done in watch_at:
            watched.append({"step": done} | watch(model.eval()))
            model.train()
        if done % profile.checkpoint_steps == 0 or done == steps:
            _check_finite(losses, done, profile)
            if checkpoint is not None:
                _save(checkpoint, identity, model, optimizer, losses, watched, done)
        if progress is not None and (done % 10 == 0 or done == steps):
            progress(done, steps, dict(zip(LOSSES, losses[step].tolist(), strict=True)))
    seconds = time.perf_counter() - started
    return Trained(model.eval(), summarise(losses.cpu()), steps, seconds, compute, watched)


def _loss_inputs(model: nn.Module, compiled: bool) -> Callable[[Tensor], dict[str, Tensor]]:
    """The part of the model's trace that the losses look at; the rest need not be kept."""
    needed = {"I_r", "logits", *(f"logits{i}" for i in MSS_WEIGHTS)}

    def trace(image: Tensor) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in model.trace(image).items() if name in needed}

    return torch.compile(trace) if compiled else trace


def fit_patchcore(
    images: np.ndarray, profile: Profile, seed: int, *, device: str = "auto"
) -> Trained:
    """A PatchCore whose memory holds a coreset of the good images' patches; nothing is trained.

    *Shape*: images ``(N, 3, S, S)`` uint8. Float32 throughout.
    *Raises* :class:`PoutaError` where the backbone's pretrained weights cannot be had.
    """
    compute = choose_compute(device, "fp32")
    model = PatchCore(profile.backbone).to(compute.device)
    started = time.perf_counter()
    parts = np.array_split(images, math.ceil(len(images) / 16))
    batches = (torch.from_numpy(part).to(compute.device).float() / 255 for part in parts)
    model.fit(batches, seed)
    seconds = time.perf_counter() - started
    no_history = {name: [] for name in ("step", *LOSSES)}
    return Trained(model.eval(), no_history, 0, seconds, compute, [])


def summarise(losses: Tensor, points: int = HISTORY_POINTS) -> dict[str, list[float]]:
    """The losses averaged over at most `points` equal stretches, each named by its last step.

    *Shape*: ``(steps, 4)``.
    """
    stretches = torch.tensor_split(losses, min(points, len(losses)))
    ends = np.cumsum([len(part) for part in stretches]).tolist()
    means = torch.stack([part.mean(dim=0) for part in stretches]).T.tolist()
    return {"step": ends} | dict(zip(LOSSES, means, strict=True))


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]


def _save(path: Path, identity: dict, model, optimizer, losses: Tensor, watched, step) -> None:
    state = {
        "identity": identity,
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "losses": losses[:step],
        "watched": watched,
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def _resume(path: Path | None, identity: dict, model, optimizer, losses: Tensor):
    """Loads a checkpoint, when there is one, into the three; the step to go on with, and what
    was watched before it."""
    if path is None or not path.is_file():
        return 0, []
    todo = "delete this file to train from the start"
    try:
        state = torch.load(path, map_location=losses.device, weights_only=True)
    except Exception as error:
        raise problem("a checkpoint", f"an unreadable file ({error})", path, todo) from error
    theirs = state["identity"]
    differing = [k for k in identity | theirs if identity.get(k) != theirs.get(k)]
    if differing:
        found = ", ".join(f"{k}={theirs.get(k)} in place of {identity.get(k)}" for k in differing)
        raise problem("a checkpoint of this run", f"another's: {found}", path, todo)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    losses[: state["step"]] = state["losses"]
    return state["step"], state["watched"]


def _check_finite(losses: Tensor, done: int, profile: Profile) -> None:
    bad = (~losses[:done].isfinite().all(dim=1)).nonzero()
    if len(bad):
        raise problem(
            "finite losses",
            f"{losses[bad[0, 0]].tolist()} at step {int(bad[0, 0])}",
            f"training at lr={profile.lr}, precision={profile.precision}",
            "lower lr or choose precision=fp32",
        )

"""Random draws, and work done for those images of a batch only that need it."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor


def uniform(
    generator: Generator, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Uniform draws in [low, high) on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def selects(device: torch.device) -> bool:
    """Whether :func:`only` looks which images need something."""
    return device.type == "cpu"


def only(needed: Tensor, make: Callable[..., Tensor], otherwise: Tensor, *inputs: Tensor) -> Tensor:
    """``make(*inputs)`` for the images that need it, ``otherwise`` for the others.

    On a CPU nothing is computed for the others. A card computes all and then chooses, since it
    cannot be asked how many they are while a step is recorded
    (:class:`pouta_lib.method.replay.Recorded`). What `make` goes by was drawn before, for all.

    *Shape*: needed ``(B,)`` bool; `otherwise`, each input and what `make` gives: a row an image.
    """
    if not selects(needed.device):
        chosen = needed.view(-1, *[1] * (otherwise.ndim - 1))
        return torch.where(chosen, make(*inputs), otherwise)
    rows = needed.nonzero().squeeze(1)
    if not len(rows):
        return otherwise
    result = otherwise.clone()
    made = make(*(whole.index_select(0, rows) for whole in inputs))
    for row, image in zip(rows.tolist(), made, strict=True):  # faster than result[rows] = made
        result[row] = image
    return result


def mean_of_each(image: Tensor) -> Tensor:
    """The mean of each image: ``(B, C, H, W) -> (B, 1, 1, 1)``.

    Taken twice over, since several threads add up a single image in another order than many, and
    an image's mean is not to depend on how many others :func:`only` takes with it.
    """
    return image.expand(2, *image.shape).mean(dim=(2, 3, 4))[0].view(-1, 1, 1, 1)

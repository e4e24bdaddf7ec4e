"""Weights averaged along a training's steps (D42)."""

from torch import Tensor, nn

from pouta_lib.ground.profiles import Profile

AVERAGE_START = 10


def average_weight(profile: Profile, step: int, steps: int) -> float:
    """How far the averaged weights go towards those of step 0 .. steps-1: in (0, 1].

    An exponential average over about ``average_share`` of the run; early on over a tenth of the
    steps so far, so that nothing of the first weights is left.
    *Source*: our choice (D42).
    """
    horizon = max(1.0, profile.average_share * steps)
    return max(1 / horizon, AVERAGE_START / (AVERAGE_START + step))


def floats(model: nn.Module) -> list[Tensor]:
    """The parameters and statistics that an average is made of."""
    tensors = [*model.parameters(), *model.buffers()]
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]


def move_towards(average: list[Tensor], weights: list[Tensor], share: Tensor) -> None:
    """Parameters and statistics of the average go that share of the way to the model's."""
    for ours, theirs in zip(average, weights, strict=True):
        ours.lerp_(theirs, share)

"""What a model costs: parameters, multiply-adds and time per image."""

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_multiply_adds(model: nn.Module, size_px: int = 224) -> int:
    """Multiply-adds of ``model(image)`` for one ``(1, 3, size_px, size_px)`` image.

    Convolutions and matrix products count; normalisation, activation, pooling and up-sampling do
    not. A copy runs on the meta device: nothing is computed, and the model stays as it is.

    *Source*: Table VI's "FLOPs" are multiply-adds (D24): torch's counter counts each as two.
    """
    bare = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        bare(torch.empty(1, 3, size_px, size_px, device="meta"))
    return counter.get_total_flops() // 2


def inference_milliseconds(
    functions: dict[str, Callable[[Tensor], Tensor]], image: Tensor, rounds: int = 20
) -> dict[str, list[float]]:
    """Milliseconds of each call, one image per call, function after function in every round.

    Taking turns makes the ratios fair where a machine's speed wanders; a first round warms up and
    is not counted. On a card, CUDA's or Apple's, each call is waited for.

    *Shape*: image ``(1, 3, H, W)``, on the functions' device.
    *Source*: Table VI's "average inference time per image"; its machine is not ours (D24).
    """
    spent: dict[str, list[float]] = {name: [] for name in functions}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name, function in functions.items():
                started = time.perf_counter()
                function(image)
                if image.device.type != "cpu":
                    torch.accelerator.synchronize(image.device)
                if turn:
                    spent[name].append(1000 * (time.perf_counter() - started))
    return spent

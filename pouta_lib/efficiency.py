"""What a model costs: parameters and multiply-adds."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_multiply_adds(model: nn.Module, size_px: int = 224) -> int:
    """Multiply-adds of ``model(image)`` for one ``(1, 3, size_px, size_px)`` image.

    Convolutions and matrix products count; normalisation, activation, pooling and up-sampling do
    not. Runs on the meta device: nothing is computed.

    *Source*: Table VI's "FLOPs" are multiply-adds (D24): torch's counter counts two a piece.
    """
    model = model.to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, size_px, size_px, device="meta"))
    return counter.get_total_flops() // 2

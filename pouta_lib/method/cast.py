"""bf16 on a CPU: a network's weights cast once a step, in place of autocast's one by one."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pouta_lib.method.device import Compute


@dataclass
class Cast:
    """A network to compute with, and which of its weights are a cast of which of the model's."""

    network: nn.Module
    low: list[Tensor]
    full: list[Tensor]

    @torch.no_grad()
    def refresh(self) -> None:
        """The model's weights go to the network."""
        if self.full:
            torch._foreach_copy_(self.low, self.full)

    def give_back(self) -> None:
        """The network's gradients go to the model."""
        for kept, used in zip(self.full, self.low, strict=True):
            if used.grad is not None:
                kept.grad, used.grad = used.grad.float(), None


def cast_at_once(model: nn.Module, compute: Compute) -> Cast:
    """`model` with bf16 weights in its convolutions.

    Autocast does the same, weight by weight, which on a CPU takes time that small images do not
    leave; elsewhere the model itself is given. All but the convolutions' weights is shared.
    """
    if compute.device.type != "cpu" or compute.precision != "bf16":
        return Cast(model, [], [])
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
    return Cast(network, low, full)

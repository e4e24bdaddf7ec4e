"""A training step on channels_last tensors meets one layout all the way: two are slow together."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pouta_lib.method.losses import total_loss
from pouta_lib.method.models.blocks import up
from pouta_lib.method.models.discriminative import joined, mean_of_pixels, up_logits
from pouta_lib.method.models.pouta import Pouta

LAST = torch.channels_last


class ReluGradients(TorchDispatchMode):
    """Notes how the gradient and the output lie that each ReLU is given in a backward pass."""

    def __init__(self):
        super().__init__()
        self.strides = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.threshold_backward.default:
            self.strides.append((args[0].stride(), args[1].stride()))
        return function(*args, **(kwargs or {}))


def test_every_relu_gets_a_gradient_that_lies_as_its_output_does():
    torch.manual_seed(0)
    model = Pouta(width=8, norm=True).to(memory_format=LAST).train()
    image = torch.rand(2, 3, 64, 64)
    named = model.trace(image.contiguous(memory_format=LAST))
    loss = total_loss(named, image, (image[:, 0] > 0.9).float())["total"]
    with ReluGradients() as seen:
        loss.backward()
    assert len(seen.strides) == 32
    assert all(gradient == output for gradient, output in seen.strides)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("plain", "quick"),
    [
        (lambda x: x.mean(dim=(2, 3), keepdim=True), mean_of_pixels),
        (lambda x: up(x, 4), lambda x: up_logits(x, 4)),
        (lambda x: torch.cat([x, 2 * x], dim=1), lambda x: joined((x, 2 * x), dim=1)),
    ],
    ids=["mean", "logits", "joined"],
)
def test_values_and_gradients_are_the_plain_ones(plain, quick, dtype):
    x = torch.randn(4, 2, 24, 24, generator=torch.Generator().manual_seed(0))
    x = x.to(dtype).contiguous(memory_format=LAST).requires_grad_()
    weight = torch.linspace(-1, 1, plain(x).numel(), dtype=dtype).view_as(plain(x))
    values, gradients = [], []
    for function in (plain, quick):
        values.append(function(x))
        gradients += torch.autograd.grad((values[-1] * weight).sum(), x)
    assert torch.equal(*values)
    assert torch.equal(*gradients)

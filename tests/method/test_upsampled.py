"""The short way to convolve an up-sampled map, against the plain one."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.models import build_model, upsampled
from pouta_lib.method.models.blocks import up
from pouta_lib.method.models.upsampled import convolve_upsampled, of_upsampled


@pytest.mark.parametrize("shape", [(2, 5, 6, 9), (1, 3, 2, 2), (3, 4, 17, 2)])
@pytest.mark.parametrize("biased", [True, False])
def test_every_pixel_is_that_of_the_plain_convolution(shape, biased):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    convolution = nn.Conv2d(shape[1], 7, 3, padding=1, bias=biased)
    weight, bias = convolution.weight.detach(), convolution.bias
    found = convolve_upsampled(x, weight, None if bias is None else bias.detach())
    torch.testing.assert_close(found, convolution(up(x)).detach(), rtol=1e-5, atol=1e-5)


def test_the_short_way_is_for_inference_in_float32_alone(monkeypatch):
    taken = []
    plain = lambda x, w, b: taken.append(1) or F.conv2d(up(x), w, b, padding=1)  # noqa: E731
    monkeypatch.setattr(upsampled, "convolve_upsampled", plain)
    monkeypatch.setattr(upsampled, "WORTH", 256)
    block, x = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()), torch.rand(1, 2, 8, 8)
    of_upsampled(block, x)
    with torch.no_grad():
        of_upsampled(block, x)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        of_upsampled(block, x)
    with torch.inference_mode():
        of_upsampled(block, x[:, :, :2, :2])  # too small to be worth it
        assert taken == []
        of_upsampled(block, x)
    assert taken == [1]


@pytest.mark.parametrize("method", ["pouta", "vanilla"])
def test_maps_are_those_of_the_network_as_drawn(method, monkeypatch):
    monkeypatch.setattr(upsampled, "WORTH", 0)
    torch.manual_seed(0)
    model = build_model(method, load_profile("smoke")).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)  # fresh weights hardly tell pixels apart
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(image)
    with torch.inference_mode():
        torch.testing.assert_close(model(image), expected, rtol=0, atol=1e-5)
    assert expected.std() > 1e-3

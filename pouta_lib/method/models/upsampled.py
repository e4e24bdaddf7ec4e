"""A 3 x 3 convolution of an up-sampled map, computed at the lower resolution where it is only used.

Bilinear up-sampling by two is repetition, smoothed by ``[1, 2, 1] / 4`` along each axis. The
convolution can change places with the smoothing, and of a repeated map it needs 2 x 2 products for
each pixel in place of 3 x 3: 4/9 of the multiply-adds. Beyond the border the convolution sees zeros
and the smoothing does not: what it saw there is subtracted.

*Source*: our choice; the outputs differ from the plain ones by rounding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pouta_lib.method.models.blocks import up

WORTH = 2**22  # products of one tap, from where on the short way pays
# Of three taps along an axis, those that fall on low pixel m + t for pixel 2m + a: row (a, t); with
# the smoothing's 1/4. Of nine taps: rows (a, b, t, u) for pixel (2m + a, 2n + b).
_AXIS = torch.tensor([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]]) / 4
PIXELS = torch.einsum("atk,bul->abtukl", _AXIS, _AXIS).reshape(16, 9)


def takes_short_way(x: Tensor) -> bool:
    """Whether `x` is float32 on a CPU, in inference mode, and nothing is cast on the way."""
    plain = torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")
    return plain and x.device.type == "cpu" and x.dtype == torch.float32


def of_upsampled(block: nn.Module, x: Tensor) -> Tensor:
    """``block(up(x))`` for a sequence that begins with a 3 x 3 convolution.

    In float32 on a CPU and in inference mode alone the short way is taken: what is trained,
    exported or counted is the network as the paper draws it.

    *Shape*: ``(B, C, h, w) -> (B, D, 2h, 2w)``.
    """
    assert isinstance(block, nn.Sequential)
    convolution, *rest = block
    assert isinstance(convolution, nn.Conv2d)
    if not takes_short_way(x) or not _pays(convolution, *x.shape[2:]):
        return block(up(x))
    found = convolve_upsampled(x, convolution.weight, convolution.bias)
    for layer in rest:
        found = layer(found)
    return found


def _pays(convolution: nn.Conv2d, height: int, width: int) -> bool:
    """Whether the products saved are more than what the way itself takes."""
    pixels, kernels = height * width, convolution.in_channels * convolution.out_channels
    large = pixels >= convolution.in_channels and pixels * kernels >= WORTH
    return large and min(height, width) > 1


def convolve_upsampled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``conv2d(up(x), weight, bias, padding=1)`` by 2 x 2 products.

    *Shape*: x ``(B, C, h, w)``, h and w at least 2; weight ``(D, C, 3, 3)``; ``(B, D, 2h, 2w)``.
    """
    channels, out = x.shape[1], len(weight)
    taps = weight.permute(0, 2, 3, 1).reshape(out, 9, channels)
    kernel = (PIXELS @ taps).view(4 * out, 2, 2, channels).permute(0, 3, 1, 2)
    beyond = F.pad(x, (1, 1, 1, 1), mode="replicate")
    found = F.pixel_shuffle(F.conv2d(beyond, kernel), 2)  # (B, D, 2h + 2, 2w + 2)
    smooth = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    found = F.conv2d(found, smooth.expand(out, 1, 3, 3), bias, groups=out)
    # what lies beyond the border is taken out again, the corners with the rows
    for axis, scale, padded in (
        (2, (1.0, 2.0), {"pad": (1, 1, 0, 0), "mode": "replicate"}),
        (3, (2.0, 1.0), {"pad": (0, 0, 1, 1)}),
    ):
        for end, tap in ((0, 0), (-1, 2)):
            line = F.interpolate(x.narrow(axis, end, 1), scale_factor=scale, mode="bilinear")
            line = F.pad(line, **padded)
            found.narrow(axis, end, 1).sub_(F.conv2d(line, weight.narrow(axis, tap, 1)))
    return found

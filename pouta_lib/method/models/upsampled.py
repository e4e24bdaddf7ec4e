"""A 3 x 3 convolution of an up-sampled map, computed at the lower resolution where it is only used.

Bilinear up-sampling by two is repetition, smoothed by ``[1, 2, 1] / 4`` along each axis. The
convolution can change places with the smoothing, and of a repeated map it needs 2 x 2 products for
each pixel in place of 3 x 3: 4/9 of the multiply-adds. Beyond the border the convolution sees zeros
and the smoothing does not, hence the outermost pixels are computed as written.

*Source*: our choice; the outputs differ from the plain ones by rounding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pouta_lib.method.models.blocks import up


def of_upsampled(block: nn.Module, x: Tensor) -> Tensor:
    """``block(up(x))`` for a sequence that begins with a 3 x 3 convolution.

    In float32 on a CPU and in inference mode alone the short way is taken: what is trained,
    exported or counted is the network as the paper draws it.

    *Shape*: ``(B, C, h, w) -> (B, D, 2h, 2w)``.
    """
    height, width = x.shape[2:]
    short = torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")
    short = short and x.device.type == "cpu" and x.dtype == torch.float32
    # of a small map the products saved are less than those that the kernel takes
    if not short or min(height, width) < 2 or height * width < 4 * x.shape[1]:
        return block(up(x))
    assert isinstance(block, nn.Sequential)
    convolution, *rest = block
    assert isinstance(convolution, nn.Conv2d)
    found = convolve_upsampled(x, convolution.weight, convolution.bias)
    for layer in rest:
        found = layer(found)
    return found


def convolve_upsampled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``conv2d(up(x), weight, bias, padding=1)`` by 2 x 2 products.

    *Shape*: x ``(B, C, h, w)``, h and w at least 2; weight ``(D, C, 3, 3)``; ``(B, D, 2h, 2w)``.
    """
    flipped = weight.flip(2, 3).transpose(0, 1)
    columns = F.pad(flipped, (0, 1)) + F.pad(flipped, (1, 0))
    repeated = (F.pad(columns, (0, 0, 0, 1)) + F.pad(columns, (0, 0, 1, 0))) / 16
    beyond = F.pad(x, (1, 1, 1, 1), mode="replicate")
    found = F.conv_transpose2d(beyond, repeated, stride=2, padding=2)  # (B, D, 2h + 2, 2w + 2)
    smooth = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]).expand(
        len(weight), 1, 3, 3
    )
    found = F.conv2d(found, smooth, bias, groups=len(weight))
    for axis in (2, 3):
        kept, padding = weight.narrow(axis, 1, 2), (0, 1) if axis == 2 else (1, 0)
        for first, rows in ((True, x.narrow(axis, 0, 2)), (False, x.narrow(axis, -2, 2))):
            kernel = kept if first else weight.narrow(axis, 0, 2)
            edge = up(rows).narrow(axis, 0 if first else 2, 2)
            found.select(axis, 0 if first else -1).copy_(
                F.conv2d(edge, kernel, bias, padding=padding).squeeze(axis)
            )
    return found

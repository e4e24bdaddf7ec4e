"""The three bricks that every network here is laid from."""

from torch import Tensor, nn
from torch.nn import functional as F


def conv_block(in_channels: int, out_channels: int, kernel: int = 3) -> nn.Sequential:
    """Convolution (same padding), batch normalisation, ReLU: "CBR" in docs/DEVIATIONS.md.

    *Shape*: ``(B, in, H, W) -> (B, out, H, W)``.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def down(x: Tensor) -> Tensor:
    """Half the resolution by 2 x 2 max pooling: ``(B, C, H, W) -> (B, C, H/2, W/2)``."""
    return F.max_pool2d(x, 2)


def up(x: Tensor, factor: int = 2) -> Tensor:
    """`factor` times the resolution, bilinear: ``(B, C, H, W) -> (B, C, fH, fW)``."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)

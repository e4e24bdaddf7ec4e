"""The bricks that every network here is laid from, and the light that it sees an image in."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP_CHANNELS = 8  # channels of a group, or the next number that divides them
GRAY_LEVEL = 1 / 255


class Light:
    """The light and colour of images, to be taken away and given back where `standardise` is set.

    That is each channel's own mean and deviation, ``(B, 3, 1, 1)``. What differs by less than a
    gray level is not blown up.

    *Shape*: image ``(B, 3, H, W)`` in [0, 1].
    *Source*: our choice (D48).
    """

    def __init__(self, image: Tensor, standardise: bool) -> None:
        self.standardise = standardise
        if standardise:
            deviation, self.mean = torch.std_mean(image, dim=(2, 3), keepdim=True)
            self.deviation = deviation.clamp(min=GRAY_LEVEL)

    def taken(self, image: Tensor) -> Tensor:
        """The image with a mean of 0 and a deviation of 1 in each channel."""
        return (image - self.mean) / self.deviation if self.standardise else image

    def given_back(self, image: Tensor) -> Tensor:
        """The inverse of :meth:`taken`."""
        return image * self.deviation + self.mean if self.standardise else image


def side_by_side(image: Tensor, repaired: Tensor, standardise: bool) -> Tensor:
    """An image and its repair, for a network that compares them; where `standardise`, in no light.

    *Shape*: ``(B, 3, H, W)`` twice gives ``(B, 6, H, W)``.
    """
    light = Light(image, standardise)
    return torch.cat([light.taken(image), light.taken(repaired)], dim=1)


def normaliser(kind: str, channels: int) -> nn.Module:
    """What follows a convolution: ``batch``, ``group`` or ``instance`` normalisation.

    All have a scale and a shift for each channel, so that the counts of parameters are the same.

    *Source*: our reading for ``batch`` (D01), our choice for the others (D37): they normalise each
    image by itself, in training as afterwards.
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        return nn.GroupNorm(channels, channels)
    most = max(1, channels // GROUP_CHANNELS)
    groups = next(count for count in range(most, 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels)


def batch_norms(network: nn.Module) -> Iterator[nn.BatchNorm2d]:
    """Every batch normalisation of a network."""
    return (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))


def freeze_statistics(network: nn.Module) -> None:
    """Batch normalisation goes by the statistics that it has by now, and takes no new ones (D43).

    Until the network's next ``train()``; its scales and shifts are trained on.
    """
    for norm in batch_norms(network):
        norm.eval()


def conv_block(
    in_channels: int, out_channels: int, kernel: int = 3, normalisation: str = "batch"
) -> nn.Sequential:
    """Convolution (same padding), normalisation, ReLU: "CBR" in docs/DEVIATIONS.md.

    *Shape*: ``(B, in, H, W) -> (B, out, H, W)``.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2),
        normaliser(normalisation, out_channels),
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

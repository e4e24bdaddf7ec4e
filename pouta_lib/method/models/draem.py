"""DRAEM: the reconstruction-based method that POUTA takes up, at its own size.

*Source*: Zavrtanik, Kristan and Skocaj, "DRAEM - A discriminatively trained reconstruction
embedding for surface anomaly detection", ICCV 2021 (the paper's [5]). Readings: D39.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pouta_lib.ground.methods import Method
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.models.blocks import Light, conv_block, down, side_by_side
from pouta_lib.method.models.pouta import anomaly_probability

Block = Callable[[int, int], nn.Module]  # of channels in and out


def raise_corners(x: Tensor) -> Tensor:
    """Twice the resolution, bilinear, corner pixels upon corner pixels, as DRAEM does it.

    *Shape*: ``(B, C, H, W) -> (B, C, 2H, 2W)``.
    """
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ReconstructiveSubnetwork(nn.Module):
    """An encoder of five blocks and a decoder of four, without skip connections.

    *Shape*: ``(B, 3, H, W)``, H and W multiples of 16, gives ``I_r`` of the same shape.
    """

    def __init__(
        self, base: int = 128, normalisation: str = "batch", standardise: bool = False
    ) -> None:
        super().__init__()
        self.standardise = standardise
        block = functools.partial(conv_block, normalisation=normalisation)
        channels = [base * k for k in (1, 2, 4, 8, 8)]
        incoming = [3, *channels[:-1]]
        self.encoder = nn.ModuleList(
            nn.Sequential(block(before, c), block(c, c))
            for before, c in zip(incoming, channels, strict=True)
        )
        outgoing = [base * k for k in (4, 2, 1, 1)]
        self.decoder = nn.ModuleList(
            nn.Sequential(block(below, below), block(below, below), block(below, out))
            for below, out in zip([channels[-1], *outgoing[:-1]], outgoing, strict=True)
        )
        self.to_image = nn.Conv2d(base, 3, 3, padding=1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        light = Light(image, self.standardise)
        x = light.taken(image)
        for i, stage in enumerate(self.encoder):
            x = stage(x if i == 0 else down(x))
        for stage in self.decoder:
            x = stage(raise_corners(x))
        return {"I_r": light.given_back(self.to_image(x))}


class _Rise(nn.Module):
    """One decoder step of the discriminative network: up, set beside the skip, two blocks."""

    def __init__(self, below: int, skip: int, out: int, block: Block) -> None:
        super().__init__()
        self.rise = block(below, out)
        self.join = nn.Sequential(block(out + skip, out), block(out, out))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.join(torch.cat([self.rise(raise_corners(x)), skip], dim=1))


class DiscriminativeSubnetwork(nn.Module):
    """A U-Net over six resolutions, from full size down to 1/32.

    *Shape*: ``(B, 6, H, W) -> logits (B, 2, H, W)``, H and W multiples of 32.
    """

    def __init__(self, base: int = 64, normalisation: str = "batch") -> None:
        super().__init__()
        block = functools.partial(conv_block, normalisation=normalisation)
        channels = [base * k for k in (1, 2, 4, 8, 8, 8)]
        self.encoder = nn.ModuleList(
            nn.Sequential(block(before, c), block(c, c))
            for before, c in zip([6, *channels[:-1]], channels, strict=True)
        )
        outgoing = [base * k for k in (8, 4, 2, 1, 1)]
        below, skips = [channels[-1], *outgoing[:-1]], reversed(channels[:-1])
        self.decoder = nn.ModuleList(
            _Rise(*sizes, block) for sizes in zip(below, skips, outgoing, strict=True)
        )
        self.to_logits = nn.Conv2d(base, 2, 3, padding=1)

    def forward(self, pair: Tensor) -> Tensor:
        x, skips = pair, []
        for i, stage in enumerate(self.encoder):
            x = stage(x if i == 0 else down(x))
            skips.append(x)
        for stage, skip in zip(self.decoder, reversed(skips[:-1]), strict=True):
            x = stage(x, skip)
        return self.to_logits(x)


class Draem(nn.Module):
    """Rebuilds the image and looks for the anomaly in the input beside its reconstruction.

    `width` scales both networks; 64 is the original's size, with base widths of 128 and 64.

    *Shape*: image ``(B, 3, H, W)`` float in [0, 1], H and W multiples of 32; map ``(B, H, W)``.
    *Source*: DRAEM, 3.1 and 3.2; layers and initial weights as its authors' code has them (D39).
    """

    def __init__(
        self, width: int = 64, normalisation: str = "batch", standardise: bool = False
    ) -> None:
        super().__init__()
        self.reconstructive = ReconstructiveSubnetwork(2 * width, normalisation, standardise)
        self.discriminative = DiscriminativeSubnetwork(width, normalisation)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """The anomaly map ``M_p``."""
        return self.trace(image)["M_p"]

    def trace(self, image: Tensor) -> dict[str, Tensor]:
        """``I_r``, ``logits`` and ``M_p``."""
        named = self.reconstructive(image)
        pair = side_by_side(image, named["I_r"], self.reconstructive.standardise)
        named["logits"] = self.discriminative(pair)
        named["M_p"] = anomaly_probability(named["logits"])
        return named


def _initialise(module: nn.Module) -> None:
    """Small normal weights in convolutions, scales about 1; biases as torch draws them."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
        nn.init.normal_(module.weight, 1.0, 0.02)


def build(method: Method, profile: Profile) -> Draem:
    """DRAEM at the profile's width."""
    return Draem(profile.width, profile.normalisation, profile.standardise)

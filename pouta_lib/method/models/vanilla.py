"""Vanilla: the DRAEM-like reconstruction-error model that POUTA is compared with (figure 4a)."""

import functools

import torch
from torch import Tensor, nn

from pouta_lib.ground.methods import Method
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.models.blocks import conv_block, down, side_by_side, up
from pouta_lib.method.models.pouta import anomaly_probability
from pouta_lib.method.models.reconstructive import ReconstructiveNetwork


class UNet(nn.Module):
    """A U-Net over six resolutions, from full size down to 1/32.

    *Shape*: ``(B, 6, H, W) -> logits (B, 2, H, W)``, H and W multiples of 32.
    *Source*: paper, figure 4(a), says "U-Net-like"; widths are our reading, chosen to meet the
    cost that Table VI prints (D01).
    """

    def __init__(self, width: int = 64, normalisation: str = "batch") -> None:
        super().__init__()
        block = functools.partial(conv_block, normalisation=normalisation)
        channels = [width * k // 4 for k in (3, 6, 12, 24, 24, 24)]  # 48 ... 384 at width 64
        self.encoder = nn.ModuleList()
        for i, c in enumerate(channels):
            before = 6 if i == 0 else channels[i - 1]
            self.encoder.append(nn.Sequential(block(before, c), block(c, c)))
        self.decoder = nn.ModuleList()
        below = channels[-1]
        for i in reversed(range(5)):
            joined, out = below + channels[i], channels[max(i - 1, 0)]
            self.decoder.append(nn.Sequential(block(joined, joined // 2), block(joined // 2, out)))
            below = out
        self.to_logits = nn.Conv2d(below, 2, 3, padding=1)

    def levels(self) -> dict[str, nn.Module]:
        """Its stages by name, for figure 4: ``U_E1`` .. ``U_E6`` down, ``U_D5`` .. ``U_D1`` up."""
        encoder = {f"U_E{i}": stage for i, stage in enumerate(self.encoder, start=1)}
        return encoder | {f"U_D{5 - k}": stage for k, stage in enumerate(self.decoder)}

    def forward(self, pair: Tensor) -> Tensor:
        skips: list[Tensor] = []
        x = pair
        for i, stage in enumerate(self.encoder):
            x = stage(x if i == 0 else down(x))
            skips.append(x)
        for stage, skip in zip(self.decoder, reversed(skips[:-1]), strict=True):
            x = stage(torch.cat([up(x), skip], dim=1))
        return self.to_logits(x)


class Vanilla(nn.Module):
    """Looks for the anomaly in the input beside its reconstruction, pixels only.

    The same reconstructive network as POUTA's, so that Table V compares like with like.

    *Shape*: image ``(B, 3, H, W)`` float in [0, 1], H and W multiples of 32; map ``(B, H, W)``.
    *Source*: paper, figure 4(a) and IV-D.
    """

    def __init__(
        self, width: int = 64, normalisation: str = "batch", standardise: bool = False
    ) -> None:
        super().__init__()
        self.reconstructive = ReconstructiveNetwork(width, normalisation, standardise=standardise)
        self.discriminative = UNet(width, normalisation)

    def forward(self, image: Tensor) -> Tensor:
        """The anomaly map ``M_p``."""
        return self.trace(image)["M_p"]

    def seen_by_scale(self) -> list[nn.Module]:
        """Where each scale's finding is, for Grad-CAM: the U-Net's four finest steps (D34)."""
        return list(self.discriminative.decoder)[-4:]

    def trace(self, image: Tensor) -> dict[str, Tensor]:
        """The reconstructive network's named tensors, ``logits`` and ``M_p``."""
        named = self.reconstructive(image)
        pair = side_by_side(image, named["I_r"], self.reconstructive.standardise)
        named["logits"] = self.discriminative(pair)
        named["M_p"] = anomaly_probability(named["logits"])
        return named


def build(method: Method, profile: Profile) -> Vanilla:
    """Vanilla at the profile's width."""
    return Vanilla(profile.width, profile.normalisation, profile.standardise)

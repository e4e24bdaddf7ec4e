"""The coarse-to-fine discriminative network: FCM, HSG and MSS (paper, III-B)."""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pouta_lib.method.models.blocks import conv_block, up
from pouta_lib.method.models.reconstructive import LEVELS, level_channels
from pouta_lib.method.models.upsampled import of_upsampled, takes_short_way

LOGITS = ("logits", *(f"logits{i}" for i in LEVELS))  # of the common head, of the MSS heads


def contrast_block(
    in_channels: int, out_channels: int, kernel: int = 1, norm: str | None = None
) -> nn.Sequential:
    """Convolution and ReLU; with `norm` a normalisation of that kind between them (D31).

    *Shape*: ``(B, in, H, W) -> (B, out, H, W)``.
    """
    if norm:
        return conv_block(in_channels, out_channels, kernel, norm)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2), nn.ReLU(inplace=True)
    )


def joined(parts: tuple[Tensor, ...], dim: int) -> Tensor:
    """``torch.cat(parts, dim)``, on a CPU with gradients of the parts that are dense.

    They would be views into the whole's gradient, of a few channels a pixel with gaps between,
    through which a CPU goes value by value: thirty times slower.
    """
    for part in parts:
        if part.requires_grad and part.device.type == "cpu":
            part.register_hook(torch.clone)
    return torch.cat(parts, dim)


def of_channels(block: nn.Sequential, *parts: Tensor) -> Tensor:
    """``block(torch.cat(parts, dim=1))`` for a sequence that begins with a 1 x 1 convolution.

    In inference (:func:`takes_short_way`) each part is convolved where it lies and the results are
    added. A kernel of one pixel has nothing to dilate: it is asked for because torch leaves a
    convolution of one image to oneDNN then, whose product is faster.

    *Shape*: each ``(B, C_k, H, W)``, together with the block's channels; ``(B, D, H, W)``.
    """
    if not takes_short_way(parts[0]):
        join = joined if block.training else torch.cat
        return block(parts[0] if len(parts) == 1 else join(parts, dim=1))
    convolution, *rest = block
    assert isinstance(convolution, nn.Conv2d)
    weights = convolution.weight.split([part.shape[1] for part in parts], dim=1)
    found = F.conv2d(parts[0], weights[0], convolution.bias, dilation=2)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        found += F.conv2d(part, weight, dilation=2)
    for layer in rest:
        found = layer(found)
    return found


class FeatureContrast(nn.Module):
    """FCM: what differs between the encoder's and the decoder's features of one level.

    ``F_C = ReLU(conv1([ReLU(conv1(F_E)), ReLU(conv1(F_D))]))``, all with C channels.

    *Shape*: two ``(B, C, h, w) -> (B, C, h, w)``.
    *Source*: paper, III-B "FCM"; that the second branch takes F_D is our reading (D03).
    """

    def __init__(self, channels: int, norm: str | None = None) -> None:
        super().__init__()
        self.of_encoder = contrast_block(channels, channels, norm=norm)
        self.of_decoder = contrast_block(channels, channels, norm=norm)
        self.contrast = contrast_block(2 * channels, channels, norm=norm)

    def forward(self, encoder_features: Tensor, decoder_features: Tensor) -> Tensor:
        of_encoder = of_channels(self.of_encoder, encoder_features)
        of_decoder = of_channels(self.of_decoder, decoder_features)
        return of_channels(self.contrast, of_encoder, of_decoder)  # (B, 2C, h, w) -> (B, C, h, w)


def mean_of_pixels(x: Tensor) -> Tensor:
    """``x.mean(dim=(2, 3), keepdim=True)`` of a channels_last tensor, with such a gradient.

    The plain mean's gradient is contiguous, and whatever meets the two layouts in a step, ReLU
    above all, goes through them pixel by pixel: thirty times slower.

    *Shape*: ``(B, C, h, w) -> (B, C, 1, 1)``.
    """
    return x.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1)[..., None, None]


def up_logits(x: Tensor, factor: int) -> Tensor:
    """:func:`up` of two channels, plane by plane: pixel by pixel it takes twice as long."""
    return up(x.contiguous(), factor)


class SemanticGuidance(nn.Module):
    """HSG: filters one level's contrast by the refined contrast of the level below it.

    ``G = ReLU(conv3(up(deeper)))``, ``W_sp = sigmoid(conv1(G))``,
    ``W_cn = sigmoid(conv1(mean(G)))``, ``F'_C = W_sp * F_C * W_cn`` (equations 2 to 4).

    *Shape*: F_C ``(B, C, h, w)``, deeper ``(B, 2C, h/2, w/2)`` give F'_C ``(B, C, h, w)``,
    W_sp ``(B, 1, h, w)``, W_cn ``(B, C, 1, 1)``.
    *Source*: paper, equations 2-4; one 3 x 3 convolution shared by both weight maps and the
    sigmoids are our reading (D04, D05).
    """

    def __init__(self, deeper_channels: int, channels: int, norm: str | None = None) -> None:
        super().__init__()
        self.guide = contrast_block(deeper_channels, channels, kernel=3, norm=norm)
        self.spatial = nn.Conv2d(channels, 1, 1)
        self.channel = nn.Conv2d(channels, channels, 1)

    def forward(self, contrast: Tensor, deeper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        guide = of_upsampled(self.guide, deeper)
        mean = mean_of_pixels(guide) if self.training else guide.mean(dim=(2, 3), keepdim=True)
        spatial_weight = torch.sigmoid(self.spatial(guide))
        channel_weight = torch.sigmoid(self.channel(mean))
        if not self.training:
            return spatial_weight * contrast * channel_weight, spatial_weight, channel_weight
        # in steps the weights' outer product, whose gradient costs a third of that of the above
        batch, channels, height, width = contrast.shape
        weight = spatial_weight.reshape(batch, -1, 1) @ channel_weight.reshape(batch, 1, -1)
        weight = weight.view(batch, height, width, channels).permute(0, 3, 1, 2)
        return weight * contrast, spatial_weight, channel_weight


class AnomalyHead(nn.Module):
    """One 1 x 1 convolution over the channel-wise aggregation of all four levels.

    The convolution is split by levels: each part runs at its level's own resolution and the
    results are up-sampled and added. A 1 x 1 convolution commutes with bilinear up-sampling, so
    this equals up-sampling, concatenating 15w channels and convolving once, at a fifth of the
    memory traffic (a test holds the two equal).

    *Shape*: four ``(B, w 2^(i-1), H / 2^(i-1), W / 2^(i-1)) -> logits (B, 2, H, W)``.
    *Source*: paper, III-B, last paragraph; the split is our choice (D13).
    """

    def __init__(self, channels: dict[int, int]) -> None:
        super().__init__()
        self.of_level = nn.ModuleDict(
            {str(i): nn.Conv2d(c, 2, 1, bias=i == 1) for i, c in channels.items()}
        )

    def forward(self, refined: dict[int, Tensor]) -> Tensor:
        logits = [
            up_logits(convolve(refined[int(i)]), 2 ** (int(i) - 1))
            for i, convolve in self.of_level.items()
        ]
        return torch.stack(logits).sum(dim=0)


class DiscriminativeNetwork(nn.Module):
    """FCM at each level, HSG and MSS where they are switched on, and the head.

    *Source*: paper, III-B; without HSG the head and MSS see the raw F_Ci, as in Table V's
    ``POUTA-base`` rows (D12).
    """

    def __init__(
        self,
        width: int = 64,
        hsg: bool = True,
        mss: bool = True,
        norm: str | None = None,
        channels: dict[int, int] | None = None,
    ) -> None:
        super().__init__()
        c = channels or level_channels(width)
        self.level_numbers = tuple(c)
        guided = self.level_numbers[-2::-1] if hsg else ()
        self.fcm = nn.ModuleDict({str(i): FeatureContrast(c[i], norm) for i in c})
        self.hsg = nn.ModuleDict({str(i): SemanticGuidance(c[i + 1], c[i], norm) for i in guided})
        self.head = AnomalyHead(c)
        self.mss = nn.ModuleDict({str(i): nn.Conv2d(c[i], 2, 1) for i in c} if mss else {})

    def forward(
        self, named: dict[str, Tensor], wanted: Collection[str] = LOGITS
    ) -> dict[str, Tensor]:
        """``F_Ci``, ``F'_Ci``, ``W_sp(i)``, ``W_cn(i)``, and those logits that are wanted."""
        found: dict[str, Tensor] = {}
        refined: dict[int, Tensor] = {}
        for i in self.level_numbers[::-1]:
            contrast = self.fcm[str(i)](named[f"F_E{i}"], named[f"F_D{i}"])
            found[f"F_C{i}"] = refined[i] = contrast
            if str(i) in self.hsg:
                refined[i], spatial, channel = self.hsg[str(i)](contrast, refined[i + 1])
                found |= {f"F'_C{i}": refined[i], f"W_sp{i}": spatial, f"W_cn{i}": channel}
        if "logits" in wanted:
            found["logits"] = self.head(refined)
        for i in self.level_numbers if self.mss else ():
            if f"logits{i}" in wanted:
                found[f"logits{i}"] = up_logits(self.mss[str(i)](refined[i]), 2 ** (i - 1))
        return found

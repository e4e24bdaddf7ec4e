"""Synthetic anomalies: a texture, blended into a Perlin-shaped region (paper, III-A).

Everything works on a batch at once, on the CPU and on a GPU alike, and draws from the
``torch.Generator`` it is handed, so that a seed gives identical batches. What it is made of stands
in modules of its own: :mod:`~pouta_lib.method.perlin`, :mod:`~pouta_lib.method.placing`,
:mod:`~pouta_lib.method.variation`.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from pouta_lib.ground.profiles import SynthesisSettings
from pouta_lib.method.draws import mean_of_each, only, uniform
from pouta_lib.method.perlin import perlin_mask
from pouta_lib.method.placing import draw_transform, place
from pouta_lib.method.variation import add_noise, vary_circumstances

PLAIN = SynthesisSettings()  # hard edges, nothing structural, nothing varied
CLEAR_CHANGE = 20 / 255  # of a channel: where the image itself is pasted, less is no anomaly


class SyntheticBatch(NamedTuple):
    """What a training step sees, and what it was made from."""

    image: Tensor  # I_in (B, 3, H, W) in [0, 1]
    mask: Tensor  # M (B, H, W), 0 or 1
    original: Tensor  # I_ori (B, 3, H, W) in [0, 1]
    augmented: Tensor  # I_aug (B, 3, H, W) in [0, 1]; I_ori where there is no anomaly
    field: Tensor  # the Perlin field (B, H, W) in [-1, 1]; 0 where there is no anomaly


def draw_look(batch: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each texture its flips, its order of colours, its contrast and its brightness."""
    device = generator.device
    flips = torch.randint(0, 2, (3, batch), generator=generator, device=device).bool()
    order = torch.rand(batch, 3, generator=generator, device=device).argsort(dim=1)
    contrast = uniform(generator, (batch, 1, 1, 1), 0.6, 1.6)
    brightness = uniform(generator, (batch, 3, 1, 1), -0.3, 0.3)
    return flips.T, order, contrast, brightness


def change_look(
    texture: Tensor, flips: Tensor, order: Tensor, contrast: Tensor, brightness: Tensor
) -> Tensor:
    """Textures flipped, turned by right angles, in other colours, contrast and brightness.

    *Shape*: ``(B, 3, H, W)`` uint8, or float in [0, 1], square; float. The others are those of
    :func:`draw_look`.
    """
    texture = only(flips[:, 0], lambda t: t.flip(3), texture, texture)
    texture = only(flips[:, 1], lambda t: t.flip(2), texture, texture)
    texture = only(flips[:, 2], lambda t: t.mT, texture, texture)
    planes = 3 * torch.arange(len(texture), device=texture.device).view(-1, 1) + order
    texture = texture.flatten(0, 1).index_select(0, planes.flatten()).view_as(texture)
    if texture.dtype == torch.uint8:
        texture = texture.float() / 255
    middle = mean_of_each(texture)
    return (middle + (texture - middle) * contrast + brightness).clamp(0, 1)


def vary_texture(texture: Tensor, generator: Generator) -> Tensor:
    """Textures in a look of their own each: :func:`change_look` by :func:`draw_look`.

    Both in one, for the course and for drawn material; :func:`synthesize` draws for all and changes
    those that it needs.

    *Shape*: ``(B, 3, H, W)`` in [0, 1], square.
    *Source*: our choice: it multiplies a small set of textures (D11).
    """
    return change_look(texture, *draw_look(len(texture), generator))


def soften(mask: Tensor, sigma_px: float) -> Tensor:
    """The mask with a Gaussian edge, for blending; sigma 0 leaves it hard: ``(B, H, W)``."""
    if sigma_px == 0:
        return mask
    weights = _gaussian(sigma_px)
    height, width = mask.shape[1:]
    padded = F.pad(mask.unsqueeze(1), (len(weights) // 2,) * 4, mode="replicate").squeeze(1)
    across = _weighted_sum([padded[..., k : k + width] for k in range(len(weights))], weights)
    down = _weighted_sum([across[:, k : k + height] for k in range(len(weights))], weights)
    return down.clamp(0, 1)


@lru_cache(maxsize=8)
def _gaussian(sigma_px: float) -> list[float]:
    """Three deviations to either side, and all of it 1."""
    radius = max(1, math.ceil(3 * sigma_px))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma_px**2))
    weights: list[float] = (kernel / kernel.sum()).tolist()
    return weights


def _weighted_sum(parts: list[Tensor], weights: list[float]) -> Tensor:
    """A convolution with one channel: on a CPU torch's own takes four times as long."""
    total = weights[0] * parts[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total.add_(part, alpha=weight)
    return total


def fill(
    textures: Tensor,
    original: Tensor,
    chosen: Tensor,
    opacity: Tensor,
    placed: Tensor,
    *look: Tensor,
) -> Tensor:
    """``I_aug = (1 - b) texture + b T(I_ori)``: a chosen texture in its look, T as it is placed.

    *Shape*: textures ``(K, 3, S, S)`` uint8, original ``(B, 3, S, S)``, chosen ``(B,)``, opacity
    ``(B, 1, 1, 1)``, placed ``(B, 2, 3)``; ``(B, 3, S, S)``.
    """
    texture = change_look(textures.index_select(0, chosen), *look)
    return (1 - opacity) * texture + opacity * place(original, placed)


def paste(sigma_px: float, original: Tensor, augmented: Tensor, mask: Tensor) -> Tensor:
    """``I_in = (1 - M) I_ori + M I_aug``, M with a soft edge: ``(B, 3, S, S)``."""
    soft = soften(mask, sigma_px).unsqueeze(1)
    return (1 - soft) * original + soft * augmented


# how I_aug comes into I_ori: of sigma in pixels, I_ori, I_aug and M, as paste has them
Blend = Callable[[float, Tensor, Tensor, Tensor], Tensor]


def visible(mask: Tensor, image: Tensor, original: Tensor) -> Tensor:
    """The part of M where I_in differs clearly from I_ori: ``(B, S, S)``."""
    return mask * ((image - original).abs().amax(dim=1) > CLEAR_CHANGE)


def synthesize(
    original: Tensor,
    textures: Tensor,
    generator: Generator,
    settings: SynthesisSettings = PLAIN,
    blend: Blend = paste,
) -> SyntheticBatch:
    """A batch in which a share of the images carries a synthetic anomaly: what training sees.

    First the circumstances are varied (:func:`vary_circumstances`); I_ori is what comes of that.
    Then ``I_aug = (1 - b) texture + b T(I_ori)`` with b uniform in [0, max_opacity], and
    ``I_in = (1 - M) I_ori + M I_aug``, where M has a soft edge for blending and a hard one as the
    target. A share of the anomalies, ``structural_share``, has no texture: b is 1, T moves or
    turns, and the target is the part of M where I_in differs clearly from I_ori. Another ``blend``
    than :func:`paste` brings I_aug into I_ori in its own way (D43).

    A training is given its profile's settings; without any the edge is hard, by which a network
    learns to find pasted edges (D09).

    *Shape*: original ``(B, 3, S, S)`` float in [0, 1]; textures ``(K, 3, S, S)`` uint8; both on
    the generator's device.
    *Source*: paper, III-A; the distribution of b, the share and the edge are our reading (D09,
    D10, D11), structural anomalies a deviation (D36).
    """
    s = settings
    original = vary_circumstances(original, generator, s)
    batch, size = len(original), original.shape[-1]
    mask, field = perlin_mask(batch, size, generator, s.anomalous_share)
    anomalous = textured = mask.amax(dim=(1, 2)) > 0
    chosen = torch.randint(len(textures), (batch,), generator=generator, device=original.device)
    look = draw_look(batch, generator)
    opacity = uniform(generator, (batch, 1, 1, 1), 0, s.max_opacity)
    filling = (original, chosen, opacity, draw_transform(batch, generator), *look)
    augmented = original
    if s.structural_share:  # drawn last: without it every draw above stays what it was
        structural = anomalous & (uniform(generator, (batch,)) < s.structural_share)
        elsewhere = draw_transform(batch, generator, identity=False)
        augmented = only(structural, place, augmented, original, elsewhere)
        textured = anomalous & ~structural
    augmented = only(textured, partial(fill, textures), augmented, *filling)
    pasting = (original, augmented, mask)
    image = only(anomalous, partial(blend, s.edge_sigma * size), original, *pasting)
    if s.structural_share:
        mask = only(structural, visible, mask, mask, image, original)
    image = image.clamp(0, 1)
    if s.noise_range:
        image = add_noise(image, generator, s.noise_range, s.varied_share)
    return SyntheticBatch(image, mask, original, augmented.clamp(0, 1), field)

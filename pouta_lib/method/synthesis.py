"""Synthetic anomalies: a texture, blended into a Perlin-shaped region (paper, III-A).

Everything works on a batch at once, on the CPU and on a GPU alike, and draws from the
``torch.Generator`` it is handed, so that a seed gives identical batches.
"""

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from pouta_lib.ground.profiles import SynthesisSettings

MAX_LATTICE = 32  # Perlin cells per axis are 2^0 .. 2^5
PERLIN_THRESHOLD = 0.5
PLAIN = SynthesisSettings()
CLEAR_CHANGE = 20 / 255  # of a channel: where the image itself is pasted, less is no anomaly


class SyntheticBatch(NamedTuple):
    """What a training step sees, and what it was made from."""

    image: Tensor  # I_in (B, 3, H, W) in [0, 1]
    mask: Tensor  # M (B, H, W), 0 or 1
    original: Tensor  # I_ori (B, 3, H, W) in [0, 1]
    augmented: Tensor  # I_aug (B, 3, H, W) in [0, 1]
    noise: Tensor  # the Perlin field (B, H, W), roughly in [-1, 1]


def uniform(
    generator: Generator, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Uniform draws in [low, high) on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


@functools.lru_cache(maxsize=8)
def _lattice_weights(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Per power of two: how much each lattice line counts at each pixel, and its ramp.

    *Shape*: two ``(6, size, 33)``: power, pixel, lattice line.
    """
    value, ramp = torch.zeros(2, 6, size, MAX_LATTICE + 1, dtype=torch.float64)
    pixels = torch.arange(size)
    for power in range(6):
        position = (pixels + 0.5) / size * 2**power
        cell = position.long()
        fraction = (position - cell).double()
        fade = 6 * fraction**5 - 15 * fraction**4 + 10 * fraction**3
        value[power, pixels, cell] = 1 - fade
        value[power, pixels, cell + 1] = fade
        ramp[power, pixels, cell] = (1 - fade) * fraction
        ramp[power, pixels, cell + 1] = fade * (fraction - 1)
    return value.float().to(device), ramp.float().to(device)


def perlin_noise(batch: int, size: int, generator: Generator) -> Tensor:
    """Perlin noise with 2^0 to 2^5 cells per axis, drawn per sample and axis.

    At a pixel, the noise is the sum over the cell's four corners of
    ``fade_y fade_x (g_y dy + g_x dx)``. Both factors separate by axis, so the whole field is two
    products of thin matrices with the lattices of gradients.

    *Shape*: ``(batch, size, size)``, values within [-1, 1].
    *Source*: Perlin 1985 (paper's [39]); the scales are DRAEM's (D10).
    """
    value, ramp = _lattice_weights(size, generator.device)
    powers = torch.randint(0, 6, (2, batch), generator=generator, device=generator.device)
    angle = uniform(generator, (batch, MAX_LATTICE + 1, MAX_LATTICE + 1), 0, 2 * math.pi)
    value_y, value_x = value[powers[0]], value[powers[1]]  # (B, size, 33)
    ramp_y, ramp_x = ramp[powers[0]], ramp[powers[1]]
    across = value_y @ angle.cos() @ ramp_x.mT  # (B, size, 33) (B, 33, 33) (B, 33, size)
    along = ramp_y @ angle.sin() @ value_x.mT
    return (across + along) * math.sqrt(2)


def rotate_and_shift(
    image: Tensor,
    angle: Tensor,
    shift: Tensor,
    outside: str = "reflection",
    zoom: Tensor | None = None,
) -> Tensor:
    """Each image turned about its centre and moved; what comes in from outside is mirrored.

    With ``outside="zeros"`` it is black instead. With `zoom` each is magnified by its factor too.

    *Shape*: image ``(B, C, H, W)``; angle ``(B,)`` in radians; shift ``(B, 2)`` as shares of half
    the width and height; zoom ``(B,)``.
    """
    cos, sin = angle.cos(), angle.sin()
    if zoom is not None:
        cos, sin = cos / zoom, sin / zoom
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(image.shape), align_corners=False)
    return F.grid_sample(
        image, grid.to(image), mode="bilinear", padding_mode=outside, align_corners=False
    )


def perlin_mask(batch: int, size: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """A thresholded, rotated Perlin field M, and the field.

    Where a field nowhere exceeds the threshold it is cut at 70 % of its own maximum, so that a
    sample that is meant to be anomalous has an anomaly (D10).

    *Shape*: two ``(batch, size, size)``: mask of 0 and 1, field within [-1, 1].
    *Source*: paper, III-A ("M is specified by Perlin generator").
    """
    noise = perlin_noise(batch, size, generator)
    angle = uniform(generator, (batch,), -math.pi / 2, math.pi / 2)
    noise = rotate_and_shift(noise.unsqueeze(1), angle, torch.zeros(batch, 2, device=noise.device))
    noise = noise.squeeze(1)
    highest = noise.amax(dim=(1, 2), keepdim=True)
    own = highest - 0.3 * highest.abs()
    threshold = torch.where(highest > PERLIN_THRESHOLD, PERLIN_THRESHOLD, own)
    return (noise > threshold).float(), noise


def transform_original(original: Tensor, generator: Generator, identity: bool = True) -> Tensor:
    """T(I_ori): a third stays as it is, a third is moved, a third is turned.

    Without `identity` half are moved and half are turned.

    *Source*: paper, III-A ("translation, rotation or identity").
    """
    batch, first = len(original), 0 if identity else 1
    choice = torch.randint(first, 3, (batch,), generator=generator, device=original.device)
    shift = uniform(generator, (batch, 2), -1, 1) * (choice == 1).unsqueeze(1)
    angle = uniform(generator, (batch,), -math.pi, math.pi) * (choice == 2)
    return rotate_and_shift(original, angle, shift)


def vary_light(image: Tensor, generator: Generator, share: float, strength: float) -> Tensor:
    """Good images in another light, a share of them; the others stay as they are.

    Gain and contrast about the image's mean within ``1 +- strength``, an offset within
    ``+- strength / 2``, a gain of each colour within ``1 +- strength / 3``, gamma within
    ``2 ** +- strength``, and a slow gradient across the image of up to ``strength``: each uniform
    and drawn for each image.

    *Shape*: ``(B, 3, H, W)`` in [0, 1] gives the same.
    *Source*: our choice (D38): what a lamp, a shutter and a white balance do, and no defect does.
    """
    batch, _, height, width = image.shape
    place: dict[str, Any] = {"device": image.device, "dtype": image.dtype}
    kept = uniform(generator, (batch, 1, 1, 1)) >= share
    draws = uniform(generator, (batch, 5, 1, 1), -1, 1) * strength
    gain, contrast, offset, gamma, slope = draws.unsqueeze(2).unbind(1)  # (B, 1, 1, 1) each
    colour = 1 + uniform(generator, (batch, 3, 1, 1), -1, 1) * strength / 3
    angle = uniform(generator, (batch, 1, 1), 0, 2 * math.pi)
    y = torch.linspace(-1, 1, height, **place).view(1, height, 1)
    x = torch.linspace(-1, 1, width, **place).view(1, 1, width)
    ramp = (angle.sin() * y + angle.cos() * x).unsqueeze(1) / math.sqrt(2)  # (B, 1, H, W)
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    varied = image.clamp(0, 1) ** (2**gamma)
    varied = mean + (varied - mean) * (1 + contrast)
    varied = varied * (1 + gain) * colour * (1 + slope * ramp) + offset / 2
    return torch.where(kept, image, varied.clamp(0, 1))


def vary_position(
    image: Tensor, generator: Generator, strength: float, share: float = 1.0
) -> Tensor:
    """A share of the good images shifted, turned and zoomed a little; the others stay as they are.

    A shift within ``+- strength`` of the side on each axis, a turn within ``+- strength``
    radians, a zoom within ``1 +- strength``: each uniform and drawn for each image. What comes in
    from outside is mirrored.

    *Shape*: ``(B, 3, H, W)`` in [0, 1] gives the same.
    *Source*: our choice (D40): no part lies under a camera as exactly as the last one.
    """
    kept = uniform(generator, (len(image), 1, 1, 1)) >= share
    draws = uniform(generator, (len(image), 4), -1, 1) * strength
    # of half the side a shift is twice its share of the side
    moved = rotate_and_shift(image, draws[:, 0], 2 * draws[:, 1:3], zoom=1 + draws[:, 3])
    return torch.where(kept, image, moved)


def vary_circumstances(image: Tensor, generator: Generator, settings: SynthesisSettings) -> Tensor:
    """Good images in other positions and another light, as far as `settings` ask for it.

    *Shape*: ``(B, 3, H, W)`` in [0, 1] gives the same.
    """
    s = settings
    if s.light_share:
        image = vary_light(image, generator, s.light_share, s.light_range)
    if s.move_range:
        image = vary_position(image, generator, s.move_range, s.varied_share)
    return image


def add_noise(image: Tensor, generator: Generator, strength: float, share: float = 1.0) -> Tensor:
    """Images with a sensor's noise, a share of them; the others stay as they are.

    The noise is Gaussian, its deviation uniform in [0, strength] per image.

    *Shape*: ``(B, 3, H, W)`` in [0, 1] gives the same.
    *Source*: our choice (D41): the repair is to be free of it.
    """
    deviation = uniform(generator, (len(image), 1, 1, 1), 0, strength)
    deviation = deviation * (uniform(generator, deviation.shape) < share)
    noise = torch.randn(image.shape, generator=generator, device=image.device)
    return (image + deviation * noise).clamp(0, 1)


def vary_texture(texture: Tensor, generator: Generator) -> Tensor:
    """Textures with flips, turned by right angles, other colours, contrast and brightness.

    *Shape*: ``(B, 3, H, W)`` in [0, 1], square.
    *Source*: our choice: it multiplies a small set of textures (D11).
    """
    batch, device = len(texture), texture.device
    flips = torch.randint(0, 2, (3, batch, 1, 1, 1), generator=generator, device=device).bool()
    texture = torch.where(flips[0], texture.flip(3), texture)
    texture = torch.where(flips[1], texture.flip(2), texture)
    texture = torch.where(flips[2], texture.mT, texture)
    order = torch.rand(batch, 3, generator=generator, device=device).argsort(dim=1)
    texture = texture.gather(1, order.view(batch, 3, 1, 1).expand_as(texture))
    contrast = uniform(generator, (batch, 1, 1, 1), 0.6, 1.6)
    brightness = uniform(generator, (batch, 3, 1, 1), -0.3, 0.3)
    middle = texture.mean(dim=(1, 2, 3), keepdim=True)
    return (middle + (texture - middle) * contrast + brightness).clamp(0, 1)


def soften(mask: Tensor, sigma_px: float) -> Tensor:
    """The mask with a Gaussian edge, for blending; sigma 0 leaves it hard: ``(B, H, W)``."""
    if sigma_px == 0:
        return mask
    radius = max(1, math.ceil(3 * sigma_px))
    offsets = torch.arange(-radius, radius + 1, device=mask.device, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma_px**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(mask.unsqueeze(1), (radius,) * 4, mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return blurred.squeeze(1).clamp(0, 1)


def synthesize(
    original: Tensor,
    textures: Tensor,
    generator: Generator,
    settings: SynthesisSettings = PLAIN,
) -> SyntheticBatch:
    """A batch in which a share of the images carries a synthetic anomaly: what training sees.

    First the circumstances are varied (:func:`vary_circumstances`); I_ori is what comes of that.
    Then ``I_aug = (1 - b) texture + b T(I_ori)`` with b uniform in [0, max_opacity], and
    ``I_in = (1 - M) I_ori + M I_aug``, where M has a soft edge for blending and a hard one as the
    target. A share of the anomalies, ``structural_share``, has no texture: b is 1, T moves or
    turns, and the target is the part of M where I_in differs clearly from I_ori.

    *Shape*: original ``(B, 3, S, S)`` float in [0, 1]; textures ``(K, 3, S, S)`` uint8; both on
    the generator's device.
    *Source*: paper, III-A; the distribution of b, the share and the edge are our reading (D09,
    D10, D11), structural anomalies a deviation (D36).
    """
    s = settings
    original = vary_circumstances(original, generator, s)
    batch, size = len(original), original.shape[-1]
    mask, noise = perlin_mask(batch, size, generator)
    anomalous = uniform(generator, (batch, 1, 1)) < s.anomalous_share
    mask = mask * anomalous
    chosen = torch.randint(len(textures), (batch,), generator=generator, device=original.device)
    texture = vary_texture(textures[chosen].float() / 255, generator)
    opacity = uniform(generator, (batch, 1, 1, 1), 0, s.max_opacity)
    augmented = (1 - opacity) * texture + opacity * transform_original(original, generator)
    soft = soften(mask, s.edge_sigma * size).unsqueeze(1)
    if s.structural_share:  # drawn last: without it every draw above stays what it was
        structural = uniform(generator, (batch, 1, 1, 1)) < s.structural_share
        elsewhere = transform_original(original, generator, identity=False)
        augmented = torch.where(structural, elsewhere, augmented)
    image = (1 - soft) * original + soft * augmented
    if s.structural_share:
        changed = (image - original).abs().amax(dim=1) > CLEAR_CHANGE
        mask = torch.where(structural.squeeze(1), mask * changed, mask)
    image = image.clamp(0, 1)
    if s.noise_range:
        image = add_noise(image, generator, s.noise_range, s.varied_share)
    return SyntheticBatch(image, mask, original, augmented.clamp(0, 1), noise)

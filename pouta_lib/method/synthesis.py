"""Synthetic anomalies: a texture, blended into a Perlin-shaped region (paper, III-A).

Everything works on a batch at once, on the CPU and on a GPU alike, and draws from the
``torch.Generator`` it is handed, so that a seed gives identical batches.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
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
    augmented: Tensor  # I_aug (B, 3, H, W) in [0, 1]; I_ori where there is no anomaly
    noise: Tensor  # the Perlin field (B, H, W) in [-1, 1]; 0 where there is no anomaly


def uniform(
    generator: Generator, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Uniform draws in [low, high) on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def selects(device: torch.device) -> bool:
    """Whether :func:`only` looks which images need something."""
    return device.type == "cpu"


def only(needed: Tensor, make: Callable[..., Tensor], otherwise: Tensor, *inputs: Tensor) -> Tensor:
    """``make(*inputs)`` for the images that need it, ``otherwise`` for the others.

    On a CPU nothing is computed for the others. A card computes all and then chooses, since it
    cannot be asked how many they are while a step is recorded
    (:class:`pouta_lib.method.replay.Recorded`). What `make` goes by was drawn before, for all.

    *Shape*: needed ``(B,)`` bool; `otherwise`, each input and what `make` gives: a row an image.
    """
    if not selects(needed.device):
        chosen = needed.view(-1, *[1] * (otherwise.ndim - 1))
        return torch.where(chosen, make(*inputs), otherwise)
    rows = needed.nonzero().squeeze(1)
    if not len(rows):
        return otherwise
    result = otherwise.clone()
    made = make(*(whole.index_select(0, rows) for whole in inputs))
    for row, image in zip(rows.tolist(), made, strict=True):  # faster than result[rows] = made
        result[row] = image
    return result


def mean_of_each(image: Tensor) -> Tensor:
    """The mean of each image: ``(B, C, H, W) -> (B, 1, 1, 1)``.

    Taken twice over, since several threads add up a single image in another order than many, and
    an image's mean is not to depend on how many others :func:`only` takes with it.
    """
    return image.expand(2, *image.shape).mean(dim=(2, 3, 4))[0].view(-1, 1, 1, 1)


@lru_cache(maxsize=8)
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


def draw_lattice(batch: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """For each sample the powers of two of its cells per axis, and its lattice of gradients.

    *Shape*: ``(batch, 2)``; the gradients' x and y, each ``(batch, 33, 33)``.
    """
    powers = torch.randint(0, 6, (2, batch), generator=generator, device=generator.device)
    angle = uniform(generator, (batch, MAX_LATTICE + 1, MAX_LATTICE + 1), 0, 2 * math.pi)
    return powers.T, angle.cos(), angle.sin()


def perlin_field(size: int, powers: Tensor, gradient_x: Tensor, gradient_y: Tensor) -> Tensor:
    """The Perlin noise of a lattice, as :func:`draw_lattice` gives it.

    At a pixel, the noise is the sum over the cell's four corners of
    ``fade_y fade_x (g_y dy + g_x dx)``. Both factors separate by axis, so the whole field is two
    products of thin matrices with the lattices of gradients.

    *Shape*: ``(B, size, size)``, values within [-1, 1].
    *Source*: Perlin 1985 (paper's [39]).
    """
    value, ramp = _lattice_weights(size, powers.device)
    value_y, value_x = value[powers[:, 0]], value[powers[:, 1]]  # (B, size, 33)
    ramp_y, ramp_x = ramp[powers[:, 0]], ramp[powers[:, 1]]
    across = value_y @ gradient_x @ ramp_x.mT  # (B, size, 33) (B, 33, 33) (B, 33, size)
    along = ramp_y @ gradient_y @ value_x.mT
    return (across + along) * math.sqrt(2)


def perlin_noise(batch: int, size: int, generator: Generator) -> Tensor:
    """Perlin noise with 2^0 to 2^5 cells per axis, drawn per sample and axis.

    *Shape*: ``(batch, size, size)``, values within [-1, 1].
    *Source*: the scales are DRAEM's (D10).
    """
    return perlin_field(size, *draw_lattice(batch, generator))


def placement(angle: Tensor, shift: Tensor, zoom: Tensor | None = None) -> Tensor:
    """Where each pixel's value comes from, as an affine map of each image: ``(B, 2, 3)``.

    *Shape*: angle ``(B,)`` in radians; shift ``(B, 2)`` as shares of half the width and height;
    zoom ``(B,)``, the factor by which an image is magnified.
    """
    cos, sin = angle.cos(), angle.sin()
    if zoom is not None:
        cos, sin = cos / zoom, sin / zoom
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    return torch.stack(rows, 1)


def place(image: Tensor, placed: Tensor, outside: str = "reflection") -> Tensor:
    """Each image as its :func:`placement` says; what comes in from outside is mirrored.

    With ``outside="zeros"`` it is black instead.

    *Shape*: image ``(B, C, H, W)``; placed ``(B, 2, 3)``.
    """
    height, width = image.shape[2:]
    y, x = (torch.linspace(-1, 1, n).to(image) * (n - 1) / n for n in (height, width))
    of_x, of_y, constant = placed.view(-1, 2, 3, 1, 1).unbind(2)  # (B, 2, 1, 1) each
    grid = of_x * x + of_y * y.unsqueeze(1) + constant  # (B, 2, H, W): what affine_grid gives
    return F.grid_sample(
        image,
        grid.permute(0, 2, 3, 1),
        mode="bilinear",
        padding_mode=outside,
        align_corners=False,
    )


def rotate_and_shift(
    image: Tensor, angle: Tensor, shift: Tensor, outside: str = "reflection"
) -> Tensor:
    """Each image turned about its centre and moved: :func:`place` by :func:`placement`."""
    return place(image, placement(angle, shift), outside)


def perlin_mask(
    batch: int, size: int, generator: Generator, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """For a share of the samples a thresholded, rotated Perlin field M, and the field.

    Where a field nowhere exceeds the threshold it is cut at 70 % of its own maximum, so that a
    sample that is meant to be anomalous has an anomaly (D10). The others have zero in both.

    *Shape*: two ``(batch, size, size)``: mask of 0 and 1, field within [-1, 1].
    *Source*: paper, III-A ("M is specified by Perlin generator").
    """
    lattice = draw_lattice(batch, generator)
    angle = uniform(generator, (batch,), -math.pi / 2, math.pi / 2)
    anomalous = uniform(generator, (batch,)) < share
    turned = placement(angle, torch.zeros(batch, 2, device=angle.device))

    def turned_field(turned: Tensor, *lattice: Tensor) -> Tensor:
        return place(perlin_field(size, *lattice).unsqueeze(1), turned).squeeze(1)

    none = angle.new_zeros(batch, size, size)
    noise = only(anomalous, turned_field, none, turned, *lattice)
    highest = noise.amax(dim=(1, 2), keepdim=True)
    own = highest - 0.3 * highest.abs()
    threshold = torch.where(highest > PERLIN_THRESHOLD, PERLIN_THRESHOLD, own)
    return (noise > threshold).float(), noise


def draw_transform(batch: int, generator: Generator, identity: bool = True) -> Tensor:
    """The placements of T: a third stays as it is, a third is moved, a third is turned.

    Without `identity` half are moved and half are turned.

    *Shape*: ``(batch, 2, 3)``.
    *Source*: paper, III-A ("translation, rotation or identity").
    """
    first = 0 if identity else 1
    choice = torch.randint(first, 3, (batch,), generator=generator, device=generator.device)
    shift = uniform(generator, (batch, 2), -1, 1) * (choice == 1).unsqueeze(1)
    angle = uniform(generator, (batch,), -math.pi, math.pi) * (choice == 2)
    return placement(angle, shift)


def transform_original(original: Tensor, generator: Generator) -> Tensor:
    """T(I_ori), by :func:`draw_transform`."""
    return place(original, draw_transform(len(original), generator))


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
    there: dict[str, Any] = {"device": image.device, "dtype": image.dtype}
    lit = uniform(generator, (batch,)) < share
    draws = uniform(generator, (batch, 5, 1, 1), -1, 1) * strength
    gain, contrast, offset, gamma, slope = draws.unsqueeze(2).unbind(1)  # (B, 1, 1, 1) each
    colour = 1 + uniform(generator, (batch, 3, 1, 1), -1, 1) * strength / 3
    angle = uniform(generator, (batch, 1, 1), 0, 2 * math.pi)
    y = torch.linspace(-1, 1, height, **there).view(1, height, 1)
    x = torch.linspace(-1, 1, width, **there).view(1, 1, width)
    ramp = (angle.sin() * y + angle.cos() * x).unsqueeze(1) / math.sqrt(2)  # (B, 1, H, W)
    how = (gain, contrast, offset, 2**gamma, 1 + slope * ramp, colour)
    return only(lit, relight, image, image, *how)


def relight(
    image: Tensor,
    gain: Tensor,
    contrast: Tensor,
    offset: Tensor,
    power: Tensor,
    ramp: Tensor,
    colour: Tensor,
) -> Tensor:
    """Images in the light that :func:`vary_light` draws for each."""
    mean = mean_of_each(image)
    varied = image.clamp(0, 1) ** power
    varied = mean + (varied - mean) * (1 + contrast)
    varied = varied * (1 + gain) * colour * ramp + offset / 2
    return varied.clamp(0, 1)


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
    moved = uniform(generator, (len(image),)) < share
    draws = uniform(generator, (len(image), 4), -1, 1) * strength
    # of half the side a shift is twice its share of the side
    placed = placement(draws[:, 0], 2 * draws[:, 1:3], zoom=1 + draws[:, 3])
    return only(moved, place, image, image, placed)


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

    *Shape*: ``(B, 3, H, W)`` in [0, 1], square.
    *Source*: our choice: it multiplies a small set of textures (D11).
    """
    return change_look(texture, *draw_look(len(texture), generator))


def soften(mask: Tensor, sigma_px: float) -> Tensor:
    """The mask with a Gaussian edge, for blending; sigma 0 leaves it hard: ``(B, H, W)``."""
    if sigma_px == 0:
        return mask
    radius = max(1, math.ceil(3 * sigma_px))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma_px**2))
    weights = (kernel / kernel.sum()).tolist()
    height, width = mask.shape[1:]
    padded = F.pad(mask.unsqueeze(1), (radius,) * 4, mode="replicate").squeeze(1)
    across = _weighted_sum([padded[..., k : k + width] for k in range(len(weights))], weights)
    down = _weighted_sum([across[:, k : k + height] for k in range(len(weights))], weights)
    return down.clamp(0, 1)


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
    """``I_aug = (1 - b) texture + b T(I_ori)``: a chosen texture in its look, T as it is placed."""
    texture = change_look(textures.index_select(0, chosen), *look)
    return (1 - opacity) * texture + opacity * place(original, placed)


def paste(sigma_px: float, original: Tensor, augmented: Tensor, mask: Tensor) -> Tensor:
    """``I_in = (1 - M) I_ori + M I_aug``, M with a soft edge."""
    soft = soften(mask, sigma_px).unsqueeze(1)
    return (1 - soft) * original + soft * augmented


def visible(mask: Tensor, image: Tensor, original: Tensor) -> Tensor:
    """The part of M where I_in differs clearly from I_ori."""
    return mask * ((image - original).abs().amax(dim=1) > CLEAR_CHANGE)


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
    mask, noise = perlin_mask(batch, size, generator, s.anomalous_share)
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
    image = only(anomalous, partial(paste, s.edge_sigma * size), original, *pasting)
    if s.structural_share:
        mask = only(structural, visible, mask, mask, image, original)
    image = image.clamp(0, 1)
    if s.noise_range:
        image = add_noise(image, generator, s.noise_range, s.varied_share)
    return SyntheticBatch(image, mask, original, augmented.clamp(0, 1), noise)

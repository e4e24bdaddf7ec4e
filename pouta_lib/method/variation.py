"""Good images varied as cameras, lamps and hands vary them, without making a defect."""

import math
from typing import Any

import torch
from torch import Generator, Tensor

from pouta_lib.ground.profiles import SynthesisSettings
from pouta_lib.method.draws import mean_of_each, only, uniform
from pouta_lib.method.placing import place, placement


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
    """Images in the light that :func:`vary_light` draws for each.

    *Shape*: ``(B, 3, H, W)`` in [0, 1] gives the same; ramp ``(B, 1, H, W)``, colour
    ``(B, 3, 1, 1)``, the others ``(B, 1, 1, 1)``.
    """
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

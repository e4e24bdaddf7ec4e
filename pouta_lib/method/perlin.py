"""Perlin noise, and the mask M that is cut from it (paper, III-A)."""

import math
from functools import lru_cache

import torch
from torch import Generator, Tensor

from pouta_lib.method.draws import only, uniform
from pouta_lib.method.placing import place, placement

MAX_LATTICE = 32  # Perlin cells per axis are 2^0 .. 2^5
PERLIN_THRESHOLD = 0.5


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

    *Shape*: ``(batch, 2)``, 0 to 5; the gradients' x and y, each ``(batch, 33, 33)``.
    *Source*: the scales are DRAEM's (D10).
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
    field = only(anomalous, turned_field, none, turned, *lattice)
    highest = field.amax(dim=(1, 2), keepdim=True)
    own = highest - 0.3 * highest.abs()
    threshold = torch.where(highest > PERLIN_THRESHOLD, PERLIN_THRESHOLD, own)
    return (field > threshold).float(), field

"""Images shifted, turned and magnified, and the draws of T (paper, III-A)."""

import math
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from pouta_lib.method.draws import uniform


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
    there: dict[str, Any] = {"device": image.device, "dtype": image.dtype}
    y, x = (torch.linspace(-1, 1, n, **there) * (n - 1) / n for n in image.shape[2:])
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
    """Each image turned about its centre and moved: :func:`place` by :func:`placement`.

    *Shape*: ``(B, C, H, W)``, ``(B,)`` and ``(B, 2)`` give ``(B, C, H, W)``.
    """
    return place(image, placement(angle, shift), outside)


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
    """T(I_ori) of each image, by :func:`draw_transform`: what the course shows.

    *Shape*: ``(B, C, H, W)`` gives the same.
    """
    return place(original, draw_transform(len(original), generator))

"""What DRAEM trains on, by which losses, and how long: its own synthesis, not POUTA's.

*Source*: Zavrtanik, Kristan and Skocaj, ICCV 2021 (the paper's [5]), and where it is silent the
settings of its authors' code (D39). Augmentations work on a batch at once, each image with draws
of its own: :data:`AUGMENTERS`, each from ``(B, 3, H, W)`` in [0, 1] to the same, which may leave
that range and is clipped then.
"""

import dataclasses
import math

import torch
from torch import Generator, Tensor

from pouta_lib.ground.profiles import Profile, SynthesisSettings
from pouta_lib.method import training
from pouta_lib.method.draws import uniform
from pouta_lib.method.losses import focal_loss, reconstruction_loss
from pouta_lib.method.perlin import perlin_mask
from pouta_lib.method.placing import rotate_and_shift
from pouta_lib.method.schedule import learning_rate
from pouta_lib.method.synthesis import PLAIN, SyntheticBatch
from pouta_lib.method.training import Recipe
from pouta_lib.method.variation import add_noise, vary_circumstances

AUGMENTERS_AN_IMAGE = 3
TURNED_SHARE = 0.3  # of the good images
MOST_TURN = math.pi / 4
LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601
EPOCHS_OF_OURS = 700 / 600  # its epochs in those of POUTA's paper
RATE_OF_OURS = 1e-4 / 2e-4


def draem_settings(profile: Profile) -> Profile:
    """The settings a run of DRAEM takes.

    A profile that counts epochs follows the papers' protocols: DRAEM's has 700 epochs at a rate of
    1e-4 where POUTA's has 600 at 2e-4, and the same two drops. A profile that counts steps
    compares methods at equal training: nothing differs.

    *Source*: DRAEM, 4, and its authors' code; what a profile with fixed steps does is our choice
    (D39).
    """
    if profile.epochs is None:
        return profile
    epochs = round(profile.epochs * EPOCHS_OF_OURS)
    return dataclasses.replace(profile, epochs=epochs, lr=profile.lr * RATE_OF_OURS)


def num_steps(profile: Profile, num_images: int, shots: int | None = None) -> int:
    """Optimiser steps of a run of DRAEM, as of :func:`pouta_lib.method.training.num_steps`."""
    return training.num_steps(draem_settings(profile), num_images, shots)


def draem_losses(named: dict[str, Tensor], original: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """``L = L_2 + L_SSIM + L_focal`` and its terms, from a model's trace.

    *Shape*: original ``(B, 3, H, W)`` in [0, 1]; mask ``(B, H, W)`` with 0 and 1.
    *Source*: DRAEM, 3.1 and 3.2, equally weighted. It has no multi-scale supervision: ``mss`` is
    zero.
    """
    reconstruction = reconstruction_loss(named["I_r"], original)
    anomaly = focal_loss(named["logits"], mask)
    total = reconstruction + anomaly
    none = torch.zeros_like(anomaly)
    return {"total": total, "reconstruction": reconstruction, "anomaly": anomaly, "mss": none}


def draem_synthesize(
    original: Tensor,
    textures: Tensor,
    generator: Generator,
    settings: SynthesisSettings = PLAIN,
) -> SyntheticBatch:
    """A batch in which a share of the images carries a texture with a hard Perlin outline.

    ``I_in = (1 - M) I_ori + M ((1 - b) A + b I_ori)`` with b uniform in [0, max_opacity] and A a
    texture after three of :data:`AUGMENTERS`. Three images in ten are turned beforehand, by up to
    45 degrees: they are then the I_ori that is to be rebuilt. Light, position and noise are varied
    as every method's; a structural share and a soft edge are POUTA's alone.

    *Shape*: original ``(B, 3, S, S)`` float in [0, 1]; textures ``(K, 3, S, S)`` uint8; both on
    the generator's device.
    *Source*: DRAEM, 3.3; the share of turned images is that of its authors' code (D39), the
    outline POUTA's own, which is DRAEM's (D10).
    """
    batch, size = len(original), original.shape[-1]
    original = vary_circumstances(original, generator, settings)
    turned = uniform(generator, (batch,)) < TURNED_SHARE
    original = turn(original, turned * uniform(generator, (batch,), -MOST_TURN, MOST_TURN))
    mask, field = perlin_mask(batch, size, generator, settings.anomalous_share)
    chosen = torch.randint(len(textures), (batch,), generator=generator, device=original.device)
    texture = augment_texture(textures[chosen].float() / 255, generator)
    opacity = uniform(generator, (batch, 1, 1, 1), 0, settings.max_opacity)
    augmented = (1 - opacity) * texture + opacity * original
    image = torch.where(mask.unsqueeze(1) > 0.5, augmented, original)
    if settings.noise_range:
        image = add_noise(image, generator, settings.noise_range, settings.varied_share)
    return SyntheticBatch(image, mask, original, augmented, field)


RECIPE = Recipe(
    batch=lambda good, textures, generator, profile: draem_synthesize(
        good, textures, generator, profile.synthesis
    ),
    losses=lambda named, batch: draem_losses(named, batch.original, batch.mask),
    needed=frozenset({"I_r", "logits"}),
    rate=lambda profile, step, steps: learning_rate(draem_settings(profile), step, steps),
    recordable=False,  # its augmentations go by rows that a draw chooses
)


def augment_texture(texture: Tensor, generator: Generator) -> Tensor:
    """Each texture after three different ones of :data:`AUGMENTERS`, in random order.

    *Shape*: ``(B, 3, H, W)`` in [0, 1].
    """
    shape = (len(texture), len(AUGMENTERS))
    order = uniform(generator, shape).argsort(dim=1)[:, :AUGMENTERS_AN_IMAGE]
    for turn_of in order.T:
        for k, augment in enumerate(AUGMENTERS):
            rows = (turn_of == k).nonzero().squeeze(1)
            if len(rows):
                changed = augment(texture[rows], generator).clamp(0, 1)
                texture = texture.index_copy(0, rows, changed)
    return texture


def _each(
    image: Tensor, generator: Generator, low: float, high: float, channels: int = 1
) -> Tensor:
    """Uniform draws, one per image or one per channel: ``(B, channels, 1, 1)``."""
    return uniform(generator, (len(image), channels, 1, 1), low, high)


def turn(image: Tensor, angle: Tensor) -> Tensor:
    """Each image turned about its centre by its angle in radians; black comes in at the corners.

    *Shape*: ``(B, C, H, W)`` and ``(B,)`` give ``(B, C, H, W)``.
    """
    return rotate_and_shift(image, angle, torch.zeros(len(image), 2).to(image), outside="zeros")


def gamma_contrast(image: Tensor, generator: Generator) -> Tensor:
    """Each channel to a power between 0.5 and 2."""
    return image ** _each(image, generator, 0.5, 2.0, channels=3)


def brightness(image: Tensor, generator: Generator) -> Tensor:
    """Luma times 0.8 to 1.2 plus up to 30 of 255; the colour differences stay."""
    luma = (image * torch.tensor(LUMA).to(image).view(3, 1, 1)).sum(dim=1, keepdim=True)
    gain, offset = _each(image, generator, 0.8, 1.2), _each(image, generator, -30 / 255, 30 / 255)
    return image + luma * (gain - 1) + offset


def sharpness(image: Tensor, generator: Generator) -> Tensor:
    """Between smoothed (0), unchanged (1) and sharpened (2), as Pillow does it."""
    from torchvision.transforms.v2.functional import adjust_sharpness  # slow to import

    smooth = adjust_sharpness(image, 0.0)
    return smooth + (image - smooth) * _each(image, generator, 0.0, 2.0)


def hue_and_saturation(image: Tensor, generator: Generator) -> Tensor:
    """Hue moved by up to 50/255 of the circle, saturation by up to 50/255."""
    hue, saturation = (_each(image, generator, -50 / 255, 50 / 255) for _ in range(2))
    h, s, v = rgb_to_hsv(image).split(1, dim=1)
    return hsv_to_rgb(torch.cat([(h + hue) % 1, (s + saturation).clamp(0, 1), v], dim=1))


def solarize(image: Tensor, generator: Generator) -> Tensor:
    """Half of the images: what is above a threshold of 32 to 128 of 255 is inverted."""
    threshold = _each(image, generator, 32 / 255, 128 / 255)
    touched = _each(image, generator, 0, 1) < 0.5
    return torch.where(touched & (image >= threshold), 1 - image, image)


def posterize(image: Tensor, generator: Generator) -> Tensor:
    """All but the 1 to 8 highest bits of eight are dropped."""
    bits = _each(image, generator, 1, 9).floor()
    step = 2 ** (8 - bits)
    return (image * 255).round().div(step).floor() * step / 255


def invert(image: Tensor, generator: Generator) -> Tensor:
    """The negative."""
    return 1 - image


def autocontrast(image: Tensor, generator: Generator) -> Tensor:
    """Each channel stretched to [0, 1], up to 20 % of its pixels cut off at either end."""
    ranked = image.flatten(2).sort(dim=2).values  # (B, 3, N)
    last = ranked.shape[2] - 1
    cut = (uniform(generator, (len(image), 1, 1), 0, 0.2) * last).long().expand(-1, 3, 1)
    low, high = (ranked.gather(2, i).unsqueeze(3) for i in (cut, last - cut))
    return torch.where(high > low, (image - low) / (high - low).clamp(min=1e-6), image)


def equalize(image: Tensor, generator: Generator) -> Tensor:
    """Each channel's histogram made flat."""
    from torchvision.transforms.v2.functional import equalize as flatten_histogram

    return flatten_histogram(image)


def rotate(image: Tensor, generator: Generator) -> Tensor:
    """Turned by up to 45 degrees, black at the corners."""
    return turn(image, uniform(generator, (len(image),), -math.pi / 4, math.pi / 4))


AUGMENTERS = (
    gamma_contrast,
    brightness,
    sharpness,
    hue_and_saturation,
    solarize,
    posterize,
    invert,
    autocontrast,
    equalize,
    rotate,
)


def rgb_to_hsv(image: Tensor) -> Tensor:
    """Hue, saturation and value, all in [0, 1]; a gray has hue and saturation 0.

    *Shape*: ``(B, 3, H, W)`` to the same.
    """
    red, green, blue = image.split(1, dim=1)
    value = image.amax(dim=1, keepdim=True)
    chroma = value - image.amin(dim=1, keepdim=True)
    divisor = chroma.clamp(min=1e-6)
    sixth = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    return torch.cat([sixth / 6 % 1, chroma / value.clamp(min=1e-6), value], dim=1)


def hsv_to_rgb(image: Tensor) -> Tensor:
    """The inverse of :func:`rgb_to_hsv`.

    Each channel is ``v - v s min(k, 4 - k, 1)`` from 0 up, with ``k = (n + 6 h) mod 6`` and n = 5,
    3, 1 for red, green, blue.
    """
    hue, saturation, value = image.split(1, dim=1)
    n = torch.tensor([5.0, 3.0, 1.0]).to(image).view(3, 1, 1)
    k = (n + 6 * hue) % 6
    return value * (1 - saturation * torch.minimum(k, 4 - k).clamp(0, 1))

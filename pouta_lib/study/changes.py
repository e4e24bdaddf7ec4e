"""Harmless changes: other circumstances in which a good part stays a good part."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

# (3, H, H) float in [0, 255], a strength in [0, 1], and draws; gives the same, unclipped
Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def darker(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Less light everywhere: up to 20 %."""
    return image * (1 - 0.2 * strength)


def lighter(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """More light everywhere: up to 20 %."""
    return image * (1 + 0.2 * strength)


def contrast(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Up to 30 % more or less contrast about the mean."""
    middle = image.mean()
    return middle + (image - middle) * (1 + 0.3 * strength * rng.choice([-1, 1]))


def black_level(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The same added everywhere: up to 20 of 255, either way."""
    return image + 20 * strength * rng.choice([-1, 1])


def white_balance(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Warmer or colder: up to 10 % more red and less blue, or the reverse."""
    tint = 0.1 * strength * rng.choice([-1, 1])
    return image * np.array([1 + tint, 1, 1 - tint])[:, None, None]


def gradient(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A light that falls off across the image, by up to 15 % either way."""
    size, angle = image.shape[-1], rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    return image * (1 + 0.15 * strength * (np.sin(angle) * y + np.cos(angle) * x) / np.sqrt(2))


def _moved(image: np.ndarray, angle: float, scale: float, by: np.ndarray) -> np.ndarray:
    middle = (image.shape[-1] - 1) / 2
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    offset = middle - matrix @ (middle + by)
    bands = [ndimage.affine_transform(b, matrix, offset, order=1, mode="mirror") for b in image]
    return np.stack(bands)


def shift(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Moved by up to 3 % of the side."""
    angle = rng.uniform(0, 2 * np.pi)
    by = 0.03 * strength * image.shape[-1] * np.array([np.sin(angle), np.cos(angle)])
    return _moved(image, 0.0, 1.0, by)


def turn(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Turned by up to 4 degrees, either way."""
    return _moved(image, np.deg2rad(4 * strength) * rng.choice([-1, 1]), 1.0, np.zeros(2))


def zoom(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Up to 4 % larger or smaller."""
    return _moved(image, 0.0, 1 + 0.04 * strength * rng.choice([-1, 1]), np.zeros(2))


def blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A focus that is a little off: a Gaussian of up to 0.5 % of the side."""
    return ndimage.gaussian_filter(image, (0, *[0.005 * strength * image.shape[-1]] * 2))


def noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A sensor's noise: a deviation of up to 8 of 255."""
    return image + rng.normal(0, 8 * strength, image.shape)


def jpeg(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Saved as JPEG, down to quality 40."""
    file = io.BytesIO()
    picture = Image.fromarray(image.clip(0, 255).round().astype(np.uint8).transpose(1, 2, 0))
    picture.save(file, "JPEG", quality=round(95 - 55 * strength))
    return np.asarray(Image.open(file), float).transpose(2, 0, 1)


HARMLESS: tuple[Change, ...] = (
    darker,
    lighter,
    contrast,
    black_level,
    white_balance,
    gradient,
    shift,
    turn,
    zoom,
    blur,
    noise,
    jpeg,
)
MOVEMENTS = (shift, turn, zoom)  # a damage moves along with them


def change_harmlessly(images: np.ndarray, kinds: np.ndarray, strength: float) -> np.ndarray:
    """Each image in other circumstances that make no part bad: ``HARMLESS[kind]`` of each.

    The same at each call.

    *Shape*: ``(N, B, H, H)`` uint8 and ``(N,)`` give ``(N, B, H, H)`` uint8; strength in [0, 1].
    *Source*: our choice (D35): light, contrast, black level, white balance, slight movements,
    blur, noise and JPEG, as far as a camera over a line may go from one week to the next.
    """
    changed = [
        HARMLESS[kind](image.astype(float), strength, _draws(k, kind))
        for k, (image, kind) in enumerate(zip(images, kinds, strict=True))
    ]
    return np.stack(changed).clip(0, 255).round().astype(np.uint8)


def move_along(masks: np.ndarray, kinds: np.ndarray, strength: float) -> np.ndarray:
    """Where the damage of each image is after :func:`change_harmlessly`: moved where it moved.

    *Shape*: ``(N, H, H)`` bool and ``(N,)`` give ``(N, H, H)`` bool.
    """
    moved = masks.copy()
    for k, (mask, kind) in enumerate(zip(masks, kinds, strict=True)):
        if HARMLESS[kind] in MOVEMENTS:
            drawn = HARMLESS[kind](mask[None].astype(float), strength, _draws(k, kind))
            moved[k] = drawn[0] > 0.5
    return moved


def _draws(k: int, kind: int) -> np.random.Generator:
    """Of the k-th image: the same for its picture and for its mask."""
    return np.random.default_rng([0, k, kind])

"""What DRAEM's authors train on, one image after another: their recipe, written out plainly.

Their code is no package. Steps, ranges and their order are those of their data loader: NumPy draws
the noise, OpenCV turns it, and three of ten augmenters, which are imgaug's there, change the
texture by Pillow. Reading and resizing are left out, so this is rather quicker than theirs.

*Source*: Zavrtanik, Kristan and Skocaj, ICCV 2021, 3.3, and its code; docs/DEVIATIONS.md, D39.
"""

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Rng = np.random.Generator
AUGMENTERS_AN_IMAGE = 3


def noise(side: int, rng: Rng) -> np.ndarray:
    """Perlin noise with 2^0 to 2^5 cells an axis: ``(side, side)``."""
    cells = 2 ** rng.integers(0, 6, 2)
    angle = rng.uniform(0, 2 * np.pi, cells + 1)
    gradients = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    y, x = (np.arange(side) / side * count for count in cells)
    row, column = y.astype(int), x.astype(int)
    offset = np.stack(np.meshgrid(y - row, x - column, indexing="ij"), axis=-1)

    def corner(down: int, right: int) -> np.ndarray:
        gradient = gradients[row + down][:, column + right]
        return (gradient * (offset - np.array([down, right]))).sum(axis=-1)

    fade = 6 * offset**5 - 15 * offset**4 + 10 * offset**3
    above = corner(0, 0) + fade[..., 1] * (corner(0, 1) - corner(0, 0))
    below = corner(1, 0) + fade[..., 1] * (corner(1, 1) - corner(1, 0))
    return np.sqrt(2) * (above + fade[..., 0] * (below - above))


def item(good: np.ndarray, texture: np.ndarray, rng: Rng) -> tuple[np.ndarray, ...]:
    """The original, the image with an anomaly or without, and its mask, channels first.

    *Shape*: two ``(side, side, 3)`` uint8; ``(3, side, side)`` twice and ``(1, side, side)``.
    """
    if rng.random() > 0.7:
        good = turned(good, rng, 90)
    original = good.astype(np.float32) / 255
    image = Image.fromarray(texture)
    for k in rng.permutation(10)[:AUGMENTERS_AN_IMAGE]:
        image = augmented(image, int(k), rng)
    mask = (turned(noise(len(good), rng), rng, 90) > 0.5).astype(np.float32)[..., None]
    pasted = np.asarray(image) * mask / 255
    opacity = rng.random() * 0.8
    changed = original * (1 - mask) + (1 - opacity) * pasted + opacity * original * mask
    if rng.random() > 0.5:
        changed, mask = original, np.zeros_like(mask)
    return tuple(np.moveaxis(a, -1, 0).astype(np.float32) for a in (original, changed, mask))


def turned(image: np.ndarray, rng: Rng, most: float) -> np.ndarray:
    """Turned about its centre by up to `most` degrees either way, zeros outside."""
    side = image.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-most, most), 1)
    return cv2.warpAffine(image, matrix, (side, side))


def augmented(image: Image.Image, which: int, rng: Rng) -> Image.Image:
    """An image after one of ten changes."""
    if which == 0:  # a gamma for each channel
        gammas, values = rng.uniform(0.5, 2, 3), np.arange(256) / 255
        return image.point([round(255 * v) for gamma in gammas for v in values**gamma])
    if which == 1:  # brightness
        y, cb, cr = image.convert("YCbCr").split()
        gain, offset = rng.uniform(0.8, 1.2), rng.uniform(-30, 30)
        y = y.point([min(255, max(0, round(gain * v + offset))) for v in range(256)])
        return Image.merge("YCbCr", (y, cb, cr)).convert("RGB")
    if which == 2:
        return ImageEnhance.Sharpness(image).enhance(rng.uniform(0, 2))
    if which == 3:
        h, s, v = image.convert("HSV").split()
        hue, more = rng.integers(-50, 51, 2)
        h = h.point([(k + hue) % 256 for k in range(256)])
        s = s.point([min(255, max(0, k + more)) for k in range(256)])
        return Image.merge("HSV", (h, s, v)).convert("RGB")
    if which == 4:
        return ImageOps.solarize(image, int(rng.integers(32, 129))) if rng.random() < 0.5 else image
    if which == 5:
        return ImageOps.posterize(image, int(rng.integers(1, 9)))
    if which == 6:
        return ImageOps.invert(image)
    if which == 7:
        return ImageOps.autocontrast(image, int(rng.integers(0, 21)))
    if which == 8:
        return ImageOps.equalize(image)
    return Image.fromarray(turned(np.asarray(image), rng, 45))

"""Decoding and resizing: whatever a camera wrote becomes RGB uint8."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pouta_lib.ground.errors import problem

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def image_files(folder: Path) -> list[Path]:
    """The image files of `folder`, sorted by name; other files and hidden ones are passed over.

    Thumbs.db, .DS_Store and the ``._*`` files of macOS are among the latter.
    """
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def decode(content: bytes, path: Path) -> Image.Image:
    """The upright image in `content`, in whatever mode it was stored.

    *Raises* :class:`PoutaError` for an empty, truncated or unreadable file, naming `path`.
    """
    if not content:
        raise problem("an image", "an empty file (0 bytes)", path, "copy it again or remove it")
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        found = f"a file that cannot be decoded ({error})"
        raise problem("an image", found, path, "copy it again or remove it") from error


def to_rgb(image: Image.Image, path: Path) -> Image.Image:
    """`image` as 8-bit RGB.

    Gray becomes three equal channels. 16-bit gray is divided by 257, so that 65,535 is 255 and
    nothing is clipped. An alpha channel is dropped; palettes are looked up. Of a file with
    several pictures the first counts.

    *Raises* :class:`PoutaError` for values that have no agreed range, such as floats.
    """
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            found = f"values from {values.min()} to {values.max()}"
            raise problem("an 8- or 16-bit image", found, path, "convert it to 8 or 16 bits")
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    if image.mode == "F":
        raise problem("an 8- or 16-bit image", "a float image", path, "convert it to 8 or 16 bits")
    return image.convert("RGB")


def resize_image(image: Image.Image, size_px: int) -> np.ndarray:
    """A plain resize to a square, bilinear with anti-aliasing: ``(3, size_px, size_px)`` uint8.

    *Source*: paper, IV-A ("images are resized to 224 x 224"); no crop (D18).
    """
    resized = image.resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.moveaxis(np.asarray(resized), -1, 0)


def resize_mask(
    mask: Image.Image, path: Path, image_size: tuple[int, int], size_px: int
) -> np.ndarray:
    """A mask, nearest neighbour, True where it is above 0: ``(size_px, size_px)`` bool.

    VisA's masks hold small class numbers: hence above 0 and no division (D20). A defect that the
    resize would lose keeps the pixel its centre falls on.

    *Raises* :class:`PoutaError` when the mask has another size than its image, or marks nothing.
    """
    if mask.size != image_size:
        found = f"{mask.size[0]} x {mask.size[1]}"
        wanted = f"a mask of its image's size, {image_size[0]} x {image_size[1]}"
        raise problem(wanted, found, path, "export the mask again at the image's own size")
    values = np.asarray(mask.convert("L") if mask.mode in ("P", "PA", "LA") else mask)
    if values.ndim == 3:
        values = values[..., :3].max(axis=-1)
    marked = values > 0
    if not marked.any():
        todo = "mark the defect, or move the image to the good ones"
        raise problem("a mask that marks the defect", "nothing above 0", path, todo)
    whole = Image.fromarray(marked.astype(np.uint8) * 255)
    small = np.asarray(whole.resize((size_px, size_px), Image.Resampling.NEAREST)) > 0
    if not small.any():
        small = small.copy()
        rows, columns = np.nonzero(marked)
        height, width = marked.shape
        small[int(rows.mean() * size_px / height), int(columns.mean() * size_px / width)] = True
    return small

"""Decoding and resizing: whatever a camera wrote becomes RGB uint8."""

import hashlib
import io
import re
import sys
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from pouta_lib.data.files import HEIC, readable_suffixes
from pouta_lib.data.jpeg import has_hole
from pouta_lib.data.warned import named
from pouta_lib.ground.errors import PoutaError, problem, shown

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP")  # what Pillow calls the suffixes
ORIENTATION = 0x0112  # EXIF's tag
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # a TIFF's tags; a value
SAMPLE_FORMAT, SIGNED = 339, 2  # likewise
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras' converters have
MOST_PIXELS = 2 * (1 << 30) // 12  # 179 million: what Pillow opens at all, 0.7 GB decoded
MOST_BYTES = 8 * MOST_PIXELS + (64 << 20)  # of a file: four values of 16 bits a pixel, and more
LARGE_PIXELS = 8_000_000  # from here on decoded at reduced size, where less is asked for
END_OF_JPEG = b"\xff\xd9"
AGAIN = "copy it again or remove it"
SAVE_PLAIN = "save it again without its metadata (texts, colour profile), which is too long"

_one_large_at_a_time = Lock()


@dataclass(frozen=True)
class Picture:
    """What one file holds, upright."""

    image: Image.Image  # in the mode that it was stored in
    size: tuple[int, int]  # in pixels, also where it was decoded at reduced size
    orientation: int = 1  # EXIF's; 1 where the file says nothing that can be read
    lossy: bool = False  # stored so that a value may come back as another
    peak: int = 0  # the highest value of more than 8 bits; 0 where there are no more
    low: Image.Image | None = None  # the lower bytes of 16-bit colour, whose `image` has the upper


def content_of(path: Path) -> bytes:
    """The bytes of a file. *Raises* :class:`PoutaError` where it cannot be read or is too large."""
    try:
        if path.stat().st_size > MOST_BYTES:
            wanted = f"an image of at most {MOST_BYTES >> 20} MB"
            raise problem(wanted, "a larger file", path, "is it a video? remove it")
        return path.read_bytes()
    except OSError as error:
        todo = "check the file and its permissions"
        raise problem("a readable file", error.strerror or str(error), path, todo) from error


def decode(content: bytes, path: Path, near_px: int | None = None) -> Picture:
    """The upright picture in `content`; of a file with several, the largest, if it is but one.

    Where `near_px` says about which size is wanted, a picture of more than 8 megapixels is
    decoded at a reduced size, four times that at the least (a JPEG without ever being larger).
    EXIF data that cannot be read turns nothing and stops nothing. What Pillow warns of is told
    with the file's name.

    *Raises* :class:`PoutaError`, naming `path`, for an empty, truncated or unreadable file, for one
    with several pages or frames, and for one that claims more than 179 million pixels, before
    memory is taken for them.
    """
    if not content:
        raise problem("an image", "an empty file (0 bytes)", path, AGAIN)
    try:
        with named(path):
            return _decode(content, path, near_px)
    except PoutaError:
        raise
    except Image.DecompressionBombError as error:
        pixels = int(re.findall(r"\d+", str(error))[0])  # Pillow says no width and no height
        raise _too_large(path, pixels) from error
    except MemoryError as error:
        todo = "make it smaller, or free memory"
        raise problem("an image that fits into memory", "too little of it", path, todo) from error
    except UnidentifiedImageError as error:
        kind = "HEIF or AVIF" if content[4:8] == b"ftyp" else "no known"
        found = f"a file that cannot be decoded ({kind} format)"
        raise problem("an image", found, path, "convert it to PNG or JPEG, or remove it") from error
    except Exception as error:  # of damaged bytes Pillow's readers raise errors of many kinds
        found = f"a file that cannot be decoded ({error})"
        todo = SAVE_PLAIN if "text chunk" in str(error).lower().replace("_", " ") else AGAIN
        raise problem("an image", found, path, todo) from error


def _decode(content: bytes, path: Path, near_px: int | None) -> Picture:
    image: Image.Image = _opened(io.BytesIO(content))
    if (pixels := image.width * image.height) > MOST_PIXELS:
        raise _too_large(path, pixels)
    _check(image, content, path)
    raw, lossy, tiff = _raw_mode(image), _is_lossy(image, content), image.format == "TIFF"
    size = image.size
    large = near_px is not None and size[0] * size[1] > LARGE_PIXELS
    side_px = 4 * near_px if large and near_px and ";16" not in raw else None
    with _one_large_at_a_time if large else nullcontext():
        image, orientation = _loaded(image, side_px)
    turn = TURNS.get(orientation) if not tiff else None
    if turn is not None and orientation >= 5:
        size = size[::-1]
    low, peak = None, 0
    if image.mode.startswith("I"):
        peak = int(np.asarray(image).max())
    elif raw.startswith(("RGB", "LA")) and ";16" in raw:
        peak = int(np.asarray(image)[..., :3].max()) * 256 + 255
        low = _low_bytes(content) if peak < 1 << DEPTHS[-2] else None
    if peak:
        peak = max(peak, _stated_peak(raw, content))
    if turn is not None:
        image = image.transpose(turn)
        low = low.transpose(turn) if low is not None else None
    return Picture(image, size, orientation, lossy, peak, low)


def _opened(file: IO[bytes]) -> ImageFile:
    """The file's picture, not yet decoded: of a TIFF's pages the largest, others are thumbnails."""
    image = Image.open(file, formats=_formats())
    if image.format == "TIFF":
        sizes = _sizes(image)
        image.seek(sizes.index(max(sizes)))
    return image


def _sizes(image: Image.Image) -> list[int]:
    """The pixels of each page or frame; what else a phone adds is part of its photograph."""
    count = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or count == 1:
        return [image.width * image.height] * (count if image.format in ("PNG", "WEBP") else 1)
    here, sizes = image.tell(), []
    for page in range(count):
        image.seek(page)
        sizes.append(image.width * image.height)
    image.seek(here)
    return sizes


def _check(image: Image.Image, content: bytes, path: Path) -> None:
    """*Raises* :class:`PoutaError` for what Pillow would read without a word, and not as it is."""
    sizes = _sizes(image)
    if (count := sum(2 * size > max(sizes) for size in sizes)) > 1:  # thumbnails are smaller
        todo = "save each picture as a file of its own"
        raise problem("one picture in a file", f"{count} pages or frames", path, todo)
    if _ends_in_zeros(image, content):
        raise problem("a whole image", "zeros in place of its end", path, AGAIN)
    if image.format in ("JPEG", "MPO") and has_hole(content):
        raise problem("a whole image", "zeros in the middle of it", path, AGAIN)
    if not isinstance(image, TiffImageFile):
        return
    deep = max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))) > 8
    if not deep and SIGNED in image.tag_v2.get(SAMPLE_FORMAT, ()):
        found = "signed bytes, whose values may be below 0"
        raise problem("an 8- or 16-bit image", found, path, "convert it to 8 or 16 bits")
    if deep:
        planes, inverted = _raw_mode(image) == "R", image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
        if planes or inverted:
            found = "each colour by itself" if planes else "white as 0"
            raise problem("16 bits as PNG has them", found, path, "save it as PNG")


def _ends_in_zeros(image: Image.Image, content: bytes) -> bool:
    """Do zeros stand where a compressed file has its end, as after a copy that was interrupted?"""
    kept = len(content.rstrip(b"\0"))
    if len(content) - kept <= len(content) // 8:
        return False
    if image.format == "WEBP":
        return kept < int.from_bytes(content[4:8], "little")  # its own length, less eight
    return image.format in ("JPEG", "MPO") and content[kept - 2 : kept] != END_OF_JPEG


@cache
def _formats() -> tuple[str, ...]:
    """What Pillow may take a file for: no format that runs a program or fetches another file."""
    if HEIC[0] not in readable_suffixes():
        return FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def _too_large(path: Path, pixels: int) -> PoutaError:
    wanted = f"an image of at most {MOST_PIXELS // 10**6} megapixels"
    found = f"one that claims {np.ceil(pixels / 10**6):.0f}"
    return problem(wanted, found, path, "make it smaller, or cut it into parts")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 where there is none that can be read.

    All else is forgotten: Pillow would fail on what is malformed when it turns the image.
    """
    try:
        exif = image.getexif()
        found = exif.get(ORIENTATION)
        for tag in set(exif) - {ORIENTATION}:
            del exif[tag]
    except Exception:  # of malformed EXIF data come errors of many kinds
        return 1
    return int(found) if found in TURNS else 1


def _raw_mode(image: Image.Image) -> str:
    """How the file stores its values, in Pillow's words, such as ``"RGB;16B"``."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    raw = tiles[0].args
    return str(raw[0] if isinstance(raw, tuple) and raw else raw)


def _is_lossy(image: Image.Image, content: bytes) -> bool:
    if image.format == "WEBP":
        return b"VP8L" not in content[:4096]
    compression = image.info.get("compression", "")  # a TIFF's
    return image.format in ("JPEG", "MPO", "HEIF") or compression in ("jpeg", "tiff_jpeg", "webp")


def _loaded(image: Image.Image, side_px: int | None) -> tuple[Image.Image, int]:
    """The image, at a reduced size whose shorter side is at least `side_px`; its orientation."""
    if side_px:
        image.draft(None, (side_px, side_px))  # a JPEG is decoded at the reduced size
    if image.format == "TIFF":  # Pillow turns it as it loads it
        orientation = _orientation(image)
        image.load()
    else:
        image.load()
        orientation = _orientation(image)  # of a PNG it may stand behind the pixels
    factor = min(image.size) // side_px if side_px else 1
    if factor > 1 and image.mode in ("L", "RGB", "CMYK"):
        image = image.reduce(factor)
    return image, orientation


def _low_bytes(content: bytes) -> Image.Image:
    """The lower bytes of 16-bit colour: read in the other byte order, they are the upper ones."""
    image = _opened(io.BytesIO(content))
    if _raw_mode(image).startswith("LA"):  # read as four colours, gray's lower byte is the second
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        return Image.merge("RGB", [_loaded(image, None)[0].getchannel("G")] * 3)
    other = "B" if sys.byteorder == "little" else "L"
    swapped = {"L": "B", "B": "L", "N": other}
    for k, tile in enumerate(image.tile):
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        raw = str(args[0])
        args = (raw[:-1] + swapped[raw[-1]], *args[1:])
        image.tile[k] = tile._replace(args=args if len(args) > 1 else args[0])
    return _loaded(image, None)[0]


def _stated_peak(raw: str, content: bytes) -> int:
    """The highest value that the file says it may have; 0 where it says nothing."""
    if raw == "I;12":
        return 4095
    found = content[:256].find(b"sBIT")  # a PNG's significant bits, before its palette
    bits = content[found + 4] if found > 0 else 0
    return (1 << bits) - 1 if bits < 16 else 0


def to_rgb(picture: Picture, path: Path, bits: int = 16) -> Image.Image:
    """A picture as 8-bit RGB.

    Gray becomes three equal channels. Of values of more than 8 bits ``2**bits - 1`` becomes 255
    and nothing is clipped; `bits` is that of all the images that belong together (see
    :func:`num_bits`). An alpha channel is dropped; palettes are looked up.

    *Raises* :class:`PoutaError` for values that have no agreed range, such as floats, and for
    values above the range.
    """
    image, most = picture.image, (1 << bits) - 1
    if image.mode == "F":
        raise problem("an 8- or 16-bit image", "a float image", path, "convert it to 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
    elif picture.low is not None and bits < 16:
        values = np.asarray(image)[..., :3] * np.uint16(256) + np.asarray(picture.low)[..., :3]
    elif picture.peak > most:  # colour, whose lower bytes were not read for that
        raise _too_deep(picture.peak, most, path)
    else:
        return looked_up(image).convert("RGB") if image.mode != "RGB" else image
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        found = f"values from {low} to {high}"
        raise problem("an 8- or 16-bit image", found, path, "convert it to 8 or 16 bits")
    if high > most:
        raise _too_deep(high, most, path)
    scaled = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), 256):  # a few lines at a time, for floats need eight bytes
        scaled[top : top + 256] = np.round(values[top : top + 256] * 255.0 / most)
    return Image.fromarray(scaled).convert("RGB")


def _too_deep(peak: int, most: int, path: Path) -> PoutaError:
    wanted = f"values up to {most}, as in the images that were read before"
    return problem(wanted, f"values up to {peak}", path, "save all images with the same depth")


def looked_up(image: Image.Image) -> Image.Image:
    """An image without its palette: of one with transparent colours Pillow would warn."""
    return image.convert("RGBA") if image.mode == "P" else image


def peaks_of(paths: Iterable[Path]) -> dict[Path, int]:
    """The highest value of each of the images that have more than 8 bits.

    Files that cannot be read count for nothing; of those of 8 bits no more is read than that.
    """
    peaks = {}
    for path in paths:
        with suppress(Exception):  # of damaged bytes come errors of many kinds; decode() names them
            with named(path), path.open("rb") as file, _opened(file) as image:
                deep = image.mode.startswith("I") or ";16" in _raw_mode(image)
            if deep and (peak := decode(content_of(path), path).peak) < 1 << 16:
                peaks[path] = peak
    return peaks


def num_bits(peaks: Iterable[int]) -> int:
    """How many bits the images have that belong together, by the highest value of each.

    Of 8, 10, 12, 14 and 16 the first that holds them all; 16 where all are 0, of 8-bit images.

    *Source*: our choice. Cameras write 10, 12 or 14 bits into files of 16, and seldom say so. A
    depth of each image's own would make dark ones bright.

    >>> [num_bits(peaks) for peaks in ([], [0, 255], [1023], [1023, 1024], [60_000, 4095])]
    [16, 8, 10, 12, 16]
    """
    highest = max(peaks, default=0)
    return next((bits for bits in DEPTHS if 0 < highest < 1 << bits), 16)


def digests(images: np.ndarray) -> list[bytes]:
    """Of each image's pixels: copies have the same. *Shape*: ``(N, ...)``."""
    return [hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images]


def told_of_depth(peaks: dict[Path, int], num_images: int) -> list[str]:
    """What to say of images that belong together, of which these have more than 8 bits.

    >>> told_of_depth({Path("a.png"): 4000, Path("b.png"): 16_000}, 3)
    ['images of 14 bits in files of 16: 16383 is read as white', '1 of 2 images of more than 8 \
bits stay below 4096, first a.png: save all with one depth, if theirs is another', '1 of 3 images \
have 8 bits, whose white is taken for that of the others']
    """
    if not peaks:
        return []
    bits, told = num_bits(peaks.values()), []
    if bits < 16:
        told.append(f"images of {bits} bits in files of 16: {(1 << bits) - 1} is read as white")
    lower = 1 << (bits - 2)
    dark = [path for path, peak in peaks.items() if peak < lower]
    if dark:
        few, words = dark, f"stay below {lower}"
        if len(dark) > len(peaks) / 2:
            few = [path for path in peaks if path not in set(dark)]
            words = f"alone reach {lower}"
        said = f"{len(few)} of {len(peaks)} images of more than 8 bits {words}"
        todo = "save all with one depth, if theirs is another"
        told.append(f"{said}, first {shown(few[0].name)}: {todo}")
    if others := num_images - len(peaks):
        said = "have 8 bits, whose white is taken for that of the others"
        told.append(f"{others} of {num_images} images {said}")
    return told


def read_picture(path: Path, near_px: int | None = None) -> Picture:
    """The upright picture of a file; see :func:`content_of` and :func:`decode`."""
    return decode(content_of(path), path, near_px)


def read_photo(path: Path, near_px: int | None = None, bits: int = 16) -> Image.Image:
    """The upright RGB image of a file; see :func:`read_picture` and :func:`to_rgb`."""
    return to_rgb(read_picture(path, near_px), path, bits)


def resize_image(image: Image.Image, size_px: int) -> np.ndarray:
    """A plain resize to a square, bilinear with anti-aliasing: ``(3, size_px, size_px)`` uint8.

    *Source*: paper, IV-A ("images are resized to 224 x 224"); no crop (D18).
    """
    resized = image.resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.moveaxis(np.asarray(resized), -1, 0)

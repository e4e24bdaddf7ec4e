"""Decoding and resizing against torchvision, and every kind of file that a camera may write."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from trees import photo

from pouta_lib.data.images import Picture, decode, resize_image, to_rgb
from pouta_lib.data.masks import read_mask
from pouta_lib.ground.errors import PoutaError


def written(image, fmt="PNG", **options):
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def picture(image):
    return Picture(image, image.size)


def marked(mask, size_px, photo=None):
    """What the mask marks, an image or a file's content, of a photograph of its own size."""
    mask = picture(mask) if isinstance(mask, Image.Image) else decode(mask, "m.png")
    return read_mask(mask, "m.png", photo or picture(mask.image), size_px)


def rgb(content):
    return np.asarray(to_rgb(decode(content, "a.png"), "a.png"))


@pytest.mark.parametrize(("width", "height", "size"), [(90, 60, 32), (300, 301, 64), (20, 30, 48)])
def test_the_resize_is_torchvisions(width, height, size):
    from torchvision.transforms.v2 import InterpolationMode, functional

    array = photo(3, width, height)
    found = torch.from_numpy(resize_image(Image.fromarray(array), size).copy()).int()
    expected = functional.resize(
        torch.from_numpy(array).permute(2, 0, 1),
        [size, size],
        interpolation=InterpolationMode.BILINEAR,
        antialias=True,
    ).int()
    assert (found - expected).abs().max() <= 1


def test_masks_are_resized_to_the_nearest_pixel():
    array = np.zeros((60, 60), np.uint8)
    array[10:20, 30:50] = 2
    found = marked(Image.fromarray(array), 30)
    assert (found == (array[1::2, 1::2] > 0)).all()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "PA", "RGB", "RGBA", "1"])
def test_masks_of_every_mode(mode):
    array = np.zeros((20, 20), np.uint8)
    array[5:10, 4:12] = 255
    mask = Image.fromarray(array).convert(mode)
    assert (marked(mask, 20) == (array > 0)).all()


def test_a_mask_of_sixteen_bits():
    array = np.zeros((20, 20), np.uint16)
    array[5:10, 4:12] = 1
    assert marked(written(Image.fromarray(array)), 20).sum() == 40


def test_black_and_white_becomes_0_and_255():
    found = rgb(written(Image.fromarray(photo(1)[..., 0] > 127)))
    assert sorted(np.unique(found)) == [0, 255]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pixels_keep_their_colour(mode):
    image = Image.fromarray(photo(1)).convert(mode)
    opaque = np.asarray(image.convert("RGB"))
    image.putalpha(0)
    assert (rgb(written(image)) == opaque).all()


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_sixteen_bit_gray_in_each_format_and_byte_order(fmt):
    values = np.array([[0, 128, 257], [1000, 40000, 65535]], np.uint16)
    expected = np.round(values / 257)
    assert (rgb(written(Image.fromarray(values), fmt))[..., 0] == expected).all()
    swapped = Image.frombytes("I;16B", (3, 2), values.astype(">u2").tobytes())
    assert (np.asarray(to_rgb(picture(swapped), "a.tif"))[..., 0] == expected).all()


def test_values_without_an_agreed_range_are_refused():
    negative = Image.fromarray(np.full((4, 4), -1, np.int32))
    with pytest.raises(PoutaError, match="found values from -1 to -1"):
        to_rgb(picture(negative), "a.tif")


def test_a_jpeg_of_four_inks_is_converted():
    image = Image.fromarray(photo(1)).convert("CMYK")
    assert rgb(written(image, "JPEG", quality=100)).shape == (20, 20, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_of_a_jpeg_is_made_upright(orientation):
    upright = np.kron(np.array([[0, 80, 160], [40, 120, 240]]), np.ones((16, 16))).astype(np.uint8)
    turns = {  # how the sensor lay: what is stored, from what is seen
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation](upright)))
    found = rgb(written(stored, "JPEG", quality=100, exif=exif))[..., 0]
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).max() <= 4


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_file_that_was_cut_off_is_never_decoded_to_other_pixels(fmt, options):
    content = written(Image.fromarray(photo(2)), fmt, **options)
    whole = rgb(content)
    refused = 0
    for length in range(0, len(content), 7):
        try:
            found = rgb(content[:length])
        except PoutaError:
            refused += 1
        else:
            assert (found == whole).all()
    assert refused > len(content) // 7 - 5

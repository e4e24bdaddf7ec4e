"""Decoding and resizing against torchvision, and every kind of file that a camera may write."""

import io
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from trees import photo

from pouta_lib.data import images
from pouta_lib.data.files import readable_suffixes
from pouta_lib.data.images import Picture, decode, peaks_of, read_photo, resize_image, to_rgb
from pouta_lib.data.masks import marked_in, read_mask
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


def test_a_palette_with_transparent_colours_is_looked_up_without_a_warning():
    plain = Image.fromarray(photo(2, 30, 20)).convert("P")
    image = decode(written(plain, transparency=bytes([128] * 256)), "a.png").image
    red = Image.new("P", (30, 20), 1)
    red.putpalette([0, 0, 0, 40, 0, 0])
    red.paste(0, (0, 0, 30, 8))
    mask = decode(written(red, transparency=bytes([9, 9])), "m.png").image
    assert image.info["transparency"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            np.asarray(to_rgb(picture(image), "a.png")) == np.asarray(plain.convert("RGB"))
        ).all()
        assert marked_in(mask, False, "m.png").sum(axis=1).tolist() == [0] * 8 + [30] * 12


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


def jpeg_with_exif(tiff):
    """A JPEG of 30 x 20 whose EXIF data is `tiff`."""
    content = written(Image.fromarray(photo(1, 30, 20)), "JPEG")
    body = b"Exif\0\0" + tiff
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]


def directory(*entries, data=b""):
    """A TIFF directory of (tag, type, count, value) with the orientation 6 in front."""
    entries = [(0x0112, 3, 1, 6), *entries]
    head = b"II*\0" + struct.pack("<LH", 8, len(entries))
    return head + b"".join(struct.pack("<HHLL", *entry) for entry in entries) + bytes(4) + data


MALFORMED = {
    "resolution as bytes": directory((0x011A, 1, 1, 72), (0x011B, 1, 1, 72)),
    "a negative width": directory((0x0100, 9, 1, 0xFFFFFFFB)),
    "a text of numbers": directory((0x010F, 3, 2, 0x00090007)),
    "an unknown type": directory((0x010F, 99, 1, 1)),
    "a huge count": directory((0x010F, 2, 0xFFFFFF, 4096)),
    "an offset outside": directory((0x011A, 5, 1, 0xFFFF)),
    "a directory that is its own child": directory((0x8769, 4, 1, 8)),
    "a location of text": directory((0x8825, 2, 4, 0x41424344)),
    "a rational 0/0": directory((0x011A, 5, 1, 38), data=bytes(8)),
    "nothing": b"",
    "a head alone": b"II*\0",
    "another magic": b"XX*\0" + bytes(20),
    "an offset behind the end": b"II*\0" + struct.pack("<L", 99999),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("tiff", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_exif_loses_no_file(tiff):
    found = decode(jpeg_with_exif(tiff), "a.jpg")
    assert found.size in ((30, 20), (20, 30))
    assert found.image.size == found.size


def test_a_warning_names_its_file_once(tmp_path):
    """Also where several threads read; what is warned of elsewhere stays as it is."""
    malformed = jpeg_with_exif(MALFORMED["a huge count"])
    paths = [tmp_path / f"{k}.jpg" for k in range(24)]
    for k, path in enumerate(paths):
        path.write_bytes(malformed if k % 2 else written(Image.fromarray(photo(k)), "JPEG"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        before = list(warnings.filters), warnings.showwarning
        with ThreadPoolExecutor(4) as pool:
            for _ in range(2):
                list(pool.map(read_photo, paths))
                warnings.warn(f"another {_}", stacklevel=1)
        peaks_of(paths)
        assert (list(warnings.filters), warnings.showwarning) == before
    texts = [str(one.message) for one in told]
    assert [text for text in texts if "another" in text] == ["another 0", "another 1"]
    texts = [text for text in texts if "another" not in text]
    assert len(texts) == len(set(texts)) == len(paths) // 2
    assert {text.partition(": ")[0] for text in texts} == set(map(str, paths[1::2]))
    assert len({text.partition(": ")[2] for text in texts}) == 1


def test_a_warning_shows_no_line_of_code_and_a_large_picture_gets_none(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg_with_exif(MALFORMED["a huge count"]))
    Image.new("1", (10_000, 9_000)).save(tmp_path / "large.png")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for name in ("a.jpg", "large.png"):
            read_photo(tmp_path / name, 16)
    (one,) = told
    (line,) = warnings.formatwarning(
        one.message, one.category, one.filename, one.lineno
    ).splitlines()
    assert line.startswith(f"Pillow:0: UserWarning: {tmp_path / 'a.jpg'}: ")


@pytest.mark.parametrize("value", [(3, 1, 0), (3, 1, 9), (2, 2, 0x36), (4, 1, 6), (3, 2, 0x60006)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_orientation_of_another_kind_is_read_or_left(value):
    tiff = b"II*\0" + struct.pack("<LHHHLLL", 8, 1, 0x0112, *value, 0)
    assert decode(jpeg_with_exif(tiff), "a.jpg").orientation in (1, 6)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_pictures_are_decoded_at_a_reduced_size(monkeypatch, fmt, orientation):
    monkeypatch.setattr(images, "LARGE_PIXELS", 10_000)
    smooth = Image.fromarray(photo(1, 6, 4)).resize((600, 400), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = written(smooth, fmt, exif=exif)
    whole, reduced = decode(content, "a"), decode(content, "a", near_px=24)
    assert whole.size == reduced.size == whole.image.size
    assert whole.size == ((600, 400) if orientation == 1 else (400, 600))
    assert min(reduced.image.size) in range(96, 200)
    small = [resize_image(to_rgb(found, "a"), 24).astype(int) for found in (whole, reduced)]
    assert np.abs(small[0] - small[1]).max() <= 3
    assert decode(content, "a", near_px=200).image.size == whole.size


def test_a_mask_of_a_large_photograph_has_its_full_size(monkeypatch, tmp_path):
    monkeypatch.setattr(images, "LARGE_PIXELS", 10_000)
    array = np.zeros((400, 600), np.uint8)
    array[100:200, 300:400] = 255
    seen = decode(written(Image.fromarray(photo(1, 600, 400))), "a", near_px=20)
    assert seen.image.size != seen.size
    found = read_mask(decode(written(Image.fromarray(array)), "m"), "m", seen, 20)
    assert (found == (array[10::20, 15::30] > 0)).all()


@pytest.mark.parametrize("claim", [(30_000, 30_000), (20_000, 12_000), (65_000, 65_000)])
@pytest.mark.parametrize("fmt", ["BMP", "PNG", "JPEG"])
def test_a_claim_of_too_many_pixels_is_refused_before_memory_is_taken(fmt, claim):
    content = bytearray(written(Image.fromarray(photo(1)), fmt))
    if fmt == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", *claim)
    else:
        at, form = {"BMP": (18, "<ii"), "PNG": (16, ">II")}[fmt]
        content[at : at + 8] = struct.pack(form, *claim)
        if fmt == "PNG":
            content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    tracemalloc.start()
    with pytest.raises(PoutaError, match="at most 178 megapixels, found one that claims") as error:
        decode(bytes(content), "a")
    assert f"claims {claim[0] * claim[1] / 1e6:.0f}\n" in str(error.value)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_hundred_megapixels_take_little_memory(tmp_path):
    """Of a JPEG no more is decoded than is asked for; whole, it would take 400 MB."""
    Image.new("RGB", (11_000, 9_100), (90, 120, 150)).save(tmp_path / "a.jpg", quality=30)
    script = (
        "import resource, sys, warnings; from pathlib import Path;"
        "from pouta_lib.data.images import read_photo;"
        "warnings.simplefilter('ignore');"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "image = read_photo(Path(sys.argv[1]), near_px=224);"
        "print(min(image.size), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    pytest.importorskip("resource")
    asked = [sys.executable, "-c", script, str(tmp_path / "a.jpg")]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    assert int(told[0]) >= 896
    assert int(told[1]) * (1 if sys.platform == "darwin" else 1024) < 150e6


def test_what_is_no_format_of_ours_is_refused_whatever_its_name():
    for fmt in ("GIF", "PPM", "ICO", "EPS"):
        content = written(Image.fromarray(photo(1)), fmt)
        with pytest.raises(PoutaError, match=r"cannot be decoded \(no known format\)"):
            decode(content, "a.png")
    with pytest.raises(PoutaError, match=r"HEIF or AVIF format(.|\n)*convert it to PNG or JPEG"):
        decode(b"\0\0\0\x18ftypavif" + bytes(200), "a.jpg")


def test_heic_is_read_where_its_package_is():
    heif = pytest.importorskip("pillow_heif")
    array = np.kron(photo(1, 4, 4), np.ones((16, 16, 1), np.uint8))
    out = io.BytesIO()
    heif.from_pillow(Image.fromarray(array)).save(out, quality=95)
    found = decode(out.getvalue(), "a.heic")
    assert found.lossy and found.size == (64, 64)
    assert np.abs(np.asarray(to_rgb(found, "a.heic")).astype(int) - array).mean() < 8
    assert ".heic" in readable_suffixes()


def test_memory_that_is_not_there_is_told(monkeypatch):
    def none_left(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", none_left)
    with pytest.raises(PoutaError, match="an image that fits into memory"):
        decode(b"x", "a.png")


@pytest.mark.parametrize("fmt", ["TIFF", "WEBP", "PNG"])
def test_a_file_of_several_pictures_is_refused(fmt):
    first, other = (Image.fromarray(photo(k)) for k in (1, 2))
    content = written(first, fmt, save_all=True, append_images=[other])
    with pytest.raises(
        PoutaError, match=r"expected one picture in a file, found 2 pages(.|\n)*own"
    ):
        rgb(content)


@pytest.mark.parametrize("height", [20, 18, 15])
def test_pages_of_nearly_the_same_size_are_refused(height):
    """As scans have them; a thumbnail has less than half of the pixels."""
    first, other = Image.fromarray(photo(1)), Image.fromarray(photo(2)[:height])
    content = written(first, "TIFF", save_all=True, append_images=[other])
    with pytest.raises(PoutaError, match="expected one picture in a file, found 2 pages"):
        rgb(content)


@pytest.mark.parametrize("first", ["thumbnail", "photograph"])
def test_a_thumbnail_in_a_tiff_is_not_taken_for_the_photograph(first):
    pages = [Image.fromarray(photo(1)), Image.fromarray(photo(1)[::4, ::4])]
    pages = pages[::-1] if first == "thumbnail" else pages
    content = written(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert (rgb(content) == photo(1)).all()


def test_what_a_phone_adds_to_its_photograph_is_none():
    content = written(
        Image.fromarray(photo(1)), "MPO", save_all=True, append_images=[Image.new("RGB", (20, 20))]
    )
    assert (rgb(content) == rgb(written(Image.fromarray(photo(1)), "JPEG"))).all()


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP"])
def test_zeros_in_place_of_the_end_are_told_from_zeros_behind_it(fmt):
    """A copy that was interrupted; and a camera's buffer that was written down whole."""
    content = written(Image.fromarray(photo(1, 64, 64)), fmt, quality=98)
    with pytest.raises(PoutaError, match="found zeros in place of its end"):
        rgb(content[: len(content) // 2] + bytes(len(content) // 2))
    assert (rgb(content + bytes(len(content))) == rgb(content)).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("more", [{}, {"subsampling": 2}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("coded", [{}, {"optimize": True}, {"progressive": True}])
def test_zeros_in_the_middle_of_a_photograph_are_told(mode, coded, more):
    """A block that a disk has lost: Pillow, and every viewer, makes some picture of it."""
    picture = Image.fromarray(photo(1, 160, 160)).convert(mode)
    content = written(picture, "JPEG", **coded, **more)
    assert rgb(content).shape == (160, 160, 3)
    for start in (len(content) // 4, len(content) // 2, len(content) * 3 // 4):
        with pytest.raises(PoutaError, match="found zeros in the middle of it"):
            rgb(content[:start] + bytes(512) + content[start + 512 :])


@pytest.mark.parametrize("coded", [{"optimize": True}, {"progressive": True}])
@pytest.mark.parametrize(
    "more", [{"subsampling": 0}, {"subsampling": 2}, {"restart_marker_rows": 9}]
)
def test_a_part_before_a_flat_background_is_whole_and_a_hole_in_it_is_told(coded, more):
    """Its background is written as zeros as well: only a count of the codes tells them apart."""
    picture = Image.new("RGB", (1205, 803), "white")
    picture.paste(Image.fromarray(photo(1, 200, 200)), (500, 300))
    content = written(picture, "JPEG", **coded, **more)
    assert bytes(256) in content and rgb(content).shape == (803, 1205, 3)
    part = next(at for at in range(4000, len(content)) if 0 not in content[at : at + 600 : 9])
    with pytest.raises(
        PoutaError, match="found (zeros in the middle|a file that cannot be decoded)"
    ):
        rgb(content[:part] + bytes(512) + content[part + 512 :])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("quality", [5, 75, 100])
def test_flat_pictures_and_what_else_has_zeros_in_it_are_whole(mode, quality):
    """With tables of its own, a flat picture is coded as zeros; so are makers' notes filled up."""
    rows, columns = np.mgrid[:800, :1000]
    for values in (
        rows * 0,
        rows * 0 + 128,
        128 + (rows + columns) % 2 * 2 - 1,
        columns // 500 * 90,
    ):
        picture = Image.fromarray(values.astype(np.uint8)).convert(mode)
        for options in ({}, {"optimize": True}, {"progressive": True}, {"comment": bytes(2000)}):
            content = written(picture, "JPEG", quality=quality, **options)
            assert rgb(content).shape == (800, 1000, 3)
            assert bytes(256) in content or not options.get("comment")
    plain = written(Image.new(mode, (2000, 2000)), "JPEG", quality=quality, optimize=True)
    assert bytes(256) in plain and rgb(plain).shape == (2000, 2000, 3)


def test_a_file_that_is_no_image_by_its_size_is_not_read(tmp_path):
    path = tmp_path / "film.jpg"
    with path.open("wb") as file:
        file.truncate(20 << 30)  # takes no room on the disk
    with pytest.raises(PoutaError, match="found a larger file"):
        read_photo(path)

"""Gray and colour of 10, 12 and 14 bits in files of 16: one depth for all images of a folder."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from trees import claiming, mvtec_tree, photo

from pouta_lib.data import cache, load_category
from pouta_lib.data.check import check_dataset
from pouta_lib.data.images import decode, num_bits, peaks_of, read_photo, to_rgb
from pouta_lib.ground.errors import PoutaError


def deepened(root, bits, write, dataset="deep"):
    """A category in the layout of MVTec AD whose images use `bits` of 16; its 8-bit twin."""
    base = mvtec_tree(root, dataset)
    for path in sorted([*base.glob("train/*/*.png"), *base.glob("test/*/*.png")]):
        values = np.array(Image.open(path), float)
        values[0, 0] = 255  # the brightest that there is
        write(path, np.round(values * ((1 << bits) - 1) / 255).astype(np.uint16))
    return base


def gray_png(path, values):
    Image.fromarray(values[..., 0]).save(path)


def gray_tiff(path, values):
    path.unlink()
    Image.fromarray(values[..., 0]).save(path.with_suffix(".tif"), compression="tiff_deflate")


def colour_png(path, values):
    cv2.imwrite(str(path), values[..., ::-1])


def colour_tiff(path, values):
    path.unlink()
    cv2.imwrite(str(path.with_suffix(".tif")), values[..., ::-1])


def gray_and_alpha_png(path, values):
    """A PNG of colour type 4 and 16 bits, which none of the libraries here writes."""
    gray = values[..., 0]
    lines = np.stack([gray, np.full_like(gray, 65535)], -1).astype(">u2")
    rows = b"".join(b"\0" + line.tobytes() for line in lines)
    head = struct.pack(">IIBBBBB", gray.shape[1], gray.shape[0], 16, 4, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks))


def chunk(name, content):
    """A PNG's."""
    named = name + content
    return struct.pack(">I", len(content)) + named + struct.pack(">I", zlib.crc32(named))


WRITERS = [gray_png, gray_tiff, gray_and_alpha_png, colour_png, colour_tiff]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_white_is_the_highest_value_that_the_camera_has(tmp_path, bits, write):
    deepened(tmp_path, bits, write)
    c = load_category("deep", "bolt", 20, root=tmp_path)
    assert c.bits == bits
    for k in range(3):
        wanted = photo(k)
        wanted[0, 0] = 255
        wanted = wanted if "colour" in write.__name__ else wanted[..., :1]
        assert (c.train[k] == np.moveaxis(np.broadcast_to(wanted, (20, 20, 3)), -1, 0)).all()


@pytest.mark.parametrize("write", [gray_png, gray_and_alpha_png, colour_png])
def test_sixteen_bits_stay_as_they_are(tmp_path, write):
    deepened(tmp_path, 16, write)
    c = load_category("deep", "bolt", 20, root=tmp_path)
    assert (c.bits, int(c.train.max())) == (16, 255)
    assert check_dataset("deep", tmp_path).notes == []


def test_a_dark_image_stays_dark_beside_a_bright_one(tmp_path):
    base = deepened(tmp_path, 12, gray_png)
    Image.fromarray(np.full((20, 20), 200, np.uint16)).save(base / "train" / "good" / "000.png")
    c = load_category("deep", "bolt", 20, root=tmp_path)
    assert (c.train[0] == round(200 * 255 / 4095)).all()


def test_the_check_tells_of_the_depth(tmp_path):
    deepened(tmp_path, 12, gray_png)
    report = check_dataset("deep", tmp_path)
    assert report.notes == ["bolt: images of 12 bits in files of 16: 4095 is read as white"]
    assert "note: bolt: images of 12 bits" in str(report) and report.problems == []


@pytest.mark.parametrize("bits", [12, 14])
def test_a_scale_bar_that_leaves_few_gray_levels_is_told_of(tmp_path, bits):
    base = deepened(tmp_path, bits, gray_png)
    paths = sorted(base.glob("t*/*/*.png"))
    for path in paths:
        values = np.array(Image.open(path))
        values[17, 12:18] = 65535
        Image.fromarray(values).save(path)
    said = f"{len(paths)} of {len(paths)} images of more than 8 bits have no more than 16 of 256"
    assert any(said in note for note in check_dataset("deep", tmp_path).notes) == (bits == 12)


def test_the_check_tells_of_several_depths(tmp_path):
    """A camera of 12 bits among those of 14, and one of 8."""
    base = deepened(tmp_path, 14, gray_png)
    good = sorted((base / "train" / "good").glob("*.png"))
    Image.fromarray(np.full((20, 20), 4095, np.uint16)).save(good[0])
    Image.fromarray(photo(1)).save(good[1])
    notes = check_dataset("deep", tmp_path).notes
    assert "14 bits in files of 16: 16383" in notes[0]
    deep = len(list(base.glob("t*/*/*.png"))) - 1
    assert f"bolt: 1 of {deep} images of more than 8 bits stay below 4096, first 000" in notes[1]
    assert f"bolt: 1 of {deep + 1} images have 8 bits" in notes[2]
    Image.fromarray(np.full((20, 20), 65535, np.uint16)).save(good[0])
    notes = check_dataset("deep", tmp_path).notes
    assert f"1 of {deep} images of more than 8 bits alone reach 16384, first 000" in notes[0]


def test_the_depth_is_kept_in_the_cache(tmp_path, monkeypatch, capsys):
    """And what is told of it, which a run and a judgement tell too."""
    monkeypatch.setattr(cache, "WORTH_BYTES", 0)
    base = deepened(tmp_path, 12, gray_png)
    Image.fromarray(photo(1)).save(base / "train" / "good" / "000.png")
    loaded, told = [], []
    for _ in range(2):
        loaded.append(load_category("deep", "bolt", 20, root=tmp_path))
        told.append(capsys.readouterr().err)
    plain, kept = loaded
    assert isinstance(kept.train, np.memmap)
    assert plain.bits == kept.bits == 12
    assert (plain.train == kept.train).all()
    count = len(list(base.glob("t*/*/*.png")))
    assert told[0] == told[1]
    assert told[0].splitlines() == [
        "note: bolt: images of 12 bits in files of 16: 4095 is read as white",
        f"note: bolt: 1 of {count} images have 8 bits, whose white is taken for that of the others",
    ]
    load_category("deep", "bolt", 20, root=tmp_path, quiet=True)
    assert capsys.readouterr().err == ""


def test_the_depth_of_a_folder_and_an_image_beyond_it(tmp_path):
    base = deepened(tmp_path, 10, gray_png) / "train" / "good"
    files = sorted(base.iterdir())
    (base / "no.png").write_bytes(b"no image")
    (base / "huge.png").write_bytes(claiming(30_000, 30_000))
    unread = [base / name for name in ("no.png", "gone.png", "huge.png")]
    assert peaks_of([*files, *unread]) == dict.fromkeys(files, 1023)
    assert np.asarray(read_photo(files[0], bits=10)).max() == 255
    assert np.asarray(read_photo(files[0])).max() == 4
    Image.fromarray(np.full((4, 4), 1024, np.uint16)).save(files[0])
    with pytest.raises(PoutaError, match=r"values up to 1023, as in .*, found values up to 1024"):
        read_photo(files[0], bits=10)
    Image.fromarray(photo(1)).save(files[1])
    assert (np.asarray(read_photo(files[1], bits=10)) == photo(1)).all(), "8 bits are 8 bits"


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("value", [5000, 20_000, 60_000])
def test_an_image_beyond_the_depth_is_refused_in_gray_as_in_colour(tmp_path, write, value):
    (tmp_path / "a.png").touch()
    write(tmp_path / "a.png", np.full((4, 4, 3), value, np.uint16))
    (path,) = tmp_path.iterdir()
    with pytest.raises(PoutaError, match=r"values up to 4095, as in .*, found values up to \d"):
        read_photo(path, bits=12)


def test_of_eight_bits_the_pixels_are_not_read(tmp_path, monkeypatch):
    Image.fromarray(photo(0)).save(tmp_path / "a.png")
    gray_png(tmp_path / "deep.png", np.full((4, 4), 1000, np.uint16))
    read, whole = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: [read.append(path.name), whole(path)][1])
    assert peaks_of(sorted(tmp_path.iterdir())) == {tmp_path / "deep.png": 1000}
    assert read == ["deep.png"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whatever_bytes_are_damaged_the_depth_of_others_is_known(tmp_path):
    """Of a TIFF's tags Pillow raises errors of many kinds."""
    rng, whole = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(np.full((9, 9), 700, np.uint16)).save(whole, "TIFF")
    for _ in range(400):
        content = np.frombuffer(whole.getvalue(), np.uint8).copy()
        content[rng.integers(0, len(content), 3)] = rng.integers(0, 256, 3)
        (tmp_path / "a.tif").write_bytes(content)
        assert peaks_of([tmp_path / "a.tif"]).keys() <= {tmp_path / "a.tif"}


def stored(values, **options):
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", **options)
    return out.getvalue()


def test_what_the_file_says_of_its_depth_is_the_least(tmp_path):
    """A PNG's chunk sBIT, and a TIFF of packed 12-bit values."""
    content = stored(np.full((4, 4), 300, np.uint16))
    told = content[:33] + chunk(b"sBIT", bytes([12])) + content[33:]
    assert num_bits([decode(content, "a.png").peak]) == 10
    assert num_bits([decode(told, "a.png").peak]) == 12
    entries = [(256, 4), (257, 2), (258, 12), (259, 1), (262, 1), (273, 8), (278, 2), (279, 12)]
    lines = bytes([0x12, 0xC1, 0x2C, 0x12, 0xC1, 0x2C] * 2)  # 0x12C = 300, twice in three bytes
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    tiff = struct.pack("<2sHI", b"II", 42, 20) + lines + struct.pack("<H", len(entries)) + table
    packed = decode(tiff + bytes(4), "a.tif")
    assert num_bits([packed.peak]) == 12
    assert (np.asarray(to_rgb(packed, "a.tif", 12)) == round(300 * 255 / 4095)).all()


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_deep_colour_is_turned_with_both_of_its_bytes(tmp_path, orientation):
    values = (photo(1, 6, 4).astype(np.uint16) + 1) * 16 - 1
    cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1])
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = (tmp_path / "a.png").read_bytes()
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    import struct
    import zlib

    chunk = b"eXIf" + block
    chunk = struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    found = np.asarray(to_rgb(decode(content[:33] + chunk + content[33:], "a.png"), "a.png", 12))
    turns = {1: values, 3: np.rot90(values, 2), 6: np.rot90(values, -1)}
    assert (found == np.round(turns[orientation] * 255.0 / 4095)).all()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"photometric": "rgb", "planarconfig": "separate"}, "each colour by itself"),
        ({"photometric": "miniswhite"}, "white as 0"),
    ],
)
def test_tiffs_of_sixteen_bits_that_would_be_read_wrongly_are_refused(tmp_path, options, found):
    values = np.full((3, 4, 4) if "planarconfig" in options else (4, 4), 9000, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    with pytest.raises(PoutaError, match=f"found {found}"):
        read_photo(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "a.tif", (values >> 8).astype(np.uint8), **options)
    eight_bits = 35 if "planarconfig" in options else 220
    assert (np.asarray(read_photo(tmp_path / "a.tif")) == eight_bits).all()


def test_a_tiff_of_signed_bytes_is_refused(tmp_path):
    """Pillow takes -1 for 255."""
    tifffile.imwrite(tmp_path / "a.tif", np.full((20, 30), -1, np.int8))
    with pytest.raises(PoutaError, match="found signed bytes"):
        read_photo(tmp_path / "a.tif")

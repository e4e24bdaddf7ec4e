"""What a mask marks: stored with losses, turned by EXIF, in class numbers, or nearly everything."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from trees import mask, mvtec_tree, photo, save

from pouta_lib.data import load_category
from pouta_lib.data.images import Picture, decode
from pouta_lib.data.masks import read_mask
from pouta_lib.ground.errors import PoutaError


def spot(width=96, height=72, value=255):
    """A round defect right of the middle and above it."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(y - 0.3 * height, x - 0.7 * width) < 0.12 * height
    return inside.astype(np.uint8) * np.uint8(value)


def written(image, fmt="PNG", **options):
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def marked(content, size_px=72, photo=None):
    found = decode(content, "m.png")
    return read_mask(found, "m.png", photo or Picture(found.image, found.size), size_px)


LOSSY = [("JPEG", {"quality": 50}), ("JPEG", {"quality": 95}), ("WEBP", {"quality": 40})]
LOSSY += [("TIFF", {"compression": "jpeg"})]


@pytest.mark.parametrize(("fmt", "options"), LOSSY)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_noise_of_compression_is_no_defect(fmt, options, mode):
    truth = Image.fromarray(spot())
    wanted = marked(written(truth))
    found = marked(written(truth.convert(mode), fmt, **options))
    assert wanted.sum() > 100
    assert (found != wanted).sum() <= 0.05 * wanted.sum()


@pytest.mark.parametrize("quality", [30, 60, 75, 90, 95, 100])
@pytest.mark.parametrize("fmt", ["JPEG", "WEBP"])
def test_noise_that_was_saved_as_png_is_kept_out(quality, fmt):
    truth = Image.fromarray(spot())
    noisy = Image.open(io.BytesIO(written(truth, fmt, quality=quality))).convert("L")
    wanted = marked(written(truth))
    assert (marked(written(noisy)) != wanted).sum() <= 0.05 * wanted.sum()


PAINTED = {  # colour, and what is seen of it
    "white on nothing": (255, spot()),
    "black on nothing": (0, spot()),
    "half seen": (200, spot(value=127)),
    "the photograph, cut out": (photo(1, 96, 72)[..., 0], spot()),
}


@pytest.mark.parametrize("words", PAINTED)
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_not_transparent_is_marked(words, mode):
    colour, alpha = PAINTED[words]
    gray = np.broadcast_to(np.asarray(colour, np.uint8), alpha.shape)
    bands = [Image.fromarray(gray)] * (len(mode) - 1) + [Image.fromarray(alpha)]
    found = marked(written(Image.merge(mode, bands)))
    assert (found == marked(written(Image.fromarray(spot())))).all()


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
@pytest.mark.parametrize("black", [(0, 0, 0, 255), (191, 173, 171, 230)])
def test_a_mask_in_other_colours_is_read_as_it_looks(mode, black):
    """Of inks much is black, and little of them white; a printer's black is not quite that."""
    inks = np.where(spot()[..., None] > 0, np.uint8(0), np.array(black, np.uint8))
    image = Image.fromarray(inks, "CMYK")
    if mode != "CMYK":
        image = image.convert("RGB")
    if mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, rgb, lab, outputMode="LAB")
    elif mode == "YCbCr":
        image = image.convert(mode)
    found = marked(written(image, "TIFF"))
    assert (found == marked(written(Image.fromarray(spot())))).all()


def test_a_mask_with_few_transparent_pixels_is_refused_for_these():
    alpha = np.full((72, 96), 255, np.uint8)
    alpha[:2, :2] = 0
    image = Image.merge("LA", [Image.fromarray(spot()), Image.fromarray(alpha)])
    said = "100% of the image marked, which is what is not transparent\n(.|\n)*without transparency"
    with pytest.raises(PoutaError, match=said):
        marked(written(image))


def test_a_mask_with_soft_edges_ends_in_their_middle():
    soft = np.clip(np.linspace(-1, 2, 96) * 255, 0, 255).astype(np.uint8)
    found = marked(written(Image.fromarray(np.tile(soft, (96, 1)))), 96)
    assert found[0].argmax() == np.argmax(soft > 127)


@pytest.mark.parametrize("value", [1, 2, 3, 30])
@pytest.mark.parametrize(
    ("fmt", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})]
)
def test_class_numbers_count_however_small(value, fmt, options):
    content = written(Image.fromarray(spot(value=value)), fmt, **options)
    assert (marked(content) == marked(written(Image.fromarray(spot())))).all()


def test_several_class_numbers_count_beside_a_high_one():
    array = np.zeros((40, 40), np.uint8)
    for k, value in enumerate((1, 2, 3, 7, 250, 255)):
        array[4 * k : 4 * k + 3, 5:20] = value
    assert (marked(written(Image.fromarray(array)), 40) == (array > 0)).all()


def test_class_numbers_in_a_jpeg_are_refused():
    with pytest.raises(PoutaError, match="nothing above 127 in a file stored with losses"):
        marked(written(Image.fromarray(spot(value=3)), "JPEG"))


def test_jpeg_masks_of_a_category_are_those_of_its_png_masks(tmp_path):
    wanted = None
    for dataset, suffix in (("png", ".png"), ("jpeg", ".jpg")):
        base = mvtec_tree(tmp_path, dataset)
        for path in sorted(base.glob("test/[bc]*/*.png")):
            save(path, photo(1, 96, 72))
            truth = base / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
            truth.unlink()
            Image.fromarray(spot()).save(truth.with_suffix(suffix), quality=75)
        found = load_category(dataset, "bolt", 48, root=tmp_path).masks
        wanted = found if wanted is None else wanted
    assert (found != wanted).mean() < 0.001 < found.mean()


@pytest.mark.parametrize("share", [0.93, 1.0])
@pytest.mark.parametrize("fmt", ["PNG", "JPEG"])
def test_a_mask_that_marks_nearly_everything_is_refused(share, fmt):
    array = np.full((100, 100), 255, np.uint8)
    array[: round(100 * (1 - share))] = 0
    with pytest.raises(PoutaError, match=r"found \d+% of the image marked(.|\n)*inverted"):
        marked(written(Image.fromarray(array), fmt, **({"quality": 95} if fmt == "JPEG" else {})))


@pytest.mark.parametrize("value", [1, 255])
def test_an_inverted_mask_of_a_large_defect_is_refused(value):
    """A defect of a third of the image, cut off or not by one edge; upright it is a mask."""
    for place in (slice(20, 80), slice(0, 60)):
        array = np.zeros((100, 100), np.uint8)
        array[place, 20:75] = value
        assert 0.3 < marked(written(Image.fromarray(array))).mean() < 0.35
        if place.start:
            with pytest.raises(PoutaError, match="67% of the image marked, and all of its edge"):
                marked(written(Image.fromarray(value - array)))
    for value in (9, 255):
        array = np.full((100, 100), value, np.uint8)
        array[30:70, 0] = 0
        with pytest.raises(PoutaError, match="found 100% of the image marked\n"):
            marked(written(Image.fromarray(array)))


def test_a_photograph_in_place_of_a_mask_is_refused_or_in_gray_levels():
    bright = np.full((60, 60, 3), 180, np.uint8) + photo(1, 60, 60) // 4
    with pytest.raises(PoutaError, match="of the image marked"):
        marked(written(Image.fromarray(bright)))


def test_a_photograph_in_gray_levels_is_refused():
    dark = spot(value=200) // 2 + photo(1, 96, 72)[..., 0] // 3 + 60
    with pytest.raises(PoutaError, match="found a photograph, as it seems: 95%"):
        marked(written(Image.fromarray(dark)))


def test_a_large_defect_is_none_of_these():
    array = np.zeros((40, 40), np.uint8)
    array[:30] = 255
    assert marked(written(Image.fromarray(array)), 40).mean() == 0.75


TURNS = {  # what is stored, from what is seen
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, -1),
}


def turned_photo(orientation, width, height, fmt="JPEG"):
    """A photograph that is upright `width` x `height`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.zeros((height, width), np.uint8)
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](upright)))
    return decode(written(stored, fmt, exif=exif), "a.jpg")


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(5, 9))
@pytest.mark.parametrize("grid", ["raw", "upright"])
def test_the_size_tells_on_which_grid_a_mask_was_drawn(orientation, grid, fmt):
    upright = spot(96, 72)
    drawn = TURNS[orientation](upright) if grid == "raw" else upright
    seen = turned_photo(orientation, 96, 72, fmt)
    assert (seen.size, seen.image.size) == ((96, 72), (96, 72))
    found = marked(written(Image.fromarray(np.ascontiguousarray(drawn))), 72, seen)
    assert (found == marked(written(Image.fromarray(upright)))).all()


@pytest.mark.parametrize(
    ("orientation", "width", "height"),
    [*((k, 96, 72) for k in (2, 3, 4)), *((k, 72, 72) for k in range(2, 9))],
)
def test_where_nothing_tells_the_grid_the_mask_is_refused(orientation, width, height):
    seen = turned_photo(orientation, width, height)
    told = rf"EXIF turns \(orientation {orientation}\)(.|\n)*save the photograph upright"
    with pytest.raises(PoutaError, match=told):
        marked(written(Image.fromarray(spot(width, height))), 72, seen)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_mask_that_is_turned_by_its_own_tag_lies_right(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](spot())))
    found = marked(written(stored, exif=exif), 72, turned_photo(orientation, 96, 72))
    assert (found == marked(written(Image.fromarray(spot())))).all()


def test_a_mask_of_no_grids_size_names_the_orientation():
    told = r"a mask of its image's size, 96 x 72, found 20 x 20 of .*orientation 6"
    with pytest.raises(PoutaError, match=told):
        marked(written(Image.fromarray(mask())), 72, turned_photo(6, 96, 72))


def test_good_images_that_exif_turns_need_no_mask(tmp_path):
    base = mvtec_tree(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(photo(1)).save(base / "test" / "good" / "000.png", exif=exif)
    c = load_category("mvtec", "bolt", 20, root=tmp_path)
    assert (c.test[3] == np.moveaxis(photo(1)[::-1, ::-1], -1, 0)).all()

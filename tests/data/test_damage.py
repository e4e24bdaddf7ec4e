"""Every kind of damaged data, with the message that a user sees."""

import shutil

import numpy as np
import pytest
from PIL import Image
from trees import dagm_tree, mask, mvtec_tree, photo, save, visa_tree

from pouta_lib.data import list_categories, load_category, load_textures
from pouta_lib.data.category import Item
from pouta_lib.data.manifest import read_item
from pouta_lib.ground.errors import PoutaError


@pytest.fixture
def bolt(tmp_path):
    return mvtec_tree(tmp_path)


def message(root, dataset="mvtec", category="bolt"):
    with pytest.raises(PoutaError) as error:
        load_category(dataset, category, 16, root=root)
    text = str(error.value)
    assert "\n  where: " in text
    assert "\n  to do: " in text
    return text


def test_missing_dataset(tmp_path):
    text = message(tmp_path)
    assert "expected the dataset MVTec AD, found no folder" in text
    assert "pouta data get mvtec" in text


def test_unknown_dataset(tmp_path):
    assert "expected a dataset out of ['mvtec', 'visa', 'dagm'" in message(tmp_path, "mvtek")


def test_unknown_category(bolt, tmp_path):
    text = message(tmp_path, category="bold")
    assert "expected a category out of ['bolt'], found 'bold'" in text
    assert "did you mean 'bolt'?" in text


def test_dataset_without_categories(tmp_path):
    (tmp_path / "mvtec").mkdir()
    with pytest.raises(PoutaError, match="expected categories of mvtec, found none"):
        list_categories("mvtec", tmp_path)


def test_empty_category(bolt, tmp_path):
    for path in (bolt / "train" / "good").iterdir():
        path.unlink()
    assert "expected good training images, found none" in message(tmp_path)


def test_missing_ground_truth_folder(bolt, tmp_path):
    shutil.rmtree(bolt / "ground_truth")
    assert "expected a folder ground_truth, found none" in message(tmp_path)


@pytest.mark.parametrize("name", ["gt", "masks", "groundtruth", "Ground Truth", "ground-truth"])
def test_ground_truth_by_another_name_is_named(bolt, tmp_path, name):
    (bolt / "ground_truth").rename(bolt / name)
    with pytest.raises(PoutaError, match=rf"(?s)none, but {name}\n.*to do: rename it to ground_tr"):
        load_category("mvtec", "bolt", 16, root=tmp_path)


def test_masks_by_other_names_are_named(bolt, tmp_path):
    mask = bolt / "ground_truth" / "cut" / "001_mask.png"
    mask.rename(mask.with_name("001_mask_2.png"))
    with pytest.raises(PoutaError, match=r"(?s)found none, but 001_mask_2.png.*merge"):
        load_category("mvtec", "bolt", 16, root=tmp_path)


def test_missing_mask(bolt, tmp_path):
    (bolt / "ground_truth" / "cut" / "001_mask.png").unlink()
    text = message(tmp_path)
    assert "expected a mask 001_mask.png for the defective image 001.png, found none" in text


def test_mask_of_another_size(bolt, tmp_path):
    save(bolt / "ground_truth" / "cut" / "001_mask.png", mask(24, 20))
    assert "a mask of its image's size, 20 x 20, found 24 x 20" in message(tmp_path)


def test_mask_that_marks_nothing(bolt, tmp_path):
    save(bolt / "ground_truth" / "cut" / "001_mask.png", mask() * 0)
    assert "expected a mask that marks the defect, found nothing above 0" in message(tmp_path)


@pytest.mark.parametrize("name", ["train/good/001.png", "ground_truth/cut/000_mask.png"])
def test_truncated_file(bolt, tmp_path, name):
    path = bolt / name
    path.write_bytes(path.read_bytes()[:-30])
    text = message(tmp_path)
    assert "found a file that cannot be decoded" in text
    assert str(path) in text


def test_truncated_jpeg(tmp_path):
    path = visa_tree(tmp_path) / "candle/Data/Images/Normal/0001.JPG"
    path.write_bytes(path.read_bytes()[:-200])
    assert "cannot be decoded" in message(tmp_path, "visa", "candle")


def test_empty_and_foreign_files(bolt, tmp_path):
    (bolt / "train" / "good" / "001.png").write_bytes(b"")
    assert "expected an image, found an empty file (0 bytes)" in message(tmp_path)
    (bolt / "train" / "good" / "001.png").write_bytes(b"<html>not found</html>")
    assert "cannot be decoded" in message(tmp_path)


def test_files_that_are_no_images_are_passed_over(bolt, tmp_path):
    (bolt / "train" / "good" / "Thumbs.db").write_bytes(b"x")
    (bolt / "train" / "good" / ".DS_Store").write_bytes(b"x")
    (bolt / "train" / "good" / "._000.png").write_bytes(b"x")
    assert len(load_category("mvtec", "bolt", 16, root=tmp_path).train) == 3


def test_test_set_of_one_kind(bolt, tmp_path):
    shutil.rmtree(bolt / "test" / "good")
    assert "expected a folder test/good, found only bent, cut" in message(tmp_path)
    (bolt / "test" / "good").mkdir()
    for name in ("bent", "cut"):
        shutil.rmtree(bolt / "test" / name)
    save(bolt / "test" / "good" / "000.png", photo(1))
    assert "found good ones only" in message(tmp_path)
    save(bolt / "test" / "cut" / "images" / "000.png", photo(2))
    told = "found good ones only; 1 file in deeper folders, first images/000.png"
    assert told in message(tmp_path)


def first_training_image(root):
    return load_category("mvtec", "bolt", 20, root=root).train[0]


def test_gray_becomes_three_equal_channels(bolt, tmp_path):
    gray = photo(5)[..., 0]
    save(bolt / "train" / "good" / "000.png", gray)
    assert (first_training_image(tmp_path) == gray).all()


def test_sixteen_bits_are_scaled_not_clipped(bolt, tmp_path):
    values = np.linspace(0, 65535, 400).round().astype(np.uint16).reshape(20, 20)
    Image.fromarray(values).save(bolt / "train" / "good" / "000.png")
    found = first_training_image(tmp_path)
    assert (found[0] == np.round(values / 257)).all()
    assert (found.min(), found.max()) == (0, 255)


def test_alpha_is_dropped(bolt, tmp_path):
    rgba = np.dstack([photo(5), photo(6)[..., 0]])
    Image.fromarray(rgba).save(bolt / "train" / "good" / "000.png")
    assert (first_training_image(tmp_path) == np.moveaxis(rgba[..., :3], -1, 0)).all()


def test_palettes_are_looked_up(bolt, tmp_path):
    image = Image.fromarray(photo(5)).quantize(256)
    image.save(bolt / "train" / "good" / "000.png")
    expected = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
    assert (first_training_image(tmp_path) == expected).all()


def test_exif_orientation_is_honoured(tmp_path):
    image = Image.fromarray(photo(5, 30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: upright it is 20 wide and 30 high
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    image.save(path, exif=exif)
    expected = np.asarray(image.rotate(-90, expand=True).resize((16, 16), Image.BILINEAR))
    found = load_category("folder", "photos", 16, root=tmp_path).train[0]
    assert (found == np.moveaxis(expected, -1, 0)).all()


def test_float_images_are_refused(tmp_path):
    Image.fromarray(np.ones((20, 20), np.float32)).save(save(tmp_path / "p/a.tif", photo(1)))
    assert "expected an 8- or 16-bit image, found a float image" in message(tmp_path, "folder", "p")


def test_a_tiny_defect_survives_the_resize(bolt, tmp_path):
    save(bolt / "train" / "good" / "000.png", photo(1, 640, 640))
    save(bolt / "test" / "bent" / "000.png", photo(2, 640, 640))
    dot = np.zeros((640, 640), np.uint8)
    dot[321, 482] = 255
    save(bolt / "ground_truth" / "bent" / "000_mask.png", dot)
    small = load_category("mvtec", "bolt", 32, root=tmp_path).masks[0]
    assert np.argwhere(small).tolist() == [[16, 24]]


def test_visa_list_names_a_missing_file(tmp_path):
    path = visa_tree(tmp_path) / "candle/Data/Images/Anomaly/001.JPG"
    path.unlink()
    text = message(tmp_path, "visa", "candle")
    assert "expected the file that 1cls.csv names, found none" in text
    assert str(path) in text


def test_visa_list_with_other_columns(tmp_path):
    path = visa_tree(tmp_path) / "split_csv" / "1cls.csv"
    path.write_text("object;split\ncandle;train\n")
    assert "expected columns ['object', 'split'" in message(tmp_path, "visa", "candle")


def test_visa_list_with_anomalies_in_train(tmp_path):
    path = visa_tree(tmp_path) / "split_csv" / "1cls.csv"
    path.write_text(path.read_text().replace("test,anomaly", "train,anomaly"))
    assert "expected normal training images only" in message(tmp_path, "visa", "candle")


def test_dagm_damage(tmp_path):
    base = dagm_tree(tmp_path)
    label = base / "Test" / "Label" / "0003_label.PNG"
    content = label.read_bytes()
    label.unlink()
    assert "expected a label 0003_label.png" in message(tmp_path, "dagm", "Class1")
    label.write_bytes(content)
    (base / "Test" / "0002.PNG").unlink()
    assert "expected the image 0002.png that Labels.txt names" in message(
        tmp_path, "dagm", "Class1"
    )
    save(base / "Test" / "0002.PNG", photo(1)[..., 0])
    save(base / "Test" / "0009.PNG", photo(1)[..., 0])
    assert "1 images without a line, first 0009.png" in message(tmp_path, "dagm", "Class1")
    (base / "Train" / "Label" / "Labels.txt").write_text("1\n1 x 0001.PNG\n")
    assert "expected lines of 'number, 0 or 1" in message(tmp_path, "dagm", "Class1")
    (base / "Train" / "Label" / "Labels.txt").unlink()
    assert "expected a list of labels, found none" in message(tmp_path, "dagm", "Class1")


def test_dagm_without_a_split(tmp_path):
    shutil.rmtree(dagm_tree(tmp_path) / "Train")
    text = message(tmp_path, "dagm", "Class1")
    assert "expected a folder Train, found none" in text
    assert "unpack the dataset again" in text


def test_a_file_that_goes_away_while_it_is_read(bolt, tmp_path):
    path = bolt / "train" / "good" / "000.png"
    path.unlink()
    with pytest.raises(PoutaError, match="expected a readable file, found No such file") as error:
        read_item(Item(path), tmp_path, 16)
    assert str(path) in str(error.value)


def test_textures(tmp_path):
    textures = load_textures("builtin", 32)
    assert textures.dtype == np.uint8
    assert textures.shape[1:] == (3, 32, 32)
    assert len(textures) >= 40
    assert (load_textures("builtin", 32) == textures).all()
    assert (load_textures("builtin", 32, seed=1) != textures).any()
    assert len(load_textures("builtin", 32, max_images=5)) == 5
    with pytest.raises(PoutaError, match="expected the texture images of DTD, found none"):
        load_textures("dtd", 32, root=tmp_path)
    save(tmp_path / "dtd" / "images" / "banded" / "banded_0001.jpg", photo(3))
    assert load_textures("dtd", 32, root=tmp_path).shape == (1, 3, 32, 32)

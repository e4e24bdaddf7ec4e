"""What lies in a folder: photographs, masks, and what is passed over and told, in any layout."""

import os
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import dagm_tree, mask, mvtec_tree, photo, save, visa_tree

from pouta_lib.data import files, list_categories, load_category
from pouta_lib.data.check import check_dataset
from pouta_lib.data.files import PassedOver, Reason, beside, look_into
from pouta_lib.detector.photos import good_photos
from pouta_lib.ground.errors import PoutaError
from pouta_lib.study.plan import planned_runs
from pouta_lib.study.run import prepare_run


def washer(root, name="washer"):
    """A user's folder: three good images, and a test set of two good and two with a spot."""
    base = root / "folder" / name
    for k in range(3):
        save(base / "good" / f"{k:03}.png", photo(k))
    for k in range(2):
        save(base / "test" / "good" / f"{k:03}.png", photo(10 + k))
        save(base / "test" / "spot" / f"{k:03}.png", photo(20 + k))
    return base


def counted(root, dataset="folder"):
    """(train, test good, test defective) of the first category, problems and notes."""
    report = check_dataset(dataset, root)
    row = report.counts.iloc[0]
    counts = tuple(int(row[name]) for name in ("train", "test good", "test defective"))
    return counts, report.problems, report.notes


@pytest.mark.parametrize("suffix", [".HEIC", ".gif", ".CR2", ".avif", ".dng", ".jfif", ".czi"])
def test_pictures_in_other_formats_are_counted(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(files, "readable_suffixes", lambda: files.SUFFIXES)
    base = washer(tmp_path)
    for k in range(4):
        (base / "good" / f"IMG_{k}{suffix}").write_bytes(b"x")
    counts, problems, _ = counted(tmp_path)
    assert counts == (3, 2, 2)
    told = f"washer: 4 files ({suffix.lower()}) of a picture format that is not read"
    assert problems[0].startswith(f"{told}, first good/IMG_0{suffix}: convert")
    assert ("pouta-lib[heic]" in problems[0]) == (suffix == ".HEIC")


def test_nothing_but_another_format_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "readable_suffixes", lambda: files.SUFFIXES)
    (tmp_path / "p" / "good").mkdir(parents=True)
    (tmp_path / "p" / "good" / "a.heic").write_bytes(b"x")
    with pytest.raises(PoutaError, match=r"found none; 1 file \(.heic\) of a picture format"):
        load_category("folder", "p", 16, root=tmp_path)


def test_links_to_nothing_are_counted(tmp_path):
    base = mvtec_tree(tmp_path, "parts")
    for k in range(5):
        (base / "train" / "good" / f"9{k}.png").symlink_to(tmp_path / "gone" / f"{k}.png")
    counts, problems, _ = counted(tmp_path, "parts")
    assert counts == (3, 2, 3)
    assert problems == [
        "bolt: 5 files linking to nothing, first good/90.png: mount or copy what is pointed to"
    ]


def test_photographs_that_are_in_a_macs_cloud_alone_are_counted(tmp_path):
    base = washer(tmp_path)
    for name in (".IMG_7.HEIC.icloud", ".notes.txt.icloud", ".a.png"):
        (base / "good" / name).write_bytes(b"bplist00")
    counts, problems, _ = counted(tmp_path)
    assert counts == (3, 2, 2)
    (told,) = problems
    assert "1 file linking to nothing, first good/.IMG_7.HEIC.icloud" in told


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_are_known_however_their_letters_are_written(tmp_path, monkeypatch, forms):
    """A category has one name, its folder's: there are no two runs of one."""
    monkeypatch.setenv("POUTA_DATA", str(tmp_path))
    (dataset, category), (own, typed) = ("w\u00e4rme", "pr\u00fcfteil"), forms
    mvtec_tree(tmp_path, *(unicodedata.normalize(own, name) for name in (dataset, category)))
    dataset, category = (unicodedata.normalize(typed, name) for name in (dataset, category))
    (name,) = list_categories(dataset)
    assert name == unicodedata.normalize(own, category) != category
    assert load_category(dataset, category, 20).name == name
    assert prepare_run("smoke", dataset, category).key.category == name
    (key,) = planned_runs("smoke", [f"{dataset}/{category}"])
    assert key.category == name
    with pytest.raises(PoutaError, match="a category out of"):
        load_category(dataset, f"{category}x", 20)


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_mask_is_known_however_its_letters_are_written(tmp_path, forms):
    """Macs write an umlaut as two signs: a photograph from there, its mask from elsewhere."""
    one, other = (unicodedata.normalize(form, "Prüfling") for form in forms)
    base = washer(tmp_path)
    shutil.rmtree(base / "test" / "spot")
    save(base / "test" / "spot" / f"{one}.png", photo(1))
    beside_it = save(base / "test" / "spot" / f"{other}_mask.png", mask())
    found = load_category("folder", "washer", 20, root=tmp_path)
    assert (found.masks.sum(axis=(1, 2)) > 0).tolist() == [False, False, True]
    beside_it.unlink()
    (base / "test" / "spot").rename(base / "test" / one)
    save(base / "ground_truth" / other / f"{other}.png", mask())
    again = load_category("folder", "washer", 20, root=tmp_path)
    assert again.masks.any(axis=(1, 2)).tolist() == again.labels.tolist() == [True, False, False]
    np.testing.assert_array_equal(again.masks[0], found.masks[2])
    base = mvtec_tree(tmp_path, "parts")
    save(base / "test" / one / f"{one}.png", photo(1))
    save(base / "ground_truth" / other / f"{other}_mask.png", mask())
    for dataset, counts in (("parts", (3, 2, 4)), ("folder", (3, 2, 1))):
        assert counted(tmp_path, dataset)[:2] == (counts, [])


def test_links_to_images_and_folders_are_followed(tmp_path):
    base = washer(tmp_path)
    shutil.move(base / "good", tmp_path / "elsewhere")
    (base / "good").symlink_to(tmp_path / "elsewhere")
    (base / "good" / "again.png").symlink_to(tmp_path / "elsewhere" / "000.png")
    assert counted(tmp_path)[0] == (4, 2, 2)


def test_folders_that_link_to_one_another_end(tmp_path):
    base = washer(tmp_path)
    (base / "good" / "round").symlink_to(base)
    counts, problems, _ = counted(tmp_path)
    assert counts == (3, 2, 2)
    assert problems == [], "what a link back leads to is read anyhow"


def test_deeper_folders_are_counted(tmp_path):
    base = washer(tmp_path)
    for k in range(8):
        save(base / "good" / "tuesday" / "late" / f"{k}.png", photo(k))
    save(base / "test" / "spot" / "left" / "a.png", photo(5))
    counts, problems, _ = counted(tmp_path)
    assert counts == (3, 2, 2)
    assert problems[0].startswith("washer: 9 files in deeper folders, first late/0.png")


def test_folders_side_by_side_are_named(tmp_path):
    base = washer(tmp_path)
    save(base / "scratch" / "a.png", photo(5))
    save(base / "mask" / "scratch" / "a.png", mask())
    _, problems, _ = counted(tmp_path)
    told = "washer: 2 files (mask/scratch, washer/scratch) in folders that are not read"
    assert problems[0].startswith(told)
    assert "read are good, test/good, test/<defect>, ground_truth/<defect>" in problems[0]


def test_what_dagms_list_does_not_lead_to_is_counted(tmp_path):
    base = dagm_tree(tmp_path)
    save(base / "Train" / "more" / "0009.PNG", photo(1)[..., 0])
    save(base / "Other" / "0009.PNG", photo(1)[..., 0])
    save(base / "Test" / "Label" / "0001_label.PNG", mask())
    (base / "Test" / "0009.raw").write_bytes(b"x")
    (passed, *_) = [p for p in check_dataset("dagm", tmp_path).problems if "Other" in p]
    assert passed.startswith("Class1: 1 file (Class1/Other) in folders that are not read")
    said = "; ".join(check_dataset("dagm", tmp_path).problems)
    assert "1 file in deeper folders, first more/0009.PNG" in said
    assert "1 file that the dataset's list does not name, first Label/0001_label.PNG" in said
    assert "1 file (.raw) of a picture format that is not read, first Test/0009.raw" in said


def test_what_visas_list_does_not_name_is_counted(tmp_path):
    """Wherever in the category it lies, images and masks."""
    base = visa_tree(tmp_path) / "candle"
    for name in ("9.JPG", "y/9.JPG", "Data/9.JPG", "Data/Images/Normal/9.JPG"):
        save(base / name, photo(9))
    save(base / "Data" / "Masks" / "Anomaly" / "9.png", mask())
    problems = check_dataset("visa", tmp_path).problems
    (told,) = [text for text in problems if "does not name" in text]
    assert told.startswith("candle: 5 files that the dataset's list does not name, first")


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system takes both for one")
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_visas_names_are_known_however_their_letters_are_written(tmp_path, forms):
    on_disk, in_list = (unicodedata.normalize(form, "b\u00fcgel") for form in forms)
    base = visa_tree(tmp_path, on_disk)
    path = base / "split_csv" / "1cls.csv"
    path.write_text(path.read_text("utf-8").replace(on_disk, in_list), "utf-8")
    c = load_category("visa", in_list, 16, root=tmp_path)
    assert (len(c.train), len(c.test), c.masks.sum() > 0) == (3, 4, True)
    told = [text for text in check_dataset("visa", tmp_path).problems if on_disk in text]
    assert told == []


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes no such names")
def test_two_of_dagms_images_whose_names_differ_in_case_alone(tmp_path):
    base = dagm_tree(tmp_path)
    save(base / "Train" / "0001.png", photo(9)[..., 0])
    with pytest.raises(PoutaError, match=r"more than case, found 0001.PNG and 0001.png"):
        load_category("dagm", "Class1", 16, root=tmp_path)


def test_what_lies_beside_the_folders_is_counted(tmp_path):
    base = mvtec_tree(tmp_path, "parts")
    save(base / "000.png", photo(1))
    save(base / "test" / "001.png", photo(1))
    save(base / "train" / "cut" / "002.png", photo(1))
    save(tmp_path / "parts" / "stray" / "raw" / "a.png", photo(1))
    counts, problems, _ = counted(tmp_path, "parts")
    assert counts == (3, 2, 3)
    assert problems[0].startswith("1 file (stray/raw) in folders that are not read")
    assert problems[1].startswith("bolt: 1 file (train/cut) in folders that are not read")
    assert problems[2].startswith("bolt: 2 files in no folder of a kind, first bolt/000.png")


@pytest.mark.parametrize("dataset", ["parts", "folder"])
def test_hidden_files_and_folders_are_no_images(tmp_path, dataset):
    base = mvtec_tree(tmp_path, dataset)
    save(base / "test" / ".ipynb_checkpoints" / "000-checkpoint.png", photo(1))
    save(base / ".cache" / "train" / "good" / "000.png", photo(1))
    (base / "train" / "good" / "._000.png").write_bytes(b"x")
    (base / "train" / "good" / "notes.txt").write_bytes(b"x")
    counts, problems, notes = counted(tmp_path, dataset)
    assert (counts, problems) == ((3, 2, 3), [])
    assert notes[0].startswith("bolt: ") and "hidden" in notes[0]
    assert notes[1] == "bolt: 1 file not named as a picture, first good/notes.txt"


ENDINGS = ["_mask", "_gt", "_GT", "_label", "-mask", ".mask", "_ground_truth", "_seg", "Mask"]


@pytest.mark.parametrize(
    "name", [*(f"{{}}{ending}" for ending in ENDINGS), "mask_{}", "GT-{}", "{} (mask)", "Maske_{}"]
)
def test_masks_beside_images_under_other_names(tmp_path, name):
    base = washer(tmp_path)
    for k in range(2):
        save(base / "test" / "spot" / f"{name.format(f'{k:03}')}.png", mask())
    counts, problems, notes = counted(tmp_path)
    assert (counts, problems) == ((3, 2, 2), [])
    assert notes[0].startswith("washer: 2 files named as the mask of an image beside it")
    c = load_category("folder", "washer", 20, root=tmp_path)
    assert (c.mask_kind, c.masks.sum(axis=(1, 2)).tolist()) == ("exact", [0, 0, 40, 40])


@pytest.mark.parametrize("name", ["{}_gt", "{}", "{}_mask", "label_{}"])
def test_masks_in_ground_truth_under_other_names(tmp_path, name):
    base = washer(tmp_path)
    for k in range(2):
        save(base / "ground_truth" / "spot" / f"{name.format(f'{k:03}')}.bmp", mask())
    assert load_category("folder", "washer", 20, root=tmp_path).masks.sum() == 80


@pytest.mark.parametrize("name", ["part (1)", "5%", "-x \U0001f642", "a[2]", "_b_", "IMG+"])
@pytest.mark.parametrize("form", ["{}_mask", "{}-gt", "{}.mask", "mask_{}"])
def test_masks_of_images_whose_names_end_in_signs(tmp_path, name, form):
    """As those that Windows numbers: ``part (1).png``."""
    base = washer(tmp_path)
    for folder in ("test/spot", "ground_truth/spot"):
        shutil.rmtree(base / "test" / "spot", ignore_errors=True)
        save(base / "test" / "spot" / f"{name}.png", photo(1))
        save(base / folder / f"{form.format(name)}.png", mask())
        assert counted(tmp_path)[:2] == ((3, 2, 1), [])
        assert load_category("folder", "washer", 20, root=tmp_path).masks.sum() == 40
    save(base / "test" / "spot" / f"{name}_mask_2.png", mask())
    assert "one of several masks of an image" in counted(tmp_path)[1][0]


@pytest.mark.parametrize("dataset", ["folder", "mvtec"])
def test_a_mask_without_its_image_is_told_of(tmp_path, dataset):
    base = mvtec_tree(tmp_path, dataset)
    (base / "test" / "cut" / "001.png").unlink()
    save(base / "ground_truth" / "gone" / "000_mask.png", mask())
    for name in ("000_mask.png", "000.png", "007_mask.png"):
        save(base / "ground_truth" / "good" / name, mask())
    told = "bolt: 2 files named as the mask of an image that is not there, first cut/001_mask.png"
    _, problems, notes = counted(tmp_path, dataset)
    assert [text for text in problems if "mask" in text] == [f"{told}: find the image"]
    said = "bolt: 3 files named as the mask of a good image, which needs none, first good/000.png"
    assert said in notes


def test_of_two_masks_the_one_called_mask_counts(tmp_path):
    base = mvtec_tree(tmp_path, "parts")
    for name in ("000.png", "000_gt.png", "000_mask.bmp"):
        save(base / "ground_truth" / "bent" / name, mask(24, 24))
    assert load_category("parts", "bolt", 20, root=tmp_path).masks[0].sum() == 40


@pytest.mark.parametrize("name", ["spot_mask", "mask_spot", "Masks", "gt"])
def test_a_folder_of_defects_that_is_named_as_masks_is_told_of(tmp_path, name):
    base = washer(tmp_path)
    assert not counted(tmp_path)[2]
    save(base / "test" / name / "000.png", mask())
    (told,) = counted(tmp_path)[2]
    assert told.startswith(f"washer: test/{name} is named as masks are, and read as defective")


@pytest.mark.parametrize("dataset", ["folder", "mvtec"])
def test_what_lies_beside_the_folders_of_test_images_is_told_of(tmp_path, dataset):
    base = mvtec_tree(tmp_path, dataset)
    (base / "test" / "gone").symlink_to(tmp_path / "unmounted" / "gone")
    (base / "test" / "a.gif").write_bytes(b"x")
    problems = "\n".join(counted(tmp_path, dataset)[1])
    assert "1 file linking to nothing, first test/gone" in problems
    assert "1 file (.gif) of a picture format" in problems


def test_a_name_that_only_looks_like_a_mask_is_a_photograph(tmp_path):
    for name in ("gasmask.png", "label.png", "bright.png", "b.png", "part_label.png"):
        save(tmp_path / "good" / name, photo(1))
    assert len(look_into(tmp_path / "good").files) == 5
    save(tmp_path / "good" / "part.png", photo(1))
    look = look_into(tmp_path / "good")
    assert [path.name for path in look.masks.values()] == ["part_label.png"]
    assert len(look.files) == 5


@pytest.mark.parametrize(
    "name",
    [
        "Good",
        "OK",
        "ok",
        "Normal",
        "GOOD_2",
        "defect-free",
        "Pass",
        "test_ok",
        "clean",
        "i.O",
        "良品",
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_good_in_another_spelling_is_good_and_told(tmp_path, name, alone):
    base = washer(tmp_path)
    if alone:
        (base / "test" / "good").rename(base / "test" / name)
    else:
        save(base / "test" / name / "a.png", photo(30))
    counts, problems, notes = counted(tmp_path)
    assert (counts, problems) == ((3, 2 if alone else 3, 2), [])
    assert notes == [f"washer: test/{name} is read as test/good"]


def test_folders_that_are_called_otherwise_are_named_where_none_is_good(tmp_path):
    base = washer(tmp_path)
    (base / "test" / "good").rename(base / "test" / "A-Ware")
    with pytest.raises(PoutaError, match="found defective ones only, in A-Ware, spot"):
        load_category("folder", "washer", 16, root=tmp_path)


@pytest.mark.parametrize(
    ("dataset", "place"), [("folder", ""), ("folder", "train"), ("p", "train")]
)
def test_training_images_in_another_spelling_of_good(tmp_path, dataset, place, capsys):
    base = mvtec_tree(tmp_path, dataset)
    (base / "train" / "good").rename(tmp_path / "OK")
    shutil.move(tmp_path / "OK", base / place / "OK")
    c = load_category(dataset, "bolt", 16, root=tmp_path)
    assert (len(c.train), c.labels.sum()) == (3, 3)
    told = f"note: bolt: {place or 'bolt'}/OK is read as {place or 'bolt'}/good"
    assert told in capsys.readouterr().err


def test_thumbnails_of_a_system_are_no_defects(tmp_path):
    base = washer(tmp_path)
    for name in ("test/@eaDir/a.png", "good/@eaDir/000.png/a.jpg", "test/__MACOSX/a.png"):
        save(base / name, photo(1))
    save(base / "$RECYCLE.BIN" / "good" / "a.png", photo(1))
    save(base / "test" / "#recycle" / "a.png", photo(1))
    counts, problems, notes = counted(tmp_path)
    assert counts == (3, 2, 2) and problems == []
    assert any("hidden, first" in note for note in notes)


def test_several_masks_of_one_image_are_no_photographs(tmp_path):
    base = washer(tmp_path)
    for k in range(3):
        save(base / "test" / "spot" / f"000_mask_{k}.png", mask())
    counts, problems, _ = counted(tmp_path)
    assert counts == (3, 2, 2)
    said = "washer: 3 files named as one of several masks of an image, first spot/000_mask_0.png"
    assert problems == [f"{said}: merge them into one, a_mask.png"]
    for dataset in ("folder", "mvtec"):
        base = mvtec_tree(tmp_path / dataset, dataset)
        save(base / "ground_truth" / "cut" / "000_mask_2.png", mask())
        (problem,) = counted(tmp_path / dataset, dataset)[1][-1:]
        assert "1 file named as one of several masks of an image, first cut/000_mask_2" in problem


@pytest.mark.parametrize("dataset", ["folder", "parts"])
def test_masks_that_cannot_be_read_are_told_of(tmp_path, dataset):
    """They lie in no folder of a kind, too deep, or in another format."""
    truth = mvtec_tree(tmp_path, dataset) / "ground_truth"
    save(truth / "000_mask.png", mask())
    save(truth / "cut" / "old" / "000_mask.png", mask())
    (truth / "cut" / "000_mask.gif").write_bytes(b"GIF8")
    told = "; ".join(counted(tmp_path, dataset)[1])
    assert "1 file in no folder of a kind, first ground_truth/000_mask.png" in told
    assert "1 file in deeper folders, first old/000_mask.png" in told
    assert "1 file (.gif) of a picture format that is not read, first cut/000_mask.gif" in told
    (truth / "cut" / "000_mask.png").unlink()
    (said,) = [p for p in check_dataset(dataset, tmp_path).problems if "expected a mask" in p]
    assert "found none; 1 file (.gif) of a picture format" in said


@pytest.mark.parametrize("dataset", ["folder", "parts"])
def test_a_second_mask_of_an_image_is_told_of(tmp_path, dataset):
    """As documented the one called mask is read; whether that is right is for the user to say."""
    base = mvtec_tree(tmp_path, dataset)
    save(base / "ground_truth" / "cut" / "000_gt.png", mask())
    save(base / "ground_truth" / "cut" / "000_mask.bmp", mask())
    said = "bolt: 2 files named as the mask of an image that has another, first cut/000_gt.png"
    assert counted(tmp_path, dataset)[1] == [f"{said}: keep the right one"]
    for name in ("000_gt.png", "000_mask.bmp"):
        (base / "ground_truth" / "cut" / name).unlink()
    save(base / "ground_truth" / "cut" / "000.png", photo(20))
    assert counted(tmp_path, dataset)[1] == [], "a copy of the photograph is no mask"
    save(base / "ground_truth" / "cut" / "000.png", mask().T)
    said = "bolt: 1 file named as the mask of an image that has another, first cut/000.png"
    assert counted(tmp_path, dataset)[1] == [f"{said}: keep the right one"]


def test_a_second_mask_beside_an_image_is_told_of(tmp_path):
    base = washer(tmp_path)
    for name in ("000_mask", "000_gt", "001_mask"):
        save(base / "test" / "spot" / f"{name}.png", mask())
    counts, problems, _ = counted(tmp_path)
    said = "washer: 1 file named as the mask of an image that has another, first spot/000_gt.png"
    assert counts == (3, 2, 2) and problems == [f"{said}: keep the right one"]


def test_a_second_mask_in_the_other_place_is_told_of(tmp_path):
    """Beside the image, and in ground_truth, which is read; the same one twice is none."""
    base = mvtec_tree(tmp_path, "folder")
    path = base / "test" / "cut" / "000_mask.png"
    save(path, mask())
    assert counted(tmp_path)[1] == []
    save(path, mask().T)
    said = "bolt: 1 file named as the mask of an image that has another, first cut/000_mask.png"
    assert counted(tmp_path)[1] == [f"{said}: keep the right one"]


@pytest.mark.parametrize("dataset", ["folder", "parts"])
def test_images_named_alike_do_not_share_a_mask(tmp_path, dataset):
    base = mvtec_tree(tmp_path, dataset)
    save(base / "test" / "good" / "000.jpg", photo(3))
    assert counted(tmp_path, dataset)[1] == [], "a good one needs no mask"
    save(base / "test" / "cut" / "000.jpg", photo(4))
    (said,) = check_dataset(dataset, tmp_path).problems
    assert "expected a mask for each image, found one for 000.jpg and 000.png" in said
    assert "to do: rename one, and its mask; or remove it, where it is a copy, or the mask" in said


def test_images_named_alike_share_no_mask_beside_them_either(tmp_path):
    """Without any mask they are only told of: one may be a mask that is called as its image is."""
    base = washer(tmp_path)
    save(base / "test" / "spot" / "000.jpg", photo(4))
    counts, problems, notes = counted(tmp_path)
    said = "1 defective images are named as another, first spot/000.jpg and spot/000.png: if one is"
    assert (counts, problems) == ((3, 2, 3), [])
    assert notes == [f"washer: {said} a mask, call it 000_mask.png"]
    save(base / "test" / "spot" / "000_mask.png", mask())
    assert "found one for 000.jpg and 000.png" in check_dataset("folder", tmp_path).problems[0]


@pytest.mark.parametrize("word", ["_roi", " (bw)", "-left top", "_mask_final"])
def test_images_named_as_another_and_a_word_are_told_of(tmp_path, word):
    base = washer(tmp_path)
    save(base / "test" / "spot" / f"000{word}.png", photo(4))
    save(base / "test" / "good" / f"000{word}.png", photo(5))
    counts, problems, notes = counted(tmp_path)
    said = "washer: 1 defective images are named as another, first spot/000.png and spot/000"
    assert (counts, problems, len(notes)) == ((3, 3, 3), [], 1) and notes[0].startswith(said + word)


def test_a_folder_that_links_to_nothing_is_told_of(tmp_path):
    """Its category is none, beside others as alone."""
    base = washer(tmp_path).parent / "bolt"
    base.mkdir()
    (base / "good").symlink_to(tmp_path / "unmounted")
    said = "1 file linking to nothing, first bolt/good: mount or copy what is pointed to"
    assert counted(tmp_path)[1] == [said]
    shutil.rmtree(base.parent / "washer")
    with pytest.raises(PoutaError, match=said):
        list_categories("folder", tmp_path)


def test_a_path_in_place_of_a_datasets_name(tmp_path):
    base = washer(tmp_path)
    with pytest.raises(PoutaError, match="name the folder above it by --data-root"):
        check_dataset(str(base), tmp_path)


def test_a_defect_may_be_called_almost_good(tmp_path):
    base = washer(tmp_path)
    (base / "test" / "spot").rename(base / "test" / "goods_missing")
    assert counted(tmp_path)[0] == (3, 2, 2)


def test_folders_in_other_case_are_read(tmp_path):
    base = washer(tmp_path)
    (base / "test").rename(base / "Test")
    (base / "good").rename(base / "Good")
    assert counted(tmp_path)[0] == (3, 2, 2)
    for dataset in ("folder", "parts"):
        truth = mvtec_tree(tmp_path / "other", dataset) / "ground_truth"
        (truth / "cut").rename(truth / "Cut")
        assert counted(tmp_path / "other", dataset)[:2] == ((3, 2, 3), [])


def test_hints_where_the_layout_is_anothers(tmp_path):
    base = mvtec_tree(tmp_path, "parts")
    with pytest.raises(PoutaError, match=r"bolt is a category itself: name a folder above it"):
        list_categories("bolt", tmp_path / "parts")
    mvtec_tree(tmp_path / "mvtec", "mvtec_anomaly_detection")
    with pytest.raises(PoutaError, match=r"move what is in mvtec_anomaly_detection up to here"):
        list_categories("mvtec", tmp_path)
    mvtec_tree(tmp_path / "deep" / "a", "b")
    with pytest.raises(PoutaError, match=r"move what is in a/b up to here: .* first bolt"):
        list_categories("deep", tmp_path)
    washer(tmp_path)
    with pytest.raises(PoutaError, match=r"found a folder good of images(.|\n)*the folder above"):
        list_categories("folder", tmp_path / "folder" / "washer")
    for dataset in ("folder", "flat"):
        flat = mvtec_tree(tmp_path / "flat", dataset) / "train"
        for path in list((flat / "good").iterdir()):
            path.rename(flat / path.name)
        (flat / "good").rmdir()
        with pytest.raises(PoutaError, match=r"move the 3 images in bolt/train to bolt/train/good"):
            list_categories(dataset, tmp_path / "flat")
        shutil.rmtree(flat)
        with pytest.raises(PoutaError, match=r"put good images into bolt/train/good: none"):
            list_categories(dataset, tmp_path / "flat")
    path = base / "ground_truth" / "cut" / "000_mask.png"
    path.unlink()
    save(path.with_name("000") / "000.png", mask())
    with pytest.raises(PoutaError, match=r"found a folder of masks(.|\n)*merge the masks"):
        load_category("parts", "bolt", 16, root=tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes no such names")
def test_names_that_are_not_utf_8_are_read(tmp_path, capsys, monkeypatch):
    from pouta_lib.data import cache

    base = washer(tmp_path)
    odd = os.fsencode(base / "good") + b"/stra\xdfe.png"
    os.rename(base / "good" / "002.png", odd)
    monkeypatch.setattr(cache, "WORTH_BYTES", 0)
    for _ in range(2):
        c = load_category("folder", "washer", 16, root=tmp_path)
        assert c.train_paths[2] == "washer/good/stra\\xdfe.png"
    with open(odd, "wb") as out:
        out.write(b"no image")
    _, problems, _ = counted(tmp_path)
    assert "washer/good/stra\\xdfe.png" in problems[0]
    problems[0].encode("ascii")


@pytest.mark.parametrize("look", [look_into, good_photos, lambda folder: files.child(folder, "a")])
def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, look):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "iterdir", refuse)
    with pytest.raises(PoutaError, match=r"readable folder, found Permission denied") as error:
        look(tmp_path)
    assert str(tmp_path) in str(error.value)


def counts(passed):
    return {reason: len(paths) for reason, paths in passed.files.items()}


def test_what_is_passed_over_adds_up(tmp_path):
    some = PassedOver.of([(Reason.FORMAT, tmp_path / "a.gif"), (Reason.HIDDEN, tmp_path / ".b")])
    both = some + PassedOver.of([(Reason.FORMAT, tmp_path / "c.heic")])
    assert counts(both) == {Reason.FORMAT: 2, Reason.HIDDEN: 1}
    assert bool(both) and not PassedOver.of([(Reason.MASK, tmp_path / "a_mask.png")])
    assert not PassedOver()
    assert both.lines()[0].startswith("2 files (.gif, .heic)")
    assert len(both.lines(lost=False)) == 1


def test_a_home_folder_in_a_path_is_found(tmp_path, monkeypatch):
    washer(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list_categories("folder", "~") == ["washer"]


@pytest.mark.parametrize("name", ["IMG_0007", "a.jpg.1", "a.jpg?w=8", "a.png.crdownload"])
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "JPEG2000"])
def test_pictures_under_other_names_are_counted(tmp_path, name, fmt):
    base = washer(tmp_path)
    Image.fromarray(photo(1)).save(base / "good" / name, fmt)
    (base / "good" / "notes").write_text("RIFF")
    report = check_dataset("folder", tmp_path)
    (told,) = report.problems
    assert f"1 file of a picture by content, not by name, first good/{name}: give" in told
    assert "1 file not named as a picture, first good/notes" in report.notes[0]


@pytest.mark.skipif(sys.platform == "win32", reason="it has neither")
def test_what_is_no_file_is_never_opened(tmp_path):
    base = washer(tmp_path) / "good"
    os.mkfifo(base / "a.png")
    (base / "zeros.png").symlink_to("/dev/zero")
    (base / "old.txt").symlink_to("nowhere")
    passed = look_into(base).passed_over
    assert not passed and counts(passed) == {Reason.NO_FILE: 2, Reason.OTHER: 1}


def test_a_link_that_leads_back_is_not_followed(tmp_path):
    """What it holds is what is read anyhow; and the whole disk need not be searched."""
    base = washer(tmp_path) / "good"
    (base / "deeper").mkdir()
    shutil.copy(next(base.glob("*.png")), base / "deeper" / "a.png")
    for name, target in (("itself", base), ("up", ".."), ("disk", "/"), ("loop", "loop")):
        (base / name).symlink_to(target)
    (base.parent / "again").symlink_to(base.parent)
    look = look_into(base)
    assert len(look.files) == 3
    assert counts(look.passed_over) == {Reason.DEEPER: 1, Reason.DANGLING: 1}
    assert not beside(base.parent, [base, base.parent / "test"])


def test_a_deeper_folder_that_may_not_be_read_ends_nothing(tmp_path, monkeypatch):
    """As lost+found at the root of a disk."""
    base = washer(tmp_path) / "good"
    locked = base / "lost+found"
    locked.mkdir()
    listed = Path.iterdir

    def refused(path):
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    look = look_into(base)
    assert len(look.files) == 3
    (told,) = look.passed_over.lines()
    assert (
        told == "1 file that may not be read (a folder), first good/lost+found: "
        "check the permissions"
    )


@pytest.mark.parametrize("dataset", ["folder", "parts"])
@pytest.mark.parametrize("name", ["", "train", "ground_truth"])
def test_a_category_that_may_not_be_read_keeps_no_other_from_being_checked(
    tmp_path, monkeypatch, dataset, name
):
    """Where a folder may not be read, neither may be asked what is in it."""
    mvtec_tree(tmp_path, dataset)
    locked = mvtec_tree(tmp_path, dataset, "nut") / name

    def refused(look, least):
        def instead(path, *more, **named):
            if locked in [path, *path.parents][least:]:
                raise PermissionError(13, "Permission denied", str(path))
            return look(path, *more, **named)

        return instead

    monkeypatch.setattr(Path, "iterdir", refused(Path.iterdir, 0))
    monkeypatch.setattr(Path, "stat", refused(Path.stat, 1))
    report = check_dataset(dataset, tmp_path)
    assert list(report.counts["category"]) == ["bolt"]
    told = [text for text in report.problems if "nut" in text and "permissions" in text]
    assert len(told) == 1 and ("Permission denied" in told[0] or "may not be read" in told[0])

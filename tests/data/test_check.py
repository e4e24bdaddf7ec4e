"""Counts against the published ones, and reports that name what is wrong."""

import csv
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from trees import dagm_tree, mvtec_tree, photo, save, visa_tree

from pouta_lib.data import DATASETS
from pouta_lib.data.check import check_dataset
from pouta_lib.data.registry import TEXTURES, kind_of
from pouta_lib.ground.errors import PoutaError


def total(dataset, *keys):
    return sum(counts[key] for counts in DATASETS[dataset].published.values() for key in keys)


def test_the_published_counts_add_up():
    assert total("mvtec", "train") == 3629
    assert total("mvtec", "test good", "test defective") == 1725
    assert total("mvtec", "train", "test good", "test defective") == DATASETS["mvtec"].num_images
    assert total("visa", "train", "test good") == 9621
    assert total("visa", "test defective") == 1200
    assert total("dagm", "images") == DATASETS["dagm"].num_images == 16100
    assert [len(DATASETS[name].categories) for name in ("mvtec", "visa", "dagm")] == [15, 12, 10]
    assert {c for c in DATASETS["mvtec"].categories if kind_of("mvtec", c) == "texture"} == TEXTURES


def test_visas_counts_are_those_of_its_own_list(repository):
    path = repository / "../shared/data/original_layout/visa/split_csv/1cls.csv"
    if not path.is_file():
        pytest.skip("the official list is not here")
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for name, counts in DATASETS["visa"].published.items():
        mine = [(r["split"], r["label"]) for r in rows if r["object"] == name]
        assert counts == {
            "train": mine.count(("train", "normal")),
            "test good": mine.count(("test", "normal")),
            "test defective": mine.count(("test", "anomaly")),
        }


def test_differences_and_missing_categories_are_named(tmp_path):
    mvtec_tree(tmp_path, "mvtec", "bottle")
    report = check_dataset("mvtec", tmp_path)
    assert "no category zipper" in report.problems
    assert "bottle: 3 train images, 209 published" in report.problems
    assert "bottle: 3 test defective images, 63 published" in report.problems
    row = report.counts.iloc[0]
    assert (row["images"], row["published"]) == (8, 292)
    assert "mvtec: 8 images of 5354 published" in str(report)


def test_every_damaged_file_is_named(tmp_path):
    base = mvtec_tree(tmp_path, "surface", "tile")
    assert "no problems" in str(check_dataset("surface", tmp_path))
    (base / "train" / "good" / "000.png").write_bytes(b"")
    cut = base / "ground_truth" / "cut" / "001_mask.png"
    cut.write_bytes(cut.read_bytes()[:40])
    problems = check_dataset("surface", tmp_path).problems
    assert "tile: expected an image, found an empty file" in problems[0]
    assert [text.splitlines()[1] for text in problems] == [
        f"  where: {base / 'train' / 'good' / '000.png'}",
        f"  where: {cut}",
    ]


def test_what_dagm_leaves_out_of_training_is_counted(tmp_path):
    dagm_tree(tmp_path)
    report = check_dataset("dagm", tmp_path)
    row = report.counts.iloc[0]
    assert (row["train"], row["left out"], row["images"], row["published"]) == (3, 1, 8, 1150)
    assert "Class1: 8 images, 1150 published" in report.problems
    assert "Class1: 2 all defective images, 150 published" in report.problems


def test_a_category_that_cannot_be_listed_is_a_problem_not_an_error(tmp_path):
    base = visa_tree(tmp_path)
    (base / "candle" / "Data" / "Images" / "Anomaly" / "001.JPG").unlink()
    report = check_dataset("visa", tmp_path)
    assert any(
        text.startswith("candle: expected the file that 1cls.csv") for text in report.problems
    )
    with pytest.raises(PoutaError, match="expected the dataset MVTec AD"):
        check_dataset("mvtec", tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="the file system takes no such names")
@pytest.mark.parametrize("name", ["CON", "bolt ", "-bolt", "bolt\tx"])
def test_a_category_that_no_run_would_take_is_a_problem(tmp_path, name):
    mvtec_tree(tmp_path, "parts", name)
    report = check_dataset("parts", tmp_path)
    (told,) = report.problems
    assert "expected a category named as a folder" in told and "rename its folder" in told
    assert ("or other control character" in told) == (name[0] == "-" or "\t" in name)
    assert report.counts["images"].sum() == 8


def test_dtd_is_counted_by_class(tmp_path):
    with pytest.raises(PoutaError, match="pouta data get dtd"):
        check_dataset("dtd", tmp_path)
    for k in range(120):
        path = tmp_path / "dtd" / "dtd" / "images" / "banded" / f"banded_{k:04}.jpg"
        save(path, photo(k, 8, 8))
    path.write_bytes(b"no image")
    report = check_dataset("dtd", tmp_path)
    assert report.problems[0] == "1 classes, 47 published"
    assert "cannot be decoded" in report.problems[1]


@pytest.mark.parametrize("to", ["good", "bent"])
def test_test_images_that_were_trained_on_are_told_of(tmp_path, to):
    base = mvtec_tree(tmp_path)
    shutil.copy(base / "train" / "good" / "001.png", base / "test" / to / "000.png")
    said = "bolt: 1 of 5 test images are copies of training images: what is said of them is no test"
    assert check_dataset("mvtec", tmp_path).notes == [f"{said}, first {to}/000.png"]


def test_images_that_are_there_twice_are_told_of(tmp_path):
    base = mvtec_tree(tmp_path)
    shutil.copy(base / "train" / "good" / "000.png", base / "train" / "good" / "000 (1).png")
    shutil.copy(base / "test" / "cut" / "001.png", base / "test" / "good" / "001.png")
    assert check_dataset("mvtec", tmp_path).notes == [
        "bolt: 1 of 4 training images are copies of others, first good/000.png",
        "bolt: 1 of 2 good test images are copies of defective ones, first good/001.png",
    ]


@pytest.mark.parametrize("white", [255, 1023])
def test_photographs_that_show_nothing_are_counted_and_named(tmp_path, white):
    """A covered lens and an overexposed one; also among images of 10 bits."""
    base = mvtec_tree(tmp_path)
    for path in base.rglob("*/good/*.png"):
        gray = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * (white // 255)
        save(path, gray if white > 255 else gray.astype(np.uint8))
    assert not [note for note in check_dataset("mvtec", tmp_path).notes if "nothing" in note]
    save(base / "train" / "good" / "cap.png", np.zeros((20, 20), np.uint8))
    save(base / "test" / "good" / "sun.png", np.full((20, 20), 255, np.uint8))
    (said,) = [note for note in check_dataset("mvtec", tmp_path).notes if "nothing" in note]
    assert said.startswith("bolt: 2 of 10 photographs show next to nothing")
    assert "good/cap.png, good/sun.png: look at them" in said

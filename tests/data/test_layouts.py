"""Readers on tiny trees in the true layouts, and on the owners' own files where they are there."""

import numpy as np
import pytest
from trees import dagm_tree, mvtec_tree, photo, save, visa_tree

from pouta_lib.data import list_categories, load_category
from pouta_lib.data.check import check_dataset
from pouta_lib.ground.errors import PoutaError

REAL = "../shared/data/original_layout"


def check_form(c, size):
    assert c.train.dtype == c.test.dtype == np.uint8
    assert c.train.shape[1:] == c.test.shape[1:] == (3, size, size)
    assert c.masks.dtype == c.labels.dtype == bool
    assert c.masks.shape == (len(c.test), size, size)
    assert len(c.train) == len(c.train_paths)
    assert len(c.test) == len(c.test_paths) == len(c.labels) == len(c.defects)
    assert [d != "good" for d in c.defects] == c.labels.tolist()
    assert (c.masks.any(axis=(1, 2)) == c.labels).all()
    assert len(c.manifest_hash) == 64


def test_mvtec(tmp_path):
    mvtec_tree(tmp_path)
    c = load_category("mvtec", "bolt", 16, root=tmp_path)
    check_form(c, 16)
    assert c.defects == ["bent", "cut", "cut", "good", "good"]
    assert c.train_paths == [f"bolt/train/good/00{k}.png" for k in range(3)]
    assert c.mask_kind == "exact"


def test_an_unknown_name_is_read_by_the_mvtec_layout(tmp_path):
    mvtec_tree(tmp_path, "surface", "tile")
    assert list_categories("surface", tmp_path) == ["tile"]
    assert load_category("surface", "tile", 16, root=tmp_path).kind == "unknown"


def test_at_its_own_size_pixels_and_masks_are_exact(tmp_path):
    mvtec_tree(tmp_path)
    c = load_category("mvtec", "bolt", 20, root=tmp_path)
    assert (c.train[1] == np.moveaxis(photo(1), -1, 0)).all()
    expected = np.zeros((20, 20), bool)
    expected[5:10, 4:12] = True
    assert (c.masks[0] == expected).all()


def test_visa_raw_by_the_official_list(tmp_path):
    base = visa_tree(tmp_path)
    save(base / "candle" / "Data" / "Images" / "Normal" / "9999.JPG", photo(99))  # not listed
    c = load_category("visa", "candle", 16, root=tmp_path)
    check_form(c, 16)
    assert (len(c.train), len(c.test), int(c.labels.sum())) == (3, 4, 2)


def test_visa_converted(tmp_path):
    base = mvtec_tree(tmp_path, "visa", "candle")
    for path in list((base / "ground_truth").glob("*/*_mask.png")):
        path.rename(path.with_name(path.name.replace("_mask", "")))
    c = load_category("visa", "candle", 16, root=tmp_path)
    check_form(c, 16)
    assert c.kind == "object"


def test_dagm_leaves_defects_in_train_out(tmp_path):
    dagm_tree(tmp_path)
    c = load_category("dagm", "Class1", 16, root=tmp_path)
    check_form(c, 16)
    assert c.train_paths == [f"Class1/Train/000{k}.PNG" for k in (1, 2, 4)]
    assert c.labels.tolist() == [False, False, True, False]
    assert c.mask_kind == "coarse"
    assert (c.train[:, 0] == c.train[:, 1]).all()


def test_dagm_file_names_in_any_case(tmp_path):
    base = dagm_tree(tmp_path)
    for path in list(base.rglob("*.PNG")):
        path.rename(path.with_name(path.name.lower()))
    assert len(load_category("dagm", "Class1", 16, root=tmp_path).train) == 3


def test_dagm_classes_in_any_case(tmp_path):
    for name in ("class1", "CLASS10", "Class2"):
        dagm_tree(tmp_path, name)
    assert list_categories("dagm", tmp_path) == ["Class1", "Class2", "Class10"]
    assert len(load_category("dagm", "Class10", 16, root=tmp_path).train) == 3
    problems = check_dataset("dagm", tmp_path).problems
    assert not any("no category Class1" in text or "not read" in text for text in problems[1:])


@pytest.mark.parametrize("dataset", ["dagm", "dagm-together"])
@pytest.mark.parametrize("name", ["Class 1", "Class1_def"])
def test_dagm_classes_of_other_names_are_not_to_be_laid_out_as_mvtec(tmp_path, dataset, name):
    dagm_tree(tmp_path, name)
    with pytest.raises(PoutaError) as error:
        list_categories(dataset, tmp_path)
    assert "good" not in str(error.value) and "see docs/DATASETS.md" in str(error.value)


def test_dagm_classes_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("Class10", "Class2", "Class1"):
        dagm_tree(tmp_path, name)
    assert list_categories("dagm", tmp_path) == ["Class1", "Class2", "Class10"]


def test_folder_with_a_test_set_and_without_masks(tmp_path):
    for k in range(3):
        save(tmp_path / "folder" / "screws" / "good" / f"{k}.jpg", photo(k))
    save(tmp_path / "folder" / "screws" / "test" / "good" / "a.bmp", photo(5))
    save(tmp_path / "folder" / "screws" / "test" / "worn" / "b.tif", photo(6))
    c = load_category("folder", "screws", 16, root=tmp_path)
    assert (c.masks, c.mask_kind) == (None, "none")
    assert c.defects == ["good", "worn"]


def test_folder_of_nothing_but_images(tmp_path):
    for k in range(3):
        save(tmp_path / "photos" / f"{k}.png", photo(k, 40, 30))
    (tmp_path / "photos" / "Thumbs.db").write_bytes(b"no image")
    (tmp_path / "photos" / ".hidden.png").write_bytes(b"")
    c = load_category("folder", "photos", 16, root=tmp_path)
    assert (len(c.train), len(c.test)) == (3, 0)


def test_limits_spread_over_both_kinds(tmp_path):
    mvtec_tree(tmp_path)
    c = load_category("mvtec", "bolt", 16, root=tmp_path, max_train=2, max_test=2)
    assert c.train_paths == ["bolt/train/good/000.png", "bolt/train/good/002.png"]
    assert sorted(c.labels.tolist()) == [False, True]


def test_manifest_follows_content_and_size(tmp_path):
    base = mvtec_tree(tmp_path)

    def digest(size=16):
        return load_category("mvtec", "bolt", size, root=tmp_path).manifest_hash

    before = digest()
    assert digest() == before
    assert digest(32) != before
    save(base / "train" / "good" / "001.png", photo(77))
    assert digest() != before


def test_cache_gives_the_same_and_notices_a_changed_file(tmp_path, monkeypatch):
    from pouta_lib.data import cache

    monkeypatch.setattr(cache, "WORTH_BYTES", 0)
    monkeypatch.setenv("POUTA_CACHE", str(tmp_path / "cache"))
    base = mvtec_tree(tmp_path)
    plain = load_category("mvtec", "bolt", 16, root=tmp_path, cache=False)
    load_category("mvtec", "bolt", 16, root=tmp_path)
    kept = load_category("mvtec", "bolt", 16, root=tmp_path)
    assert isinstance(kept.train, np.memmap)
    assert not isinstance(plain.train, np.memmap)
    for name in ("train", "test", "masks"):
        assert (getattr(plain, name) == getattr(kept, name)).all()
    assert plain.manifest_hash == kept.manifest_hash
    save(base / "train" / "good" / "001.png", photo(78))
    changed = load_category("mvtec", "bolt", 16, root=tmp_path)
    assert changed.manifest_hash != plain.manifest_hash


def test_the_owners_own_files(repository):
    root = repository / REAL
    if not root.is_dir():
        pytest.skip("the real samples are not here")
    c = load_category("mvtec", "transistor", 64, root=root)
    check_form(c, 64)
    assert (c.kind, set(c.defects)) == ("object", {"good", "bent_lead", "misplaced"})
    assert list_categories("visa", root) == ["capsules"]


def test_real_categories(repository):
    root = repository / "../shared/data"
    if not root.is_dir():
        pytest.skip("the real images are not here")
    for dataset, category, counts in (
        ("mvtec", "transistor", (213, 60, 40)),
        ("mvtec", "toothbrush", (48, 12, 30)),
        ("visa", "macaroni1", (240, 100, 100)),
        ("surface", "magnetic_tile", (240, 100, 192)),
    ):
        c = load_category(dataset, category, 64, root=root)
        check_form(c, 64)
        assert (len(c.train), int((~c.labels).sum()), int(c.labels.sum())) == counts

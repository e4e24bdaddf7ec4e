"""Less usual layouts, limits, and the cache."""

import os
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
from trees import dagm_tree, mask, mvtec_tree, photo, save, visa_tree

from pouta_lib.data import cache, list_categories, load_category, load_textures, manifest
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.paths import temporary_beside


@pytest.fixture
def screws(tmp_path):
    """A user's folder: two good images, and a test set without masks."""
    base = tmp_path / "screws"
    for k in range(2):
        save(base / "good" / f"{k}.jpg", photo(k))
    save(base / "test" / "good" / "a.bmp", photo(5))
    for name in ("b.tif", "c.webp"):
        save(base / "test" / "worn" / name, photo(6))
    return base


def load(root, category="screws", dataset="folder", **options):
    return load_category(dataset, category, 20, root=root, **options)


def test_a_folder_with_masks_beside_the_images(screws, tmp_path):
    save(screws / "test" / "worn" / "b_mask.png", mask())
    with pytest.raises(PoutaError, match=r"expected a mask c_mask.png for the defective image"):
        load(tmp_path)
    save(screws / "test" / "worn" / "c_mask.PNG", mask())
    c = load(tmp_path)
    assert c.test_paths == [
        "screws/test/good/a.bmp",
        "screws/test/worn/b.tif",
        "screws/test/worn/c.webp",
    ]
    assert (c.mask_kind, c.masks.sum(axis=(1, 2)).tolist()) == ("exact", [0, 40, 40])


def test_a_folder_with_ground_truth_in_other_formats(screws, tmp_path):
    save(screws / "ground_truth" / "worn" / "b.bmp", mask())
    save(screws / "ground_truth" / "worn" / "c_mask.tif", mask())
    assert load(tmp_path).masks.sum() == 80


def test_a_folder_with_images_of_no_kind(screws, tmp_path):
    save(screws / "test" / "d.png", photo(9))
    with pytest.raises(PoutaError, match=r"found 1 images, first d.png(.|\n)*test/good or to test"):
        load(tmp_path)


def test_a_folder_laid_out_as_mvtec(tmp_path):
    mvtec_tree(tmp_path, "folder", "bolt")
    assert list_categories("folder", tmp_path) == ["bolt"]
    assert load(tmp_path, "bolt").masks.any()


def test_an_empty_folder_is_told(tmp_path):
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(PoutaError, match="expected categories of folder, found none"):
        list_categories("folder", tmp_path)
    with pytest.raises(PoutaError, match="holds your folders of images"):
        list_categories("folder", tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["", "..", "mvtec/bolt", "mvtek"])
def test_names_that_are_no_datasets(tmp_path, name):
    mvtec_tree(tmp_path)
    with pytest.raises(PoutaError, match="expected a dataset out of") as error:
        list_categories(name, tmp_path)
    assert ("did you mean 'mvtec'?" in str(error.value)) == name.startswith("mvte")


def test_visa_without_its_list(tmp_path):
    shutil.rmtree(visa_tree(tmp_path) / "split_csv")
    assert list_categories("visa", tmp_path) == ["candle"]
    with pytest.raises(PoutaError, match=r"expected the official split(.|\n)*restore"):
        load(tmp_path, "candle", "visa")


def test_visa_in_both_layouts_side_by_side(tmp_path):
    visa_tree(tmp_path)
    mvtec_tree(tmp_path, "visa", "cashew")
    assert list_categories("visa", tmp_path) == ["candle", "cashew"]
    assert len(load(tmp_path, "candle", "visa").test) == 4
    assert len(load(tmp_path, "cashew", "visa").test) == 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train,normal", "train,normaI", "line 2"),
        ("test,anomaly", "trial,anomaly", r"\('trial', 'anomaly'\)"),
        ("candle/Data/Masks/Anomaly/000.png", "", "expected a mask for each anomaly"),
    ],
)
def test_visa_with_a_damaged_list(tmp_path, old, new, message):
    path = visa_tree(tmp_path) / "split_csv" / "1cls.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(PoutaError, match=message):
        load(tmp_path, "candle", "visa")


def test_dagm_in_small_letters_and_without_the_first_line(tmp_path):
    base = dagm_tree(tmp_path)
    before = load(tmp_path, "Class1", "dagm")
    labels = base / "Test" / "Label" / "Labels.txt"
    labels.write_text("\ufeff" + labels.read_text().partition("\n")[2], encoding="utf-8")
    labels.rename(labels.with_name("labels.txt"))
    (base / "Test" / "Label").rename(base / "Test" / "label")
    (base / "Train").rename(base / "train")
    after = load(tmp_path, "Class1", "dagm")
    assert (after.labels == before.labels).all()
    assert (after.test == before.test).all()
    assert after.masks.sum() == before.masks.sum() == 40


def test_limits_share_out_the_defects_equally(tmp_path):
    base = mvtec_tree(tmp_path)
    for k in range(2, 9):
        save(base / "test" / "cut" / f"{k:03}.png", photo(k))
        save(base / "ground_truth" / "cut" / f"{k:03}_mask.png", mask())
    for limit, expected in ((1, (0, 1, 1)), (4, (1, 1, 2)), (5, (1, 2, 2)), (8, (1, 5, 2))):
        kinds = load(tmp_path, "bolt", "mvtec", max_test=limit).defects
        # where the limit leaves one defective image, the first defect has it
        wanted = (1, 0, 1) if limit == 1 else expected
        assert tuple(map(kinds.count, ("bent", "cut", "good"))) == wanted
    everything = load(tmp_path, "bolt", "mvtec", max_test=99)
    assert len(everything.test) == 12


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "WORTH_BYTES", 0)
    monkeypatch.delenv("POUTA_CACHE", raising=False)
    mvtec_tree(tmp_path)
    return load(tmp_path, "bolt", "mvtec")


def entries(root):
    return sorted((root / ".cache").iterdir())


def test_the_cache_lies_beside_the_datasets_and_can_be_passed_over(cached, tmp_path):
    assert len(entries(tmp_path)) == 1
    load_category("mvtec", "bolt", 32, root=tmp_path, cache=False)
    assert len(entries(tmp_path)) == 1
    load_category("mvtec", "bolt", 32, root=tmp_path)
    assert len(entries(tmp_path)) == 2
    assert list_categories("mvtec", tmp_path) == ["bolt"]


@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in cache.NAMES), cache.HASH_FILE])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "another's"])
def test_a_damaged_entry_is_made_again(cached, tmp_path, damage, name):
    path = entries(tmp_path)[0] / name
    content = path.read_bytes()
    path.unlink()
    if damage == "another's":
        with path.open("wb") as file:
            np.save(file, np.zeros((1, 3, 8, 8), np.uint8))
    elif damage != "missing":
        path.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    again = load(tmp_path, "bolt", "mvtec")
    for part in ("train", "test", "masks"):
        assert (getattr(again, part) == getattr(cached, part)).all()
    assert again.manifest_hash == cached.manifest_hash
    assert isinstance(load(tmp_path, "bolt", "mvtec").test, np.memmap)


def test_what_is_written_to_an_array_stays_out_of_the_cache(cached, tmp_path):
    load(tmp_path, "bolt", "mvtec").train[:] = 0
    assert (load(tmp_path, "bolt", "mvtec").train == cached.train).all()


def test_what_a_killed_process_began_to_cache_is_removed_and_no_more(cached, tmp_path):
    """Space for a whole entry had been taken; of a process that lives, the work is left alone."""
    (entry,) = entries(tmp_path)
    lives = temporary_beside(entry)
    killed = lives.with_name(lives.name.replace(f"-{os.getpid()}-", f"-{2**30}-"))
    for folder in (lives, killed):
        folder.mkdir()
        (folder / "train.npy").touch()
    load(tmp_path, "bolt", "mvtec")
    assert entries(tmp_path) == sorted([entry, lives, killed]), "nothing is written"
    load_category("mvtec", "bolt", 48, root=tmp_path)
    (added,) = set(entries(tmp_path)) - {entry, lives}
    assert added != killed and (lives / "train.npy").exists()


def test_a_folder_that_cannot_be_written_needs_no_cache(cached, tmp_path):
    shutil.rmtree(tmp_path / ".cache")
    (tmp_path / ".cache").write_text("in the way")
    assert (load(tmp_path, "bolt", "mvtec").train == cached.train).all()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system takes no space ahead")
def test_a_disk_that_is_full_needs_no_cache(cached, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    shutil.rmtree(tmp_path / ".cache")
    monkeypatch.setattr(os, "posix_fallocate", full)
    again = load(tmp_path, "bolt", "mvtec")
    assert entries(tmp_path) == []
    assert (again.train == cached.train).all() and again.manifest_hash == cached.manifest_hash


@pytest.mark.skipif(sys.platform == "win32", reason="it has no time of a file's last change")
def test_the_cache_notices_a_photograph_that_another_of_its_size_and_time_replaced(
    tmp_path, monkeypatch
):
    """As where a camera without a clock writes uncompressed pictures."""
    monkeypatch.setattr(cache, "WORTH_BYTES", 0)
    folder = tmp_path / "folder" / "screws" / "good"

    def read(seed):
        for k in range(3):
            path = save(folder / f"{k}.bmp", photo(seed + k))
            os.utime(path, (0, 0))
        return load_category("folder", "screws", 20, root=tmp_path)

    first, second = read(0), read(7)
    assert first.manifest_hash != second.manifest_hash
    assert (second.train[0] == np.moveaxis(photo(7), -1, 0)).all()


def test_images_are_read_into_the_cache_a_few_at_a_time(tmp_path, monkeypatch):
    """So that a set may be larger than memory: a part of it is held at the most."""
    monkeypatch.setattr(cache, "WORTH_BYTES", 0)
    monkeypatch.setattr(manifest, "READ_AHEAD", 2)
    for k in range(60):
        save(tmp_path / "folder" / "screws" / "good" / f"{k:02}.png", photo(k % 3))

    def most_held(cached):
        tracemalloc.start()
        category = load_category("folder", "screws", 128, root=tmp_path, cache=cached)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most / category.train.nbytes

    assert most_held(cached=True) < 0.3
    assert most_held(cached=False) > 1


def test_dtd_through_the_cache_and_thinned(cached, tmp_path):
    for k in range(6):
        save(tmp_path / "dtd" / "images" / f"class{k % 2}" / f"{k}.png", photo(k))
    first, second = (load_textures("dtd", 20, root=tmp_path) for _ in range(2))
    assert isinstance(first, np.memmap) and isinstance(second, np.memmap)
    assert (first == second).all()
    thin = load_textures("dtd", 20, root=tmp_path, max_images=2)
    assert (thin == first[[0, 5]]).all()
    save(tmp_path / "dtd" / "images" / "class1" / "5.png", photo(9))
    assert (load_textures("dtd", 20, root=tmp_path)[5] != first[5]).any()
    with pytest.raises(PoutaError, match="textures 'dtd' or 'builtin', found 'dtt'"):
        load_textures("dtt", 20)


def test_builtin_textures_are_various():
    textures = load_textures("builtin", 48).astype(float)
    assert textures.std(axis=(1, 2, 3)).min() > 1  # none is of one colour
    colourful = textures.std(axis=1).mean(axis=(1, 2))
    assert (colourful < 1).any() and (colourful > 20).any()
    flat = textures.reshape(len(textures), -1)
    assert len(np.unique(flat, axis=0)) == len(textures)

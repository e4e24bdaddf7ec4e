"""A dataset's categories taken as one: read, checked, and told apart again in the record."""

import numpy as np
import pytest
from trees import dagm_tree, mask, mvtec_tree, photo, save

from pouta_lib.data import list_categories, load_category
from pouta_lib.data.check import check_dataset
from pouta_lib.ground.errors import PoutaError
from pouta_lib.method.training import fit
from pouta_lib.score.evaluation import all_metrics, evaluate, metrics_by_category
from pouta_lib.study.records import read_record
from pouta_lib.study.run import load_run_data, open_data, prepare_run, save_run


@pytest.fixture
def two(bolt):
    """The fixture's folder, with a second category of its dataset."""
    mvtec_tree(bolt, category="nut")
    return bolt


def test_all_images_of_all_categories(two):
    bolt, nut = (load_category("mvtec", name, 16) for name in ("bolt", "nut"))
    assert list_categories("mvtec-together") == ["all"]
    both = load_category("mvtec-together", "all", 16)
    for field in ("train", "test", "masks", "labels"):
        expected = np.concatenate([getattr(bolt, field), getattr(nut, field)])
        np.testing.assert_array_equal(getattr(both, field), expected)
    assert both.test_paths == bolt.test_paths + nut.test_paths
    assert both.mask_kind == "exact"
    assert both.manifest_hash not in (bolt.manifest_hash, nut.manifest_hash)


def test_coarse_masks_stay_coarse(tmp_path):
    for name in ("Class1", "Class2"):
        dagm_tree(tmp_path, name)
    both = load_category("dagm-together", "all", 16, root=tmp_path)
    assert (both.mask_kind, len(both.train)) == ("coarse", 6)


def test_masks_of_several_kinds_are_told_of(tmp_path, capsys):
    for category in ("bolt", "nut"):
        for k, name in enumerate(("good/a.png", "test/good/b.png", "test/cut/c.png")):
            save(tmp_path / category / name, photo(k))
    save(tmp_path / "bolt" / "test" / "cut" / "c_mask.png", mask())
    both = load_category("folder-together", "all", 16, root=tmp_path)
    assert (both.mask_kind, both.masks) == ("none", None)
    told = "note: all: masks of several kinds (exact, none): none is scored"
    assert told in capsys.readouterr().err


def test_a_check_is_that_of_the_dataset(two):
    assert str(check_dataset("mvtec-together")) == str(check_dataset("mvtec"))


@pytest.mark.parametrize("command", [list_categories, check_dataset])
def test_together_is_said_once(two, command):
    with pytest.raises(PoutaError, match=r"one -together, found mvtec-together-together"):
        command("mvtec-together-together")


def test_a_dataset_that_is_not_there(two):
    with pytest.raises(PoutaError, match="a dataset out of"):
        list_categories("screws-together")


def test_metrics_of_each_are_those_of_its_own_maps(two):
    rng = np.random.default_rng(0)
    both = load_category("mvtec-together", "all", 16)
    maps, scores = rng.random(both.masks.shape), rng.random(len(both.test))
    found = metrics_by_category(both, maps, scores)
    assert list(found) == ["bolt", "nut"]
    for name, of in (("bolt", slice(0, 5)), ("nut", slice(5, 10))):
        alone = load_category("mvtec", name, 16)
        assert found[name] == all_metrics(alone, maps[of], scores[of])
    assert metrics_by_category(alone, maps[of], scores[of]) is None


def test_a_record_tells_of_each(two):
    settings = {"size_px": 32, "steps": 1}
    run = prepare_run("smoke", "mvtec-together", "", "vanilla", overrides=settings)
    assert run.key.category == "all"
    category, support, textures = load_run_data(run)
    trained = fit(category.train[support], textures, run.profile, "vanilla", 0)
    found = evaluate(trained.model, category, run.profile, trained.compute, "vanilla")
    record = read_record(save_run(run, category, support, trained, found))
    assert set(record.by_category) == {"bolt", "nut"}
    assert record.by_category["nut"]["pixel_ap"] == found.by_category["nut"]["pixel_ap"]
    assert open_data(record).test_paths == category.test_paths

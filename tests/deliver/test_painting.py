"""What the page "Paint a defect" reads: pictures as they are, and each network's own scores."""

import base64

import numpy as np
import pytest
from fakes import short_run

from pouta_lib.data import load_textures
from pouta_lib.data.mini import generate_mini
from pouta_lib.deliver.painting import FALSE_ALARMS, gather, packed, scratched
from pouta_lib.ground.errors import PoutaError
from pouta_lib.study.records import find_records
from pouta_lib.study.run import open_run


def unpacked(text, side):
    rgb = np.frombuffer(base64.b64decode(text), np.uint8).reshape(side, side, 3)
    return np.moveaxis(rgb, -1, 0)


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    pytest.importorskip("onnxruntime", reason="onnxruntime is in the extra `export`")
    root = tmp_path_factory.mktemp("painting")
    generate_mini(root / "data", share=0.05, workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POUTA_DATA", str(root / "data"))
        patch.setenv("POUTA_RESULTS", str(root / "results"))
        for variant in ("pouta", "vanilla"):
            label = short_run(variant)
        records = find_records(label)
        (root / "page").mkdir()
        yield gather(records, root / "page"), records, root / "page"


def test_the_networks_are_there_with_their_own_scores(gathered):
    data, records, folder = gathered
    (part,) = data["parts"]
    assert [m["method"] for m in part["models"]] == ["vanilla", "pouta"]
    for model in part["models"]:
        assert (folder / model["file"]).is_file()
        category, _, _ = open_run(records[0])
        assert len(model["good"]) == (~category.labels).sum()
        assert len(model["bad"]) == category.labels.sum()
        alarms = sum(score > model["threshold"] for score in model["good"])
        assert alarms <= FALSE_ALARMS * (len(model["good"]) + 1)
    assert set(part["models"][1]["contrast"]) == {f"F_C{i}" for i in (1, 2, 3, 4)}
    assert (folder / "nut-pouta.png").is_file()


def test_pictures_are_test_images_bit_for_bit(gathered):
    data, records, _ = gathered
    category, _, _ = open_run(records[0])
    (part,) = data["parts"]
    images = [unpacked(image["pixels"], data["size"]) for image in part["images"]]
    places = [
        int(np.flatnonzero((category.test == image).all(axis=(1, 2, 3)))[0]) for image in images
    ]
    assert not category.labels[places[:-1]].any() and category.labels[places[-1]]
    start = unpacked(part["start"], data["size"])
    assert 20 < (start != images[0]).any(axis=0).sum() < 0.1 * data["size"] ** 2
    texture = unpacked(data["textures"][1]["pixels"], data["size"])
    assert any((texture == one).all() for one in load_textures("builtin", data["size"]))


def test_without_a_run_of_pouta_there_is_nothing_to_show(gathered, tmp_path):
    _, records, _ = gathered
    with pytest.raises(PoutaError, match="runs of POUTA with their weights, found none"):
        gather([r for r in records if r.run.variant == "vanilla"], tmp_path)


def test_a_picture_comes_back():
    picture = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    assert np.array_equal(unpacked(packed(picture), 4), picture)


@pytest.mark.parametrize("value", [20, 235])
def test_a_scratch_is_seen_on_dark_and_on_light(value):
    image = np.full((3, 96, 96), value, np.uint8)
    differs = np.abs(scratched(image).astype(int) - value).max(axis=0)
    assert differs.max() > 100 and (differs == 0).mean() > 0.9

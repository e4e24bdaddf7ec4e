"""The weights to begin with (D44): what they are, what they change, when they are refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import warm_start as tool
from safetensors.torch import load_file

from conftest import REPOSITORY
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.training import fit, train
from pouta_lib.method.warm_start import RECORD, warm_digest, warm_folder
from pouta_lib.method.weights import FILE, weights_digest
from pouta_lib.study.plan import planned_runs
from pouta_lib.study.records import read_record
from pouta_lib.study.run import prepare_run

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
KEPT = REPOSITORY / "results" / "warm"


def settings(**changes):
    return load_profile("smoke", **{"size_px": 32, "steps": 4, "precision": "fp32"} | changes)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """What the tool makes of few images in two steps: the stored weights."""
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path))
    monkeypatch.setattr(tool, "list_categories", lambda dataset: ["bolt", "nut"])
    monkeypatch.setattr(tool, "load_category", lambda *_: SimpleNamespace(train=IMAGES))
    profile = settings(steps=2)
    warm_folder().mkdir()
    path = tool.make(profile, 0, warm_folder(), tmp_path / "c.pt", drawn_anew=1, crop_px=32)
    assert not (tmp_path / "c.pt").exists()
    return load_file(path)


def test_the_tool_makes_half_precision_and_a_record(made):
    record = json.loads((warm_folder() / RECORD).read_text())
    assert record["images"]["of"][:2] == ["mini-mvtec/bolt", "mini-visa/bolt"], "and no nut"
    assert record["images"]["count"] == 4 * (3 * len(IMAGES) + 48)
    assert record["weights"] == weights_digest(made) == warm_digest()
    kinds = {t.dtype for t in made.values() if t.is_floating_point()}
    assert kinds == {torch.float16}


def test_crops_are_squares_of_their_images():
    images = np.arange(2 * 3 * 8 * 8, dtype=np.uint16).reshape(2, 3, 8, 8)
    for image, crop in zip(images, tool.crops(images, 5), strict=True):
        y, x = np.argwhere(image[0] == crop[0, 0, 0])[0]
        assert np.array_equal(crop, image[:, y : y + 5, x : x + 5])


def test_what_was_measured_began_with_the_weights_of_the_kept_record():
    record = json.loads((KEPT / RECORD).read_text())
    assert not {"mini-mvtec/nut", "mini-mvtec/terrazzo"} & set(record["images"]["of"])
    runs = [read_record(path) for path in KEPT.glob("*/runs/*/*/*/*/*/record.json")]
    assert {r.warm_start for r in runs if r.profile.warm_start} == {record["weights"]}
    assert {r.warm_start for r in runs if not r.profile.warm_start} == {None}


def test_training_begins_with_them_whatever_the_seed_and_says_so(made):
    cold = train(IMAGES, IMAGES, settings(), "pouta", 0, device="cpu")
    warm = train(IMAGES, IMAGES, settings(warm_start=True), "pouta", 0, device="cpu")
    assert (cold.warm_start, warm.warm_start) == (None, warm_digest())
    almost_none = settings(warm_start=True, steps=1, lr=1e-12)
    for seed in (0, 1):
        trained = train(IMAGES, IMAGES, almost_none, "pouta", seed, device="cpu")
        for name, weight in trained.model.named_parameters():
            torch.testing.assert_close(weight, made[name].float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "changes", [{"width": 16}, {"norm": False}, {"normalisation": "group"}], ids=str
)
def test_another_network_is_refused(made, changes):
    with pytest.raises(PoutaError) as error:
        train(IMAGES, IMAGES, settings(warm_start=True, **changes), "pouta", 0, device="cpu")
    assert "expected weights that fit the settings" in str(error.value)
    assert f"where: {warm_folder() / FILE}" in str(error.value)
    assert "they fit width=8, norm=True, normalisation=batch; python tools" in str(error.value)


@pytest.mark.parametrize("method", ["vanilla", "draem", "patchcore", "base+hsg"])
def test_another_method_is_refused_wherever_it_is_named(bolt, method):
    told = rf"a method out of \['pouta'\], found '{method.replace('+', '.')}'.*\n.*\n.*POUTA's"
    with pytest.raises(PoutaError, match=told):
        fit(IMAGES, IMAGES, settings(warm_start=True), method, 0)
    with pytest.raises(PoutaError, match=told):
        prepare_run("smoke", "mvtec", "bolt", method, overrides={"warm_start": True})


def test_a_study_with_other_methods_is_refused_before_it_begins():
    with pytest.raises(PoutaError, match="the setting warm_start"):
        planned_runs("demo", warm_start=True)


def test_a_checkpoint_does_not_go_on_after_another_beginning(made, tmp_path):
    path = tmp_path / "checkpoint.pt"
    train(IMAGES, IMAGES, settings(), "pouta", 0, device="cpu", checkpoint=path)
    warm = settings(warm_start=True)
    with pytest.raises(PoutaError, match="warm_start"):
        train(IMAGES, IMAGES, warm, "pouta", 0, device="cpu", checkpoint=path)

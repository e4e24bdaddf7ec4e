"""The weights to begin with (D44): what they are, what they change, when they are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import warm_start as tool
from safetensors.torch import load_file

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.models import build_model
from pouta_lib.method.training import fit, train
from pouta_lib.method.warm_start import HERE, RECORD, start_warm, warm_digest
from pouta_lib.method.weights import FILE, weights_digest
from pouta_lib.study.plan import planned_runs
from pouta_lib.study.run import prepare_run

WARM = {"size_px": 32, "width": 16, "norm": True, "steps": 4, "precision": "fp32"}
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)


def settings(**changes):
    return load_profile("smoke", **WARM | changes)


def refused(**changes):
    profile = settings(warm_start=True, **changes)
    with pytest.raises(PoutaError) as error:
        train(IMAGES, IMAGES, profile, "pouta", 0, device="cpu")
    return str(error.value)


def test_the_weights_are_those_of_their_record_small_and_half():
    state, record = load_file(HERE / FILE), json.loads((HERE / RECORD).read_text())
    assert weights_digest(state) == record["weights"] == warm_digest()
    assert (HERE / FILE).stat().st_size < 3e6
    kinds = {t.dtype for t in state.values() if t.is_floating_point()}
    assert kinds == {torch.float16}
    assert not {"mini-mvtec/nut", "mini-mvtec/terrazzo"} & set(record["images"]["of"])


@pytest.mark.parametrize("name", ["demo", "real-cpu"])
def test_they_fit_the_profiles_they_are_for(name):
    model = start_warm(build_model("pouta", load_profile(name)))
    state, stored = model.state_dict(), load_file(HERE / FILE)
    assert all(torch.equal(state[k], stored[k].to(state[k].dtype)) for k in state)


def test_training_begins_with_them_whatever_the_seed_and_says_so():
    cold = train(IMAGES, IMAGES, settings(), "pouta", 0, device="cpu")
    warm = train(IMAGES, IMAGES, settings(warm_start=True), "pouta", 0, device="cpu")
    assert (cold.warm_start, warm.warm_start) == (None, warm_digest())
    almost_none = settings(warm_start=True, steps=1, lr=1e-12)
    begun = [train(IMAGES, IMAGES, almost_none, "pouta", seed, device="cpu") for seed in (0, 1)]
    stored = load_file(HERE / FILE)
    for trained in begun:
        for name, weight in trained.model.named_parameters():
            torch.testing.assert_close(weight, stored[name].float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "changes", [{"width": 8}, {"norm": False}, {"normalisation": "group"}], ids=str
)
def test_another_network_is_refused(changes):
    told = refused(**changes)
    assert "expected weights that fit the settings" in told
    assert f"where: {HERE / FILE}" in told
    assert "set width=16, norm=true, normalisation=batch" in told


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


def test_a_checkpoint_does_not_go_on_after_another_beginning(tmp_path):
    path = tmp_path / "checkpoint.pt"
    train(IMAGES, IMAGES, settings(), "pouta", 0, device="cpu", checkpoint=path)
    warm = settings(warm_start=True)
    with pytest.raises(PoutaError, match="warm_start"):
        train(IMAGES, IMAGES, warm, "pouta", 0, device="cpu", checkpoint=path)


def test_the_tool_makes_weights_and_their_record(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "RECOLOURED", 1)
    monkeypatch.setattr(tool, "list_categories", lambda dataset: ["bolt", "nut"])
    monkeypatch.setattr(tool, "load_category", lambda d, name, px: type("C", (), {"train": IMAGES}))
    profile = replace(settings(), steps=2)
    path = tool.make(profile, 0, tmp_path, tmp_path / "c.pt", drawn_anew=1, crop_px=32)
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["images"]["of"][:2] == ["mini-mvtec/bolt", "mini-visa/bolt"]
    assert record["images"]["count"] == 2 * (3 * len(IMAGES) + 48)
    assert record["weights"] == weights_digest(load_file(path))
    assert not (tmp_path / "c.pt").exists()


def test_crops_are_squares_of_their_images():
    images = np.arange(2 * 3 * 8 * 8, dtype=np.uint16).reshape(2, 3, 8, 8)
    for image, crop in zip(images, tool.crops(images, 5), strict=True):
        y, x = np.argwhere(image[0] == crop[0, 0, 0])[0]
        assert np.array_equal(crop, image[:, y : y + 5, x : x + 5])

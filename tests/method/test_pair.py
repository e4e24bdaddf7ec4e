"""Two methods joined: what is added, in which units, and where it is computed."""

import numpy as np
import pytest
import torch

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.methods import CANDIDATES, METHODS, find_method, resolve
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import choose_compute, compute_of
from pouta_lib.method.models import build_model, pair
from pouta_lib.method.training import fit
from pouta_lib.score.evaluation import detect

PAIR = "pouta+patchcore"
PROFILE = load_profile("smoke", steps=4, epochs=None)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    size = PROFILE.size_px
    coarse = rng.integers(60, 200, (12, 3, size // 8, size // 8), np.uint8)
    return np.repeat(np.repeat(coarse, 8, axis=2), 8, axis=3)


@pytest.fixture(scope="module")
def trained(images):
    return fit(images, images, PROFILE, PAIR, 0, device="cpu")


def test_every_pair_has_members_that_are_candidates():
    pairs = [method for method in METHODS.values() if method.members]
    assert [method.id for method in pairs] == [PAIR]
    for method in pairs:
        network, memory = map(find_method, method.members)
        assert network.trained and not memory.trained
        assert {network.id, memory.id, method.id} <= set(CANDIDATES)


def test_both_are_added_in_units_of_good_images_that_neither_has_seen(trained, images):
    held = np.arange(12) % 4 == 3
    network = fit(images[~held], images, PROFILE, "pouta", 0, device="cpu")
    memory = fit(images[~held], images, PROFILE, "patchcore", 0, device="cpu")
    expected = [0.0, 0.0]
    for member, name in ((network, "pouta"), (memory, "patchcore")):
        unseen = detect(member.model, images[held], PROFILE, member.compute, name)
        found = detect(member.model, images, PROFILE, member.compute, name)
        for k in range(2):
            expected[k] = expected[k] + found[k] / unseen[k].std(dtype=np.float64)
    found = detect(trained.model, images, PROFILE, trained.compute, PAIR)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert trained.steps == 4 and trained.compute.precision == network.compute.precision


def test_network_and_file_are_what_is_computed_in_full_precision(trained, images):
    compute = choose_compute("cpu", "fp32")
    maps, scores = detect(trained.model, images, PROFILE, compute, PAIR)
    batch = torch.from_numpy(images).float() / 255
    deployed = resolve(find_method(PAIR).deployed)(trained.model, PROFILE).eval()
    with torch.inference_mode():
        alone, (written, scored) = trained.model(batch), deployed(batch)
    for ours, theirs in ((alone, maps), (written, maps), (scored, scores)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_it_is_watched_as_a_pair_where_it_was_told_to_be(images, monkeypatch):
    monkeypatch.setenv("POUTA_DEVICE", "tpu")  # what nothing may ask for: a device is named
    seen = []
    options = {"device": "cpu", "watch": lambda model: seen.append(model) or {}}
    fit(images, images, PROFILE, PAIR, 0, **options)
    assert seen and all(isinstance(model, pair.Pair) for model in seen)


def test_too_few_images_and_a_member_that_tells_nothing_apart(images):
    with pytest.raises(PoutaError, match=r"at least 8 good.*found 7\n.*POUTA \+ PatchCore\n.*take"):
        fit(images[:7], images, PROFILE, PAIR, 0, device="cpu")
    network, memory = (build_model(name, PROFILE) for name in METHODS[PAIR].members)
    memory.memory = memory.embed(torch.zeros(1, 3, 64, 64)).flatten(0, 2)
    same = np.repeat(images[:1], 3, axis=0)
    with pytest.raises(PoutaError, match=r"(?s)found 3 that are alike at 64 px.*other parts"):
        pair.join(network, memory, PAIR, PROFILE, same)
    for weight in network.discriminative.parameters():
        torch.nn.init.zeros_(weight)
    with pytest.raises(PoutaError, match=r"(?s)that differ, found a deviation of 0.*train longer"):
        pair.join(network, memory, PAIR, PROFILE, images)
    assert compute_of(PAIR, PROFILE) == compute_of("pouta", PROFILE)

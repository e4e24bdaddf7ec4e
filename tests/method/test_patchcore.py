"""PatchCore against the definitions of its paper, written out by brute force on small data."""

import math

import numpy as np
import pytest
import torch

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import Compute
from pouta_lib.method.models import backbones, patchcore
from pouta_lib.method.models.backbones import build_backbone
from pouta_lib.method.models.patchcore import greedy_coreset, patch_features
from pouta_lib.method.training import fit
from pouta_lib.score.evaluation import predict


def remember(images, seed):
    return fit(images, images, load_profile("smoke"), "patchcore", seed, device="cpu")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 3, 64, 64), dtype=np.uint8)


@pytest.fixture(scope="module")
def trained(images):
    return remember(images[:4], seed=0)


def test_patch_features_average_3_by_3_and_bring_both_levels_to_one_grid():
    fine, coarse = torch.rand(1, 2, 4, 4), torch.rand(1, 3, 2, 2)
    features = patch_features([fine, coarse])
    assert features.shape == (1, 4, 4, 5)
    around = fine[0, :, 0:3, 1:4].mean(dim=(1, 2))  # the neighbourhood of row 1, column 2
    assert torch.allclose(features[0, 1, 2, :2], around)
    corner = fine[0, :, :2, :2].sum(dim=(1, 2)) / 9  # zeros beyond the border
    assert torch.allclose(features[0, 0, 0, :2], corner)


def coreset_by_brute_force(features, first, count):
    """Algorithm 1 of PatchCore: always the point farthest from its nearest chosen one."""
    chosen = [first]
    while len(chosen) < count:
        distances = [min(math.dist(point, features[c]) for c in chosen) for point in features]
        chosen.append(int(np.argmax(distances)))
    return chosen


def test_coreset_is_the_greedy_one():
    features = np.random.default_rng(1).normal(size=(60, 7))
    generator = torch.Generator().manual_seed(3)
    chosen = greedy_coreset(torch.tensor(features), 12, generator).tolist()
    assert chosen == coreset_by_brute_force(features.tolist(), chosen[0], 12)


def test_coreset_over_many_blocks_is_the_one_of_a_pass_over_all_features_each():
    """Clouds of different sizes, so that some blocks are looked at often and others hardly."""
    generator = torch.Generator().manual_seed(5)
    centres = 3 * torch.randn(12, 40, generator=generator)
    sizes = torch.rand(12, 1, generator=generator)
    which = torch.randint(12, (5000,), generator=generator)
    features = centres[which] + sizes[which] * torch.randn(5000, 40, generator=generator)
    chosen = greedy_coreset(features, 150, generator)
    distance, expected = torch.full((5000,), torch.inf), [int(chosen[0])]
    while len(expected) < 150:
        distance = distance.minimum((features - features[expected[-1]]).square().sum(dim=1))
        expected.append(int(distance.argmax()))
    assert chosen.tolist() == expected


def test_coreset_of_equal_features_ends():
    features = torch.ones(600, 3)
    assert greedy_coreset(features, 9, torch.Generator().manual_seed(0)).shape == (9,)


def test_projection_keeps_the_coreset_covering():
    """In 300 dimensions the coreset is chosen after a projection; it still covers the clusters."""
    generator = torch.Generator().manual_seed(0)
    centres = 50 * torch.randn(10, 300, generator=generator)
    features = centres.repeat_interleave(20, dim=0) + torch.randn(200, 300, generator=generator)
    chosen = greedy_coreset(features, 10, generator)
    assert sorted((chosen // 20).tolist()) == list(range(10))


@pytest.mark.parametrize("shape", [(7,), (600,), (2, 20, 20)])
def test_nearest_is_the_smallest_distance_of_all(trained, shape):
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(*shape, 152, generator=generator)
    distance, index = trained.model.nearest(patches)
    expected = torch.cdist(patches, trained.model.memory).min(dim=-1)
    torch.testing.assert_close(distance, expected.values, rtol=1e-5, atol=1e-5)
    assert torch.equal(index, expected.indices)


def score_by_brute_force(patches, memory, neighbours=9):
    """Equations 6 and 7 of PatchCore for one image."""
    nearest = [min((math.dist(p, m), j) for j, m in enumerate(memory)) for p in patches]
    star, k = max((distance, i) for i, (distance, _) in enumerate(nearest))
    m_star = memory[nearest[k][1]]
    around = sorted(range(len(memory)), key=lambda j: math.dist(memory[j], m_star))[:neighbours]
    shares = [math.exp(math.dist(patches[k], memory[j])) for j in around]
    return (1 - math.exp(star) / sum(shares)) * star, [distance for distance, _ in nearest]


def test_scores_and_distances_by_brute_force(trained, images):
    model = trained.model
    batch = torch.from_numpy(images[3:]).float() / 255
    patches = model.embed(batch)
    for k in range(2):
        expected, distances = score_by_brute_force(
            patches[k].flatten(0, 1).double().tolist(), model.memory.double().tolist()
        )
        assert float(model.map_and_score(batch)[1][k]) == pytest.approx(expected, rel=1e-3)
        found = model.nearest(patches)[0][k].flatten().tolist()
        # a distance by way of a matrix product is not exact near zero
        assert found == pytest.approx(distances, rel=1e-3, abs=0.1)


def test_memory_is_one_percent_and_repeats(trained, images):
    again = remember(images[:4], seed=0)
    other = remember(images[:4], seed=1)
    assert trained.model.memory.shape == (round(0.01 * 4 * 28 * 28), 40 + 112)
    assert torch.equal(trained.model.memory, again.model.memory)
    assert not torch.equal(trained.model.memory, other.model.memory)
    assert trained.steps == 0


def test_a_spot_on_a_plain_part_is_found():
    plain = np.full((3, 3, 64, 64), 120, np.uint8)
    plain += np.random.default_rng(0).integers(0, 6, plain.shape, dtype=np.uint8)
    fitted = remember(plain[:2], seed=0)
    spoiled = plain[2:].copy()
    spoiled[:, :, 40:52, 12:24] = 255
    (found,) = predict(fitted.model, spoiled, Compute(torch.device("cpu"), "fp32"))
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert found.shape == (64, 64)
    assert 36 <= row < 56 and 8 <= column < 28


def test_an_unknown_backbone_and_missing_weights_are_refused(monkeypatch, tmp_path):
    with pytest.raises(PoutaError, match="a backbone out of"):
        build_backbone("vgg")

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    of_old = r"pretrained weights.*\n.*\n.*wide_resnet50_2-95faca4d\.pth.*efficientnet_lite0"
    with pytest.raises(PoutaError, match=of_old):  # the weights of PatchCore's official code
        build_backbone("wide_resnet50_2")


@pytest.mark.parametrize("name", ["wide_resnet50_2", "resnet18"])
def test_torchvision_backbones_give_strides_8_and_16(name, monkeypatch):
    import torchvision

    build = torchvision.models.get_model
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: build(name))
    levels = backbones.build_backbone(name)(torch.rand(1, 3, 64, 64))
    assert [tuple(level.shape[-2:]) for level in levels] == [(8, 8), (4, 4)]


def test_small_images_are_enlarged_to_the_backbones_size(trained):
    assert trained.model.embed(torch.rand(1, 3, 64, 64)).shape == (1, 28, 28, 152)
    assert patchcore.WORKING_PX == 224

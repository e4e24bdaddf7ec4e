"""Feature pairs, their numbers and Grad-CAM, on small models and clouds made by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pouta_lib.data import Category
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.methods import ABLATED
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import Compute
from pouta_lib.method.models import build_model
from pouta_lib.score.explain import (
    FeaturePairs,
    clouds,
    embed_together,
    feature_pairs,
    grad_cam,
    latent_difference,
    latent_prediction,
    shift_numbers,
    thin_out,
)

CPU = Compute(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)


def model_of(method):
    torch.manual_seed(0)
    return build_model(method, load_profile("paper", width=8)).eval()


def test_feature_pairs_belong_to_the_places_of_the_mask(images):
    masks = np.zeros((3, 64, 64), bool)
    masks[1, 8:16, 16:24] = True  # exactly cell (1, 2) of the 8 x 8 grid of F_E4
    masks[2, 0:1, 0:1] = True  # touches cell (0, 0), covers 1/64 of it
    model = model_of("pouta")
    pairs = feature_pairs(model, images, masks, CPU)
    assert pairs.abnormal.sum() == 1
    assert len(pairs.abnormal) == 3 * 64 - 1  # the barely touched cell is left out
    with torch.no_grad():
        named = model.trace(torch.from_numpy(images[1:2]).float() / 255)
    for found, name in ((pairs.encoder, "F_E4"), (pairs.decoder, "F_D4")):
        expected = named[name][0, :, 1, 2].numpy()
        assert found[pairs.abnormal][0] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_shift_numbers_by_hand():
    encoder = np.array([[1.0, 0], [-1, 0], [5, 0], [7, 0]])
    decoder = np.array([[0.0, 2], [0, -2], [0, 1], [0, 3]])
    abnormal = np.array([False, False, True, True])
    numbers = shift_numbers(FeaturePairs(encoder, decoder, abnormal))
    assert numbers["separation_before"] == pytest.approx(6 / 1)
    assert numbers["separation_after"] == pytest.approx(2 / 2)
    shift = [5**0.5, 5**0.5, 26**0.5, 58**0.5]
    assert numbers["shift_ratio"] == pytest.approx(sum(shift[2:]) / sum(shift[:2]))
    with pytest.raises(PoutaError, match="0 abnormal of 2"):
        shift_numbers(FeaturePairs(encoder[:2], decoder[:2], abnormal[:2]))


def test_thinning_keeps_pairs_together_and_both_kinds():
    encoder = np.arange(40.0).reshape(20, 2)
    pairs = FeaturePairs(encoder, encoder + 100, np.arange(20) >= 15)
    few = thin_out(pairs, 4)
    assert (few.abnormal.sum(), (~few.abnormal).sum()) == (4, 4)
    assert np.array_equal(few.decoder, few.encoder + 100)
    assert np.array_equal(few.encoder, thin_out(pairs, 4).encoder)


def test_embedding_tells_two_far_clouds_apart_and_repeats():
    generator = np.random.default_rng(0)
    one, two = generator.normal(0, 1, (30, 10)), generator.normal(20, 1, (25, 10))
    first, second = embed_together([one, two])
    assert (first.shape, second.shape) == ((30, 2), (25, 2))
    between = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    assert between > 2 * first.std()
    assert np.array_equal(first, embed_together([one, two])[0])
    with pytest.raises(PoutaError, match="at least 10 points"):
        embed_together([one[:5]])


def test_the_latent_prediction_is_the_deepest_heads(images):
    model = build_model("pouta", load_profile("paper", width=8)).eval()
    found = latent_prediction(model, images, CPU)
    x = torch.from_numpy(images).float() / 255
    with torch.no_grad():
        deepest = model.reconstructive(x)
        contrast = model.discriminative.fcm["4"](deepest["F_E4"], deepest["F_D4"])
        logits = F.interpolate(
            model.discriminative.mss["4"](contrast), scale_factor=8, mode="bilinear"
        )
    np.testing.assert_allclose(found, logits.softmax(1)[:, 1], atol=1e-5)
    for method in ("vanilla", "base+hsg"):
        with pytest.raises(PoutaError, match="a network with MSS"):
            latent_prediction(build_model(method, load_profile("paper", width=8)), images, CPU)


def test_latent_difference_is_the_norm_of_the_subtraction(images):
    model = model_of("pouta")
    found = latent_difference(model, images, CPU)
    with torch.no_grad():
        named = model.trace(torch.from_numpy(images).float() / 255)
    norm = (named["F_E4"] - named["F_D4"]).norm(dim=1)
    assert found.shape == (3, 64, 64)
    inside = torch.nn.functional.interpolate(norm[:, None], (64, 64), mode="bilinear")[:, 0]
    assert found == pytest.approx(inside.numpy(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("method", ABLATED)
def test_grad_cam_of_every_row_of_table_5(images, method):
    model = model_of(method)
    assert len(model.seen_by_scale()) == 4
    cam = grad_cam(model, images[0])
    assert cam.shape == (64, 64)
    assert np.isfinite(cam).all() and cam.min() >= 0 and cam.max() <= 1


def test_grad_cam_depends_on_the_region(images):
    model = model_of("pouta")
    left = np.zeros((64, 64), bool)
    left[:, :16] = True
    found = grad_cam(model, images[0], left), grad_cam(model, images[0], left[:, ::-1])
    assert not np.allclose(*found)


def test_clouds_need_masks_and_are_of_one_embedding(images):
    labels = np.array([True, True, False])
    masks = np.zeros((3, 64, 64), bool)
    masks[:2, 16:40, 16:40] = True

    def category(masks):
        return Category(
            dataset="mvtec",
            name="bolt",
            kind="object",
            train=images,
            test=images,
            masks=masks,
            mask_kind="none" if masks is None else "exact",
            labels=labels,
            defects=["cut", "cut", "good"],
            train_paths=[],
            test_paths=[],
            manifest_hash="",
        )

    model = model_of("pouta")
    found = clouds(model, category(masks), CPU, most=12)
    pairs = feature_pairs(model, images[:2], masks[:2], CPU)
    assert found.numbers == shift_numbers(pairs), "of all locations, not of those drawn"
    assert (len(found.encoder), len(found.decoder), found.abnormal.sum()) == (24, 24, 12)
    with pytest.raises(PoutaError, match=r"expected masks of the defects, found none(.|\n)*bolt"):
        clouds(model, category(None), CPU)

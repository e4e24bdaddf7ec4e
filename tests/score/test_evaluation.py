"""Maps, scores and metrics of a model, against the definition and on data that lacks something."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from pouta_lib.data import load_category
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import choose_compute
from pouta_lib.method.models import build_model
from pouta_lib.score.evaluation import detect, evaluate, image_scores, predict, reconstruct


def test_image_score_against_the_definition():
    maps = np.random.default_rng(0).random((3, 12, 10)).astype(np.float32)
    expected = []
    for m in np.pad(maps, ((0, 0), (2, 2), (2, 2))):
        windows = [m[i : i + 5, j : j + 5].mean() for i in range(12) for j in range(10)]
        expected.append(max(windows))
    np.testing.assert_allclose(image_scores(maps, 5), expected, rtol=1e-5)


@pytest.mark.parametrize("window", [1, 3, 5, 9, 21, 31])
@pytest.mark.parametrize("kind", ["probabilities", "distances below zero", "float16", "float64"])
def test_image_score_is_the_maximum_of_torchs_pooling(window, kind):
    rng = np.random.default_rng(window)
    maps = {
        "probabilities": rng.random((4, 40, 28), dtype=np.float32) ** 8,
        "distances below zero": -1 - rng.random((4, 28, 40), dtype=np.float32),
        "float16": rng.random((4, 24, 24)).astype(np.float16),
        "float64": rng.random((4, 9, 11)),
    }[kind]
    wide = torch.from_numpy(maps).double().unsqueeze(1)
    pooled = functional.avg_pool2d(wide, window, stride=1, padding=window // 2)
    found = image_scores(maps, window)
    np.testing.assert_allclose(found, pooled.amax(dim=(1, 2, 3)), rtol=1e-6, atol=1e-7)
    assert found.dtype == (np.float64 if kind == "float64" else np.float32)
    np.testing.assert_array_equal(found, image_scores(torch.from_numpy(maps), window))


def test_prediction_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    model = build_model("pouta", load_profile("smoke")).eval()
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    compute = choose_compute("cpu", "fp32")
    whole = predict(model, images, compute, batch_size=5)
    np.testing.assert_allclose(whole, predict(model, images, compute, batch_size=2), atol=1e-6)
    with torch.no_grad():
        one = model(torch.from_numpy(images[:1]).float() / 255)
    np.testing.assert_allclose(whole[:1], one.numpy(), atol=1e-6)


@pytest.mark.parametrize("method", ["pouta", "patchcore"])
def test_a_model_in_training_is_looked_at_in_eval_mode_and_left_as_it_was(method):
    torch.manual_seed(0)
    profile, compute = load_profile("smoke"), choose_compute("cpu", "fp32")
    model = build_model(method, profile).train()
    frozen = list(model.modules())[-1].eval()
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    if method == "patchcore":
        model.memory = model.embed(torch.zeros(1, 3, 32, 32)).flatten(0, 2)
    before = {name: value.clone() for name, value in model.named_buffers()}
    found = [*detect(model, images, profile, compute, method), predict(model, images, compute)]
    if method == "pouta":
        found.append(reconstruct(model, images, compute))
    assert model.training and not frozen.training
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name]), name
    model.eval()
    expected = [*detect(model, images, profile, compute, method), predict(model, images, compute)]
    if method == "pouta":
        expected.append(reconstruct(model, images, compute))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_evaluation_without_masks_or_images(bolt):
    category = load_category("mvtec", "bolt", 32)
    profile = load_profile("smoke", size_px=32)
    model, compute = build_model("base", profile), choose_compute("cpu", "fp32")
    found = evaluate(model, category, profile, compute, "base")
    assert found.reconstructions.shape == category.test.shape
    assert all(0 <= value <= 1 for value in found.metrics.values())
    coarse = evaluate(model, replace(category, mask_kind="coarse"), profile, compute, "base")
    assert coarse.metrics["pixel_ap"] is None
    assert coarse.metrics["image_auroc"] == found.metrics["image_auroc"]
    with pytest.raises(PoutaError, match="expected test images to score"):
        evaluate(model, replace(category, test=category.test[:0]), profile, compute, "base")

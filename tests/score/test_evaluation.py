"""Maps, scores and metrics of a model, against the definition and on data that lacks something."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pouta_lib.data import load_category
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import choose_compute
from pouta_lib.method.models import build_model
from pouta_lib.score.evaluation import evaluate, image_scores, predict


def test_image_score_against_the_definition():
    maps = np.random.default_rng(0).random((3, 12, 10)).astype(np.float32)
    expected = []
    for m in np.pad(maps, ((0, 0), (2, 2), (2, 2))):
        windows = [m[i : i + 5, j : j + 5].mean() for i in range(12) for j in range(10)]
        expected.append(max(windows))
    np.testing.assert_allclose(image_scores(maps, 5), expected, rtol=1e-5)


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

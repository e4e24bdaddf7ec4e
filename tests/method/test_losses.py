"""Losses against scikit-image, NumPy and the formulas."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch.nn import functional

from pouta_lib.method.losses import (
    MSS_WEIGHTS,
    anomaly_loss,
    focal_loss,
    reconstruction_loss,
    ssim,
    total_loss,
)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    a = rng.random((2, 3, 40, 48))
    return a, np.clip(a + 0.2 * rng.standard_normal(a.shape), 0, 1)


def test_ssim_against_scikit_image(pair):
    a, b = pair
    expected = np.mean(
        [
            structural_similarity(
                x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                data_range=1.0, channel_axis=0,
            )
            for x, y in zip(a, b, strict=True)
        ]
    )  # fmt: skip
    assert float(ssim(torch.tensor(a), torch.tensor(b))) == pytest.approx(expected, abs=2e-6)


def test_ssim_of_equals_is_one(pair):
    a = torch.tensor(pair[0])
    assert float(ssim(a, a)) == pytest.approx(1, abs=1e-6)


def test_reconstruction_loss_is_equation_1(pair):
    a, b = (torch.tensor(x, dtype=torch.float32) for x in pair)
    expected = float(((a - b) ** 2).mean()) + 1 - float(ssim(a, b))
    assert float(reconstruction_loss(b, a)) == pytest.approx(expected, rel=1e-5)


def test_the_negative_of_an_image_is_no_way_out(pair):
    """SSIM alone calls -I nearly a perfect copy of I (D32); the loss leads out of there."""
    original = torch.tensor(pair[0], dtype=torch.float32)
    assert float(ssim(-original, original)) == pytest.approx(1, abs=0.02)
    trapped = (-original).requires_grad_()
    loss = reconstruction_loss(trapped, original)
    assert loss.item() > 1
    loss.backward()
    assert (trapped.grad[original > 0.05] < 0).all()  # descending raises every pixel


def test_focal_and_l1_by_hand():
    logits = torch.tensor([[[[0.0, 2.0]], [[1.0, -1.0]]]])  # (1, 2, 1, 2)
    mask = torch.tensor([[[1.0, 0.0]]])
    p = np.exp(1) / (np.exp(0) + np.exp(1)), np.exp(-1) / (np.exp(2) + np.exp(-1))
    p_t = np.array([p[0], 1 - p[1]])
    expected = np.mean(-((1 - p_t) ** 2) * np.log(p_t))
    assert float(focal_loss(logits, mask)) == pytest.approx(expected, rel=1e-5)
    both = expected + np.mean([1 - p[0], p[1]])
    assert float(anomaly_loss(logits, mask)) == pytest.approx(both, rel=1e-5)


def test_anomaly_loss_of_several_heads_is_the_sum_of_both_terms_of_each():
    torch.manual_seed(1)
    logits, mask = 3 * torch.randn(5, 2, 2, 8, 8), (torch.rand(2, 8, 8) > 0.7).float()
    l1 = [functional.l1_loss(head.softmax(dim=1)[:, 1], mask) for head in logits]
    expected = [focal_loss(head, mask) + of_head for head, of_head in zip(logits, l1)]
    torch.testing.assert_close(anomaly_loss(logits, mask), torch.stack(expected))


def test_focal_stays_finite_for_sure_and_wrong_predictions():
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 1] = 200.0
    logits.requires_grad_()
    loss = focal_loss(logits, torch.zeros(1, 4, 4))
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()
    assert loss.item() == pytest.approx(200, rel=1e-4)


def test_total_is_the_weighted_sum_of_equations_6_and_8():
    torch.manual_seed(0)
    original, mask = torch.rand(2, 3, 16, 16), (torch.rand(2, 16, 16) > 0.8).float()
    named = {"I_r": torch.rand(2, 3, 16, 16), "logits": torch.randn(2, 2, 16, 16)}
    without = total_loss(named, original, mask)
    assert float(without["mss"]) == 0
    named |= {f"logits{i}": torch.randn(2, 2, 16, 16) for i in (1, 2, 3, 4)}
    parts = total_loss(named, original, mask)
    heads = [float(anomaly_loss(named[f"logits{i}"], mask)) for i in (1, 2, 3, 4)]
    assert float(parts["mss"]) == pytest.approx(np.dot([0.4, 0.3, 0.2, 0.1], heads), rel=1e-5)
    summed = parts["reconstruction"] + parts["anomaly"] + parts["mss"]
    assert float(parts["total"]) == pytest.approx(float(summed), rel=1e-6)
    assert sum(MSS_WEIGHTS.values()) == pytest.approx(1)

"""POUTA trained otherwise: where gradients go, and which map is the answer."""

import pytest
import torch

from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.losses import reconstruction_loss, total_loss
from pouta_lib.method.models import build_model
from pouta_lib.method.models.questions import losses_without_prediction
from pouta_lib.method.synthesis import SyntheticBatch


@pytest.fixture
def batch():
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64)
    mask = (torch.rand(2, 64, 64) > 0.9).float()
    return SyntheticBatch(image, mask, image, image, mask)


def small(method):
    torch.manual_seed(1)
    return build_model(method, load_profile("smoke")).train()


def gradients(network):
    return {name: p.grad for name, p in network.named_parameters()}


def test_trained_apart_repair_learns_from_its_own_loss_alone(batch):
    joint, apart, repair = small("pouta"), small("pouta-apart"), small("pouta").reconstructive
    for model in (joint, apart):
        total_loss(model.trace(batch.image), batch.original, batch.mask)["total"].backward()
    reconstruction_loss(repair(batch.image)["I_r"], batch.original).backward()
    expected = gradients(repair)
    for name, gradient in gradients(apart.reconstructive).items():
        assert torch.allclose(gradient, expected[name], atol=1e-6), name
    differing = [
        name
        for name, gradient in gradients(joint.reconstructive).items()
        if not torch.allclose(gradient, expected[name], atol=1e-6)
    ]
    assert len(differing) > len(expected) / 2
    for name, gradient in gradients(joint.discriminative).items():  # which learns as ever
        assert torch.allclose(gradients(apart.discriminative)[name], gradient), name


def test_mss_alone_leaves_the_common_head_as_it_was_and_answers_with_the_finest(batch):
    model = small("pouta-mss-alone")
    losses = losses_without_prediction(model.trace(batch.image), batch)
    parts = losses["reconstruction"] + losses["mss"]
    assert losses["total"].item() == parts.item() != (parts + losses["anomaly"]).item()
    losses["total"].backward()
    assert all(p.grad is None for p in model.discriminative.head.parameters())
    assert all(p.grad is not None for p in model.discriminative.mss.parameters())
    model.eval()
    with torch.no_grad():
        named = model.trace(batch.image)
        model.discriminative.head = None  # which a map has no need of
        assert torch.equal(model(batch.image), named["M_p1"])
    assert torch.equal(named["M_p"], named["M_p1"])

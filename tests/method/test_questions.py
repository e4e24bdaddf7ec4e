"""POUTA trained otherwise: where gradients go, and which map is the answer."""

import pytest
import torch

from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.losses import reconstruction_loss, total_loss
from pouta_lib.method.models import build_model
from pouta_lib.method.models.questions import losses_with_class_weights, losses_without_prediction
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


def test_class_weights_count_an_anomalous_pixel_a_third_as_much_in_every_head(batch):
    named = small("pouta-weighted").trace(batch.image)
    mask = batch.mask > 0.5

    def expected(logits):
        p_t = logits.softmax(1).gather(1, mask[:, None].long())[:, 0]
        focal = -((1 - p_t) ** 2) * p_t.log()
        return (torch.where(mask, 0.25, 0.75) * focal + 1 - p_t).mean()

    losses = losses_with_class_weights(named, batch)
    assert torch.allclose(losses["anomaly"], expected(named["logits"]), atol=1e-6)
    weights = {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1}
    mss = sum(weight * expected(named[f"logits{i}"]) for i, weight in weights.items())
    assert torch.allclose(losses["mss"], mss, atol=1e-6)
    plain = total_loss(named, batch.original, batch.mask)
    assert torch.equal(losses["reconstruction"], plain["reconstruction"])
    assert losses["anomaly"] < plain["anomaly"]

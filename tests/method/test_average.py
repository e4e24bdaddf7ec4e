"""Averaged weights against the definition, step by step."""

import pytest
import torch
from tiny import IMAGES, TEXTURES, settings

from pouta_lib.method import training
from pouta_lib.method.average import floats, move_towards
from pouta_lib.method.models import build_model
from pouta_lib.method.training import train


def test_averaged_weights_are_those_of_the_definition(monkeypatch):
    seen = []

    def watched(average, weights, share):
        seen.append((float(share), [tensor.clone() for tensor in weights]))
        move_towards(average, weights, share)

    plain = train(IMAGES, TEXTURES, settings(), "pouta", 0, device="cpu")
    monkeypatch.setattr(training, "move_towards", watched)
    profile = settings(average_share=0.25)
    averaged = train(IMAGES, TEXTURES, profile, "pouta", 0, device="cpu")
    assert averaged.history == plain.history
    last = zip(seen[-1][1], floats(plain.model), strict=True)
    assert all(torch.equal(*pair) for pair in last), "the training itself goes on as without"
    assert [share for share, _ in seen] == pytest.approx(
        [max(1 / 2, 10 / (10 + n)) for n in range(8)]
    )
    torch.manual_seed(0)
    expected = [t.double() for t in floats(build_model("pouta", profile))]
    for share, tensors in seen:
        expected = [(1 - share) * e + share * t for e, t in zip(expected, tensors, strict=True)]
    for tensor, wanted in zip(floats(averaged.model), expected, strict=True):
        torch.testing.assert_close(tensor.double(), wanted, rtol=1e-4, atol=1e-6)

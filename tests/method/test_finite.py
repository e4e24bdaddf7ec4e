"""Losses that are not finite end a training, and leave a record of why."""

import json

import pytest
import torch
from tiny import IMAGES, TEXTURES, settings

from pouta_lib.ground.errors import PoutaError
from pouta_lib.method import training
from pouta_lib.method.history import LOSSES
from pouta_lib.method.losses import total_loss
from pouta_lib.method.training import train


def test_a_loss_that_is_not_finite_leaves_a_record_of_why(monkeypatch, tmp_path):
    steps = iter(range(99))
    seen = []

    def broken(named, original, mask):
        losses = total_loss(named, original, mask)
        if next(steps) == 13:
            losses["anomaly"] = losses["anomaly"] * float("inf")
        seen.append([float(losses[name].detach()) for name in LOSSES])
        return losses

    monkeypatch.setattr(training, "total_loss", broken)
    wrong = settings(steps=20, checkpoint_steps=10)
    checkpoint = tmp_path / "a run" / "checkpoint.pt"
    said = r"finite losses, found .*'anomaly': inf.* at step 13\n.*not_finite.json\n.*lower lr"
    with pytest.raises(PoutaError, match=said):
        train(IMAGES, TEXTURES, wrong, "base", 0, checkpoint=checkpoint)
    told = json.loads((checkpoint.parent / "not_finite.json").read_text())
    assert (told["step"], told["losses"]) == (13, list(LOSSES))
    assert list(told["of_steps"]) == [str(step) for step in range(3, 14)]
    assert told["of_steps"]["13"][2] == "inf"
    assert told["of_steps"]["12"] == pytest.approx(seen[12], rel=1e-6)
    assert told["settings"] | {"lr": wrong.lr, "steps": 20, "seed": 0} == told["settings"]
    assert torch.load(checkpoint, weights_only=True)["step"] == 10  # of the time before


def test_diverging_loss_is_named(monkeypatch):
    def broken(named, original, mask):
        return dict.fromkeys(LOSSES, named["I_r"].float().sum() * float("nan"))

    monkeypatch.setattr(training, "total_loss", broken)
    with pytest.raises(PoutaError, match=r"finite losses.*step 0\n.*training at lr=.*\n.*lower lr"):
        train(IMAGES, TEXTURES, settings(steps=3), "base", 0)

"""Weights cast at once train as autocast's."""

import pytest
from tiny import IMAGES, TEXTURES, equal, settings, weights

from pouta_lib.method import training
from pouta_lib.method.cast import Cast
from pouta_lib.method.training import train


@pytest.mark.parametrize("method", ["pouta", "vanilla"])
def test_casting_at_once_trains_as_autocast_does(monkeypatch, method):
    def run():
        profile = settings(steps=4, precision="bf16", average_share=0.2)
        return train(IMAGES, TEXTURES, profile, method, 0, device="cpu")

    at_once = run()
    monkeypatch.setattr(training, "cast_at_once", lambda model, compute: Cast(model, [], []))
    by_autocast = run()
    assert equal(weights(at_once), weights(by_autocast))
    assert at_once.history == by_autocast.history

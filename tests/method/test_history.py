"""What is kept of the losses."""

import torch

from pouta_lib.method.history import summarise


def test_history_keeps_the_mean_of_each_stretch():
    losses = torch.arange(40, dtype=torch.float32).view(10, 4)
    history = summarise(losses, points=3)
    assert history["step"] == [4, 7, 10]
    assert history["total"] == [6.0, 20.0, 32.0]  # means of rows 0-3, 4-6, 7-9 of 0, 4, 8, ...

"""What a model costs, against counts by hand."""

import pytest
import torch
from torch import nn

from pouta_lib.score.efficiency import (
    count_multiply_adds,
    count_parameters,
    inference_milliseconds,
)


def test_a_convolution_is_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU())
    assert count_parameters(model) == 5 * 3 * 9 + 5 + 2 * 5
    model[0].bias.requires_grad_(False)
    assert count_parameters(model) == 5 * 3 * 9 + 2 * 5
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert count_multiply_adds(model, 8) == 8 * 8 * 5 * 3 * 9
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_functions_take_turns_and_the_first_round_does_not_count(monkeypatch):
    calls, now = [], [0.0]
    monkeypatch.setattr("pouta_lib.score.efficiency.time.perf_counter", lambda: now[0])

    def takes(name: str, seconds: float):
        def function(image: torch.Tensor) -> torch.Tensor:
            assert torch.is_inference_mode_enabled()
            now[0] += seconds + (0.9 if len(calls) < 2 else 0)  # warming up
            calls.append(name)
            return image

        return function

    functions = {"slow": takes("slow", 0.004), "quick": takes("quick", 0.001)}
    spent = inference_milliseconds(functions, torch.zeros(1, 3, 8, 8), rounds=3)
    assert calls == ["slow", "quick"] * 4
    assert spent["slow"] == pytest.approx([4, 4, 4])
    assert spent["quick"] == pytest.approx([1, 1, 1])


def test_a_card_of_any_kind_is_waited_for(monkeypatch):
    """On Apple's a call comes back before anything is computed, as on CUDA's."""
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    image = torch.zeros(1, 3, 8, 8)
    inference_milliseconds({"any": lambda x: x}, image, rounds=2)
    assert waited == []
    inference_milliseconds({"any": lambda x: x}, image.to("meta"), rounds=2)
    assert waited == [torch.device("meta")] * 3

"""A step that is recorded leaves its card alone: a recording fails where anything is copied to it
or asked of it. No card is needed to see that: torch's fake tensors have shapes and devices alone.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pouta_lib.ground.methods import METHODS, resolve
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method import losses, perlin
from pouta_lib.method.models import build_model

CARD = torch.device("cuda", 0)
KEPT = (perlin._lattice_weights, losses._window_matrix)  # for each device, by the first steps
RECORDED = [
    m.id for m in METHODS.values() if m.trained and not m.members and resolve(m.recipe).recordable
]


class Draws(torch.Generator):
    """Of a card."""

    device = CARD


class Copies(TorchDispatchMode):
    """Notes what goes from one device to another."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, result)) if torch.is_tensor(one)]
        if len({tensor.device.type for tensor in tensors}) > 1:
            self.noted.append(str(function))
        return result


@pytest.fixture
def faked():
    """Tensors of a card that need not be there; what was kept of them is forgotten."""
    with FakeTensorMode() as mode:
        yield mode
    for function in KEPT:
        function.cache_clear()


def step(method, profile, device, draws):
    """The losses of a step, from its draws on; the gradients need a card."""
    recipe = resolve(METHODS[method].recipe)
    size = profile.size_px
    with device:
        good, bank = torch.rand(4, 3, size, size), torch.zeros(2, 3, size, size, dtype=torch.uint8)
        model = build_model(method, profile).train()
    with Copies() as copies:
        batch = recipe.batch(good, bank, draws, profile)
        named = recipe.losses(model.trace(batch.image), batch)
    assert {loss.device for loss in named.values()} == {device}
    return copies.noted


@pytest.mark.parametrize("method", RECORDED)
def test_a_recorded_step_copies_nothing_to_the_card_and_asks_it_nothing(method, request):
    # varies all that can be varied
    profile = load_profile("real-cpu", size_px=32, width=8, anomalous_share=1)
    step(method, profile, torch.device("cpu"), torch.Generator())  # works out some numbers for all
    request.getfixturevalue("faked")
    step(method, profile, CARD, Draws())  # and some for each card, as the first steps do
    assert step(method, profile, CARD, Draws()) == []

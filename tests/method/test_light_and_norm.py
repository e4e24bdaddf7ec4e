"""The images' light, varied (D38) or taken away (D48), and the blocks' normalisation (D37)."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pouta_lib.ground.methods import ABLATED, METHODS
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.models import build_model
from pouta_lib.method.models.blocks import normaliser
from pouta_lib.method.training import train
from pouta_lib.method.variation import vary_light
from pouta_lib.score.efficiency import count_multiply_adds, count_parameters


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return torch.rand(64, 3, 32, 32, generator=generator(1))


def test_a_share_of_the_images_is_varied_and_the_rest_is_left_alone(images):
    many = images.repeat(8, 1, 1, 1)
    varied = vary_light(many, generator(), share=0.3, strength=0.2)
    same = (varied == many).flatten(1).all(dim=1)
    assert float(same.float().mean()) == pytest.approx(0.7, abs=0.06)
    assert 0 <= float(varied.min()) <= float(varied.max()) <= 1


def test_no_strength_is_no_change(images):
    torch.testing.assert_close(vary_light(images, generator(), 1.0, 0.0), images)


def test_the_bounds_are_those_of_the_docstring():
    """A flat gray image has no contrast: gamma, gain, colour, slope and offset bound its values."""
    strength, gray = 0.2, torch.full((4000, 3, 16, 16), 0.5)
    varied = vary_light(gray, generator(2), 1.0, strength)
    lowest = 0.5 ** (2**strength) * (1 - strength) * (1 - strength / 3) * (1 - strength)
    highest = 0.5 ** (2**-strength) * (1 + strength) * (1 + strength / 3) * (1 + strength)
    assert float(varied.min()) >= max(0, lowest - strength / 2) - 1e-6
    assert float(varied.max()) <= min(1, highest + strength / 2) + 1e-6
    assert float(varied.mean()) == pytest.approx(0.5, abs=0.02), "no drift to one side"
    assert float(varied.std(dim=(2, 3)).mean()) > 0.01, "the gradient is there"
    means = varied.mean(dim=(2, 3))
    assert float((means.amax(1) - means.amin(1)).mean()) > 0.01, "the colours differ"
    assert float(means.mean(1).std()) > 0.05, "images differ from each other"


def test_black_and_white_images_move_too():
    """An offset lifts black; a lamp's gain alone could not."""
    black = vary_light(torch.zeros(500, 3, 8, 8), generator(3), 1.0, 0.2)
    assert 0.02 < float(black.amax(dim=(1, 2, 3)).mean()) <= 0.1


@pytest.mark.parametrize("kind", ["group", "instance"])
def test_groups_normalise_each_image_by_itself(kind):
    x = torch.randn(3, 16, 5, 5, generator=generator(4))
    layer = normaliser(kind, 16)
    found = layer(x)
    parts = 2 if kind == "group" else 16
    grouped = x.view(3, parts, -1)
    mean, variance = grouped.mean(2, keepdim=True), grouped.var(2, keepdim=True, unbiased=False)
    expected = ((grouped - mean) / (variance + 1e-5).sqrt()).view_as(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(layer(x[:1]), found[:1])


@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (12, 1), (16, 2), (28, 2), (64, 8)])
def test_groups_divide_the_channels(channels, groups):
    assert normaliser("group", channels).num_groups == groups


@pytest.mark.parametrize("method", ABLATED)
@pytest.mark.parametrize("kind", ["group", "instance"])
def test_another_normalisation_costs_the_same_and_needs_no_mode(method, kind):
    torch.manual_seed(0)
    settings = {"width": 8, "norm": True}
    model = build_model(method, load_profile("paper", **settings, normalisation=kind))
    batch = build_model(method, load_profile("paper", **settings))
    assert count_parameters(model) == count_parameters(batch)
    x = torch.rand(2, 3, 64, 64, generator=generator(5))
    with torch.no_grad():
        torch.testing.assert_close(model.train()(x), model.eval()(x))
        torch.testing.assert_close(model(x[:1]), model(x)[:1], rtol=1e-3, atol=1e-3)
        assert not torch.allclose(batch.train()(x), batch.eval()(x))
    assert count_multiply_adds(model) == count_multiply_adds(batch)


def test_light_leaves_the_draws_of_a_run_without_it_alone():
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), dtype=np.uint8)
    short = {"steps": 2, "width": 4}

    def losses(**changed):
        profile = load_profile("smoke", **short, **changed)
        return train(images, images, profile, "base", seed=0, device="cpu").history["total"]

    assert losses() == losses(light_range=0.4), "a range without a share changes nothing"
    assert losses() != losses(light_share=1.0)


def test_ramp_and_gain_are_multiplied_not_added():
    """A dark place stays darker than a bright one in any light but where both are cut."""
    ramp = F.interpolate(torch.linspace(0.2, 0.8, 8).view(1, 1, 1, 8), (8, 8)).expand(200, 3, 8, 8)
    varied = vary_light(ramp, generator(6), 1.0, 0.1).mean(dim=2)  # (200, 3, 8): along the row
    assert bool((varied.diff(dim=2) > 0).all())


def standardising(method, standardise=True):
    torch.manual_seed(1)
    model = build_model(method, load_profile("smoke", standardise=standardise)).eval()
    for weights in filter(lambda p: p.ndim > 1, model.parameters()):
        torch.nn.init.kaiming_normal_(weights)  # with DRAEM's own, no map would move
    return model


@pytest.mark.parametrize("method", [m.id for m in METHODS.values() if m.trained and not m.members])
def test_standardised_light_and_its_colour_change_no_map_and_the_repair_alike(method):
    gain, shift = torch.tensor([0.5, 0.7, 0.9]), torch.tensor([0.1, 0.0, 0.05])
    gain, shift = gain.view(3, 1, 1), shift.view(3, 1, 1)
    image = torch.rand(2, 3, 64, 64, generator=generator(7))
    images = image, image * gain + shift
    model, plain = standardising(method), standardising(method, False)
    assert count_parameters(model) == count_parameters(plain)
    with torch.no_grad():
        maps = [model(image) for image in images]
        named, changed = (model.trace(image) for image in images)
        moved = (plain(images[1]) - plain(images[0])).abs().max()
        flat = model.trace(torch.full((1, 3, 64, 64), 0.25))
        repaired = model.reconstructive(images[1])["I_r"]
    assert torch.equal(named["M_p"], maps[0])
    assert (maps[1] - maps[0]).abs().max() < moved / 100
    assert torch.allclose(changed["I_r"], named["I_r"] * gain + shift, atol=1e-4)
    assert torch.equal(repaired, changed["I_r"])  # which is what is shown of a run
    assert all(tensor.isfinite().all() for tensor in flat.values())
    assert (flat["I_r"] - 0.25).abs().max() < 0.1

"""Synthesis, bit for bit, against the equations: image by image, nothing left out.

Training's records repeat only as long as every batch does.
"""

import math

import pytest
import torch
from torch.nn import functional as F

from pouta_lib.ground.profiles import SynthesisSettings, load_profile
from pouta_lib.method import draws
from pouta_lib.method.draem_training import draem_synthesize
from pouta_lib.method.draws import mean_of_each
from pouta_lib.method.perlin import perlin_field
from pouta_lib.method.placing import place
from pouta_lib.method.synthesis import soften, synthesize

SETTINGS = {
    "by itself": SynthesisSettings(),
    "all anomalous": SynthesisSettings(anomalous_share=1, structural_share=0.5, edge_sigma=0.02),
    "structural alone": SynthesisSettings(structural_share=1),
    "none anomalous": SynthesisSettings(anomalous_share=0, structural_share=0.5),
    "everything varied": SynthesisSettings(
        light_share=1, move_range=0.1, noise_range=0.1, varied_share=1
    ),
} | {name: load_profile(name).synthesis for name in ("demo", "real-cpu", "questions", "paper")}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def of_each(needed, varied, image):
    """The varied image where it is needed, the other elsewhere."""
    return torch.stack([varied[k] if needed[k] else image[k] for k in range(len(image))])


def sampled(image, angle, shift, zoom):
    """Each image turned, moved and zoomed about its centre, on a grid in [-1, 1]."""
    (*_, n), views = image.shape, []
    line = torch.linspace(-1, 1, n) * (n - 1) / n
    y, x = torch.meshgrid(line, line, indexing="ij")
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    for k in range(len(image)):
        across = cos[k] * x - sin[k] * y + shift[k, 0]
        down = sin[k] * x + cos[k] * y + shift[k, 1]
        grid = torch.stack([across, down], dim=2)[None]
        view = F.grid_sample(image[k : k + 1], grid, padding_mode="reflection", align_corners=False)
        views.append(view[0])
    return torch.stack(views)


def transformed(original, draw, g, first):
    """T(I_ori): 0 stays, 1 is moved, 2 is turned."""
    batch = len(original)
    choice = torch.randint(first, 3, (batch,), generator=g)
    shift = draw(batch, 2, low=-1, high=1) * (choice == 1)[:, None]
    angle = draw(batch, low=-math.pi, high=math.pi) * (choice == 2)
    return sampled(original, angle, shift, torch.ones(batch))


def varied(image, draw, s):
    """Light, then position."""
    batch, _, n, _ = image.shape
    if s.light_share:
        kept = draw(batch, 1, 1, 1) >= s.light_share
        d = (draw(batch, 5, low=-1, high=1) * s.light_range).view(batch, 5, 1, 1, 1)
        gain, contrast, offset, gamma, slope = d.unbind(1)
        colour = 1 + draw(batch, 3, 1, 1, low=-1, high=1) * s.light_range / 3
        angle = draw(batch, 1, 1, 1, high=2 * math.pi)
        line = torch.linspace(-1, 1, n)
        ramp = (angle.sin() * line[:, None] + angle.cos() * line) / math.sqrt(2)
        mean = torch.stack([one.mean() for one in image]).view(batch, 1, 1, 1)
        lit = mean + (image.clamp(0, 1) ** (2**gamma) - mean) * (1 + contrast)
        lit = lit * (1 + gain) * colour * (1 + slope * ramp) + offset / 2
        image = of_each(~kept.flatten(), lit.clamp(0, 1), image)
    if s.move_range:
        kept = draw(batch) >= s.varied_share
        d = draw(batch, 4, low=-1, high=1) * s.move_range
        image = of_each(~kept, sampled(image, d[:, 0], 2 * d[:, 1:3], 1 + d[:, 3]), image)
    return image


def by_the_equations(original, textures, g, s):
    """The image and the mask of a batch, and I_aug and the Perlin field of every image in it."""

    def draw(*shape, low=0.0, high=1.0):
        return low + (high - low) * torch.rand(shape, generator=g)

    original = varied(original, draw, s)
    batch, _, n, _ = original.shape

    powers = torch.randint(0, 6, (2, batch), generator=g)
    angle = draw(batch, 33, 33, high=2 * math.pi)
    noise = perlin_field(n, powers.T, angle.cos(), angle.sin())  # has an oracle of its own
    turn = draw(batch, low=-math.pi / 2, high=math.pi / 2)
    noise = sampled(noise[:, None], turn, torch.zeros(batch, 2), torch.ones(batch))[:, 0]
    highest = [field.max() for field in noise]
    cuts = [torch.tensor(0.5) if top > 0.5 else top - 0.3 * top.abs() for top in highest]
    mask = torch.stack([field > cut for field, cut in zip(noise, cuts, strict=True)]).float()
    mask = mask * (draw(batch, 1, 1) < s.anomalous_share)

    texture = textures[torch.randint(len(textures), (batch,), generator=g)].float() / 255
    for flips, dims in zip(torch.randint(0, 2, (3, batch), generator=g), (2, 1, None), strict=True):
        turned = texture.mT if dims is None else texture.flip(dims + 1)
        texture = of_each(flips.bool(), turned, texture)
    order = torch.rand(batch, 3, generator=g).argsort(dim=1)
    texture = torch.stack([texture[k, order[k]] for k in range(batch)])
    contrast = draw(batch, 1, 1, 1, low=0.6, high=1.6)
    brightness = draw(batch, 3, 1, 1, low=-0.3, high=0.3)
    middle = torch.stack([one.mean() for one in texture]).view(batch, 1, 1, 1)
    texture = (middle + (texture - middle) * contrast + brightness).clamp(0, 1)

    b = draw(batch, 1, 1, 1, high=s.max_opacity)
    augmented = (1 - b) * texture + b * transformed(original, draw, g, 0)
    structural = torch.zeros(batch, dtype=torch.bool)
    if s.structural_share:
        structural = draw(batch) < s.structural_share
        augmented = of_each(structural, transformed(original, draw, g, 1), augmented)

    soft = soften(mask, s.edge_sigma * n)[:, None]
    image = (1 - soft) * original + soft * augmented
    changed = (image - original).abs().amax(dim=1) > 20 / 255
    mask = of_each(structural, mask * changed, mask)
    image = image.clamp(0, 1)
    if s.noise_range:
        deviation = draw(batch, 1, 1, 1, high=s.noise_range)
        deviation = deviation * (draw(batch, 1, 1, 1) < s.varied_share)
        image = (image + deviation * torch.randn(image.shape, generator=g)).clamp(0, 1)
    return image, mask, augmented.clamp(0, 1), noise


def good_images_and_textures(seed, batch=4, size=64):
    g = generator(seed)
    good = torch.randint(256, (batch, 3, size, size), dtype=torch.uint8, generator=g)
    textures = torch.randint(256, (7, 3, size, size), dtype=torch.uint8, generator=g)
    return good.float() / 255, textures


@pytest.mark.parametrize("name", SETTINGS)
def test_a_batch_is_what_the_equations_give(name):
    some = set()
    for seed in range(6):
        good, textures = good_images_and_textures(seed)
        found = synthesize(good, textures, generator(seed), SETTINGS[name])
        image, mask, augmented, field = by_the_equations(
            good, textures, generator(seed), SETTINGS[name]
        )
        assert torch.equal(found.image, image)
        assert torch.equal(found.mask, mask)
        shown = mask.flatten(1).any(dim=1)
        assert torch.equal(found.augmented[shown], augmented[shown])
        assert torch.equal(found.field[shown], field[shown])
        some.add(int(shown.sum()))
    assert some == {0} if name == "none anomalous" else len(some) > 1 or some == {4}


@pytest.mark.parametrize("synthesis_of", [synthesize, draem_synthesize])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_card_which_computes_all_gives_the_same(name, synthesis_of, monkeypatch):
    for seed in range(3):
        good, textures = good_images_and_textures(seed)
        selected, all_of_them = generator(seed), generator(seed)
        some = synthesis_of(good, textures, selected, SETTINGS[name])
        with monkeypatch.context() as patch:
            patch.setattr(draws, "selects", lambda device: False)
            everything = synthesis_of(good, textures, all_of_them, SETTINGS[name])
        for field, found, expected in zip(some._fields, some, everything, strict=True):
            assert torch.equal(found, expected), field
        assert torch.equal(selected.get_state(), all_of_them.get_state())


def test_an_image_has_the_same_mean_alone_and_among_others():
    images, threads = torch.rand(3, 3, 224, 224, generator=generator(0)), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = torch.cat([mean_of_each(one[None]) for one in images])
        assert torch.equal(alone, mean_of_each(images))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(alone.flatten(), images.mean(dim=(1, 2, 3)))


@pytest.mark.parametrize("outside", ["reflection", "zeros"])
def test_an_image_is_placed_as_torch_would(outside):
    g = generator(1)
    image, placed = torch.rand(5, 2, 48, 32, generator=g), torch.rand(5, 2, 3, generator=g)
    grid = F.affine_grid(placed, [5, 2, 48, 32], align_corners=False)
    expected = F.grid_sample(image, grid, padding_mode=outside, align_corners=False)
    torch.testing.assert_close(place(image, placed, outside), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.5])
def test_a_soft_edge_is_a_convolution_with_a_gaussian(sigma):
    mask = (torch.rand(3, 40, 64, generator=generator(2)) > 0.9).float()
    radius = max(1, math.ceil(3 * sigma))
    weights = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    kernel = torch.outer(weights, weights) / weights.sum() ** 2
    padded = F.pad(mask[:, None], (radius,) * 4, mode="replicate")
    expected = F.conv2d(padded, kernel[None, None])[:, 0]
    torch.testing.assert_close(soften(mask, sigma), expected, atol=1e-6, rtol=0)

"""Synthesis: ranges, seeds, shapes, and Perlin noise against its definition."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from pouta_lib.ground.profiles import SynthesisSettings, load_profile
from pouta_lib.method import synthesis, variation
from pouta_lib.method.perlin import draw_lattice, perlin_field, perlin_mask
from pouta_lib.method.placing import rotate_and_shift
from pouta_lib.method.synthesis import soften, synthesize


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def originals():
    return torch.rand(16, 3, 64, 64, generator=generator(5))


@pytest.fixture(scope="module")
def textures():
    return torch.randint(0, 256, (7, 3, 64, 64), dtype=torch.uint8, generator=generator(6))


def perlin_by_the_definition(size, cells_y, cells_x, angle):
    """Interpolated dot products of corner gradients, pixel by pixel."""

    def fade(t):
        return t**3 * (t * (t * 6 - 15) + 10)

    field = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            y, x = (row + 0.5) / size * cells_y, (column + 0.5) / size * cells_x
            i, j = int(y), int(x)
            for a in (0, 1):
                for b in (0, 1):
                    dy, dx = y - (i + a), x - (j + b)
                    weight = fade(1 - abs(dy)) * fade(1 - abs(dx))
                    g = angle[i + a, j + b]
                    field[row, column] += weight * (math.sin(g) * dy + math.cos(g) * dx)
    return field * math.sqrt(2)


def test_perlin_against_its_definition():
    field = perlin_field(24, *draw_lattice(3, generator(3)))
    again = generator(3)
    powers = torch.randint(0, 6, (2, 3), generator=again)
    angles = torch.rand(3, 33, 33, generator=again) * 2 * math.pi
    for k in range(3):
        cells = 2 ** int(powers[0, k]), 2 ** int(powers[1, k])
        expected = perlin_by_the_definition(24, *cells, angles[k].double().numpy())
        np.testing.assert_allclose(field[k].numpy(), expected, atol=2e-5)


def test_perlin_stays_in_range_and_spreads():
    field = perlin_field(32, *draw_lattice(200, generator()))
    assert field.abs().max() <= 1
    assert 0.2 < field.std() < 0.4


def test_every_mask_has_an_anomaly_and_none_fills_the_image():
    mask, _ = perlin_mask(1000, 32, generator())
    area = mask.mean(dim=(1, 2))
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert area.min() > 0
    assert area.max() < 0.9


def test_a_seed_gives_identical_batches(originals, textures):
    one, same = (synthesize(originals, textures, generator(9)) for _ in range(2))
    other = synthesize(originals, textures, generator(10))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.image, other.image)


@pytest.mark.parametrize("edge_sigma", [0.0, 0.02])
def test_ranges_and_shapes(originals, textures, edge_sigma):
    batch = synthesize(originals, textures, generator(), SynthesisSettings(edge_sigma=edge_sigma))
    assert batch.image.shape == originals.shape and batch.mask.shape == (16, 64, 64)
    for part in (batch.image, batch.augmented, batch.original):
        assert part.dtype == torch.float32
        assert 0 <= part.min() and part.max() <= 1
    assert set(batch.mask.unique().tolist()) <= {0.0, 1.0}


def test_hard_edge_blends_exactly(originals, textures):
    batch = synthesize(
        originals, textures, generator(), SynthesisSettings(anomalous_share=1, edge_sigma=0)
    )
    mask = batch.mask.unsqueeze(1)
    torch.testing.assert_close(batch.image, (1 - mask) * originals + mask * batch.augmented)


def test_soft_edge_leaves_the_far_outside_alone(originals, textures):
    batch = synthesize(
        originals, textures, generator(), SynthesisSettings(anomalous_share=1, edge_sigma=0.02)
    )
    near = torch.nn.functional.max_pool2d(batch.mask.unsqueeze(1), 11, 1, 5)  # 3 sigma is 4 px
    far = (near == 0).expand_as(originals)
    assert torch.equal(batch.image[far], originals[far])
    assert far.any()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_share_of_anomalous_images(originals, textures, share):
    batch = synthesize(originals, textures, generator(), SynthesisSettings(anomalous_share=share))
    assert (batch.mask.flatten(1).any(dim=1)).float().mean() == share
    if share == 0:
        assert torch.equal(batch.image, originals)


def test_share_is_met_on_average(textures):
    originals = torch.rand(800, 3, 64, 64, generator=generator(1))
    batch = synthesize(originals, textures, generator(2), SynthesisSettings(anomalous_share=0.3))
    assert float(batch.mask.flatten(1).any(1).float().mean()) == pytest.approx(0.3, abs=0.06)


def test_opacity_one_with_identity_shows_the_original(originals, textures, monkeypatch):
    monkeypatch.setattr(synthesis, "place", lambda image, _: image)
    monkeypatch.setattr(
        synthesis, "uniform", lambda g, shape, low=0.0, high=1.0: torch.full(shape, float(high))
    )
    batch = synthesize(
        originals, textures, generator(), SynthesisSettings(anomalous_share=2, max_opacity=1.0)
    )
    torch.testing.assert_close(batch.augmented, originals)


def test_rotation_by_a_quarter_turn_and_identity(originals):
    still = torch.zeros(16)
    nowhere = torch.zeros(16, 2)
    torch.testing.assert_close(
        rotate_and_shift(originals, still, nowhere), originals, atol=1e-5, rtol=0
    )
    turned = rotate_and_shift(originals, still + math.pi / 2, nowhere)
    torch.testing.assert_close(turned, originals.rot90(1, (2, 3)), atol=1e-4, rtol=0)


def test_soften_keeps_the_area_and_zero_is_hard():
    mask = torch.zeros(1, 40, 40)
    mask[:, 15:25, 12:28] = 1
    assert torch.equal(soften(mask, 0), mask)
    assert float(soften(mask, 1.5).sum()) == pytest.approx(float(mask.sum()), rel=1e-5)


def test_the_light_is_varied_first_and_the_rest_is_drawn_as_after_it(originals, textures):
    settings = SynthesisSettings(light_share=1.0, light_range=0.3, edge_sigma=0.01)
    batch = synthesize(originals, textures, generator(6), settings)
    drawn = generator(6)
    lit = variation.vary_light(originals, drawn, 1.0, 0.3)
    by_hand = synthesize(lit, textures, drawn, replace(settings, light_share=0.0))
    assert all(torch.equal(a, b) for a, b in zip(batch, by_hand, strict=True))
    assert not torch.equal(batch.original, originals)


def test_positions_vary_within_their_range_and_by_image():
    """A bright square in the middle moves by no more than shift, turn and zoom can move it."""
    image = torch.zeros(400, 3, 64, 64)
    image[..., 30:34, 30:34] = 1
    moved = variation.vary_position(image, generator(7), 0.1)[:, 0]
    at = torch.arange(64) - 31.5
    centre = torch.stack([(moved.sum(axis) * at).sum(1) / moved.sum((1, 2)) for axis in (1, 2)])
    assert 0.09 * 64 < float(centre.abs().max()) <= 0.1 * 64 * 1.1 * 1.1 + 0.1
    assert float(centre.mean().abs()) < 0.3
    area = moved.sum((1, 2)) / 16
    assert 0.9**2 - 0.02 < float(area.min()) < 0.9 < 1.1 < float(area.max()) < 1.1**2 + 0.02
    torch.testing.assert_close(
        variation.vary_position(image, generator(7), 0.0), image, atol=1e-5, rtol=0
    )


def test_noise_is_on_what_the_network_sees_alone(originals, textures):
    clean = synthesize(originals, textures, generator(8))
    settings = SynthesisSettings(noise_range=0.05)
    noisy = synthesize(originals, textures, generator(8), settings)
    for name in ("mask", "original", "augmented"):
        assert torch.equal(getattr(clean, name), getattr(noisy, name)), name
    gray = torch.full((300, 3, 32, 32), 0.5)
    some = variation.add_noise(gray, generator(9), 0.05, 0.3).std(dim=(1, 2, 3))
    assert float((some == 0).float().mean()) == pytest.approx(0.7, abs=0.08)
    moved = variation.vary_position(originals.repeat(20, 1, 1, 1), generator(9), 0.1, 0.3)
    same = (moved == originals.repeat(20, 1, 1, 1)).flatten(1).all(dim=1)
    assert float(same.float().mean()) == pytest.approx(0.7, abs=0.08)
    deviation = variation.add_noise(gray, generator(9), 0.05).std(dim=(1, 2, 3))
    assert 0 <= float(deviation.min()) < 0.002 < 0.048 < float(deviation.max()) < 0.052


def test_the_group_holds_every_setting_of_a_profile_that_synthesis_takes():
    profile = load_profile("demo", light_share=0.5, structural_share=0.25, edge_sigma=0.01)
    group = asdict(profile.synthesis)
    assert group == {name: profile.to_dict()[name] for name in group}
    assert set(group) >= {"light_share", "light_range", "structural_share", "anomalous_share"}
    assert set(group) >= {"move_range", "noise_range", "varied_share"}


def test_structural_anomalies_hold_no_texture_and_mark_what_can_be_seen(textures):
    gray = torch.linspace(0, 1, 64).expand(16, 3, 64, 64)  # gray, so that colour means texture
    batch = synthesize(
        gray, textures, generator(3), SynthesisSettings(anomalous_share=1, structural_share=1)
    )
    torch.testing.assert_close(batch.image[:, 0], batch.image[:, 1])
    changed = (batch.image - gray).abs().amax(dim=1) > synthesis.CLEAR_CHANGE
    assert torch.equal(batch.mask.bool(), changed)
    assert changed.any()


def test_the_structural_share_leaves_all_other_anomalies_as_they_were(originals, textures):
    originals = originals.repeat(20, 1, 1, 1)
    always = SynthesisSettings(anomalous_share=2)
    none, half = (
        synthesize(originals, textures, generator(4), replace(always, structural_share=share))
        for share in (0.0, 0.5)
    )
    same = (none.image == half.image).flatten(1).all(dim=1)
    assert float(same.float().mean()) == pytest.approx(0.5, abs=0.1)
    assert torch.equal(none.mask[same], half.mask[same])
    assert torch.equal(none.field, half.field)

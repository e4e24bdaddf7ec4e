"""Harmless changes: small, repeatable, growing with their strength, and with their damage."""

import numpy as np
import pytest

from pouta_lib.study.changes import HARMLESS, MOVEMENTS, change_harmlessly, move_along

NAMES = [change.__name__ for change in HARMLESS]


@pytest.fixture
def images():
    """Two images of soft blobs on gray, with a little grain: ``(2, 3, 64, 64)`` uint8."""
    y, x = np.mgrid[:64, :64] / 64
    waves = [np.sin(7 * x + k) * np.cos(5 * y - k) for k in range(6)]
    grain = np.random.default_rng(0).normal(0, 4, (6, 64, 64))
    return (120 + 60 * np.stack(waves) + grain).reshape(2, 3, 64, 64).astype(np.uint8)


def changed(images, kind, strength):
    again = change_harmlessly(images, np.full(len(images), kind), strength)
    assert again.shape == images.shape and again.dtype == np.uint8
    return again


def distance(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


@pytest.mark.parametrize("kind", range(len(HARMLESS)), ids=NAMES)
def test_a_change_grows_with_its_strength_and_repeats(images, kind):
    steps = [distance(images, changed(images, kind, strength)) for strength in (0, 0.25, 0.5, 1)]
    assert steps == sorted(steps) and steps[1] < steps[3] < 40
    assert steps[0] < (4 if HARMLESS[kind].__name__ == "jpeg" else 0.6)
    assert np.array_equal(changed(images, kind, 0.5), changed(images, kind, 0.5))


def test_light_changes_by_what_is_said(images):
    flat = np.full((1, 3, 8, 8), 100, np.uint8)
    of = {name: changed(flat, kind, 1.0)[0] for kind, name in enumerate(NAMES)}
    assert (of["darker"] == 80).all() and (of["lighter"] == 120).all()
    assert (of["contrast"] == 100).all()
    assert np.unique(of["black_level"]).tolist() in ([80], [120])
    assert sorted(of["white_balance"][:, 0, 0].tolist()) == [90, 100, 110]
    assert of["gradient"].min() >= 85 and of["gradient"].max() <= 115
    assert 5 < (of["noise"].astype(int) - 100).std() < 11


def test_each_image_gets_the_kind_that_is_asked(images):
    mixed = change_harmlessly(images, np.array([0, 1]), 0.5)
    assert np.array_equal(mixed[0], changed(images, 0, 0.5)[0])
    assert np.array_equal(mixed[1], changed(images, 1, 0.5)[1])


@pytest.mark.parametrize("kind", range(len(HARMLESS)), ids=NAMES)
def test_a_mask_moves_with_its_image(kind):
    masks = np.zeros((3, 64, 64), bool)
    masks[:, 8:20, 30:50] = True
    bright = np.where(masks[:, None], 200, 50).repeat(3, axis=1).astype(np.uint8)
    kinds = np.full(3, kind)
    moved = move_along(masks, kinds, 1.0)
    if HARMLESS[kind] not in MOVEMENTS:
        assert np.array_equal(moved, masks)
        return
    assert (moved != masks).any(axis=(1, 2)).all()
    seen = change_harmlessly(bright, kinds, 1.0)[:, 0] > 125
    assert (moved != seen).mean() < 0.002

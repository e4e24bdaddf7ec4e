"""Strange anomalies: where they are, and that they repeat."""

import numpy as np
import pytest

from pouta_lib.study.damages import DAMAGES, VISIBLE, damage


@pytest.fixture
def smooth():
    """Three gray images with a soft gradient and a little grain: ``(3, 3, 96, 96)`` uint8."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(60, 180, 96)[None, None, :, None]
    return (ramp + rng.normal(0, 4, (3, 3, 96, 96))).clip(0, 255).astype(np.uint8)


def test_damage_lies_inside_its_mask(smooth):
    damaged, masks = damage(smooth)
    assert damaged.shape == (15, 3, 96, 96) and damaged.dtype == np.uint8
    assert masks.shape == (15, 96, 96) and masks.dtype == bool
    change = np.abs(damaged.astype(int) - smooth.repeat(len(DAMAGES), axis=0)).max(axis=1)
    assert (change[masks] > VISIBLE).all()
    for k in range(len(masks)):
        # the soft rim of a scratch or a stain is outside: it changed by less than the middle
        assert change[k][~masks[k]].mean() < 0.1 * change[k][masks[k]].mean()
    sizes = masks.mean(axis=(1, 2)).reshape(3, len(DAMAGES)).mean(axis=0)
    assert (sizes > 0.0005).all() and (sizes < 0.2).all()


def test_damage_repeats_and_is_another_one_on_each_image(smooth):
    again, masks = damage(smooth)
    assert np.array_equal(again, damage(smooth)[0])
    assert not np.array_equal(masks[0], masks[5]), "each image is damaged elsewhere"

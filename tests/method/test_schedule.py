"""What each step takes: rates as the paper says, batches that are full."""

import numpy as np
import pytest

from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.schedule import batch_indices, learning_rate
from pouta_lib.method.training import num_steps


def test_schedule_of_the_paper():
    paper = load_profile("paper")
    steps = num_steps(paper, 240)
    assert steps == 600 * 30
    rates = {epoch: learning_rate(paper, epoch * 30, steps) for epoch in (0, 479, 480, 539, 540)}
    expected = {0: 2e-4, 479: 2e-4, 480: 4e-5, 539: 4e-5, 540: 8e-6}
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("num_images", [1, 3, 10, 64])
def test_batches_are_full_and_each_pass_takes_every_image_once(num_images):
    batches = [batch_indices(num_images, 8, step, seed=4) for step in range(16)]
    assert all(len(batch) == 8 for batch in batches)
    row = np.concatenate(batches)
    for start in range(0, len(row) - num_images + 1, num_images):
        assert sorted(row[start : start + num_images]) == list(range(num_images))

"""Intervals and the best moment, where the right answer is known."""

import numpy as np
import pytest

from pouta_lib.ground.errors import PoutaError
from pouta_lib.score.metrics import image_metrics
from pouta_lib.score.uncertainty import best_moment, bootstrap_interval


def test_perfect_scores_leave_no_doubt():
    labels = np.array([False] * 5 + [True] * 5)
    scores = np.arange(10.0)
    interval = bootstrap_interval(
        lambda i: image_metrics(labels[i], scores[i])["image_auroc"], labels, repeats=50
    )
    assert interval == (1.0, 1.0)


def test_interval_of_a_mean_is_that_of_the_normal_law():
    generator = np.random.default_rng(0)
    values = generator.normal(10, 2, 400)
    labels = np.arange(400) < 200
    low, high = bootstrap_interval(lambda i: values[i].mean(), labels, repeats=2000)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)


def test_both_kinds_are_resampled_apart_and_the_seed_repeats():
    labels = np.array([False, False, True])
    counts = set()

    def statistic(indices):
        counts.add(int(labels[indices].sum()))
        return float(indices.sum())

    assert bootstrap_interval(statistic, labels) == bootstrap_interval(statistic, labels)
    assert counts == {1}
    with pytest.raises(PoutaError, match="0 good and 2 defective"):
        bootstrap_interval(statistic, np.array([True, True]))


def test_best_moment():
    watched = [
        {"step": 1, "image_auroc": 0.5},
        {"step": 2, "image_auroc": 0.9},
        {"step": 3, "image_auroc": 0.9},
        {"step": 4, "image_auroc": 0.7},
    ]
    assert best_moment(watched, "image_auroc") == (0.7, 0.9, 2)
    with pytest.raises(PoutaError, match="along the training"):
        best_moment([{"step": 1, "pixel_ap": None}], "pixel_ap")

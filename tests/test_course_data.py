"""What notebooks 01 and 02 write out in full is what the library does."""

import numpy as np
import pytest
from test_course import definitions

from pouta_lib.evaluation import image_scores
from pouta_lib.metrics import pixel_metrics

DATA, SYNTHESIS = "01_data_and_metrics", "02_synthetic_anomalies"


@pytest.fixture(scope="module")
def data(repository):
    return definitions(repository, DATA)


def blocks(seed, size=12):
    """A mask with regions of several sizes, some touching at a corner; scores with ties."""
    rng = np.random.default_rng(seed)
    mask = rng.random((size // 2, size // 2)).repeat(2, 0).repeat(2, 1) > 0.8
    return mask, np.round(0.4 * mask + rng.random((size, size)), 1)


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_aupro_by_hand(data, seed, limit):
    mask, scores = blocks(seed)
    expected = pixel_metrics(mask[None], scores[None], pro_limit=limit)["pixel_aupro"]
    assert data["aupro"](mask, scores, limit) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [8, 11])
@pytest.mark.parametrize("window", [1, 3, 7])
def test_image_score_by_hand(data, window, size):
    maps = np.random.default_rng(window).random((4, size, size))
    found = [data["image_score"](one, window) for one in maps]
    np.testing.assert_allclose(found, image_scores(maps, window), rtol=1e-6)

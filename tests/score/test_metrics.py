"""Metrics against scikit-learn, brute force and a case worked by hand."""

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from pouta_lib.ground.errors import PoutaError
from pouta_lib.score.metrics import curves, image_metrics, pixel_metrics


def best_f1(truth, values):
    precision, recall, _ = precision_recall_curve(truth, values)
    return np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))


def brute_force_aupro(masks, maps, limit):
    """The definition: one threshold after another, region by region, then the cut area."""
    regions = []
    for k, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(k, labelled == r) for r in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        above = maps >= threshold
        overlap = np.mean([above[k][region].mean() for k, region in regions])
        points.append((above[~masks].mean(), overlap))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit:
            break
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def random_case(seed, levels):
    """Blobs, and maps that half know of them, with few distinct values where levels is small."""
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.standard_normal((6, 24, 20)), (0, 2, 2)) > 0.25
    masks[0] = False
    maps = 0.6 * masks + rng.random(masks.shape)
    maps = np.round(maps * levels) / levels if levels else maps
    return masks, maps.astype(np.float32)


@pytest.mark.parametrize("levels", [0, 3, 20])
@pytest.mark.parametrize("seed", range(5))
def test_against_scikit_learn(seed, levels):
    masks, maps = random_case(seed, levels)
    found = pixel_metrics(masks, maps)
    truth, values = masks.ravel(), maps.ravel()
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(truth, values), abs=1e-12)
    assert found["pixel_f1max"] == pytest.approx(best_f1(truth, values), abs=1e-12)
    images = image_metrics(truth, values)
    assert list(images.values()) == [found[f"pixel_{m}"] for m in ("auroc", "ap", "f1max")]


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("levels", [0, 3, 20])
@pytest.mark.parametrize("seed", range(3))
def test_aupro_against_the_definition(seed, levels, limit):
    masks, maps = random_case(seed, levels)
    found = pixel_metrics(masks, maps, pro_limit=limit)["pixel_aupro"]
    assert found == pytest.approx(brute_force_aupro(masks, maps, limit), abs=1e-12)


def test_four_by_four_by_hand():
    """Two regions, of 2 pixels and of 1; 13 normal pixels.

    Falling values: 9 (region A), 8 (normal), 7 (A), 6 (normal), 5 (B), then 11 normal pixels at 0.
    """
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 0, :2] = mask[0, 3, 3] = True
    values = np.zeros((1, 4, 4))
    values[0, 0] = [9, 7, 8, 6]
    values[0, 3, 3] = 5
    found = pixel_metrics(mask, values)
    assert found["pixel_auroc"] == pytest.approx((13 + 12 + 11) / (3 * 13))
    assert found["pixel_ap"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert found["pixel_f1max"] == pytest.approx(2 * 3 / (5 + 3))
    # overlap, averaged over A and B: 1/4 up to 1/13, 1/2 up to 2/13, then 1
    area = (1 / 13) * 0.25 + (1 / 13) * 0.5 + (0.3 - 2 / 13) * 1
    assert found["pixel_aupro"] == pytest.approx(area / 0.3)


@pytest.mark.parametrize("levels", [0, 3, 20])
def test_curves_against_scikit_learn(levels):
    masks, maps = random_case(4, levels)
    found = curves(masks, maps)
    truth, values = masks.ravel(), maps.ravel()
    false, true, thresholds = roc_curve(truth, values, drop_intermediate=False)
    np.testing.assert_array_equal(found["threshold"], thresholds[1:])
    np.testing.assert_allclose(found["false_positive_rate"], false[1:], atol=1e-12)
    np.testing.assert_allclose(found["recall"], true[1:], atol=1e-12)
    precision, recall, _ = precision_recall_curve(truth, values)
    np.testing.assert_allclose(found["precision"], precision[-2::-1], atol=1e-12)
    np.testing.assert_allclose(found["recall"], recall[-2::-1], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, bool])
def test_whole_numbers_rank_like_floats(dtype):
    masks, maps = random_case(2, 3)
    whole = np.round(maps * 3).astype(dtype)
    assert pixel_metrics(masks, whole) == pixel_metrics(masks, whole.astype(np.float32))


def test_the_order_of_images_and_pixels_does_not_count():
    masks, maps = random_case(3, 20)
    found = pixel_metrics(masks, maps)
    other = pixel_metrics(masks[::-1, ::-1], maps[::-1, ::-1])
    assert other == pytest.approx(found, abs=1e-12)


def test_memory_grows_by_at_most_25_bytes_a_pixel():
    rng = np.random.default_rng(0)
    maps = rng.random((60, 224, 224), dtype=np.float32) ** 8
    masks = np.zeros(maps.shape, bool)
    masks[::2, 50:60, 60:70] = True
    tracemalloc.start()
    pixel_metrics(masks, maps)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / maps.size < 25


def difficult_values(kind, rng, masks):
    """Values that are hard to put into cells: of a wide range, crowded, equal, huge or tiny."""
    noise = rng.standard_normal(masks.shape)
    return {
        "uniform": rng.random(masks.shape).astype(np.float32),
        "probabilities": (1 / (1 + np.exp(6 - 4 * noise - 4 * masks))).astype(np.float32),
        "saturated": np.clip(noise + masks, -0.5, 0.5).astype(np.float32),
        "float16": (noise + masks).astype(np.float16),
        "float64": 1 + (noise + masks) * 1e-12,
        "negative": np.float32(-3) - np.exp(noise - masks).astype(np.float32),
        "signed zeros": np.where(noise < 0, -0.0, 0.0).astype(np.float32) * (noise > 1) + masks / 2,
        "the whole range": (noise * 1e38).clip(-3.4e38, 3.4e38).astype(np.float32),
        "subnormal": (np.abs(noise + masks) * 1e-42).astype(np.float32),
        "inverted": (rng.random(masks.shape) - 2 * masks).astype(np.float32),
        "one outlier": np.where(noise == noise.max(), 1e30, noise + masks).astype(np.float32),
        "other byte order": (noise + masks).astype(">f4"),
    }[kind]


@pytest.mark.parametrize("block", [1000, 1 << 20])
@pytest.mark.parametrize(
    "kind",
    ["uniform", "probabilities", "saturated", "float16", "float64", "negative", "signed zeros"]
    + ["the whole range", "subnormal", "inverted", "one outlier", "other byte order"],
)
def test_difficult_values_against_scikit_learn(kind, block, monkeypatch):
    monkeypatch.setattr("pouta_lib.score.metrics.BLOCK", block)
    monkeypatch.setattr("pouta_lib.score.metrics.MOST_CELLS", 512)
    rng = np.random.default_rng(0)
    masks = ndimage.gaussian_filter(rng.standard_normal((8, 32, 32)), (0, 2, 2)) > 0.25
    values = difficult_values(kind, rng, masks)
    found = pixel_metrics(masks, values)
    ranks = np.unique(values, return_inverse=True)[1].reshape(masks.shape)
    truth, flat = masks.ravel(), ranks.ravel()
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, flat), abs=1e-12)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(truth, flat), abs=1e-12)
    assert found["pixel_f1max"] == pytest.approx(best_f1(truth, flat), abs=1e-12)
    assert found["pixel_aupro"] == pytest.approx(pixel_metrics(masks, ranks)["pixel_aupro"])


def test_perfect_and_inverted_maps():
    masks, _ = random_case(0, 0)
    assert all(v == pytest.approx(1) for v in pixel_metrics(masks, masks.astype(float)).values())
    inverted = pixel_metrics(masks, 1.0 - masks)
    assert inverted["pixel_auroc"] == 0
    assert inverted["pixel_ap"] == pytest.approx(masks.mean())
    assert inverted["pixel_aupro"] == 0


def test_no_rounding_leads_beyond_one():
    """A record takes fractions alone, and a perfect map's AUPRO is a sum of many shares."""
    for seed in range(20):
        masks, maps = random_case(seed, 0)
        found = pixel_metrics(masks, masks + maps / 2)
        assert list(found.values()) == pytest.approx([1.0] * 4) and max(found.values()) <= 1


def test_a_constant_map_is_chance():
    masks, maps = random_case(1, 0)
    found = pixel_metrics(masks, np.zeros_like(maps))
    assert found["pixel_auroc"] == 0.5
    assert found["pixel_ap"] == pytest.approx(masks.mean())


@pytest.mark.parametrize("value", [False, True])
def test_one_kind_only_is_undefined(value):
    masks = np.full((2, 4, 4), value)
    assert set(pixel_metrics(masks, np.random.default_rng(0).random((2, 4, 4))).values()) == {None}
    assert set(image_metrics(masks[:, 0, 0], np.arange(2.0)).values()) == {None}


def test_no_images_are_undefined():
    nothing = np.zeros((0, 4, 4))
    assert set(pixel_metrics(nothing > 0, nothing).values()) == {None}
    assert set(image_metrics(np.zeros(0, bool), np.zeros(0)).values()) == {None}


def test_eight_neighbours_make_one_region():
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 1, 1] = mask[0, 2, 2] = True  # touch at a corner only
    values = np.zeros((1, 4, 4))
    values[0, 1, 1], values[0, 0, 0] = 2, 1
    area = (1 / 14) * 0.5 + 0.5 * (0.3 - 1 / 14) + 0.5 * (0.3 - 1 / 14) ** 2 / (2 * 13 / 14)
    assert pixel_metrics(mask, values)["pixel_aupro"] == pytest.approx(area / 0.3)


def test_bad_input_is_named():
    masks = np.zeros((2, 4, 4), bool)
    with pytest.raises(PoutaError, match=r"maps of shape \(2, 4, 4\).*found \(2, 4, 5\)"):
        pixel_metrics(masks, np.zeros((2, 4, 5)))
    broken = np.zeros((2, 4, 4))
    broken[0, 0, 0] = np.nan
    with pytest.raises(PoutaError, match="expected finite maps, found 1 values"):
        pixel_metrics(masks, broken)
    with pytest.raises(PoutaError, match="finite scores"):
        image_metrics(np.array([True, False]), np.array([np.inf, 0]))
    with pytest.raises(PoutaError, match="pro_limit above 0 and at most 1, found 30"):
        pixel_metrics(masks, np.zeros((2, 4, 4)), pro_limit=30)
    with pytest.raises(PoutaError, match="normal and anomalous ones, found 0 anomalous of 32"):
        curves(masks, np.zeros((2, 4, 4)))

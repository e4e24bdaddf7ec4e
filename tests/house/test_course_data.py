"""What notebooks 01 and 02 write out in full is what the library does."""

import math
import re

import nbformat
import numpy as np
import pytest
import torch
from test_course import definitions
from test_readme import STEPS, UNTRAINED, rows_below

from pouta_lib.ground.profiles import SynthesisSettings
from pouta_lib.method.perlin import perlin_mask
from pouta_lib.method.synthesis import synthesize
from pouta_lib.score.evaluation import image_scores
from pouta_lib.score.metrics import pixel_metrics

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


@pytest.fixture(scope="module")
def synthesis(repository):
    return definitions(repository, SYNTHESIS)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_perlin_is_the_same_with_its_default_fading(synthesis):
    angle = 2 * math.pi * torch.rand(5, 3, generator=generator(0))
    given = synthesis["perlin"](angle, 32, ease=synthesis["fade"])
    assert torch.equal(synthesis["perlin"](angle, 32), given)
    assert not torch.allclose(synthesis["perlin"](angle, 32, ease=lambda t: t), given, atol=0.05)


def test_cut(synthesis):
    """High fields and low ones: 64 draws have both."""
    masks, fields = perlin_mask(64, 32, generator(1))
    assert {bool(field.max() > 0.5) for field in fields} == {True, False}
    for mask, field in zip(masks, fields, strict=True):
        assert torch.equal(synthesis["cut"](field), mask)


@pytest.mark.parametrize("edge_sigma", [0.0, 0.02])
def test_blend(synthesis, edge_sigma):
    original = torch.rand(8, 3, 48, 48, generator=generator(2))
    textures = torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8, generator=generator(3))
    batch = synthesize(original, textures, generator(4), SynthesisSettings(edge_sigma=edge_sigma))
    found = synthesis["blend"](original, batch.augmented, batch.mask, edge_sigma * 48)
    assert torch.allclose(found, batch.image, atol=1e-6)


@pytest.mark.parametrize("study", ["demo", "evening"])
def test_what_no_training_is_worth_is_what_chapter_10_found(repository, committed, study):
    """The first column of its three tables, as README and docs/RESULTS.md quote it."""
    copy = committed / "results" / study / "notebooks" / "10_benchmarks.ipynb"
    cells = nbformat.read(copy, as_version=4).cells
    shown = [of.get("data", {}).get("text/plain", "") for c in cells for of in c.get("outputs", [])]
    found = re.findall(r"(?m)^average of 6 +([\d.]+)", "\n".join(shown))
    assert len(found) == 3
    header = "mean over mini-mvtec" + STEPS[study]
    rows = rows_below((repository / "docs" / "RESULTS.md").read_text(encoding="utf-8"), header)
    assert [UNTRAINED, *found] in rows
    readme = " ".join((repository / "README.md").read_text(encoding="utf-8").split())
    assert f"*{UNTRAINED}* reaches {' / '.join(found)}" in readme

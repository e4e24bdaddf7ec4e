"""Strange anomalies, and judging a recipe by them without a single defective image."""

import numpy as np
import pytest
from trees import photo, save

from pouta_lib.cli import main
from pouta_lib.ground.errors import PoutaError
from pouta_lib.study.judge import DAMAGES, VISIBLE, damage, judge_recipe
from pouta_lib.study.run import prepare_run


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


def test_damage_repeats_and_depends_on_the_seed(smooth):
    again, masks = damage(smooth)
    assert np.array_equal(again, damage(smooth)[0])
    assert not np.array_equal(again, damage(smooth, seed=1)[0])
    assert not np.array_equal(masks[0], masks[5]), "each image is damaged elsewhere"


@pytest.fixture
def good_parts(tmp_path, monkeypatch):
    """A category of eight good images and no test images at all."""
    for k in range(8):
        save(tmp_path / "mvtec" / "bolt" / "train" / "good" / f"{k}.png", photo(k, 40, 40))
    for name in ("test", "ground_truth"):
        (tmp_path / "mvtec" / "bolt" / name).mkdir()
    monkeypatch.setenv("POUTA_DATA", str(tmp_path))
    return tmp_path


def test_a_recipe_is_judged_without_test_images(good_parts, capsys):
    run = prepare_run("smoke", "mvtec", "bolt", overrides={"steps": 2, "max_train": None})
    found = judge_recipe(run)
    assert list(found) == ["all", *(draw.__name__ for draw in DAMAGES)]
    for metrics in found.values():
        assert 0 <= metrics["image_auroc"] <= 1 and 0 < metrics["pixel_ap"] < 1
    assert found == judge_recipe(run), "the same again"
    words = ["judge", "--profile", "smoke", "--dataset", "mvtec", "--category", "bolt"]
    assert main([*words, "--set", "steps=2", "--set", "max_train=null"]) == 0
    lines = capsys.readouterr().out.splitlines()[-len(found) :]
    for line, (kind, metrics) in zip(lines, found.items(), strict=True):
        assert line.split()[0] == kind
        assert f"pixel_ap {100 * metrics['pixel_ap']:5.1f} %" in line


@pytest.mark.parametrize("method", ["vanilla", "patchcore"])
def test_any_method_is_judged(good_parts, method, capsys):
    words = ["judge", "--profile", "smoke", "--dataset", "mvtec", "--category", "bolt"]
    words += ["--set", "steps=2", "--set", "max_train=null", "--method", method]
    assert main(words) == 0
    assert f"mvtec/bolt {method} seed 0" in capsys.readouterr().out


def test_too_few_images_to_hold_any_out(good_parts):
    for k in range(3, 8):
        (good_parts / "mvtec" / "bolt" / "train" / "good" / f"{k}.png").unlink()
    with pytest.raises(PoutaError, match="at least 4 images, found 3"):
        judge_recipe(prepare_run("smoke", "mvtec", "bolt", overrides={"steps": 2}))

"""`make bench` at a tiny size: every contestant here does its work, and equal work agrees."""

import json

import bench
import draem_item
import numpy as np
import pytest
import works
from PIL import Image
from scale import LINES

from pouta_lib.study import peers

ALIKE = {*LINES, "steps_paper"}  # whose contestants differ in size alone, and at a tiny one hardly
HERE = [
    (work, who)
    for work, all_ in works.WORKS.items()
    for who in (list(all_)[:1] if work in ALIKE else all_)
    if who != "anomalib"
]


@pytest.mark.parametrize(("work", "who"), HERE)
def test_every_contestant_here_does_its_work(work, who):
    taken = works.measure(works.WORKS[work][who]("tiny"))
    assert set(taken) == set(bench.UNITS)
    assert taken["wall_s"] > 0


def test_draems_item_written_out_is_its_recipe():
    """The noise is Perlin's, zero at the corners of its cells; half of the items are unchanged."""
    rng = np.random.default_rng(0)
    noises = np.stack([draem_item.noise(64, rng) for _ in range(20)])
    assert np.abs(noises[:, 0, 0]).max() == 0 and 0.5 < np.abs(noises).max() <= 1
    good, texture = np.full((2, 64, 64, 3), [[[[200]]], [[[40]]]], np.uint8)
    items = [draem_item.item(good, texture, rng) for _ in range(40)]
    assert 10 < sum(bool(mask.any()) for *_, mask in items) < 30
    for original, changed, mask in items:
        assert original.shape == changed.shape == (3, 64, 64) and mask.shape == (1, 64, 64)
        assert (changed == original)[:, mask[0] == 0].all()
    for which in range(10):
        image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
        assert draem_item.augmented(image, which, rng).size == (16, 16)


@pytest.mark.parametrize("work", ["pixel_metrics", "image_scores", "coreset"])
def test_equal_work_has_equal_results(work):
    ours, *others = (works.WORKS[w][who]("tiny")() for w, who in HERE if w == work)
    for other in others:
        if isinstance(ours, dict):
            assert {name: ours[name] for name in other} == pytest.approx(other, abs=1e-12)
        else:
            np.testing.assert_allclose(ours, other, rtol=1e-6)


def test_contestants_take_turns_and_leave_a_record_and_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "project_root", lambda: tmp_path)  # without anomalib's environment
    options = ["--works", "pixel_metrics", "--size", "tiny", "--rounds", "2", "--threads", "1"]
    bench.main([*options, "--output", str(tmp_path)])
    told = json.loads((tmp_path / "pixel_metrics.json").read_text(encoding="utf-8"))
    assert list(told["threads"]["1"]) == ["ours", "scikit-learn"]
    assert all(len(values["cpu_s"]) == 2 for values in told["threads"]["1"].values())
    table = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert len(table) == 2 + 2
    assert "| scikit-learn |" in table[3]
    assert "without anomalib; tools/peers_env.py" in capsys.readouterr().out


def test_a_record_keeps_what_it_says_of_other_numbers_of_threads(tmp_path):
    told = {"work": "noise", "size": "full", "machine": "this one", "threads": {"1": "once"}}
    bench.keep(told, file := tmp_path / "noise.json")
    bench.keep(told | {"threads": {"2": "twice"}}, file)
    assert json.loads(file.read_text())["threads"] == {"1": "once", "2": "twice"}
    bench.keep(told | {"machine": "another", "threads": {"2": "twice"}}, file)
    assert json.loads(file.read_text())["threads"] == {"2": "twice"}

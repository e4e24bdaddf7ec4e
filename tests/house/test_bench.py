"""`make bench` at a tiny size: every contestant here does its work, and equal work agrees."""

import json

import bench
import numpy as np
import pytest
import works

from pouta_lib.study import peers

HERE = [(work, who) for work, all_ in works.WORKS.items() for who in all_ if who != "anomalib"]


@pytest.mark.parametrize(("work", "who"), HERE)
def test_every_contestant_here_does_its_work(work, who):
    taken = works.measure(works.WORKS[work][who]("tiny"))
    assert set(taken) == set(bench.UNITS)
    assert taken["wall_s"] > 0


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

"""tools/by_defect.py: what a run says of each kind of defect."""

from dataclasses import replace

import by_defect
import numpy as np
import pandas as pd
import pytest

from pouta_lib.score.metrics import image_metrics
from pouta_lib.study.execution import execute_run
from pouta_lib.study.records import load_arrays, read_record
from pouta_lib.study.run import open_data


def test_each_kind_is_held_against_all_good_ones(bolt, monkeypatch):
    folder = execute_run(profile="smoke", dataset="mvtec", category="bolt", variant="patchcore")
    record, out = read_record(folder), bolt / "by_defect.csv"
    category, scores = open_data(record), load_arrays(folder)["scores"]
    bad = np.flatnonzero(category.labels)
    kinds = list(category.defects)
    for index in bad[1:]:
        kinds[index] = "others"
    kinds[bad[0]] = "first"
    monkeypatch.setattr(by_defect, "open_data", lambda _: replace(category, defects=kinds))
    assert by_defect.main([str(folder), "--out", str(out)]) == 0
    table = pd.read_csv(out).set_index("defect")
    assert list(table["images"].items()) == [("first", 1), ("others", len(bad) - 1)]
    good = scores[~category.labels]
    assert table["median_good"].tolist() == pytest.approx([np.median(good)] * 2, abs=1e-6)
    assert table["median_score"]["first"] == pytest.approx(scores[bad[0]], abs=1e-6)
    assert table["image_auroc"]["first"] == pytest.approx(np.mean(good < scores[bad[0]]), abs=1e-6)
    whole = image_metrics(category.labels, scores)["image_auroc"]
    weights = table["images"] / len(bad)
    assert (table["image_auroc"] * weights).sum() == pytest.approx(whole, abs=1e-5)
    assert table["pixel_ap"].between(0, 1).all() and table["pixel_ap"].nunique() == 2


def test_a_run_without_maps_is_refused(bolt, capsys):
    folder = execute_run(profile="smoke", dataset="mvtec", category="bolt", variant="patchcore")
    (folder / "maps.npz").unlink()
    with pytest.raises(SystemExit) as stopped:
        by_defect.main([str(folder), "--out", str(bolt / "by_defect.csv")])
    told = capsys.readouterr().err
    assert stopped.value.code == 1 and told.startswith("by_defect: ") and "make the run" in told
    assert not (bolt / "by_defect.csv").exists()

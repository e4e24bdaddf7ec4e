"""tools/swings.py: a small training looked at in three ways."""

import numpy as np
import pandas as pd
import pytest
import swings
import torch
from test_readme import EARLIER, real_cpu, results_page, rows_below, told
from test_readme import late as late_looks
from torch import nn

from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import compute_of
from pouta_lib.study.records import find_records
from pouta_lib.study.run import load_run_data, prepare_run


def test_statistics_anew_are_the_mean_over_the_batches():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    model[0].running_mean += 5
    batches = [torch.full((2, 3, 4, 4), value) for value in (0.25, 0.75)]
    compute = compute_of("pouta", load_profile("smoke", precision="fp32"), "cpu")
    taken = swings.take_statistics_anew(model, batches, compute)
    assert taken[0].running_mean.tolist() == pytest.approx([0.5] * 3)
    assert taken[0].running_var.tolist() == pytest.approx([0.0] * 3)
    assert not taken.training


def test_the_batches_are_those_that_the_training_sees(bolt):
    run = prepare_run("smoke", "mvtec", "bolt")
    part, support, textures = load_run_data(run)
    images = part.train[support]
    one, other = (
        swings.training_batches(images, textures, run.profile, 0, range(3)) for _ in range(2)
    )
    assert len(one) == 3 and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert one[0].shape == (run.profile.batch_size, *images.shape[1:])


def test_a_training_is_looked_at_in_three_ways(bolt, capsys):
    out = bolt / "swings.csv"
    of = ["--profile", "smoke", "--dataset", "mvtec", "--category", "bolt", "--out", str(out)]
    of += ["--set", "average_share=0.05"]
    assert swings.main(of) == 0
    table = pd.read_csv(out)
    assert set(table["way"]) == {swings.AS_TRAINED, swings.ANEW, swings.AVERAGED}
    assert table["step"].tolist() == [10] * 3 + [20] * 3
    assert np.isfinite(table["image_auroc"]).all()
    assert swings.main(of) == 0  # the same rows
    assert swings.main([*of, "--seed", "1"]) == 0
    again = pd.read_csv(out)
    assert len(again) == 2 * len(table)
    pd.testing.assert_frame_equal(again[again["seed"] == 0].reset_index(drop=True), table)


def test_without_averaged_weights_nothing_is_trained(bolt, capsys):
    with pytest.raises(SystemExit) as stopped:
        swings.main(["--profile", "smoke", "--dataset", "mvtec", "--category", "bolt"])
    assert stopped.value.code == 1 and "average_share" in capsys.readouterr().err


def test_what_swings_is_what_the_table_says(repository, committed):
    table = pd.read_csv(committed / "results" / "real" / "swings.csv")
    late = table[table["step"] > 2 / 3 * table["steps"]]
    page = results_page(repository)
    rows = rows_below(page, "last third, magnetic_tile, points of image AUROC")
    apart = {}
    by = late.groupby(["seed", "way"], sort=False)
    for (seed, way), (name, *cells) in zip(by.groups, rows, strict=True):
        seen, good = 100 * by.get_group((seed, way))["image_auroc"], by["good_median"].max()
        numbers = [seen.min(), seen.max(), seen.max() - seen.min()]
        words = [f"{number:.1f}" for number in numbers] + [f"{100 * good[seed, way]:.0f}"]
        assert (name, cells) == (f"seed {seed}, {way}", words)
        apart[seed, way] = numbers[-1]
    for seed in (0, 2):
        trained, anew, averaged = (
            apart[seed, way] for way in (swings.AS_TRAINED, swings.ANEW, swings.AVERAGED)
        )
        assert averaged < anew < 0.25 * trained  # "a quarter of that or less"
    fallen = table[(table["way"] == swings.AS_TRAINED) & (table["image_auroc"] < 0.55)]
    assert (fallen["good_median"] > 0.4).all()  # "bright all over, on good images too"
    ended = table[(table["way"] == swings.AS_TRAINED) & (table["step"] > 0.8 * table["steps"])]
    moved = ended.groupby("seed")["image_auroc"].agg(np.ptp)
    assert (moved < 0.05).all() and len(ended) == 8
    text = " ".join(page.split())
    calmed = (
        ({"normalisation": "group"} | EARLIER, "move by {} points over the last third and end at"),
        ({"average_share": 0.0, "steps": 3600}, "move by {} and end at"),
    )
    for changes, words in calmed:
        label = real_cpu(changes)
        root = committed / "results" / "real"
        (record,) = find_records(label, root, variant="pouta", category="magnetic_tile")
        seen = [100 * look["image_auroc"] for look in late_looks(record)]
        assert f"{words.format(f'{max(seen) - min(seen):.1f}')} {told(record)}" in text

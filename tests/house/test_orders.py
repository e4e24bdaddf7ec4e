"""docs/RESULTS.md: which orders another processor keeps is what tools/orders.py finds."""

import shutil

import pytest
from fakes import fake_run
from orders import main, means, report, shared

from pouta_lib.ground.errors import PoutaError
from pouta_lib.report.tables import ABLATION, FEW_SHOT
from pouta_lib.study.records import find_records


def test_the_page_has_todays_tables(repository, committed):
    page = (repository / "docs" / "RESULTS.md").read_text(encoding="utf-8")
    labels = ("demo", "demo~precision=fp32")
    assert report(*(find_records(label, committed / "results") for label in labels)) in page


@pytest.fixture
def studies(tmp_path):
    """Two studies of two parts: of the ablation, of few shots, and a run that only one has."""
    of = {"base": (0.5, 0.7), "pouta": (0.8, 0.6), "vanilla": (0.4, 0.5)}
    of |= {"base+hsg": (0.6, 0.65), "base+mss": (0.7, 0.66)}
    for k, label in enumerate(("demo", "evening")):
        for variant, values in of.items():
            for category, more in (("nut", 0.1), ("cap", -0.1)):
                value = {"image_auroc": values[k] + more}
                fake_run(tmp_path, "mini-mvtec", category, variant, label=label, **value)
        for shots, value in ((2, 0.5), (4, 0.6 - 0.2 * k)):
            value = {"image_auroc": value}
            fake_run(tmp_path, "mini-mvtec", "nut", shots=shots, label=label, **value)
        untrained = {"image_auroc": 0.9 + 0.01 * k}
        fake_run(tmp_path, "mini-mvtec", "nut", "patchcore", label=label, **untrained)
    for seed, value in ((1, 0.85), (2, 0.1)):
        value = {"image_auroc": value}
        fake_run(tmp_path, "mini-mvtec", "nut", seed=seed, label="demo", **value)
        if seed == 1:
            fake_run(tmp_path, "mini-mvtec", "nut", seed=seed, label="evening", **value)
    return [find_records(label, tmp_path) for label in ("demo", "evening")]


def test_orders_by_hand(studies):
    one, other = shared(*studies)
    assert len(one) == len(other) == 10 + 2 + 1 + 1
    five = means(one)[ABLATION]["image_auroc"]
    assert (five.index[0], five.index[-1]) == ("Vanilla", "POUTA")
    assert five.tolist() == pytest.approx([40, 50, 60, 70, 80])
    assert means(one)[FEW_SHOT]["image_auroc"].tolist() == pytest.approx([50, 60, 90])
    # vanilla's one seed in each part; pouta's two of the nut and one of the cap; PatchCore on one
    assert means(one)[1]["image_auroc"].to_dict() == pytest.approx({"Vanilla": 40, "POUTA": 78.75})
    text = report(*studies)
    # base and POUTA change places with all above them: 3 + 2 of the ten pairs
    assert "Vanilla 50.0, POUTA 60.0, POUTA-base+HSG 65.0, POUTA-base+MSS 66.0, POUTA-base" in text
    assert "| 5 of 10; the others are up to 30.0 apart |" in text
    assert "2-shot 50.0, 4-shot 60.0, all images 90.0 | 4-shot 40.0, 2-shot 50.0, all" in text
    assert "| 2 of 3; the others are up to 10.0 apart |" in text


def test_each_dataset_has_its_own_table(studies, tmp_path):
    for label, values in (("demo", (0.6, 0.7)), ("evening", (0.8, 0.7))):
        for category in ("macaroni", "tablets"):
            for variant, value in zip(("pouta", "patchcore"), values):
                value = {"image_auroc": value}
                fake_run(tmp_path, "mini-visa", category, variant, label=label, **value)
        fake_run(tmp_path, "parts", "bolt", label=label)  # none of the paper's
    one, other = (find_records(label, tmp_path) for label in ("demo", "evening"))
    assert list(means(one)) == [1, 2, FEW_SHOT, ABLATION]
    text = report(one, other)
    assert "| II | CLS: image AUROC | POUTA 60.0, PatchCore 70.0 | PatchCore 70.0, POUTA 80" in text
    assert "| 0 of 1; the others are up to 10.0 apart |" in text
    assert "a mean of Table II, at most | 20.0 | – | – |" in text


def test_what_moves_by_hand(studies):
    lines = report(*studies).partition("moved by")[2].splitlines()[2:]
    rows = dict(line.strip("| ").split(" | ", 1) for line in lines)
    # of 13 runs: 2 x (10, 20, 5, 4, 20), 0 and 20 of the shots, 0 of the seed; the 7th is 10
    assert rows["a number of one of 13 trained networks, in the median"] == "10.0 | 0.0 | 0.0"
    assert rows["the same, at most"] == "20.0 | 0.0 | 0.0"
    assert rows["the same by another seed, at most"] == "5.0 | 0.0 | 0.0"
    assert rows["a mean of Table V, at most"] == "20.0 | 0.0 | 0.0"
    assert rows["a mean of Table IV, at most"] == "20.0 | – | –"


def test_studies_without_a_run_in_common_are_refused(studies):
    with pytest.raises(PoutaError, match="two studies of the same runs"):
        shared(studies[0][:1], studies[1][1:2])


@pytest.mark.parametrize("labels", [("nope", "demo"), ("demo", "nope"), ("evening", "demo")])
def test_labels_without_such_runs_get_an_error(capsys, studies, tmp_path, labels):
    for path in (tmp_path / "evening").rglob("seed1"):
        shutil.rmtree(path)
    with pytest.raises(SystemExit, match="1"):
        main([*labels, "--results", str(tmp_path)])
    told = capsys.readouterr().err
    assert told.startswith("orders: expected t")
    assert "to do: " in told

"""Tables follow from records: means, spread and differences by hand, files byte for byte."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import fake_run, record_body

from pouta_lib.cli import main
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.models import build_model
from pouta_lib.report.published import read_published
from pouta_lib.report.table_files import KINDS, explain_cell, write_cost_table, write_tables
from pouta_lib.report.tables import (
    ablation_table,
    benchmark_table,
    few_shot_table,
    of_several,
    published_categories,
    together_frame,
)
from pouta_lib.score.efficiency import count_multiply_adds, count_parameters
from pouta_lib.study.plan import planned_runs
from pouta_lib.study.records import METRICS, RunKey, find_records, read_record, write_run


def cell(frame, category, metric="image_auroc", method="pouta"):
    chosen = frame[
        (frame["category"] == category) & (frame["metric"] == metric) & (frame["method"] == method)
    ]
    assert len(chosen) == 1
    return chosen.iloc[0]


@pytest.fixture
def results(tmp_path):
    fake_run(tmp_path, "mvtec", "bottle", seed=0, image_auroc=0.98, pixel_ap=0.8)
    fake_run(tmp_path, "mvtec", "bottle", seed=1, image_auroc=0.96, pixel_ap=0.9)
    fake_run(tmp_path, "mvtec", "cable", seed=0, image_auroc=0.9, pixel_ap=0.5)
    fake_run(tmp_path, "mvtec", "cable", seed=1, image_auroc=0.8, pixel_ap=0.6)
    fake_run(tmp_path, "mvtec", "bottle", shots=2, image_auroc=0.1)
    fake_run(tmp_path, "mvtec", "bottle", "vanilla", image_auroc=0.7)
    fake_run(tmp_path, "mini-mvtec", "nut", image_auroc=0.75)
    fake_run(tmp_path, "mini-dagm", "Class1", image_auroc=0.6, pixel_ap=None, pixel_auroc=None)
    return tmp_path


def test_mean_deviation_and_difference_by_hand(results):
    frame = benchmark_table(find_records("demo", results), "mvtec")
    bottle = cell(frame, "bottle")
    assert bottle["measured"] == pytest.approx(97)
    assert bottle["std"] == pytest.approx(2**0.5)
    assert (bottle["n"], bottle["published"]) == (2, 100.0)
    assert bottle["difference"] == pytest.approx(-3)
    assert cell(frame, "cable", "pixel_ap")["difference"] == pytest.approx(55 - 75.9)
    assert cell(frame, "average")["measured"] == pytest.approx((97 + 85) / 2)
    assert pd.isna(cell(frame, "average")["published"])  # 13 categories are missing
    assert cell(frame, "bottle", method="vanilla")["measured"] == pytest.approx(70)
    assert pd.isna(cell(frame, "bottle", method="vanilla")["published"])


def test_the_average_is_compared_when_all_categories_are_there(tmp_path):
    frame = read_published(2)
    for category in frame["category"].unique():
        if category != "average":
            fake_run(tmp_path, "visa", category, image_auroc=0.9)
    average = cell(benchmark_table(find_records("demo", tmp_path), "visa"), "average")
    assert average["published"] == 97.9
    assert average["difference"] == pytest.approx(90 - 97.9)


def test_mini_is_never_compared_with_the_paper(results):
    frame = benchmark_table(find_records("demo", results), "mini-mvtec")
    assert frame["published"].isna().all()
    assert frame["difference"].isna().all()


def change(folder, edit):
    """Edits a written record in place."""
    path = folder / "record.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def test_the_spread_of_an_average_is_that_of_the_seeds_averages(results):
    average = cell(benchmark_table(find_records("demo", results), "mvtec"), "average")
    assert average["std"] == pytest.approx(abs((98 + 90) / 2 - (96 + 80) / 2) / 2**0.5)
    assert average["n"] == 2
    fake_run(results, "mvtec", "cable", seed=2, image_auroc=0.85)  # seeds are no longer the same
    average = cell(benchmark_table(find_records("demo", results), "mvtec"), "average")
    assert average["measured"] == pytest.approx((97 + 85) / 2)
    assert pd.isna(average["std"])
    assert average["n"] == 2


def test_each_row_says_how_it_was_measured(tmp_path):
    fake_run(tmp_path, "mvtec", "bottle")
    change(fake_run(tmp_path, "mvtec", "cable"), lambda r: r.update(steps=9, precision="bf16"))
    frame = benchmark_table(find_records("demo", tmp_path), "mvtec")
    said = "demo: resized to 96 px, width 16, {} steps, builtin textures, {}"
    assert cell(frame, "bottle")["protocol"] == said.format("2", "fp32")
    assert cell(frame, "cable")["protocol"] == said.format("9", "bf16")
    assert cell(frame, "average")["protocol"] == said.format("2-9", "bf16/fp32")
    assert set(frame["unit"]) == {"%"}
    assert "224 px, 600 epochs" in cell(frame, "bottle")["published_protocol"]
    assert pd.isna(cell(frame, "average")["published_protocol"])


def test_published_numbers_are_not_all_of_the_papers_protocol(tmp_path):
    fake_run(tmp_path, "mvtec", "bottle")
    fake_run(tmp_path, "mvtec", "bottle", "vanilla")
    folder = fake_run(tmp_path, "mvtec", "bottle", "patchcore")
    change(folder, lambda r: r.update(backbone="efficientnet_lite0", steps=0))
    frame = benchmark_table(find_records("demo", tmp_path), "mvtec")
    assert pd.isna(cell(frame, "bottle", method="vanilla")["published_protocol"])
    theirs = cell(frame, "bottle", method="patchcore")["published_protocol"]
    assert theirs == "paper: PatchCore's official code, 1 % coreset; size and backbone not stated"
    ours = cell(frame, "bottle")["published_protocol"]
    (path,) = write_tables("demo", results=tmp_path)
    assert f"*Published* at `{ours}; {theirs}`." in path.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("what", "edit"),
    [
        ("settings", lambda r: r["profile"].update(size_px=64)),
        ("data", lambda r: r["data"].update(manifest_hash="1" * 64)),
    ],
)
def test_runs_of_different_protocols_are_never_mixed(results, what, edit):
    change(results / "demo" / "runs" / "mvtec" / "bottle" / "pouta" / "all" / "seed1", edit)
    records = find_records("demo", results)
    with pytest.raises(PoutaError, match=f"runs with the same {what}.*seed0 and .*seed1"):
        benchmark_table(records, "mvtec")
    assert not benchmark_table(records, "mini-mvtec").empty


def test_how_a_run_was_computed_keeps_it_in_no_other_table(results):
    changed = results / "demo" / "runs" / "mvtec" / "bottle" / "pouta" / "all" / "seed1"
    before = benchmark_table(find_records("demo", results), "mvtec")
    change(changed, lambda r: r["profile"].update(compile=True, checkpoint_steps=7))
    after = benchmark_table(find_records("demo", results), "mvtec")
    pd.testing.assert_frame_equal(after, before)


def test_a_record_made_before_a_setting_existed_had_its_default(results):
    changed = results / "demo" / "runs" / "mvtec" / "bottle" / "pouta" / "all" / "seed1"
    change(changed, lambda r: r["profile"].pop("average_share"))
    benchmark_table(find_records("demo", results), "mvtec")
    change(changed, lambda r: r["profile"].update(average_share=0.05))
    with pytest.raises(PoutaError, match="runs with the same settings"):
        benchmark_table(find_records("demo", results), "mvtec")


def test_categories_stand_in_the_papers_order_and_methods_too(tmp_path):
    for category in ("Class10", "Class2", "Class1"):
        fake_run(tmp_path, "mini-dagm", category)
    for category in ("zipper", "carpet", "bottle"):
        for variant in ("patchcore", "vanilla", "pouta", "base"):
            fake_run(tmp_path, "mvtec", category, variant)
    records = find_records("demo", tmp_path)
    classes = benchmark_table(records, "mini-dagm")["category"].tolist()
    assert classes == ["Class1", "Class2", "Class10", "average"]
    frame = benchmark_table(records, "mvtec")
    assert frame["category"].unique().tolist() == ["carpet", "bottle", "zipper", "average"]
    assert frame["method"].unique().tolist() == ["pouta", "vanilla", "patchcore"]


def test_a_dataset_that_the_paper_does_not_have(tmp_path):
    fake_run(tmp_path, "surface", "magnetic_tile", image_auroc=None, pixel_ap=0.25)
    (path,) = write_tables("demo", results=tmp_path)
    assert path.name == "table_other_surface.csv"
    text = path.with_suffix(".md").read_text()
    assert "one kind only" in text
    assert "25.0" in text
    assert "published" not in text.lower()


def test_captions_name_chance_units_and_commits(results):
    folder = results / "demo" / "runs" / "mini-mvtec" / "nut" / "pouta" / "all" / "seed0"
    change(folder, lambda r: r.update(commit="0123456789abcdef", dirty=True))
    write_tables("demo", results=results)
    text = (results / "demo" / "tables" / "table_1_mini-mvtec.md").read_text()
    assert "In percent" in text
    assert "Chance is 50 in AUROC, and in AP the share of defective pixels" in text
    assert "weights: last step, commit 0123456789 with changes;" in text
    assert "0123456789" not in (results / "demo" / "tables" / "table_1_mvtec.md").read_text()


def test_no_negative_zero(tmp_path):
    fake_run(tmp_path, "visa", "candle", image_auroc=0.96899999)  # published: 96.9
    (path,) = write_tables("demo", results=tmp_path)
    assert "| +0.0 " in path.with_suffix(".md").read_text()
    assert "visa,candle,pouta,,image_auroc,%,96.9,96.9,,1,0.0," in path.read_text()


def test_no_records_at_all(tmp_path):
    with pytest.raises(
        PoutaError, match=r"found none\n.*\n  to do: pouta study --profile demo --set lr=0.1$"
    ):
        write_tables("demo~lr=0.1", results=tmp_path)


def test_files_and_their_provenance(results):
    paths = write_tables("demo", results=results)
    names = [path.name for path in paths]
    assert names == ["table_1_mini-mvtec.csv", "table_1_mvtec.csv", "table_3_mini-dagm.csv"]
    provenance = json.loads(paths[1].with_suffix(".provenance.json").read_text())
    runs = provenance["bottle|pouta|all|image_auroc"]
    assert runs == [f"demo/runs/mvtec/bottle/pouta/all/seed{k}" for k in (0, 1)]
    assert all((results / run / "record.json").is_file() for run in runs)
    mini = paths[0].with_suffix(".md").read_text()
    assert "for orientation only" in mini
    assert "difference" not in mini.lower().split("## the paper's own table")[0]
    real = paths[1].with_suffix(".md").read_text()
    assert "97.0 ± 1.4" in real
    assert "-3.0" in real


def test_again_gives_the_same_bytes(results):
    def content():
        write_tables("demo", results=results)
        folder = results / "demo" / "tables"
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert content() == content()


def test_a_missing_run_names_its_command(results):
    expected = [RunKey("demo", "mini-mvtec", "nut"), RunKey("demo", "mini-mvtec", "cap")]
    with pytest.raises(
        PoutaError, match="pouta run --profile demo --dataset mini-mvtec --category cap"
    ):
        write_tables("demo", expected, results)


def test_a_table_is_made_of_the_planned_runs_and_no_others(results):
    planned = [RunKey("demo", "mini-mvtec", "nut")]
    (path,) = write_tables("demo", planned, results)
    cells = json.loads(path.with_suffix(".provenance.json").read_text())
    assert {run for runs in cells.values() for run in runs} == {
        "demo/runs/mini-mvtec/nut/pouta/all/seed0"
    }
    assert len(write_tables("demo", results=results)) == 3


def test_the_command_refuses_a_study_with_a_hole(tmp_path, bolt, monkeypatch, capsys):
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path))
    command = ["tables", "--profile", "demo", "--categories", "mvtec/bolt"]
    fake_run(tmp_path, "mvtec", "nail")
    assert main(command) == 2
    assert (
        "to do: pouta run --profile demo --dataset mvtec --category bolt" in capsys.readouterr()[1]
    )
    assert not (tmp_path / "demo" / "tables").exists()
    fake_run(tmp_path, "mvtec", "bolt")
    assert main(command) == 0
    assert "nail" not in (tmp_path / "demo" / "tables" / "table_1_mvtec.csv").read_text()
    assert main([*command, "--as-is"]) == 0
    assert "nail" in (tmp_path / "demo" / "tables" / "table_1_mvtec.csv").read_text()


PLANNED = ("demo", "evening")  # studies made as a whole; of the others, tables are of what there is


def test_committed_tables_follow_from_committed_records(committed, tmp_path, monkeypatch):
    paper, counts = load_profile("paper"), {}
    for name, method in (("POUTA", "pouta"), ("Vanilla", "vanilla")):
        model = build_model(method, paper)
        counts[name] = {"multiply_adds_g": count_multiply_adds(model) / 1e9}
        counts[name] |= {"parameters_m": count_parameters(model) / 1e6}
    studies = [path.parent for path in sorted((committed / "results").glob("**/tables"))]
    assert {study.name for study in studies} > {*PLANNED, "paper", "questions", "real-cpu"}
    for study in studies:
        root = tmp_path / study.parent.name
        monkeypatch.setenv("POUTA_RESULTS", str(root))
        shutil.copytree(study / "runs", root / study.name / "runs")
        label = read_record(next(study.glob("runs/**/record.json"))).profile.label
        write_tables(label, planned_runs(label) if label in PLANNED else None, kinds=list(KINDS))
        if label in PLANNED:
            write_cost_table(label, counts)
        again, kept = (
            {path.name: path.read_bytes() for path in (folder / "tables").iterdir()}
            for folder in (root / study.name, study)
        )
        assert again == kept, study.name


def test_a_metric_that_one_seed_lacks_leaves_the_others(tmp_path):
    for seed, value in ((0, 0.5), (1, None), (2, 0.7)):
        fake_run(tmp_path, "mini-mvtec", "nut", seed=seed, pixel_ap=value)
    frame = benchmark_table(find_records("demo", tmp_path), "mini-mvtec")
    average = cell(frame, "average", "pixel_ap")
    assert average["measured"] == pytest.approx(60)
    assert (average["n"], average["std"]) == (2, pytest.approx(200**0.5))


def test_few_shot_table_compares_the_same_seed(tmp_path):
    for shots, value in ((2, 0.6), (4, 0.7), (8, 0.8), (None, 0.9)):
        fake_run(tmp_path, "mini-mvtec", "nut", shots=shots, image_auroc=value)
    fake_run(tmp_path, "mini-mvtec", "nut", seed=1, image_auroc=0.1)  # no few-shot run beside it
    fake_run(tmp_path, "mini-mvtec", "cap", image_auroc=0.2)  # a category without few-shot runs
    frame = few_shot_table(find_records("demo", tmp_path), "mini-mvtec")
    nut = frame[frame["category"] == "nut"]
    assert nut["shots"].tolist() == [2, 4, 8, pd.NA]
    assert nut["measured"].tolist() == pytest.approx([60, 70, 80, 90])
    assert set(frame["category"]) == {"nut", "average"}
    (path,) = write_tables("demo", results=tmp_path, kinds=["few_shot"])
    assert path.name == "table_4_mini-mvtec.csv"
    text = path.with_suffix(".md").read_text()
    assert "2-shot" in text and "all images" in text and "RegAD" in text
    provenance = json.loads(path.with_suffix(".provenance.json").read_text())
    assert provenance["nut|pouta|2-shot|image_auroc"] == ["demo/runs/mini-mvtec/nut/pouta/k2/seed0"]


def test_few_shot_averages_stand_beside_the_papers_when_all_categories_are_there(tmp_path):
    for category in published_categories(1):
        for shots in (2, None):
            fake_run(tmp_path, "mvtec", category, shots=shots, image_auroc=0.9)
    frame = few_shot_table(find_records("demo", tmp_path), "mvtec")
    average = frame[(frame["category"] == "average") & (frame["shots"] == 2)].iloc[0]
    assert average["published"] == 86.0
    assert average["difference"] == pytest.approx(4.0)


FIVE = ("vanilla", "base", "base+hsg", "base+mss", "pouta")


def test_ablation_takes_only_what_all_five_have(tmp_path):
    for k, variant in enumerate(FIVE):
        fake_run(tmp_path, "mini-mvtec", "nut", variant, image_auroc=0.5 + k / 10)
    for variant in FIVE[1:]:
        fake_run(tmp_path, "mini-mvtec", "nut", variant, seed=1, image_auroc=0.1)
        fake_run(tmp_path, "mini-mvtec", "cap", variant, image_auroc=0.1)
    frame = ablation_table(find_records("demo", tmp_path), "mini-mvtec")
    cls = frame[(frame["metric"] == "image_auroc") & (frame["category"] == "average")]
    assert cls["method"].tolist() == list(FIVE)
    assert cls["measured"].tolist() == pytest.approx([50, 60, 70, 80, 90])
    assert set(frame["category"]) == {"nut", "average"}
    (path,) = write_tables("demo", results=tmp_path, kinds=["ablation"])
    text = path.with_suffix(".md").read_text()
    assert path.name == "table_5_mini-mvtec.csv"
    assert "| POUTA-base+HSG | ✓     | ✓     |       | 70.0" in text


def test_patchcore_rows_name_their_backbone(tmp_path):
    folder = fake_run(tmp_path, "mini-mvtec", "nut", "patchcore")
    change(folder, lambda r: r.update(backbone="efficientnet_lite0", steps=0))
    (path,) = write_tables("demo", results=tmp_path)
    text = path.with_suffix(".md").read_text()
    assert "PatchCore (EfficientNet-Lite0 features, pretrained on ImageNet), measured" in text


def test_why_names_the_runs_of_a_cell(results, monkeypatch):
    write_tables("demo", results=results)
    table = results / "demo" / "tables" / "table_1_mvtec.csv"
    told = explain_cell(table, "bottle", "pouta image_auroc")
    assert told.splitlines()[0] == "bottle|pouta|all|image_auroc: the mean of"
    assert "98.00 %  demo/runs/mvtec/bottle/pouta/all/seed0" in told
    assert "96.00 %  demo/runs/mvtec/bottle/pouta/all/seed1" in told
    assert "pouta run --profile demo --dataset mvtec --category bottle --variant pouta" in told
    assert "commit" in told and "seed 1" in told
    assert explain_cell(table, "average", "pouta|pixel_ap").count("made by") == 4
    monkeypatch.chdir(table.parent)
    assert explain_cell(Path(table.name), "bottle", "pouta image_auroc") == told
    with pytest.raises(PoutaError, match=r"2 cells .*\n.*\n.*choose one of each: average"):
        explain_cell(table, "bottle", "image_auroc")
    with pytest.raises(PoutaError, match="0 cells"):
        explain_cell(table, "bottel", "pouta image_auroc")
    with pytest.raises(PoutaError, match="no provenance"):
        explain_cell(results / "nothing.csv", "bottle", "pouta image_auroc")


def test_why_takes_names_with_spaces_and_dots(tmp_path):
    for category in ("cap", "bottle cap"):
        fake_run(tmp_path, "my.parts", category)
    (table,) = write_tables("demo", results=tmp_path)
    for category in ("cap", "bottle cap"):
        told = explain_cell(table, category, "pouta image_auroc")
        assert told.startswith(f"{category}|pouta|all|image_auroc:")
        assert told == explain_cell(table.with_suffix(".md"), category, "pouta image_auroc")


def test_cost_table_stands_beside_table_6(tmp_path, monkeypatch):
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path))
    path = write_cost_table("demo", {"POUTA": {"parameters_m": 15.0}})
    assert path.read_text().splitlines()[1] == "6,POUTA,parameters_m,15.02,15.0,-0.02"


def test_why_may_be_read_in_part(committed):
    table = committed / "results" / "demo" / "tables" / "table_1_mini-mvtec.csv"
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pouta_lib.cli", "why", table]
    command += ["--row", "chip", "--column", "pouta pixel_ap"]
    told = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (told.returncode, told.stderr) == (1, "")


def test_models_of_several_categories_stand_beside_those_of_one(tmp_path):
    each = {"nut": 0.9, "chip": 0.7}
    for name, value in each.items():
        fake_run(tmp_path, "mini-mvtec", name, image_auroc=value)
        fake_run(tmp_path, "mini-mvtec", name, seed=1, image_auroc=0.1)  # no model of all has it
        fake_run(tmp_path, "mini-mvtec", name, variant="vanilla")  # nor this method
    assert of_several(find_records("demo", tmp_path)) == []
    found = {name: dict.fromkeys(METRICS, value - 0.2) for name, value in each.items()}
    key = RunKey("demo", "mini-mvtec-together", "all")
    body = record_body() | {"by_category": found}
    write_run(key, body, torch.nn.Conv2d(3, 2, 1), {"maps": np.zeros(1)}, tmp_path)
    chosen = of_several(find_records("demo", tmp_path))
    assert [(r.run.category, r.run.variant, r.run.seed) for r in chosen] == [
        ("all", "pouta", 0),
        ("chip", "pouta", 0),
        ("nut", "pouta", 0),
    ]
    frame = together_frame(chosen, ["image_auroc"])
    wide = frame.pivot(index="category", columns="model", values="percent").round(6)
    assert wide.loc["nut"].to_dict() == {"one each": 90.0, "one for all": 70.0}
    assert wide.loc["chip"].to_dict() == {"one each": 70.0, "one for all": 50.0}
    assert set(frame["title"]) == {"POUTA", "POUTA, one for all"}

"""Tables follow from records; published numbers are the paper's and agree with its averages."""

import json

import pandas as pd
import pytest
from fakes import fake_run

from pouta_lib.errors import PoutaError
from pouta_lib.paths import project_root
from pouta_lib.published import average_report, read_published
from pouta_lib.records import RunKey, find_records
from pouta_lib.tables import benchmark_table, write_tables


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


def test_files_and_their_provenance(results):
    paths = write_tables("demo", results=results)
    names = [path.name for path in paths]
    assert names == ["table_3_mini-dagm.csv", "table_1_mini-mvtec.csv", "table_1_mvtec.csv"]
    provenance = json.loads(paths[2].with_suffix(".provenance.json").read_text())
    runs = provenance["bottle|pouta|image_auroc"]
    assert runs == [f"demo/runs/mvtec/bottle/pouta/all/seed{k}" for k in (0, 1)]
    assert all((results / run / "record.json").is_file() for run in runs)
    mini = paths[1].with_suffix(".md").read_text()
    assert "for orientation only" in mini
    assert "difference" not in mini.lower().split("## the paper's own table")[0]
    real = paths[2].with_suffix(".md").read_text()
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


def test_committed_tables_follow_from_committed_records(tmp_path):
    committed = project_root() / "results" / "demo"
    if not (committed / "tables").is_dir():
        pytest.skip("no committed study")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "runs").symlink_to(committed / "runs")
    write_tables("demo", results=tmp_path)
    again = {p.name: p.read_bytes() for p in (tmp_path / "demo" / "tables").iterdir()}
    assert again == {p.name: p.read_bytes() for p in (committed / "tables").iterdir()}


def test_printed_averages_agree_with_their_rows():
    report = average_report()
    assert len(report) == 22
    assert report["agrees"].all()


def test_published_tables_have_every_value():
    shapes = {n: (len(f := read_published(n)), int(f["value"].isna().sum())) for n in range(1, 7)}
    # I: 7 methods x 16 rows x 3, no AP of RSTD (16), no LOC of ReContrast (31), no CLS of DeSTSeg
    assert shapes[1] == (336, 63)
    assert shapes[2] == (5 * 13, 36)
    assert shapes[3] == (6 * 11, 30)
    assert shapes[4] == (12, 0)
    assert shapes[5] == (15, 0)
    assert shapes[6] == (9, 2)


@pytest.mark.parametrize(
    ("table", "category", "method", "metric", "value"),
    [
        (1, "transistor", "POUTA", "pixel_ap", 79.5),
        (1, "screw", "PatchCore", "pixel_ap", 37.2),
        (1, "average", "ReContrast", "pixel_auroc", 98.4),
        (2, "capsules", "PatchCore", "image_auroc", 76.2),
        (3, "Class8", "PatchCore", "image_auroc", 61.4),
        (5, "average", "POUTA-base+MSS", "pixel_ap", 77.2),
        (6, "", "Vanilla", "multiply_adds_g", 39.38),
    ],
)
def test_published_values_by_hand(table, category, method, metric, value):
    frame = read_published(table)
    chosen = frame[
        (frame["category"] == category) & (frame["method"] == method) & (frame["metric"] == metric)
    ]
    assert chosen["value"].tolist() == [value]


def test_unknown_table():
    with pytest.raises(PoutaError, match="a table from 1 to 6, found 7"):
        read_published(7)

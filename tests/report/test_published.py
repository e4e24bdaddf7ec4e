"""The paper's numbers: all there, agreeing with its averages, and what its sentences say of them.

FINDINGS.md reports the findings; here each is computed from the tables.
"""

import re
from decimal import ROUND_HALF_UP, Decimal

import pandas as pd
import pytest

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.methods import ABLATED, METHODS
from pouta_lib.ground.profiles import load_profile, profile_names
from pouta_lib.method.models import build_model
from pouta_lib.report.published import read_published
from pouta_lib.report.reading import AVERAGE
from pouta_lib.study.records import METRICS


def wide(table, metric="image_auroc"):
    """Categories down, methods across."""
    frame = read_published(table)
    frame = frame[frame["metric"] == metric]
    return frame.pivot(index="category", columns="method", values="value")


def ahead_of_all(table, category, metric="image_auroc"):
    """By how many points POUTA exceeds the best other method, and which that is."""
    row = wide(table, metric).loc[category]
    others = row.drop("POUTA")
    return round(row["POUTA"] - others.max(), 1), others.idxmax()


def standings(table, metric="image_auroc"):
    """In how many categories POUTA is above, level with and below the best other method."""
    values = wide(table, metric).drop(index=AVERAGE)
    ahead = (values["POUTA"] - values.drop(columns="POUTA").max(axis=1)).round(1)
    return int((ahead > 0).sum()), int((ahead == 0).sum()), int((ahead < 0).sum())


def test_every_value_is_there():
    shapes = {n: (len(f := read_published(n)), int(f["value"].isna().sum())) for n in range(1, 7)}
    # I: 7 methods x 16 rows x 3, no AP of RSTD (16), no LOC of ReContrast (31), no CLS of DeSTSeg
    assert shapes[1] == (336, 63)
    assert shapes[2] == (5 * 13, 36)
    assert shapes[3] == (6 * 11, 30)
    assert shapes[4] == (12, 0)
    assert shapes[5] == (15, 0)
    assert shapes[6] == (9, 2)


@pytest.mark.parametrize("table", range(1, 7))
def test_each_value_stands_once_and_in_range(table):
    frame = read_published(table)
    assert not frame.duplicated(["category", "method", "metric", "note"]).any()
    assert set(frame["table"]) == {["I", "II", "III", "IV", "V", "VI"][table - 1]}
    known = frame["value"].dropna()
    assert (known > 0).all()
    assert table == 6 or ((known <= 100) & (known == known.round(1))).all()


@pytest.mark.parametrize(
    ("table", "category", "method", "metric", "value"),
    [
        (1, "carpet", "DRAEM", "image_auroc", 97.0),
        (1, "leather", "RSTD", "pixel_auroc", 99.6),
        (1, "capsule", "DeSTSeg", "pixel_ap", 56.3),
        (1, "metal_nut", "DBPI", "pixel_ap", 92.2),
        (1, "screw", "PatchCore", "pixel_ap", 37.2),
        (1, "transistor", "POUTA", "pixel_ap", 79.5),
        (1, "zipper", "ReContrast", "image_auroc", 99.5),
        (1, "average", "ReContrast", "pixel_auroc", 98.4),
        (2, "capsules", "PatchCore", "image_auroc", 76.2),
        (2, "chewinggum", "POUTA", "image_auroc", 99.7),
        (2, "average", "EdgRec", "image_auroc", 94.2),
        (3, "Class8", "PatchCore", "image_auroc", 61.4),
        (3, "Class9", "POUTA", "image_auroc", 97.4),
        (3, "average", "MS", "image_auroc", 100.0),
        (5, "average", "POUTA-base+MSS", "pixel_ap", 77.2),
        (6, "", "Vanilla", "multiply_adds_g", 39.38),
        (6, "", "PatchCore", "inference_ms", 38),
    ],
)
def test_values_by_hand(table, category, method, metric, value):
    frame = read_published(table)
    chosen = frame[
        (frame["category"] == category) & (frame["method"] == method) & (frame["metric"] == metric)
    ]
    assert chosen["value"].tolist() == [value]


def test_few_shot_values_by_hand():
    frame = read_published(4).set_index(["method", "note"])["value"]
    assert frame["POUTA"].to_dict() == {"2-shot": 86.0, "4-shot": 88.6, "8-shot": 92.2}
    assert frame["RegAD"].to_dict() == {"2-shot": 81.5, "4-shot": 84.9, "8-shot": 87.4}


def test_the_ablation_names_each_variant():
    assert set(read_published(5)["note"]) == set(ABLATED)


TENTH = Decimal("0.1")


def average_report(read=read_published):
    """Each average that Tables I to III print, beside the mean of the rows it belongs to.

    ``mean`` is that mean, ``rounded`` the mean rounded half up to the one decimal that is printed
    (in decimal arithmetic: 97.85 is 97.9), and ``agrees`` whether this is what the paper prints.
    Averages whose rows the paper does not print are left out.
    """
    rows = []
    for table in (1, 2, 3):
        frame = read(table)
        for (method, metric), part in frame.groupby(["method", "metric"], sort=False):
            single = part[part["category"] != AVERAGE]["value"]
            printed = part[part["category"] == AVERAGE]["value"].squeeze()
            if single.isna().any() or pd.isna(printed):
                continue
            mean = sum((Decimal(str(value)) for value in single), Decimal()) / len(single)
            rounded = float(mean.quantize(TENTH, ROUND_HALF_UP))
            rows.append([table, method, metric, printed, float(mean), rounded, rounded == printed])
    columns = ["table", "method", "metric", "printed", "mean", "rounded", "agrees"]
    return pd.DataFrame(rows, columns=columns)


def test_printed_averages_are_the_rounded_means_of_their_rows():
    report = average_report()
    assert len(report) == 22
    assert report["agrees"].all()
    tie = report[(report["table"] == 2) & (report["method"] == "POUTA")].iloc[0]
    assert (tie["mean"], tie["rounded"], tie["printed"]) == (97.85, 97.9, 97.9)


def test_a_wrong_average_is_found():
    def changed(table):
        frame = read_published(table)
        frame.loc[frame["category"] == AVERAGE, "value"] += 0.1
        return frame

    assert not average_report(changed)["agrees"].any()


def test_tables_i_and_v_print_the_same_averages_of_pouta():
    ablation = read_published(5)
    for row in ablation[ablation["method"] == "POUTA"].itertuples():
        assert wide(1, row.metric).loc[AVERAGE, "POUTA"] == row.value


@pytest.mark.parametrize(
    ("table", "category", "metric", "points", "rival"),
    [  # IV-B: each sentence that names a category or an average
        (1, "capsule", "image_auroc", 1.4, "DRAEM"),
        (1, "cable", "image_auroc", -2.0, "ReContrast"),
        (1, "transistor", "pixel_auroc", 2.6, "DBPI"),
        (1, "cable", "pixel_ap", 9.1, "DBPI"),
        (1, "transistor", "pixel_ap", 7.0, "DBPI"),
        (1, "average", "pixel_auroc", 0.3, "DBPI"),
        (1, "average", "pixel_ap", 2.9, "DBPI"),
        (2, "capsules", "image_auroc", 21.0, "PatchCore"),
        (2, "macaroni2", "image_auroc", 17.1, "PatchCore"),
        (2, "average", "image_auroc", 0.4, "ReContrast"),
    ],
)
def test_claims_that_hold(table, category, metric, points, rival):
    assert ahead_of_all(table, category, metric) == (points, rival)


def test_class8_against_patchcore():
    row = wide(3).loc["Class8"]
    assert round(row["POUTA"] - row["PatchCore"], 1) == 38.6


def test_claims_that_do_not_hold_as_worded():
    """The findings of FINDINGS.md, F01 to F05."""
    assert ahead_of_all(1, "wood", "pixel_ap") == (3.5, "DeSTSeg")  # the text: 6.9
    wood = wide(1, "pixel_ap").loc["wood"]
    assert round(wood["POUTA"] - wood["DBPI"], 1) == 6.9
    assert standings(2) == (5, 2, 5)  # the text: "on most cases"
    dagm = wide(3)[["PatchCore", "POUTA"]].drop(index=AVERAGE)
    level = dagm[dagm["PatchCore"] == dagm["POUTA"]]
    assert sorted(level.index) == ["Class10", "Class2"]  # the text: all but Class4
    assert list(dagm.index[dagm["PatchCore"] > dagm["POUTA"]]) == ["Class4"]
    assert ahead_of_all(1, AVERAGE) == (0.0, "ReContrast")  # the conclusion: "outperforms"
    ablation = read_published(5).pivot(index="method", columns="metric", values="value")
    added = ablation.loc["POUTA-base+MSS"] - ablation.loc["POUTA-base"]
    assert added["image_auroc"] == 0  # the text: "the detection performance increases"
    reused = ablation.loc["POUTA-base"] - ablation.loc["Vanilla"]
    assert reused["pixel_auroc"] == 0


@pytest.mark.parametrize(
    ("metric", "counts"),
    [("image_auroc", (3, 8, 4)), ("pixel_auroc", (5, 2, 8)), ("pixel_ap", (9, 0, 6))],
)
def test_in_how_many_categories_of_mvtec_pouta_leads(metric, counts):
    assert standings(1, metric) == counts


def test_unknown_table():
    with pytest.raises(PoutaError, match="a table from 1 to 6, found 7"):
        read_published(7)


def test_a_damaged_table_is_named(monkeypatch, tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "table_1.csv").write_text("a,b\n1,2\n")
    monkeypatch.setenv("POUTA_HOME", str(tmp_path))
    with pytest.raises(PoutaError, match=r"found \['a', 'b'\]"):
        read_published(1)


def test_every_deviation_that_the_code_cites_is_listed(repository):
    text = (repository / "docs" / "DEVIATIONS.md").read_text(encoding="utf-8")
    listed = re.findall(r"^## (D\d\d) ", text, re.MULTILINE)
    assert listed == [f"D{k:02}" for k in range(1, len(listed) + 1)]
    for entry in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        parts = re.findall(r"\*(Paper|Here|Why|Where)\b", entry)
        assert parts == ["Paper", "Here", "Why", "Where"], entry.splitlines()[0]
    modules = sorted((repository / "pouta_lib").rglob("*.py"))
    cited = {name for path in modules for name in re.findall(r"\bD\d\d\b", path.read_text("utf-8"))}
    assert cited <= set(listed)
    for name in set(re.findall(r"`pouta_lib/([\w/]+\.py)`", text)):
        assert (repository / "pouta_lib" / name).is_file(), name


def test_every_deviation_is_cited_where_it_is_made(repository):
    """As the page promises: in a file that *Where* names."""
    text = (repository / "docs" / "DEVIATIONS.md").read_text(encoding="utf-8")
    for entry in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        where = entry.partition("*Where.*")[2]
        files = [path for path in re.findall(r"`([\w/]+\.py)`", where) if "/" in path]
        citing = [path for path in files if entry[:3] in (repository / path).read_text("utf-8")]
        assert citing, f"{entry[:3]}: none of {files} cites it"


def test_the_findings_are_numbered(repository):
    text = (repository / "docs" / "FINDINGS.md").read_text(encoding="utf-8")
    listed = re.findall(r"^## (F\d\d) ", text, re.MULTILINE)
    assert listed == [f"F{k:02}" for k in range(1, 9)]


def test_settings_that_differ_from_the_papers_are_listed(repository):
    text = (repository / "docs" / "DEVIATIONS.md").read_text(encoding="utf-8")
    section = text.split("## D29 ")[1].split("## ")[0]
    listed = set(re.findall(r"`(\w+)`", section))
    paper = load_profile("paper").to_dict()
    for name in profile_names():
        settings = load_profile(name).to_dict()
        assert {key for key in paper if settings[key] != paper[key]} - {"name"} <= listed


def test_the_glossary_has_every_name_of_a_trace(repository):
    import torch

    text = (repository / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`([^`]+)`", text))
    for method in ("vanilla", "pouta"):
        with torch.no_grad():
            model = build_model(method, load_profile("paper", width=4)).eval()
            names = model.trace(torch.zeros(1, 3, 32, 32))
        assert set(names) <= listed
    assert set(METRICS) <= listed
    assert set(METHODS) <= listed

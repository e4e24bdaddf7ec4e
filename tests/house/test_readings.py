"""What the study's notebooks say of their pictures, held to the pictures and to the records."""

import hashlib
import re

import nbformat
import pytest

from pouta_lib.ground.methods import ABLATED, COMPARED
from pouta_lib.report.tables import run_frame
from pouta_lib.study.records import find_records

SEEN = "**In the committed runs we see:**"
# The pictures that sentences were written about, by the first digits of their SHA-256. Where one
# has changed: look at it, mend its paragraph, and then the digits here.
LOOKED_AT = {
    "demo/datasets": "f7c228e6aadf",
    "demo/synthetic_anomalies": "6904e2c25449",
    "demo/figure_1": "744eac2a478a",
    "demo/figure_5": "5f830d1466f6",
    "demo/figure_6": "96031c3278e5",
    "demo/dagm": "31c2a7cd7037",
    "demo/figure_7": "4a84f31675de",
    "demo/figure_8": "dfb0add23db3",
    "demo/figure_9": "36a781f557c9",
    "demo/figure_10": "7ee840f5df67",
    "demo/figure_2": "3901ad6a1bfa",
    "demo/figure_3": "7b6ef4f7c038",
    "evening/datasets": "f7c228e6aadf",
    "evening/synthetic_anomalies": "6904e2c25449",
    "evening/figure_1": "ce18e650fcfe",
    "evening/figure_5": "ce83f66ffd8c",
    "evening/figure_6": "2c52d78607b1",
    "evening/dagm": "30ea154de10a",
    "evening/figure_7": "7227e237d160",
    "evening/figure_8": "f6f0df16a8a0",
    "evening/figure_9": "5089b1421dc2",
    "evening/figure_10": "8be1db7922c0",
    "evening/figure_2": "79bc6376b7d8",
    "evening/figure_3": "934ca72991cb",
}


def prose(repository, name):
    """A notebook's Markdown on one line."""
    (path,) = (repository / "notebooks").glob(f"{name}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    return " ".join(" ".join(c.source for c in cells if c.cell_type == "markdown").split())


@pytest.mark.parametrize("picture", LOOKED_AT)
def test_a_sentence_about_a_picture_was_written_by_looking_at_it(committed, picture):
    content = (committed / "figures" / f"{picture}.png").read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith(LOOKED_AT[picture]), picture


@pytest.mark.parametrize("name", ["10", "11", "12", "13", "14", "16"])
def test_each_picture_of_the_study_is_read(repository, name):
    """By a paragraph, or by sentences that the numbers make, before the next picture."""
    (path,) = (repository / "notebooks").glob(f"{name}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    drawn = [k for k, cell in enumerate(cells) if re.search(r"(save_figure|draw)\(", cell.source)]
    drawn = [k for k in drawn if cells[k].cell_type == "code" and "def draw" not in cells[k].source]
    for k, following in zip(drawn, [*drawn[1:], len(cells)], strict=True):
        below = [cell.source for cell in cells[k : following + 1]]
        assert any(SEEN in text or "say(" in text for text in below), cells[k].source


def runs(committed, study, methods):
    """What the study's runs on all images say, a row for each run and metric."""
    records = find_records(study, committed / "results", shots=None)
    records = [r for r in records if r.run.variant in methods and not r.by_category]
    return run_frame(records, ["image_auroc", "pixel_ap"])


def test_who_has_the_longest_bars_in_chapter_10(repository, committed):
    told, longest = prose(repository, "10"), {}
    for study in ("demo", "evening"):
        for metric, of in runs(committed, study, COMPARED).groupby("metric"):
            table = of.pivot_table("percent", "category", "title").round(1)
            shared = table.eq(table.max(axis=1), axis=0).sum()
            longest[study, metric] = shared["PatchCore"], shared["POUTA"], len(table)
    (first, _, every), (last, _, _) = (longest[of, "image_auroc"] for of in ("demo", "evening"))
    assert (
        f"on {first} of {every} categories after 400 steps and on {last} of {every} after" in told
    )
    (first, ours, exact), (last, later, _) = (longest[of, "pixel_ap"] for of in ("demo", "evening"))
    assert f"on {first} of {exact} after 400 steps and on {last} of {exact} after 3000" in told
    assert f"POUTA has it on {ours} and then on {later}." in told


def test_how_far_seeds_lie_apart_in_chapter_16(repository, committed):
    told, ends = prose(repository, "16"), {}
    for study in ("demo", "evening"):
        frame = runs(committed, study, ABLATED)
        for name, of in frame.groupby(["category", "metric"]):
            ends[study, *name] = of.groupby("title")["percent"].agg(["min", "max"])

    def between(study, *name):
        """The lowest and the highest of Vanilla, and of all the others."""
        of = ends[study, *name]
        others = of.drop("Vanilla")
        return *of.loc["Vanilla"].round(1), *(round(others[k].agg(k), 1) for k in ("min", "max"))

    of = ends["demo", "terrazzo", "image_auroc"]
    apart = of["max"] - of["min"]
    assert f"lies {apart.min():.1f} to {apart.max():.1f} points apart" in told
    assert of["min"].max() < of["max"].min()  # all five overlap
    low, high, lowest, highest = between("demo", "nut", "pixel_ap")
    assert low > highest and f"({low} to {high} against {lowest} to {highest})" in told
    low, high, lowest, highest = between("evening", "nut", "pixel_ap")
    assert high < highest and f"({low} to {high} against {lowest} to {highest})" in told
    _, high, lowest, _ = between("evening", "terrazzo", "image_auroc")
    assert high < lowest and f"at most {high} against at least {lowest} in image AUROC" in told
    _, high, lowest, _ = between("evening", "terrazzo", "pixel_ap")
    assert high < lowest and f"{high} against {lowest} in pixel AP" in told

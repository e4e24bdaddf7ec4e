"""docs/QUESTIONS.md: what it quotes stands in the course, at the place that it names."""

import re

import nbformat
import pytest
from test_readme import measured

from pouta_lib.report.published import read_published

QUESTION = re.compile(
    r"(?ms)^## (.+?)\n\n.*?\]\(\.\./(notebooks/[\w.]+)#([\w-]+)\).*?\n\n((?:> [^\n]*\n)+)"
)


def slug(heading):
    """What a heading is linked by: `## 5 · Why` is `5--why`."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def part_of(path, wanted):
    """The prose of the part of a notebook whose heading has this slug, on one line."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    parts = re.split(r"(?m)^## (.+)$", text)
    found = dict(zip(map(slug, parts[1::2]), parts[2::2], strict=True))
    assert wanted in found, sorted(found)
    return " ".join(found[wanted].split())


def questions(repository):
    """Question, notebook, slug and quotation, of each."""
    return QUESTION.findall((repository / "docs" / "QUESTIONS.md").read_text(encoding="utf-8"))


def test_there_are_ten(repository):
    assert len(questions(repository)) == 10


@pytest.mark.parametrize("k", range(10))
def test_the_course_says_so_there(repository, k):
    _, path, place, quotation = questions(repository)[k]
    words = " ".join(re.sub(r"(?m)^> ", "", quotation).split())
    told = part_of(repository / path, place)
    for piece in words.split("…"):
        assert piece.strip().rstrip(".") in told, piece


def test_what_few_shots_cost_is_what_the_studies_say(repository, committed):
    """The numbers of chapter 11, and which training calls more of good images anomalous."""
    told = part_of(repository / "notebooks" / "11_few_shot.ipynb", "2--table-iv")
    shown, quiet = [], []
    for study in ("demo", "evening"):
        table = measured(committed, "table_4_mini-mvtec.csv", study)
        average = table[table["category"] == "average"].sort_values("shots")  # all images last
        shown += [f"{average['measured'].iloc[k]:.1f}" for k in (0, -1)]
        copy = committed / "results" / study / "notebooks" / "11_few_shot.ipynb"
        said = copy.read_text(encoding="utf-8")
        quiet.append(re.findall(r"over good ones goes from ([\d.]+) to", said))
    assert "is {} with two images and {} with all of them after 400".format(*shown[:2]) in told
    assert "steps, {} and {} after 3000".format(*shown[2:]) in told
    assert len(quiet[0]) == 2 and all(a < b for a, b in zip(*quiet, strict=True))
    few = read_published(4).query("method == 'POUTA' and note == '2-shot'")["value"].item()
    whole = read_published(1).query("method == 'POUTA' and category == 'average'")
    whole = whole.query("metric == 'image_auroc'")["value"].item()
    assert f"in the paper {few} and {whole}, over fifteen categories" in told

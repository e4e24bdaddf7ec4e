"""docs/QUESTIONS.md: what it quotes stands in the course, at the place that it names."""

import re

import nbformat
import pytest

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

"""What Sphinx is given to read: notebooks with the outputs of their executed copies, and links.

The site itself is built by `make book`, which fails for a broken link; here without Sphinx.
"""

import json
import re
from itertools import pairwise
from xml.etree import ElementTree

import build_book
import chapters
import flow
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

TITLES = {"D09": ("DEVIATIONS", "Blending"), "F03": ("FINDINGS", "A sum")}


def test_a_cell_gets_the_output_of_the_same_code():
    printed = new_output("stream", text="3\n")
    executed = new_notebook(cells=[new_code_cell("print(3)", outputs=[printed])])
    now = new_notebook(cells=[new_code_cell("print(4)"), new_code_cell("print(3)")])
    assert build_book.with_outputs(now, executed) == [0]
    assert [len(cell.outputs) for cell in now.cells] == [0, 1]


def test_what_went_to_the_screen_beside_the_results_is_left_out():
    bar = new_output("stream", name="stderr", text="10%|#")
    executed = new_notebook(cells=[new_code_cell("train()", outputs=[bar])])
    now = new_notebook(cells=[new_code_cell("train()")])
    build_book.with_outputs(now, executed)
    assert now.cells[0].outputs == []


def test_a_line_that_the_kernel_cut_in_two_is_one_again():
    pieces = [new_output("stream", text=text) for text in ("one", "\ntwo\n")]
    executed = new_notebook(cells=[new_code_cell("tell()", outputs=pieces)])
    now = new_notebook(cells=[new_code_cell("tell()")])
    build_book.with_outputs(now, executed)
    assert [output.text for output in now.cells[0].outputs] == ["one\ntwo\n"]


def test_what_a_copy_was_executed_with_stands_below_the_notebooks_own_parameters(tmp_path):
    title, own = new_markdown_cell("# 10"), new_code_cell('profile = ""')
    filled = new_code_cell('profile = "evening"')
    own.metadata.tags, filled.metadata.tags = ["parameters"], ["injected-parameters"]
    source, executed = tmp_path / "10_benchmarks.ipynb", tmp_path / "executed.ipynb"
    nbformat.write(new_notebook(cells=[title, own]), source)
    nbformat.write(new_notebook(cells=[title, own, filled]), executed)
    notebook, bare = build_book.chapter(source, executed, tmp_path)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code == ['profile = ""', 'profile = "evening"'] and not bare


def test_each_of_several_figures_has_its_caption_below_it(tmp_path):
    (tmp_path / "demo").mkdir()
    for name in ("figure_5", "figure_1"):
        note = {"caption": f"What {name} shows.", "records": []}
        (tmp_path / "demo" / f"{name}.json").write_text(json.dumps(note), encoding="utf-8")
    text = "saved figures/demo/figure_5.png\nsaved figures/demo/figure_1.png\n"
    pictures = [new_output("display_data", data={"image/png": name}) for name in ("5", "1")]
    cell = new_code_cell("draw()", outputs=[new_output("stream", text=text), *pictures])
    code, *below = build_book.with_captions(cell, tmp_path)
    assert [output.output_type for output in code.outputs] == ["stream"]
    shown = [of.outputs[0].data["image/png"] if "outputs" in of else of.source for of in below]
    assert shown[0::2] == ["5", "1"]
    assert "**Figure 5.** *What figure_5 shows.*" in shown[1]
    assert "**Figure 1.** *What figure_1 shows.*" in shown[3]


def test_each_figure_that_a_copy_saved_has_its_note(committed):
    """What stands below it in the book: its caption, and what it was drawn from."""
    bare = []
    for copy in sorted((committed / "results").glob("*/notebooks/*.ipynb")):
        for folder, name in build_book.SAVED.findall(copy.read_text(encoding="utf-8")):
            if not build_book.provenance(name, committed / "figures" / folder):
                bare.append(f"{copy.name}: {name}")
    assert not bare


@pytest.mark.parametrize(
    ("prose", "expected"),
    [
        ("a soft edge (D09)", 'a soft edge ([D09](docs/DEVIATIONS.md#d09 "Blending"))'),
        ("[D09](docs/DEVIATIONS.md)", '[D09](docs/DEVIATIONS.md#d09 "Blending")'),
        ("as F03 says", 'as [F03](docs/FINDINGS.md#f03 "A sum") says'),
        ("`D09` and $F_{D09}$", "`D09` and $F_{D09}$"),
        ("## D09 Blending", "## D09 Blending"),
        ("D99 is not there", "D99 is not there"),
    ],
)
def test_deviations_become_links(prose, expected):
    assert build_book.link_deviations(prose, "docs/", TITLES) == expected


def test_only_the_first_symbol_of_a_page_is_a_link():
    seen = set()
    found = build_book.link_symbols("$I_r$ and $I_r$ and $x$", "docs/", seen)
    assert found == "[$I_r$](docs/GLOSSARY.md#symbol-i-r) and $I_r$ and $x$"
    assert build_book.link_symbols("$I_r$", "docs/", seen) == "$I_r$"


def test_answers_are_folded():
    solution = new_notebook(
        cells=[
            new_markdown_cell("# Solutions"),
            new_markdown_cell("## 1 · Why\n\nBecause.\n\n## 2 · How"),
            new_code_cell("print(1)"),
        ]
    )
    build_book.folded(solution)
    assert solution.cells[1].source == (
        "## 1 · Why\n\n:::::{dropdown} Answer\nBecause.\n:::::\n\n## 2 · How"
    )
    assert solution.cells[2].metadata.tags == ["hide-cell"]


def test_every_symbol_has_its_line_in_the_glossary(repository):
    text = (repository / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
    for row in build_book.SYMBOLS.values():
        assert f"| {row} |" in text, row
    anchors = {build_book.anchor(row) for row in build_book.SYMBOLS.values()}
    page = build_book.page(repository / "docs" / "GLOSSARY.md")
    assert all(f"{{#{anchor}}}" in page for anchor in anchors)


def test_the_book_is_prepared_from_what_there_is(repository, committed, tmp_path):
    """Every notebook, page and picture; deviations as places to link to; figures told of."""
    told = build_book.prepare(
        tmp_path / "source", [committed / "results" / "demo"], committed / "figures"
    )
    notebooks = sorted(p.name for p in (repository / "notebooks").rglob("*.ipynb"))
    made = sorted(p.name for p in (tmp_path / "source" / "notebooks").rglob("*.ipynb"))
    assert made == notebooks
    index = (tmp_path / "source" / "index.md").read_text(encoding="utf-8")
    assert all(name.removesuffix(".ipynb") in index for name in made)
    deviations = (tmp_path / "source" / "docs" / "DEVIATIONS.md").read_text(encoding="utf-8")
    assert "(d09)=\n## D09 " in deviations
    for line in told:
        assert line.split(":")[0] in notebooks


def test_no_page_links_to_what_the_book_has_not(repository):
    for path in [*(repository / "docs").glob("*.md"), repository / "README.md"]:
        for link in re.findall(r"\]\(([^)\s#]+)", build_book.page(path)):
            if "://" not in link:
                assert link.endswith((".md", ".ipynb", ".png")), f"{path.name}: {link}"


def test_each_chapter_stands_somewhere_in_the_flow(repository):
    chapters_there = {path.name[:2] for path in (repository / "notebooks").glob("*.ipynb")}
    for name in chapters_there:
        drawn = ElementTree.fromstring(flow.flow(name))
        lit = [group for group in drawn.iter("g") if group.get("class") == "block lit"]
        assert lit and len(lit) == sum(name in at.split() for at in flow.LIT.values()), name
    assert {name for at in flow.LIT.values() for name in at.split()} <= chapters_there


def test_each_block_of_the_flow_is_drawn_within_the_picture():
    drawn = ElementTree.fromstring(flow.flow("04"))
    assert len([g for g in drawn.iter("g") if "block" in g.get("class", "")]) == len(flow.LIT)
    for frame in drawn.iter("rect"):
        x, y, width = (float(frame.get(name)) for name in ("x", "y", "width"))
        assert x >= 0 and y >= 0 and x + width <= flow.WIDTH, frame.attrib
    for way in drawn.iter("polyline"):  # along the axes alone
        points = [tuple(map(float, point.split(","))) for point in way.get("points").split()]
        assert all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(points)), points


def test_each_chapter_of_the_course_asks_and_answers(repository):
    """Three to five questions, each with a folded answer, before the exercises."""
    for path in sorted((repository / "notebooks").glob("[0-9]*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
        asked = text.partition("## Check yourself")[2].partition("## Exercises")[0]
        assert 3 <= asked.count("<details><summary>") <= 5, path.name
        assert asked.count("<details>") == asked.count("</details>"), path.name


@pytest.mark.parametrize("study", ["demo", "evening"])
def test_executed_copies_have_todays_code_and_words(committed, study):
    """What readers see was made by the code beside it: `make chapters`, or `pouta notebook`."""
    sources = {path.name: path for path in build_book.notebooks()}
    copies = sorted((committed / "results" / study / "notebooks").glob("*.ipynb"))
    stale = [copy.name for copy in copies if not chapters.is_shown(sources[copy.name], copy)]
    assert copies and not stale
    words = chapters.words_of
    assert [c.name for c in copies if words(c) != words(sources[c.name])] == [], "make chapters"

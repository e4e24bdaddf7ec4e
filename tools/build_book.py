"""The course and the study as a site, from executed copies: `make book` runs this.

Nothing is run again. A cell shows the output that the executed copy in
``results/<profile>/notebooks`` has for the same code; a cell whose code has changed since shows
none, and is named. Of several studies the first that has a copy of a notebook is shown. What Sphinx
reads is written below ``build/book`` first, in the repository's own layout, so that links between
notebooks and docs lead to the same places in both.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nbformat
import paint_page
from flow import flow
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

HOME = Path(__file__).resolve().parent.parent
FIRST_SOLUTION = "notebooks/solutions/00_start_here_solutions.ipynb"
QUESTIONS = "docs/QUESTIONS"  # stands with the course
SAVED = re.compile(r"saved figures/([^/\s]+)/(\w+)\.png")
DEVIATION = re.compile(r"(?<![\w\[#/])([DF]\d\d)(?!\w)")
CODE_OR_LINK = re.compile(r"(```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|!?\[[^\]]*\]\([^)]*\))", re.S)

# Symbols of the paper: how they look in a formula, and the glossary's row.
SYMBOLS = {
    "I_{ori}": "I_ori",
    "I_{aug}": "I_aug",
    "I_{in}": "I_in",
    "I_r": "I_r",
    "F_M": "F_M",
    "F_{Ei}": "F_E1 .. F_E4",
    "F_{E4}": "F_E1 .. F_E4",
    "F_{Di}": "F_D4 .. F_D1",
    "F_{D4}": "F_D4 .. F_D1",
    "F_{Ci}": "F_C1 .. F_C4",
    "F_{C4}": "F_C1 .. F_C4",
    "F'_{Ci}": "F'_C1 .. F'_C3",
    "F'_{C(i+1)}": "F'_C1 .. F'_C3",
    "W_{sp}": "W_sp(1) .. W_sp(3)",
    "W_{cn}": "W_cn(1) .. W_cn(3)",
    "M_p": "M_p",
    "M_{p(i)}": "M_p(1) .. M_p(4)",
    "M_{p4}": "M_p(1) .. M_p(4)",
    "M": "M",
    "S": "S",
    "T": "T",
    "b": "b",
    "L_{rec}": "L_rec",
    "L_{pre}": "L_pre",
    "L_{MSS}": "L_MSS",
}

FIGURES = HOME / "figures"
FILMS = {"05": FIGURES / "demo" / "training.webp"}  # by tools/training_film.py, below a title
PICTURE = re.compile(r"\]\((?:\.\./)?(figures/[^)\s]+)\)")
SPHINX = HOME / "book" / "sphinx"


def outside(text: str, change: Callable[[str], str]) -> str:
    """`text` with its prose changed, and code, formulas and links left alone."""
    parts = CODE_OR_LINK.split(text)
    return "".join(part if k % 2 else change(part) for k, part in enumerate(parts))


def deviation_titles(docs: Path) -> dict[str, tuple[str, str]]:
    """For D01 .., F01 ..: the page and the title.

    >>> deviation_titles(HOME / "docs")["D09"][0]
    'DEVIATIONS'
    """
    found = {}
    for page in ("DEVIATIONS", "FINDINGS"):
        text = (docs / f"{page}.md").read_text(encoding="utf-8")
        for name, title in re.findall(r"^## ([DF]\d\d) (.+)$", text, re.M):
            found[name] = page, title
    return found


def link_deviations(text: str, to_docs: str, titles: dict[str, tuple[str, str]]) -> str:
    """D09 and F03 in prose become links to their entries, with the entry's title to hover over."""

    def link(match: re.Match[str]) -> str:
        name = match[1]
        if name not in titles:
            return match[0]
        page, title = titles[name]
        hover = title.replace('"', "'")
        return f'[{name}]({to_docs}{page}.md#{name.lower()} "{hover}")'

    text = re.sub(  # those that link to the page already
        r"\[((?:[DF]\d\d(?:, )?)+)\]\([^)]*(?:DEVIATIONS|FINDINGS)\.md\)", r"\1", text
    )
    lines = text.split("\n")
    parts, fenced = [], False
    for line in lines:
        fenced ^= line.lstrip().startswith("```")
        keep = fenced or line.startswith("#")
        parts.append(line if keep else outside(line, lambda part: DEVIATION.sub(link, part)))
    return "\n".join(parts)


def anchor(symbol: str) -> str:
    """The name of a symbol's place in the glossary.

    >>> anchor("W_sp(1) .. W_sp(3)"), anchor("F'_C1 .. F'_C3"), anchor("M")
    ('symbol-w-sp-1-w-sp-3', 'symbol-fprime-c1-fprime-c3', 'symbol-m')
    """
    words = re.sub(r"[^a-z0-9]+", "-", symbol.lower().replace("'", "prime-"))
    return f"symbol-{words.strip('-').replace('prime--', 'prime-')}"


def link_symbols(text: str, to_docs: str, seen: set[str]) -> str:
    """The first `$I_r$` of a page becomes a link to its line in the glossary."""

    def link(match: re.Match[str]) -> str:
        row = SYMBOLS.get(match[1])
        if row is None or row in seen:
            return match[0]
        seen.add(row)
        return f"[${match[1]}$]({to_docs}GLOSSARY.md#{anchor(row)})"

    lines = text.split("\n")
    for k, line in enumerate(lines):
        if not line.startswith(("#", "|", "$$", "<")) and "](" not in line:
            lines[k] = re.sub(r"(?<!\$)\$([^$]+)\$(?!\$)", link, line)
    return "\n".join(lines)


def with_outputs(notebook: NotebookNode, executed: NotebookNode | None) -> list[int]:
    """Gives cells the outputs of an executed copy, by their code; the places that get none."""
    by_code: dict[str, list[NotebookNode]] = {}
    for cell in executed.cells if executed else []:
        if cell.cell_type == "code":
            by_code.setdefault(cell.source, cell.outputs)
    bare = []
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs = list(by_code.get(cell.source, []))
            if executed and cell.source not in by_code and "parameters" not in tags(cell):
                bare.append(place)
            kept: list[NotebookNode] = []
            for output in cell.outputs:
                if output.output_type == "stream":
                    if output.name == "stderr":  # progress bars and warnings of the machine
                        continue
                    if kept and kept[-1].output_type == "stream":  # a line may be cut in two
                        kept[-1] = NotebookNode(kept[-1] | {"text": kept[-1].text + output.text})
                        continue
                kept.append(output)
            cell.outputs = kept
    return bare


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags, to be added to."""
    return cell.metadata.setdefault("tags", [])


def provenance(name: str, figures: Path) -> NotebookNode | None:
    """What stands below a figure: its caption, and the records it was drawn from, folded."""
    note = figures / f"{name}.json"
    if not note.is_file():
        return None
    told = json.loads(note.read_text(encoding="utf-8"))
    lines = "\n".join(f"- `{path}`" for path in told["records"]) or "- none: it needs no run"
    summary = f"{len(told['records'])} records" if told["records"] else "no records"
    title = f"**{name.replace('_', ' ').capitalize()}.** " if name.startswith("figure_") else ""
    text = f"{title}*{told['caption']}*\n\n<details><summary>drawn from {summary}</summary>"
    text = f'<div class="provenance">\n\n{text}\n\n{lines}\n\n</details>\n\n</div>'
    return new_markdown_cell(text)


def folded(notebook: NotebookNode) -> None:
    """Answers are shut, from the first exercise on: prose in a fold, code behind a button."""
    begun = False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            tags(cell).append("hide-cell")
            continue
        shown = []
        for block in re.split(r"(?m)^(## .*)$", cell.source):
            begun |= block.startswith("## ")
            text = block.strip()
            prose = begun and text and not block.startswith("## ")
            shown += [f":::::{{dropdown}} Answer\n{text}\n:::::" if prose else text]
        cell.source = "\n\n".join(part for part in shown if part)


def chapter(source: Path, executed: Path, figures: Path) -> tuple[NotebookNode, list[int]]:
    """A notebook as the book shows it, and the places of cells without an output."""
    notebook = nbformat.read(source, as_version=4)
    copy = nbformat.read(executed, as_version=4) if executed.is_file() else None
    bare = with_outputs(notebook, copy)
    solution = source.parent.name == "solutions"
    to_docs = "../../docs/" if solution else "../docs/"
    titles = deviation_titles(HOME / "docs")
    seen: set[str] = set()
    cells = []
    for cell in notebook.cells:
        if "colab" in tags(cell):  # the launch button fetches the notebook, which has it
            continue
        if cell.cell_type == "markdown":
            cell.source = link_deviations(cell.source, to_docs, titles)
            cell.source = link_symbols(cell.source, to_docs, seen)
        cells += with_captions(cell, figures)
        if "parameters" in tags(cell) and copy:  # what the copy was executed with
            cells += [of for of in copy.cells if "injected-parameters" in tags(of)]
    notebook.cells = cells
    if solution:
        folded(notebook)
    else:
        shown = [new_markdown_cell(flow(source.name[:2]))]
        if (film := FILMS.get(source.name[:2])) and film.is_file():
            address = f"../{film.relative_to(HOME).as_posix()}"
            shown.append(new_markdown_cell(f"![One training, step by step]({address})"))
            shown.append(provenance(film.stem, film.parent))
        notebook.cells = [cells[0], *shown, *cells[1:]]
    return notebook, bare


def with_captions(cell: NotebookNode, figures: Path) -> list[NotebookNode]:
    """The cell, with its :func:`provenance` below each picture that it saved.

    A notebook shows a cell's pictures all at once, behind its last line: those of several figures
    get cells of their own.
    """
    saved = list(dict.fromkeys(SAVED.findall("".join(_printed(cell)))))
    outputs = cell.get("outputs", [])
    pictures = [of for of in outputs if any("image/" in kind for kind in of.get("data", {}))]
    apart = len(saved) == len(pictures) > 1
    if apart:
        cell.outputs = [of for of in outputs if of not in pictures]
    shown = [cell]
    for k, (folder, name) in enumerate(saved):
        if apart:
            hidden = {"tags": ["remove-input"]}  # a cell without a source would be left out
            shown.append(new_code_cell(f"# {name}", outputs=[pictures[k]], metadata=hidden))
        below = provenance(name, figures / folder)
        shown += [below] if below else []
    return shown


def _printed(cell: NotebookNode) -> Iterator[str]:
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            yield output.text


def page(path: Path) -> str:
    """A page of docs, or of the top, with its places to link to."""
    text = path.read_text(encoding="utf-8")
    to_docs = "" if path.parent.name == "docs" else "docs/"
    text = link_deviations(text, to_docs, deviation_titles(HOME / "docs"))
    text = re.sub(r"^(## ([DF]\d\d) )", lambda m: f"({m[2].lower()})=\n{m[1]}", text, flags=re.M)
    if path.stem == "GLOSSARY":
        rows = {row for row in SYMBOLS.values() if f"| {row} |" in text}
        for row in rows:
            text = text.replace(f"| {row} |", f"| [{row}]{{#{anchor(row)}}} |", 1)
    for old, new in (("README.md", "index.md"), ("notebooks/solutions", FIRST_SOLUTION)):
        text = re.sub(rf"\]\((\.\./)?{old}\)", rf"](\g<1>{new})", text)
    return re.sub(
        r"\]\((?:\.\./)?((?:benchmarks|configs|figures|pouta_lib|published|results|tests|tools)"
        r"[^)\s]*|LICENSE|CITATION\.cff|Snakefile|Makefile)\)",
        _to_repository,
        text,
    )


def _to_repository(match: re.Match[str]) -> str:
    """A file that is no page of the book is shown where the repository is."""
    if match[1].endswith((".png", ".jpg", ".webp")):
        return match[0]
    return f"]({repository()}/tree/main/{match[1]})"


def repository() -> str:
    """The project's address."""
    import tomllib

    text = (HOME / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["urls"]["Repository"])


def notebooks() -> list[Path]:
    """All notebooks of the repository, in the book's order."""
    found = sorted((HOME / "notebooks").rglob("*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def prepare(target: Path, results: Sequence[Path], figures: Path) -> list[str]:
    """Writes what Sphinx reads; a line for each notebook with cells that have no output.

    `figures` has a folder for each study, with notes beside the pictures that notebooks made.
    """
    shutil.rmtree(target, ignore_errors=True)
    told, sources = [], notebooks()
    for source in sources:
        copies = [study / "notebooks" / source.name for study in results]
        executed = next((copy for copy in copies if copy.is_file()), copies[-1])
        notebook, bare = chapter(source, executed, figures)
        if not executed.is_file():
            told.append(f"{source.name}: no executed copy")
        elif bare:
            told.append(f"{source.name}: {len(bare)} cells have changed since it was executed")
        _write(target / source.relative_to(HOME), nbformat.writes(notebook))
    for path in [*sorted((HOME / "docs").glob("*.md")), HOME / "CONTRIBUTING.md"]:
        _write(target / path.relative_to(HOME), page(path))
    _write(target / "CHANGELOG.md", page(HOME / "CHANGELOG.md"))
    welcome = re.sub(
        r"(?m)^\[!\[Open in .*\n", "", page(HOME / "README.md")
    )  # each notebook has them
    _write(target / "index.md", welcome + contents(sources))
    conf = (SPHINX / "conf.py").read_text(encoding="utf-8")
    _write(target / "conf.py", conf.replace("REPOSITORY", repository()))
    _write(target / "_static" / "book.css", (SPHINX / "book.css").read_text(encoding="utf-8"))
    for path in sorted(target.rglob("*.[mi]*")):  # pages and notebooks
        for picture in PICTURE.findall(path.read_text(encoding="utf-8")):
            (target / picture).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(HOME / picture, target / picture)
    return told


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def contents(sources: list[Path]) -> str:
    """The book's parts, as Sphinx wants them."""
    names = [path.relative_to(HOME).with_suffix("").as_posix() for path in sources]
    docs = [f"docs/{path.stem}" for path in sorted((HOME / "docs").glob("*.md"))]
    parts = {
        "The course": [*(n for n in names if re.match(r"notebooks/0[0-4]", n)), QUESTIONS],
        "Training": [n for n in names if re.match(r"notebooks/0[5-7]", n)],
        "The study": [n for n in names if re.match(r"notebooks/1", n)],
        "Yours": [n for n in names if re.match(r"notebooks/2", n)],
        "Worked solutions": [n for n in names if "/solutions/" in n],
        "Reference": [n for n in docs if n != QUESTIONS],
        "The project": ["CONTRIBUTING", "CHANGELOG"],
    }
    text = ""
    for caption, pages in parts.items():
        lines = "\n".join(pages)
        text += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```"
    return text + "\n"


def main() -> int:
    """Prepares the pages and lets Sphinx build them; Sphinx's status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    studies = [HOME / "results" / name for name in ("evening", "demo")]
    parser.add_argument("--results", type=Path, nargs="+", default=studies)
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--weights", type=Path, help="results with weights; default: --results")
    parser.add_argument("--output", type=Path, default=HOME / "build" / "book")
    options = parser.parse_args()
    source = options.output / "source"
    told = prepare(source, options.results, options.figures)
    weights = options.weights or options.results[-1]
    told += paint_page.add_page(source, weights, options.output / "npm")
    for line in told:
        print(f"note: {line}", file=sys.stderr)
    from sphinx.cmd.build import main as sphinx

    words = ["-b", "html", "-W", "--keep-going", "-j", "auto"]
    trees, site = options.output / "trees", options.output / "site"
    return int(sphinx([*words, "-d", str(trees), str(source), str(site)]))


if __name__ == "__main__":
    sys.exit(main())

"""Executes, for the book, the notebooks whose copies are missing or stale: `make chapters`.

A study executes its own notebooks and, run by run, 05 and 07. All others are executed here, at the
demo profile, over links to the results: what they write there is thrown away. One whose copy was
executed with today's code is left alone, but for its words: they become today's, in the copies of
every study.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import nbformat
from build_book import HOME, notebooks, tags

from pouta_lib.study.execution import execute_notebook

RESULTS, BUILD = HOME / "results", HOME / "build"
INJECTED = "injected-parameters"
COPIES = RESULTS / "demo" / "notebooks"
RUN = RESULTS / "demo" / "runs" / "mini-mvtec" / "cap"
OF_RUNS = {  # the study has executed these for its first category
    "05_train_category.ipynb": RUN / "pouta" / "all" / "seed0" / "train.ipynb",
    "07_patchcore.ipynb": RUN / "patchcore" / "all" / "seed0" / "train.ipynb",
}


def code_of(path: Path) -> list[str]:
    """What a notebook runs, cell by cell, without the parameters that papermill put in."""
    cells = nbformat.read(path, as_version=4).cells
    return [c.source for c in cells if c.cell_type == "code" and INJECTED not in tags(c)]


def is_shown(source: Path, copy: Path) -> bool:
    """Whether `copy` is there and was executed with the code that `source` has today."""
    return copy.is_file() and code_of(source) == code_of(copy)


def words_of(path: Path) -> dict[str, str]:
    """A notebook's prose, by the ids of its cells."""
    cells = nbformat.read(path, as_version=4).cells
    return {cell.id: cell.source for cell in cells if cell.cell_type == "markdown"}


def give_words(source: Path, copy: Path) -> None:
    """Puts today's words into a copy that was executed with today's code."""
    words, notebook = words_of(source), nbformat.read(copy, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = words[cell.id]
    nbformat.write(notebook, copy)


def execute(source: Path, target: Path) -> None:
    """Writes the executed copy, with folders of its own to write to."""
    BUILD.mkdir(exist_ok=True)  # on the disk of the results, which are linked to
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="chapter-") as folder:
        shutil.copytree(RESULTS, f"{folder}/results", copy_function=os.link)
        os.environ |= {"POUTA_RESULTS": f"{folder}/results", "POUTA_FIGURES": f"{folder}/figures"}
        execute_notebook(source, target, {})


def main() -> None:
    """Makes the copies that are missing or have changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks without .ipynb; default: all")
    options = parser.parse_args()
    os.environ["POUTA_PROGRESS"] = "lines"
    for source in notebooks():
        target, made = COPIES / source.name, OF_RUNS.get(source.name)
        if (options.names and source.stem not in options.names) or is_shown(source, target):
            continue
        began = time.monotonic()
        if made and is_shown(source, made):
            shutil.copyfile(made, target)
        else:
            execute(source, target)
        told = f"{time.monotonic() - began:.0f} s, {target.stat().st_size / 1000:.0f} kB"
        print(f"{source.name}: {told}", flush=True)
    for source in notebooks():
        for copy in RESULTS.glob(f"*/notebooks/{source.name}"):
            if is_shown(source, copy) and words_of(source) != words_of(copy):
                give_words(source, copy)
                print(f"{copy.relative_to(RESULTS)}: today's words", flush=True)


if __name__ == "__main__":
    main()

"""Brings notebooks into the form they are committed in: `make format` runs this.

With --check nothing is written, and a notebook that is not in that form fails: `make lint`.

Outputs and counts go, except in cells that nbval compares (tagged nbval-check-output: execute
the notebook with POUTA_PROFILE=smoke, save it, then clean it). So does what papermill, JupyterLab
and widgets leave in the metadata, and the kernel gets the one name it has everywhere.
nbstripout would take the counts of compared cells too, and nbval refuses outputs without them.
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python"}
TRACES = {"ExecuteTime", "collapsed", "execution", "papermill", "scrolled"}


def is_compared(cell: NotebookNode) -> bool:
    """Whether nbval compares this cell's stored output with a new one."""
    return "nbval-check-output" in cell.metadata.get("tags", []) or (
        "NBVAL_CHECK_OUTPUT" in cell.source
    )


def clean(notebook: NotebookNode) -> None:
    """Removes, in place, all that an execution left behind."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for cell in notebook.cells:
        for trace in TRACES & set(cell.metadata):
            del cell.metadata[trace]
        if cell.cell_type == "code" and not is_compared(cell):
            cell.outputs = []
            cell.execution_count = None


def main(folders: list[str], check: bool = False) -> int:
    """Cleans every notebook below `folders`, or only looks; says which ones, and counts them."""
    found = 0
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        before = path.read_text(encoding="utf-8")
        notebook = nbformat.reads(before, as_version=4)
        clean(notebook)
        after = nbformat.writes(notebook) + "\n"
        if after != before:
            found += 1
            if not check:
                path.write_text(after, encoding="utf-8", newline="\n")
            print(f"to clean: {path} ('make format' does it)" if check else f"cleaned {path}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where it would")
    options = parser.parse_args()
    sys.exit(1 if main(options.folders, options.check) and options.check else 0)

"""Every notebook is committed in one form: whole, plain Python, short cells, nothing run in it.

Each check takes a notebook and returns what is wrong with it, one line a fault; below, each is
also shown a notebook with that fault.
"""

import ast
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from clean_notebooks import KERNEL, clean, is_compared
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbformat.validator import iter_validate

from conftest import REPOSITORY

NOTEBOOKS = sorted(
    path
    for path in (REPOSITORY / "notebooks").rglob("*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)
MAX_LINES = 15
INJECTED = {"injected-parameters", "papermill-error-cell-tag"}
NETWORK = {"aiohttp", "ftplib", "http", "httpx", "requests", "socket", "socketserver", "urllib"}
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])(?:/(?:content|home|kaggle|media|mnt|opt|private|root|scratch|srv|tmp|Users|usr"
    r"|var|work)/[\w.]|[A-Za-z]:[\\/]+\w)"
)


def code_cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode, set[str]]]:
    """The place, the cell and the tags of each code cell."""
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            yield place, cell, set(cell.metadata.get("tags", []))


def is_valid(notebook: NotebookNode) -> list[str]:
    """The format is 4.5 or later and holds; each cell has an id of its own."""
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        return ["older than nbformat 4.5: cells have no ids"]
    ids = [cell.get("id") for cell in notebook.cells]
    found = [f"cell id {name} twice" for name in sorted(set(ids)) if ids.count(name) > 1]
    # iter_validate looks only; nbformat.validate mends ids that are there twice.
    found += [f"not a valid notebook: {fault.message[:100]}" for fault in iter_validate(notebook)]
    return found


def has_no_outputs(notebook: NotebookNode) -> list[str]:
    """Outputs stand only where nbval compares them, and there with a count."""
    found = []
    for place, cell, _ in code_cells(notebook):
        counted = cell.execution_count is not None
        if is_compared(cell):
            if not (cell.outputs and counted):
                found.append(f"cell {place} is to be compared and was not run and saved")
        elif cell.outputs:
            found.append(f"cell {place} carries outputs: run `make format`")
        elif counted:
            found.append(f"cell {place} carries an execution count: run `make format`")
    return found


def has_no_traces(notebook: NotebookNode) -> list[str]:
    """Nothing is left of an execution; `make format` would change nothing."""
    cleaned = deepcopy(notebook)
    clean(cleaned)
    found = [
        f"metadata of {key}"
        for key in sorted({*notebook.metadata, *cleaned.metadata})
        if notebook.metadata.get(key) != cleaned.metadata.get(key)
    ]
    for place, (cell, clean_cell) in enumerate(zip(notebook.cells, cleaned.cells, strict=True)):
        tags = cell.metadata.get("tags", [])
        found += [f"cell {place}: papermill's tag {tag}" for tag in tags if tag in INJECTED]
        left = sorted(set(cell.metadata) - set(clean_cell.metadata))
        found += [f"cell {place}: metadata of {key}" for key in left]
    return [f"{fault}: run `make format`" for fault in found]


def is_plain_python(notebook: NotebookNode) -> list[str]:
    """No magics and no shell commands: every code cell parses as Python."""
    found = []
    for place, cell, _ in code_cells(notebook):
        try:
            tree = compile(
                cell.source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            )
        except SyntaxError as error:
            found.append(f"cell {place} is not plain Python: {(error.text or '').strip()}")
            continue
        if any(isinstance(node, ast.Name) and node.id == "get_ipython" for node in ast.walk(tree)):
            found.append(f"cell {place} calls get_ipython")
    return found


def has_no_machine_paths(notebook: NotebookNode) -> list[str]:
    """No path that exists on one machine only, in code or in prose."""
    return [
        f"cell {place} names a path of one machine: {match.group()}"
        for place, cell in enumerate(notebook.cells)
        if (match := MACHINE_PATH.search(cell.source))
    ]


def asks_no_network(notebook: NotebookNode) -> list[str]:
    """No port is opened and nothing fetched, but on Colab by the cell that is made for it."""
    return [
        f"cell {place} imports {name}"
        for place, cell, tags in code_cells(notebook)
        if "colab" not in tags
        for name in imported(cell.source) & (NETWORK | {"subprocess"})
    ]


def imported(source: str) -> set[str]:
    """What a text of Python imports, by the packages' first names."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return set()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def has_literal_parameters(notebook: NotebookNode) -> list[str]:
    """At most one cell is tagged `parameters`, and it assigns literals only."""
    tagged = [(place, cell) for place, cell, tags in code_cells(notebook) if "parameters" in tags]
    if len(tagged) > 1:
        return [f"{len(tagged)} cells are tagged parameters"]
    return [
        f"cell {place} is tagged parameters and has more than literals: {ast.unparse(statement)}"
        for place, cell in tagged
        for statement in ast.parse(cell.source).body
        if not _assigns_a_literal(statement)
    ]


def _assigns_a_literal(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return False
    try:
        ast.literal_eval(statement.value)
    except ValueError:
        return False
    return True


def has_short_cells(notebook: NotebookNode) -> list[str]:
    """No code cell is longer than a screen's idea."""
    return [
        f"cell {place} has {lines} lines, {MAX_LINES} at most"
        for place, cell, _ in code_cells(notebook)
        if (lines := len(cell.source.splitlines())) > MAX_LINES
    ]


def runs_every_cell(notebook: NotebookNode) -> list[str]:
    """No cell is skipped by nbval or expected to fail (papermill would fail it)."""
    unwanted = {"nbval-skip", "raises-exception", "NBVAL_SKIP", "NBVAL_RAISES_EXCEPTION"}
    return [
        f"cell {place} is marked {mark}"
        for place, cell, tags in code_cells(notebook)
        for mark in sorted(unwanted)
        if mark in tags or (mark.isupper() and mark in cell.source)
    ]


def opens_with_a_title(notebook: NotebookNode) -> list[str]:
    """The first cell is prose with the notebook's title."""
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        return ["the first cell is not a markdown cell that starts with a title"]
    return []


CHECKS = [
    is_valid,
    has_no_outputs,
    has_no_traces,
    is_plain_python,
    has_no_machine_paths,
    asks_no_network,
    has_literal_parameters,
    has_short_cells,
    runs_every_cell,
    opens_with_a_title,
]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean(path: Path) -> None:
    notebook = nbformat.reader.reads(path.read_text(encoding="utf-8"))  # nothing mended
    faults = [fault for check in CHECKS for fault in check(notebook)]
    assert not faults, "\n".join(faults)


def test_the_library_asks_the_network_in_one_place() -> None:
    """`pouta data get`; pretrained features of torchvision are torch's own to fetch.

    A batch's kernels are asked for through a socket that no other machine can reach.
    """
    library = REPOSITORY / "pouta_lib"
    for name in ("nursery", "warm"):
        text = (library / "study" / f"{name}.py").read_text(encoding="utf-8")
        assert imported(text) & NETWORK == {"socket"} and "AF_INET" not in text
        assert text.count("socket.socket(") == text.count("socket.AF_UNIX)") + text.count("fileno=")
    asking = [
        path.relative_to(library).as_posix()
        for path in library.rglob("*.py")
        if imported(path.read_text(encoding="utf-8")) & NETWORK
    ]
    assert sorted(asking) == ["data/download.py", "study/nursery.py", "study/warm.py"]


def good_notebook() -> NotebookNode:
    """A notebook that passes every check."""
    cells = [
        new_markdown_cell("# A title\n\nSee https://example.org/home/page and results/demo/runs."),
        new_code_cell('profile = ""\nsteps: int = -1', metadata={"tags": ["parameters"]}),
        new_code_cell(
            "print(7 % 4)",
            metadata={"tags": ["nbval-check-output"]},
            outputs=[new_output("stream", text="3\n")],
            execution_count=2,
        ),
        new_code_cell("await work(  # a notebook may await\n    a\n    % b / c)"),
    ]
    notebook = new_notebook(cells=cells)
    clean(notebook)
    return notebook


def no_ids(notebook: NotebookNode) -> None:
    notebook.nbformat_minor = 4


def same_id(notebook: NotebookNode) -> None:
    notebook.cells[1].id = notebook.cells[0].id


def unknown_field(notebook: NotebookNode) -> None:
    notebook.cells[1].colour = "red"


def stored_output(notebook: NotebookNode) -> None:
    notebook.cells[3].outputs = [new_output("stream", text="3\n")]


def stored_count(notebook: NotebookNode) -> None:
    notebook.cells[3].execution_count = 1


def never_run(notebook: NotebookNode) -> None:
    notebook.cells[2].execution_count = None


def papermill_notebook(notebook: NotebookNode) -> None:
    notebook.metadata.papermill = {"duration": 1.0}


def papermill_cell(notebook: NotebookNode) -> None:
    notebook.cells[3].metadata.papermill = {"status": "completed"}


def papermill_injection(notebook: NotebookNode) -> None:
    notebook.cells[3].metadata.tags = ["injected-parameters"]


def cell(source: str, place: int = 3, **metadata: object) -> Callable[[NotebookNode], None]:
    """A fault that is made by one cell's source and metadata."""

    def change(notebook: NotebookNode) -> None:
        notebook.cells[place].source = source
        notebook.cells[place].metadata.update(metadata)

    return change


def old_kernel(notebook: NotebookNode) -> None:
    notebook.metadata.kernelspec = {**KERNEL, "name": ".venv"}


def python_version(notebook: NotebookNode) -> None:
    notebook.metadata.language_info = {"name": "python", "version": "3.11.7"}


def test_a_good_notebook_passes() -> None:
    assert [fault for check in CHECKS for fault in check(good_notebook())] == []


@pytest.mark.parametrize(
    ("check", "spoil", "fault"),
    [
        (is_valid, no_ids, "no ids"),
        (is_valid, same_id, "twice"),
        (is_valid, unknown_field, "not a valid notebook"),
        (has_no_outputs, stored_output, "carries outputs"),
        (has_no_outputs, stored_count, "execution count"),
        (has_no_outputs, never_run, "not run and saved"),
        (has_no_traces, papermill_notebook, "papermill"),
        (has_no_traces, papermill_cell, "papermill"),
        (has_no_traces, papermill_injection, "injected-parameters"),
        (has_no_traces, old_kernel, "kernelspec"),
        (has_no_traces, python_version, "language_info"),
        (is_plain_python, cell("x = 1\n%matplotlib inline"), "%matplotlib"),
        (is_plain_python, cell("files = !ls"), "!ls"),
        (is_plain_python, cell("%%bash\nls"), "bash"),
        (is_plain_python, cell("print?"), "print?"),
        (is_plain_python, cell("get_ipython().system('ls')"), "get_ipython"),
        (has_no_machine_paths, cell('read("/home' + '/ann/mvtec")'), "/home"),
        (has_no_machine_paths, cell('read(r"C:' + '\\data")'), "C:"),
        (has_no_machine_paths, cell("# Title: data in `/mnt" + "/big`", 0), "/mnt"),
        (asks_no_network, cell("from urllib.request import urlopen"), "urllib"),
        (has_literal_parameters, cell("x = 1", 3, tags=["parameters"]), "2 cells"),
        (has_literal_parameters, cell("lr = 2 * rate", 1), "lr = 2 * rate"),
        (has_literal_parameters, cell("import os", 1), "import os"),
        (has_short_cells, cell("x = 1\n" * 16), "16 lines"),
        (runs_every_cell, cell("x", 3, tags=["raises-exception"]), "raises-exception"),
        (runs_every_cell, cell("# NBVAL_SKIP\nx"), "NBVAL_SKIP"),
        (opens_with_a_title, cell("some words", 0), "first cell"),
    ],
)
def test_a_fault_is_found(check: Callable, spoil: Callable, fault: str) -> None:
    notebook = good_notebook()
    spoil(notebook)
    found = check(notebook)
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    "spoil", [stored_output, stored_count, papermill_notebook, papermill_cell, python_version]
)
def test_make_format_mends_it(spoil: Callable) -> None:
    notebook = good_notebook()
    spoil(notebook)
    clean(notebook)
    assert [fault for check in CHECKS for fault in check(notebook)] == []

"""What a notebook is made from: itself, and every file that its imports lead to.

Read from the code, without running it, so that a batch knows what to make again when a file has
changed: imports anywhere in a module, inside functions too, and names bound late as text of the
form ``"pouta_lib.method.training:train"``.
"""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "pouta_lib"
BOUND_LATE = re.compile(rf"({PACKAGE}(?:\.\w+)*):\w+")
READ_BY = {f"{PACKAGE}.report.published": "published/*.csv"}  # files that a module reads


@cache
def sources_of(notebook: Path, home: Path) -> list[Path]:
    """The files below `home` that `notebook` depends on, apart from itself, in a fixed order."""
    return _closure(set(_named(_code_of(notebook), home)), home)


def modules_behind(module: str, home: Path) -> list[Path]:
    """The same for a module of the library, itself among them."""
    return _closure({module}, home)


def _closure(waiting: set[str], home: Path) -> list[Path]:
    seen: set[str] = set()
    files: set[Path] = set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        file = _file_of(name, home)
        if file is None:  # a function or a class, say: its module is among the names too
            continue
        files.add(file)
        if name in READ_BY:
            files.update(home.glob(READ_BY[name]))
        tree = ast.parse(file.read_text(encoding="utf-8"))
        parents = [name.rsplit(".", k)[0] for k in range(1, name.count(".") + 1)]
        waiting |= {*_named(tree, home), *parents} - seen
    return sorted(files)


def _code_of(notebook: Path) -> ast.Module:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    lines = [line for text in code for line in text.splitlines() if not line.startswith(("%", "!"))]
    return ast.parse("\n".join(lines))


def _file_of(name: str, home: Path) -> Path | None:
    """The file of a module of the library; None for a name that is no module."""
    path = home.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _named(tree: ast.Module, home: Path) -> Iterator[str]:
    """What a piece of code names of the library: its modules, and what it takes from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            if PACKAGE in names:  # any public name may be meant
                names += _public(home).values()
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            if node.module == PACKAGE:  # a public name, from wherever it comes
                names += [_public(home).get(alias.name, PACKAGE) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [found[1] for found in [BOUND_LATE.fullmatch(node.value)] if found]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] == PACKAGE)


@cache
def _public(home: Path) -> dict[str, str]:
    """The names that ``pouta_lib`` itself gives, and the modules that they come from."""
    tree = ast.parse((home / PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (table,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PUBLIC"
    ]
    return {name: f"{PACKAGE}.{module}" for name, module in ast.literal_eval(table).items()}

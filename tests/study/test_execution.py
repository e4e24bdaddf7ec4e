"""A notebook is executed whole or not at all, and of two equal runs one is made."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from fakes import fake_run

from pouta_lib.data import list_categories
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.locks import only_one
from pouta_lib.study import execution
from pouta_lib.study.execution import execute_notebook, execute_run
from pouta_lib.study.records import RunKey, lock_path


@pytest.fixture(scope="module")
def category() -> str:
    return f"mini-mvtec/{list_categories('mini-mvtec')[0]}"


@pytest.fixture
def counted(tmp_path: Path, category: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Runs are made by a stand-in that counts, below tmp_path."""
    calls: list[int] = []

    def stand_in(source: Path, target: Path, parameters: dict[str, object]) -> None:
        calls.append(1)
        fake_run(tmp_path, *category.split("/"), label="smoke")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()

    monkeypatch.setattr(execution, "execute_notebook", stand_in)
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path))
    return calls


def test_of_two_equal_runs_one_makes_it_and_the_other_takes_it(
    tmp_path: Path, category: str, counted: list[int]
) -> None:
    """The other one waits, and leaves alone what the first has made."""
    key = RunKey("smoke", *category.split("/"))
    words = {"profile": "smoke", "dataset": key.dataset, "category": key.category}
    with ThreadPoolExecutor() as pool:
        with only_one(lock_path(key), "the first"):
            second = pool.submit(execute_run, **words)
            time.sleep(1)
            assert not second.done()
            execute = execution.execute_notebook
            execute(Path(), key.folder().with_name("copy") / "train.ipynb", {})
            (key.folder().with_name("copy") / "train.ipynb").replace(key.folder() / "train.ipynb")
        assert second.result() == key.folder()
    assert len(counted) == 1
    execute_run(**words)  # asked for again, it is made again
    assert len(counted) == 2


def test_an_executed_notebook_has_no_path_of_this_machine(tmp_path):
    source = nbformat.v4.new_notebook()
    code = "import sys\nprint(sys.prefix + '/lib/x.py:3: careful', file=sys.stderr)\nprint('plain')"
    source.cells = [nbformat.v4.new_code_cell(code)]
    nbformat.write(source, tmp_path / "warns.ipynb")
    target = tmp_path / "in {braces}" / "done.ipynb"
    execute_notebook(tmp_path / "warns.ipynb", target, {})
    assert list(target.parent.iterdir()) == [target]
    outputs = nbformat.read(target, as_version=4).cells[-1].outputs
    assert "".join(sorted(output.text for output in outputs)) == "lib/x.py:3: careful\nplain\n"


def test_of_a_widget_its_picture_is_left(tmp_path):
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "VBox()"}
    shown = [view, view | {"image/png": ""}, {"text/plain": "3"}]
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in shown]
    executed = nbformat.v4.new_notebook(metadata={"papermill": {}})
    executed.cells = [nbformat.v4.new_code_cell("show()", outputs=outputs)]
    nbformat.write(executed, tmp_path / "done.ipynb")
    execution._tidy(tmp_path / "done.ipynb")
    (cell,) = nbformat.read(tmp_path / "done.ipynb", as_version=4).cells
    assert [sorted(o.data) for o in cell.outputs] == [["image/png", "text/plain"], ["text/plain"]]


def test_a_kernel_that_dies_leaves_a_message_and_nothing_else(tmp_path):
    source = nbformat.v4.new_notebook()
    source.cells = [nbformat.v4.new_code_cell("import os\nos.kill(os.getpid(), 9)")]
    nbformat.write(source, tmp_path / "dies.ipynb")
    with pytest.raises(PoutaError, match="the kernel of dies.ipynb to live until the end"):
        execute_notebook(tmp_path / "dies.ipynb", tmp_path / "made" / "done.ipynb", {})
    assert list((tmp_path / "made").iterdir()) == []

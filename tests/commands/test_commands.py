"""What the commands do with their words."""

import nbformat
from clean_notebooks import KERNEL
from nbformat.v4 import new_code_cell, new_notebook

from pouta_lib import cli
from pouta_lib.data.mini import generate_mini


def test_drawn_datasets_are_kept(tmp_path, capsys):
    generate_mini(tmp_path, share=0.02, workers=1)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["data", "mini", "--data-root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(f"are ready in {tmp_path.resolve()}\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_notebook_gets_its_parameters(tmp_path):
    parameters = new_code_cell('profile = ""\ncategories = []', metadata={"tags": ["parameters"]})
    told = new_code_cell("print(profile, categories, overrides)")
    nbformat.write(
        new_notebook(cells=[parameters, told], metadata={"kernelspec": KERNEL}),
        tmp_path / "a.ipynb",
    )
    words = ["notebook", str(tmp_path / "a.ipynb"), str(tmp_path / "made" / "a.ipynb")]
    words += ["--profile", "smoke", "--set", "lr=1e-4"]
    words += ["--categories", "mini-mvtec/nut", "mini-visa"]
    assert cli.main(words) == 0
    cells = nbformat.read(tmp_path / "made" / "a.ipynb", as_version=4).cells
    text = cells[-1].outputs[0]["text"]
    assert text == "smoke ['mini-mvtec/nut', 'mini-visa'] {'lr': 0.0001}\n"


def test_a_notebook_that_names_no_language_is_executed_beside_itself(tmp_path, capsys):
    """Neither it nor what is no copy of it is written over."""
    source, notes = tmp_path / "a.ipynb", tmp_path / "notes.txt"
    nbformat.write(new_notebook(cells=[new_code_cell("print(2 + 2)")]), source)
    notes.write_text("mine")
    before = source.read_bytes()
    for target, found in ((source, "the source itself"), (notes, "another name")):
        assert cli.main(["notebook", str(source), str(target)]) == 2
        assert f"apart from the source, found {found}\n" in capsys.readouterr().err
    assert (source.read_bytes(), notes.read_text()) == (before, "mine")
    assert cli.main(["notebook", str(source), str(tmp_path / "b.ipynb")]) == 0
    cells = nbformat.read(tmp_path / "b.ipynb", as_version=4).cells
    assert cells[-1].outputs[0]["text"] == "4\n"

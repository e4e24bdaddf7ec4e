"""The page "Paint a defect" is added to the book, or the book says why it is not."""

import json
import re

import paint_page
import pytest

INDEX = "# POUTA\n\n## Two commands\n\n```{toctree}\nnotebooks/00\n```\n"


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "index.md").write_text(INDEX)
    return tmp_path / "source"


@pytest.fixture
def page(source, tmp_path, monkeypatch):
    """A page of a network that is not one: what stands around it is looked at here."""

    def gather(records, folder):
        (folder / "nut-pouta-all.onnx").write_bytes(bytes(2_000_000))
        model = {"file": "nut-pouta-all.onnx", "differs_by": {"M_p": 0.0031, "score": 0.001}}
        return {"parts": [{"name": "nut", "models": [model]}]}

    def runtime(npm, folder):
        for name in paint_page.RUNTIME:
            (folder / name).touch()

    monkeypatch.setattr(paint_page, "gather", gather)
    monkeypatch.setattr(paint_page, "fetch_runtime", runtime)
    assert paint_page.add_page(source, tmp_path / "results" / "demo", tmp_path / "npm") == []
    return source


def test_the_page_stands_in_the_book_and_alone(page):
    text = (page / "paint.md").read_text("utf-8")
    alone = (page / "_static" / "paint" / "index.html").read_text("utf-8")
    assert "{{" not in text and "{{" not in alone
    assert "1 for 1 parts" in text and "2 MB in all" in text and "more than 0.003 from" in text
    index = (page / "index.md").read_text("utf-8")
    assert "\npaint\n```" in index and "](paint.md)" in index
    assert index.index("paint\n```") < index.index("notebooks/00")


def test_every_file_that_the_page_names_is_there(page):
    folder = page / "_static" / "paint"
    sources = [*folder.glob("*.js"), *folder.glob("*.html")]
    naming = re.compile(r'"\.?/?([\w.-]+\.(?:js|mjs|css|json))"')
    named = {name for path in sources for name in naming.findall(path.read_text("utf-8"))}
    assert named, "the page names no file: the pattern above no longer finds them"
    assert [name for name in sorted(named) if not (folder / name).is_file()] == []


def test_the_page_asks_no_other_server():
    for path in paint_page.SOURCES.iterdir():
        if path.suffix in (".js", ".css", ".html"):
            assert "//" not in re.sub(r"(?m)(^|\s)//.*$", "", path.read_text("utf-8")), path.name


def test_without_npm_the_book_is_built_and_says_so(source, tmp_path, monkeypatch):
    monkeypatch.setattr(paint_page.shutil, "which", lambda name: None)
    (told,) = paint_page.add_page(source, tmp_path / "results" / "demo", tmp_path / "npm")
    assert told.startswith("without the page 'Paint a defect': expected npm, found none")
    assert not (source / "_static" / "paint").exists() and not (source / "paint.md").exists()
    assert (source / "index.md").read_text() == INDEX


def test_without_weights_the_book_is_built_and_says_so(source, tmp_path, monkeypatch):
    monkeypatch.setattr(paint_page, "fetch_runtime", lambda npm, folder: None)
    (told,) = paint_page.add_page(source, tmp_path / "results" / "demo", tmp_path / "npm")
    assert "runs of POUTA with their weights, found none" in told


def test_the_runtime_is_pinned_with_its_digest():
    wanted = json.loads((paint_page.SOURCES / "package.json").read_text())["dependencies"]
    locked = json.loads((paint_page.SOURCES / "package-lock.json").read_text())["packages"]
    for name, version in wanted.items():
        assert locked[f"node_modules/{name}"]["version"] == version
    assert all(p["integrity"].startswith("sha512-") for name, p in locked.items() if name)

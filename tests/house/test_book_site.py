"""The book is built from the smoke study (in `make test`, else from the committed one): every link
of it leads somewhere, every picture is there.

Sphinx itself fails for what it knows of; what stands in HTML, in outputs and in the theme it does
not look at.
"""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from conftest import REPOSITORY

SMOKE = Path(os.environ["POUTA_RESULTS"], "smoke")
STUDY = SMOKE if SMOKE.is_dir() else REPOSITORY / "results" / "demo"
pytest.importorskip("sphinx", reason="`make test` and `make book` install it: the extra `book`")


class Page(HTMLParser):
    """The places of a page that can be linked to, and what it asks for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places, self.asked, self.pictures = set(), [], 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        of = dict(attributes)
        self.places |= {of[name] for name in ("id", "name") if of.get(name)}
        self.asked += [of[name] for name in ("href", "src") if of.get(name)]
        self.pictures += tag == "img" and "_images/" in of["src"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """All pages of the book, by their paths, with the outputs that the smoke study has."""
    output = tmp_path_factory.mktemp("book")
    words = [f"--results={STUDY}", f"--figures={STUDY.parents[1] / 'figures'}"]
    command = [sys.executable, REPOSITORY / "tools" / "build_book.py", *words]
    # without npm: what it brings is for the page "Paint a defect", which `make test-browser` opens
    environment = os.environ | {"PATH": os.path.dirname(sys.executable)}
    done = subprocess.run(
        [*command, f"--output={output}"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    pages = (output / "site").rglob("*.html")  # and the theme's templates
    return {path: Page(path) for path in pages if "_static" not in path.parts}


def test_every_link_leads_somewhere(site: dict[Path, Page]) -> None:
    broken = []
    for path, page in site.items():
        for address in page.asked:
            link = urlsplit(address)
            if link.scheme or link.netloc:
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            there = target.is_file()
            if there and link.fragment and target in site:
                there = link.fragment in site[target].places
            if not there:
                broken.append(f"{path.name}: {address}")
    assert not broken, "\n".join(broken)


def test_no_page_asks_another_server(site: dict[Path, Page]) -> None:
    """But where a reader follows a link."""
    for path in site:
        text = path.read_text(encoding="utf-8")
        assert 'src="http' not in text and 'rel="stylesheet" href="http' not in text, path.name


def test_chapters_show_what_their_cells_made(site: dict[Path, Page]) -> None:
    pages = {path.stem: page for path, page in site.items()}
    copies = list((STUDY / "notebooks").glob("*.ipynb"))
    drawn = {copy.stem: copy.read_text(encoding="utf-8").count('"image/') for copy in copies}
    assert any(drawn.values())
    assert {name for name, number in drawn.items() if pages[name].pictures < number} == set()
    for source in (REPOSITORY / "notebooks").glob("*.ipynb"):
        assert source.stem in pages

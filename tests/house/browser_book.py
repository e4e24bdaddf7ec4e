"""The book as a reader meets it, at a desk and on a phone, in a headless Chromium.

``make test-browser`` runs this; ``make test`` does not, because it needs a browser. Screenshots
stay in build/browser/.
"""

import os

import pytest
from browser_lab import SCREENSHOTS, browser, page, served  # noqa: F401 - fixtures
from test_book_site import site  # noqa: F401 - a fixture

WIDTHS = {"desk": (1280, 900), "phone": (390, 844)}
LOOKED_AT = ("index", "01_data_and_metrics", "10_benchmarks", "GLOSSARY", "QUESTIONS")
MISSING = """[...document.images].filter(image => !image.naturalWidth).map(image => image.src)"""
OUTSIDE = """() => {
  const width = document.documentElement.clientWidth;
  return document.documentElement.scrollWidth > width ? document.documentElement.scrollWidth : 0;
}"""


@pytest.fixture(scope="module")
def book(site):  # noqa: F811
    """The book's address, and its pages by their addresses within it."""
    root = os.path.commonpath(path.parent for path in site)
    with served(root) as address:
        yield address, sorted(path.relative_to(root).as_posix() for path in site)


@pytest.mark.parametrize("kind", WIDTHS)
def test_every_page_fits_and_shows_its_pictures(book, page, kind):  # noqa: F811
    address, pages = book
    width, height = WIDTHS[kind]
    page.set_viewport_size({"width": width, "height": height})
    told = []
    page.on("pageerror", lambda error: told.append(f"{page.url}: {error}"))
    page.on("request", lambda r: r.url.startswith((address, "data:")) or told.append(r.url))
    for name in pages:
        page.goto(address + name)
        told += [f"{name}: no picture {source}" for source in page.evaluate(MISSING)]
        if wide := page.evaluate(OUTSIDE):
            told.append(f"{name}: {wide} px wide on a screen of {width}")
        stem = name.rpartition("/")[2].removesuffix(".html")
        if stem in LOOKED_AT:
            page.screenshot(path=SCREENSHOTS / f"book_{stem}_{kind}.png", full_page=stem == "index")
    assert not told, "\n".join(told)


def test_the_search_finds_a_word_of_the_course(book, page):  # noqa: F811
    address, _ = book
    page.goto(f"{address}search.html?q=coreset")
    found = page.locator("#search-results li a")
    found.first.wait_for()
    assert any("07" in text for text in found.all_inner_texts())

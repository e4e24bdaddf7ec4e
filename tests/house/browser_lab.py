"""JupyterLab as a student meets it: started for real, and driven in a headless Chromium.

``make test-browser`` runs this; ``make test`` does not, because it needs a browser. Screenshots
stay in build/browser/.
"""

import contextlib
import functools
import http.server
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pytest

from conftest import REPOSITORY

playwright = pytest.importorskip("playwright.sync_api")

SCREENSHOTS = REPOSITORY / "build" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = "install one: .venv/bin/playwright install --with-deps chromium, or apt install chromium"
CELL_SECONDS = 600
# every cell stays in the page, also those that are scrolled out of sight
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false"},  # no question over the pictures
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab over a copy of notebooks/, at the smoke profile."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks")
    painted = folder / "notebooks" / "04_discrimination.ipynb"  # its network has to see something
    longer = painted.read_text("utf-8").replace("overrides = {}", "overrides = {'steps': 200}")
    painted.write_text(longer, encoding="utf-8")
    for name, settings in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    words = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    words += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder / 'notebooks'}"]
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "POUTA_PROFILE": "smoke",
        "POUTA_DATA": str(folder / "data"),
        "POUTA_RESULTS": str(folder / "results"),
        "POUTA_FIGURES": str(folder / "figures"),
        "PYTHONPATH": str(REPOSITORY),
    }
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words], env=environment, stdout=log, stderr=log
        )
        address = f"http://127.0.0.1:{port}/lab/tree/{{}}?reset&token={token}"
        try:
            wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, folder)
            yield address
        finally:
            server.terminate()
            server.wait(30)


def wait_for(address: str, server: subprocess.Popen, folder: Path) -> None:
    """Until the server answers."""
    for _ in range(600):  # a busy machine takes minutes
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            assert server.poll() is None, (folder / "lab.log").read_text()
            time.sleep(0.5)
    raise AssertionError((folder / "lab.log").read_text())


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium: the system's own, else the one that playwright installs."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as engine:
        try:
            # a container's root has no sandbox to offer; the only page here is our own
            chromium = engine.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.fail(f"no Chromium could be started: {INSTALL}\n{error.message}")
        yield chromium
        chromium.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: Path):
    """The address at which a folder is served, as long as it is."""
    serve = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Notebook:
    """A notebook that is open in the browser."""

    def __init__(self, page, address: str, name: str) -> None:
        self.page = page
        self.sources = nbformat.read(REPOSITORY / "notebooks" / name, as_version=4).cells
        page.set_default_timeout(60_000)
        page.goto(address.format(name))
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        self.cells = page.locator(".jp-Notebook .jp-Cell")
        playwright.expect(self.cells).to_have_count(len(self.sources), timeout=60_000)
        page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')

    def run(self, place: int) -> None:
        """Runs one cell as a student does: a click into it, Shift and Enter."""
        cell = self.cells.nth(place)
        cell.scroll_into_view_if_needed()
        if self.sources[place].cell_type == "markdown":
            cell.click()
            self.page.keyboard.press("Shift+Enter")
            return
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        done = cell.locator(".jp-InputPrompt").get_by_text(re.compile(r"^\[\d+\]:$"))
        done.wait_for(timeout=1000 * CELL_SECONDS)
        errors = cell.locator('[data-mime-type="application/vnd.jupyter.error"]')
        assert errors.count() == 0, errors.first.inner_text()

    def run_all(self) -> None:
        for place in range(len(self.sources)):
            self.run(place)

    def cell_with(self, text: str):
        """The only cell whose source has `text` in it."""
        (place,) = (k for k, cell in enumerate(self.sources) if text in cell.source)
        return self.cells.nth(place)

    def look(self, name: str, cell) -> None:
        """A screenshot of a cell, for a person."""
        cell.scroll_into_view_if_needed()
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.fixture
def page(browser):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


def test_a_student_runs_the_first_notebook(lab, page):
    notebook = Notebook(page, lab, "00_start_here.ipynb")
    notebook.run_all()
    maps = notebook.cell_with("plots.plot_detections")
    picture = maps.locator(".jp-OutputArea-output img")
    assert picture.evaluate("image => image.complete && image.naturalWidth > 300")
    last = [k for k, cell in enumerate(notebook.sources) if cell.cell_type == "code"][-1]
    said = notebook.cells.nth(last).locator(".jp-OutputArea-output").all_inner_texts()
    assert re.search(r"\d+\.\d % of its pairs", "\n".join(said)), said
    notebook.look("00_map", notebook.cell_with("draw_course"))
    notebook.look("00_detections", maps)
    notebook.look("00_end", notebook.cells.nth(last))


def test_the_explorer_draws_again_when_a_slider_moves(lab, page):
    notebook = Notebook(page, lab, "02_synthetic_anomalies.ipynb")
    notebook.run_all()
    explorer = notebook.cell_with("widgets.VBox")
    picture = explorer.locator("img")
    before = picture.get_attribute("src")
    explorer.locator(".noUi-handle").first.press("ArrowRight")
    page.wait_for_function(
        "([image, before]) => image.src !== before", arg=[picture.element_handle(), before]
    )
    assert picture.evaluate("image => image.naturalWidth") > 300
    notebook.look("02_explorer", explorer)


def test_a_student_paints_on_the_network_just_trained(lab, page):
    notebook = Notebook(page, lab, "04_discrimination.ipynb")
    notebook.run_all()
    cell = notebook.cell_with("paint({")
    cell.locator(".paint[data-state=ready]").wait_for()
    board, found = cell.locator(".now canvas"), cell.locator(".found canvas")
    settle(page, cell.locator(".clean").click)
    picture, map_before = pixels(board), pixels(found)
    board.scroll_into_view_if_needed()
    board.focus()

    def keys():
        page.keyboard.press("Space")
        for _ in range(8):
            page.keyboard.press("ArrowUp")
        page.keyboard.press("Space")

    settle(page, keys)
    painted = np.abs(pixels(board) - picture).sum(axis=2) > 30
    assert 20 < painted.sum() < 0.2 * painted.size
    moved = np.abs(pixels(found) - map_before).sum(axis=2)
    assert moved[painted].mean() > 3 * moved[~painted].mean()
    assert cell.locator(".levels canvas").count() == 7  # W_sp of three levels, M_p of four
    assert not cell.locator(".tell").is_visible()  # there is no Vanilla to tell from
    notebook.look("04_paint", cell.locator(".stage"))


def pixels(canvas):
    """The pixels of a canvas: ``(S, S, 3)``."""
    values = canvas.evaluate(
        """canvas => Array.from(canvas.getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height).data)"""
    )
    side = round((len(values) / 4) ** 0.5)
    return np.array(values).reshape(side, side, 4)[..., :3]


def settle(page, act):
    """Until the networks of the page's only picture to paint on have answered to `act`."""
    before = page.evaluate("document.querySelector('.paint').dataset.answers")
    act()
    page.wait_for_function(
        """(before) => { const told = document.querySelector(".paint").dataset;
        return told.answers !== before && told.state === "ready"; }""",
        arg=before,
    )

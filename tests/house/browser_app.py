"""The app as an engineer meets it: started for real, and driven in a headless Chromium.

``make test-app`` runs this; ``make test`` does not, because it needs a browser and Panel.
Screenshots stay in build/browser/.
"""

import io
import json
import os
import re
import subprocess
import sys
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
from browser_lab import SCREENSHOTS, browser, page  # noqa: F401  # fixtures
from PIL import Image

from pouta_lib.detector import load_detector

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("panel")

MINUTE = 60_000


def picture(k: int, spot: bool = False) -> bytes:
    """A gray square on a darker ground, perhaps with a white spot."""
    values = np.random.default_rng(k).normal(90, 3, (240, 320, 3))
    values[60:180, 90:230] += 60
    if spot:
        values[100:130, 150:180] = 250
    content = io.BytesIO()
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=90)
    return content.getvalue()


@pytest.fixture
def app(tmp_path):
    """The address of an app at the smoke profile."""
    environment = os.environ | {"POUTA_PROFILE": "smoke", "TMPDIR": str(tmp_path)}
    with open(tmp_path / "app.log", "w+") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "pouta_lib.cli", "app", "--no-browser"],
            env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            for _ in range(600):  # a busy machine takes minutes
                found = re.search(r"http://\S+", (tmp_path / "app.log").read_text())
                assert server.poll() is None, (tmp_path / "app.log").read_text()
                if found:
                    break
                time.sleep(0.5)
            yield found[0]
        finally:
            server.terminate()
            server.wait(60)
    assert list(tmp_path.glob("pouta-app-*")) == [], "nothing is left behind"
    assert "Traceback" not in (tmp_path / "app.log").read_text()


def drop(page, place: int, files: list[dict]) -> None:  # noqa: F811
    """Hands files to the first or second place to drop them."""
    page.locator("input[type=file]").nth(place).set_input_files(files)
    page.get_by_text(f"{len(files)} files received").nth(-1).wait_for(timeout=MINUTE)


def look(page, name: str) -> None:  # noqa: F811
    page.screenshot(path=SCREENSHOTS / f"app_{name}.png", full_page=True)


def downloaded(page, label: str) -> bytes:  # noqa: F811
    with page.expect_download(timeout=MINUTE) as got:
        page.get_by_text(label).click()
    return got.value.path().read_bytes()


def test_from_photographs_to_a_detector_and_its_answer(app, page, tmp_path):  # noqa: F811
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(MINUTE)

    page.goto(app.partition("#")[0])
    assert page.get_by_text("From photographs").count() == 0, "the token is asked for"
    look(page, "token")
    page.goto("about:blank")
    page.goto(app)
    page.get_by_text("1. Photographs of good parts").wait_for()
    look(page, "start")

    page.get_by_role("button", name="Fit").click()
    page.get_by_text("drop photographs or one zip").wait_for()
    look(page, "error")

    photos = [
        {"name": f"part {k}.jpg", "mimeType": "image/jpeg", "buffer": picture(k)} for k in range(16)
    ]
    drop(page, 0, photos)
    page.locator("select").select_option(label="PatchCore")
    page.get_by_role("button", name="Fit").click()
    page.get_by_role("button", name="Stop").first.wait_for()
    time.sleep(2)
    look(page, "fitting")
    page.get_by_text("2. What to expect of it").wait_for(timeout=20 * MINUTE)  # on a busy machine
    page.get_by_text("damages drawn on photographs that it had not seen").wait_for()
    look(page, "account")

    labels = "file,label\n" + "".join(
        f"other {k}.jpg,{'spot' if k < 3 else 'good'}\n" for k in range(6)
    )
    others = [
        {"name": f"other {k}.jpg", "mimeType": "image/jpeg", "buffer": picture(90 + k, k < 3)}
        for k in range(6)
    ]
    others.append({"name": "../broken.png", "mimeType": "image/png", "buffer": b"no picture"})
    others.append({"name": "labels.csv", "mimeType": "text/csv", "buffer": labels.encode()})
    drop(page, 1, others)
    page.get_by_role("button", name="Inspect").click()
    report = page.frame_locator("iframe")
    report.locator("#cards li").first.wait_for(timeout=5 * MINUTE)
    page.get_by_text("1 left out").wait_for()
    names = report.locator("#cards b").all_inner_texts()
    assert len(names) == 6 and set(names[:3]) == {f"other {k}.jpg" for k in range(3)}
    assert report.locator("#cards img").count() == 12, "photograph and map of each"
    assert "3 of 3" in report.locator("#recall").inner_text()
    assert report.locator("#choice").is_hidden(), "there is one slider, the app's"
    page.locator("iframe").scroll_into_view_if_needed()
    page.mouse.wheel(0, 300)
    time.sleep(2)
    page.screenshot(path=SCREENSHOTS / "app_inspected.png")

    page.locator(".noUi-handle").last.press("End")
    playwright.expect(report.locator("#called")).to_have_text("0 of 6 called defective")
    time.sleep(2)
    page.screenshot(path=SCREENSHOTS / "app_moved.png")
    detector = downloaded(page, "Download the detector")
    with zipfile.ZipFile(io.BytesIO(detector)) as archive:
        archive.extractall(tmp_path / "carried")
    carried = load_detector(tmp_path / "carried" / "detector")
    assert carried.method == "patchcore" and carried.how.startswith("chosen by hand; 0 of 16")
    table = pd.read_csv(io.BytesIO(downloaded(page, "Download scores.csv")))
    assert table["threshold"].unique() == pytest.approx([carried.threshold])
    assert table["verdict"].value_counts().to_dict() == {"good": 6, "not read": 1}
    text = downloaded(page, "Download the report").decode()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    assert data["threshold"] == pytest.approx(carried.threshold)

    page.reload()
    page.get_by_text("2. What to expect of it").wait_for()
    playwright.expect(page.frame_locator("iframe").locator("#called")).to_have_text(
        "0 of 6 called defective"
    )
    outside = [
        u
        for u in asked
        if not re.match(r"(http|ws)://(localhost|127\.0\.0\.1):|data:|about:|blob:", u)
    ]
    assert outside == [], "the page asks no other machine for anything"

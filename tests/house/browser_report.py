"""The page of `pouta report` at a desk's width and a phone's: nothing reaches beyond either.

``make test-browser`` runs this; ``make test`` does not, because it needs a browser. Screenshots
stay in build/browser/.
"""

import numpy as np
import pandas as pd
import pytest
from browser_lab import SCREENSHOTS, browser  # noqa: F401  # a fixture
from PIL import Image

from pouta_lib.deliver.page import write_page

LONG = "camera_" + "0123456789" * 8


@pytest.fixture
def full_page(tmp_path):
    """With all that such a page can have: metrics of pixels, photographs, masks, a long name."""
    answer, images, masks = (tmp_path / name for name in ("answer", "images", "masks"))
    for folder in (answer, images, masks):
        folder.mkdir()
    rng, rows = np.random.default_rng(0), []
    for k in range(12):
        name, bad = f"{LONG if k == 11 else k}.png", k > 7
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 30:50] = 255 * bad
        found = (rng.random((64, 64)) + 0.5 * (mask > 0)).astype(np.float32)
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(images / name)
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(answer / f"{name}.jpg")
        Image.fromarray(found).save(answer / f"{name}.map.tiff")
        if bad:
            Image.fromarray(mask).save(masks / name)
        rows.append((name, 0.1 * k, 0.75, "defective" if k > 7 else "good", f"{name}.jpg", ""))
    columns = ["file", "score", "threshold", "verdict", "overlay", "reason"]
    pd.DataFrame(rows, columns=columns).to_csv(answer / "scores.csv", index=False)
    pd.DataFrame({"score": np.linspace(0, 0.8, 40)}).to_csv(answer / "held_out.csv", index=False)
    return write_page(answer, images=images, masks=masks)


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_nothing_reaches_beyond_the_page(full_page, browser, width):  # noqa: F811
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(full_page.as_uri())
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"report_{width}.png", full_page=True)
    assert page.locator("#recall").inner_text().startswith("4 of 4")
    assert page.get_by_text("pixels: AUPRO").is_visible()
    too_wide = page.evaluate(
        """() => [...document.querySelectorAll("section *, li *")]
            .filter((e) => {
              const inside = e.getBoundingClientRect(), around = e.closest("section, li");
              return inside.right > around.getBoundingClientRect().right + 1;
            })
            .map((e) => `${e.tagName} ${e.textContent.slice(0, 40)}`)"""
    )
    assert too_wide == []
    page.close()

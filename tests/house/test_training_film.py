"""The film of one training: its frames show what they are given, and the book shows the film."""

import json

import build_book
import numpy as np
import pytest
import training_film
from PIL import Image
from training_film import ENLARGED, GAP, HEAD, frame

from pouta_lib.deliver.painting import coloured


def test_a_frame_has_a_row_an_image_and_what_is_said_of_it():
    images = np.stack([np.full((3, 32, 32), value, np.uint8) for value in (40, 200)])
    repaired = np.stack([np.full((3, 32, 32), value, np.float32) for value in (0.5, 1.5)])
    maps = np.stack([np.full((32, 32), value, np.float32) for value in (0.0, 1.0)])
    picture = np.asarray(frame(images, repaired, maps, "step 1 of 2"))
    side = ENLARGED * 32 + GAP
    for row, colours in enumerate([(40, 128, coloured(maps[0])), (200, 255, coloured(maps[1]))]):
        for column, colour in enumerate(colours):
            wanted = colour if column < 2 else colour[0, 0]
            middle = picture[row * side + 2 * HEAD + 20, column * side + 20]
            assert np.abs(middle.astype(int) - wanted).max() <= 1, (row, column)


def test_a_training_gives_a_frame_every_so_many_steps(monkeypatch):
    shown = []
    monkeypatch.setattr(training_film, "frame", lambda *args: shown.append(args) or len(shown))
    frames, steps = training_film.film_training("nut", "smoke")
    assert frames == [1, 2] and steps == 20
    (images, first, *_, head), (_, second, *_) = shown
    assert head == "step 10 of 20" and len(images) == 2
    assert not np.array_equal(first, second), "the network has learned in between"


@pytest.fixture
def film(committed):
    return committed / "figures" / "demo" / "training.webp"


def test_the_committed_film_is_small_and_moves(film):
    assert film.stat().st_size < 1e6
    with Image.open(film) as opened:
        assert opened.n_frames >= 20
    note = json.loads(film.with_suffix(".json").read_text("utf-8"))
    assert note["figure"] == film.stem and "demo" in note["caption"]


def test_the_book_shows_it_with_what_it_is(film, repository, committed):
    source = repository / "notebooks" / "05_train_category.ipynb"
    notebook, _ = build_book.chapter(source, repository / "none", committed / "figures")
    texts = [cell.source for cell in notebook.cells]
    (place,) = (k for k, text in enumerate(texts) if film.name in text)
    assert place < 4 and "One training of POUTA" in texts[place + 1]

"""Wrong answers, labels and masks, of which `pouta report` is to make a page; wrong exports."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from trees import save
from wrong import wrong
from wrong_detector import PATCHCORE, POUTA, made

from pouta_lib.deliver.export import Form, export_detector
from pouta_lib.deliver.page import write_page

PAGES, EXPORTS = "`pouta report`", "`pouta export`"
NAMES = ("a.png", "b.png")
Spoil = Callable[[Path], object]


def answer(root: Path) -> Path:
    """Of two photographs: what `pouta predict --maps` writes, and what is known of them."""
    drawn = np.zeros((40, 60), np.uint8)
    save(root / "photos" / "a.png", drawn)
    drawn[10:30, 20:40] = 255
    save(root / "masks" / "a_mask.png", drawn)
    for name in NAMES:
        save(root / "answer" / f"{name}.jpg", drawn)
        save(root / "answer" / f"{name}.map.tiff", np.eye(8, dtype=np.float32))
    write(root / "answer/scores.csv", "file,score,threshold\na.png,0.5,0.4\nb.png,0.3,0.4\n")
    write(root / "answer/held_out.csv", "score\n0.1\n")
    write(root / "labels.csv", "file,label\na.png,cut\nb.png,good\n")
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def page(words: str, spoil: Spoil, **known: str) -> None:
    """An answer, or what is known of it, spoilt; `known` are options of `pouta report`."""

    @wrong(PAGES, words)
    def _(root: Path) -> None:
        spoil(answer(root))
        write_page(root / "answer", **{name: root / path for name, path in known.items()})


def text(path: str, content: str) -> Spoil:
    return lambda root: write(root / path, content)


def left(root: Path) -> None:
    """As it was."""


SCORES, LABELS = "answer/scores.csv", "labels.csv"
MASK, MAP = "masks/a_mask.png", "answer/a.png.map.tiff"
page("no answer in the folder", lambda root: (root / SCORES).unlink())
page("an empty scores.csv", text(SCORES, ""))
page("a scores.csv without its last column", text(SCORES, "file,score\na.png,0.5\n"))
page("a scores.csv that a spreadsheet saved with semicolons", text(SCORES, "file;score;threshold"))
page("a word in place of a score", text(SCORES, "file,score,threshold\na.png,high,0.4\n"))
page(
    "an answer in which no image could be read",
    text(SCORES, "file,score,threshold,verdict\na.png,,0.4,not read\nb.png,,0.4,not read\n"),
)
page("infinite scores alone", text(SCORES, "file,score,threshold\na.png,inf,0.4\n"))
page(
    "a scores.csv with two thresholds",
    text(SCORES, "file,score,threshold\na.png,1,0.4\nb.png,1,0.5\n"),
)
page(
    "a file name that leads to another folder",
    text(SCORES, "file,score,threshold\n../a.png,1,0.4\n"),
)
page("an empty held_out.csv", text("answer/held_out.csv", ""))
page("`--images` with photographs of another answer", left, images="masks")
page(
    "`--good` with an answer of another detector",
    text("other/scores.csv", "file,score,threshold\na.png,0.5,0.7\n"),
    good="other",
)
page("another file where the report is to go", text("answer/report.html", "Dear Anna"))
page("`--labels` with a file that is not there", left, labels="labels.txt")
page("an empty file of labels", text(LABELS, ""), labels=LABELS)
page("labels in columns of other names", text(LABELS, "name,kind\na.png,cut\n"), labels=LABELS)
page("two columns called label", text(LABELS, "file,label,Label\na.png,cut,x\n"), labels=LABELS)
page("labels of other images", text(LABELS, "file,label\nc.png,cut\n"), labels=LABELS)
page("two labels of one image", text(LABELS, "file,label\na.png,cut\na.png,x\n"), labels=LABELS)
page(
    "labels of good images alone", text(LABELS, "file,label\na.png,good\nb.png,OK\n"), labels=LABELS
)
page(
    "an image called good whose mask marks something",
    text(LABELS, "file,label\na.png,good\nb.png,cut\n"),
    labels=LABELS,
    masks="masks",
)
page("`--masks` with a folder that is not there", left, masks="mask")
page(
    "masks of other images", lambda root: (root / MASK).rename(root / "masks/c.png"), masks="masks"
)
page(
    "a mask that cannot be read beside others that can",
    lambda root: (root / "masks/b_mask.gif").write_bytes(b"GIF8"),
    masks="masks",
)
page(
    "a mask of another size than its photograph",
    lambda root: save(root / MASK, np.eye(40, dtype=np.uint8)),
    masks="masks",
)
page("an empty mask file", text(MASK, ""), masks="masks")
page("a map that is missing", lambda root: (root / MAP).unlink(), masks="masks")
page("an empty map", text(MAP, ""), masks="masks")
page(
    "a map of another size",
    lambda root: save(root / "answer/b.png.map.tiff", np.eye(4, dtype=np.float32)),
    masks="masks",
)
page(
    "NaN in a map",
    lambda root: save(root / MAP, np.full((8, 8), np.nan, np.float32)),
    masks="masks",
)


def export(words: str, form: Form, method: str = POUTA) -> None:
    """This form of a detector, written to a folder."""

    @wrong(EXPORTS, words)
    def _(root: Path) -> None:
        export_detector(made(method), root, form)


export("a misspelt format", Form(format="onx"))
export("`--batch 0`", Form(batch=0))
export("`--batch 1000000`", Form(batch=10**6))
export("`--half` for PatchCore, whose maps are distances", Form(half=True), PATCHCORE)


@wrong(EXPORTS, "an output folder that holds other files")
def _(root: Path) -> None:
    (root / "notes.txt").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pouta_lib.deliver.export.package", lambda name: None)
        export_detector(made(POUTA), root)


@wrong(EXPORTS, "without the packages of the extra `export`")
def _(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)
        export_detector(made(POUTA), root)

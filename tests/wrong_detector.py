"""Wrong detectors, and wrong things asked of `pouta fit` and `pouta predict`."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from wrong import wrong

from pouta_lib.data.blank import contrast_of, told_of_blank
from pouta_lib.detector import (
    Detector,
    load_detector,
    predict_folder,
    read_photos,
    save_detector,
)
from pouta_lib.detector.fitting import fit
from pouta_lib.ground.locks import only_one
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import compute_of
from pouta_lib.method.models import build_model
from pouta_lib.method.weights import FILE, save_weights

DETECTORS, ASKED = "Detectors", "`pouta fit` and `pouta predict`"
POUTA, PATCHCORE, PAIR = "pouta", "patchcore", "pouta+patchcore"


@cache
def made(method: str) -> Detector:
    """One of the smoke profile that has learnt next to nothing."""
    torch.manual_seed(0)
    profile = load_profile("smoke", precision="fp32")
    model = build_model(method, profile).eval()
    for part in model.modules():
        if hasattr(part, "embed"):
            part.memory = part.embed(torch.rand(1, 3, 64, 64)).flatten(0, 2)[::99]
    how = (0.25, "by hand", (0.0, 1.0), compute_of(method, profile, "cpu"))
    return Detector(model, method, profile, *how)


def noted(words: str, method: str = POUTA, **changes: object) -> None:
    """A detector whose note has these values, or these settings, in place of its own."""

    @wrong(DETECTORS, words)
    def _(root: Path) -> None:
        path = save_detector(made(method), root / "detector") / "detector.json"
        note = json.loads(path.read_text(encoding="utf-8"))
        for name, value in changes.items():
            (note if name in note else note["profile"])[name] = value
        path.write_text(json.dumps(note), encoding="utf-8")
        load_detector(path.parent)


def file(words: str, name: str, change: Callable[[bytes], bytes]) -> None:
    """A detector with this file changed."""

    @wrong(DETECTORS, words)
    def _(root: Path) -> None:
        path = save_detector(made(POUTA), root / "detector") / name
        path.write_bytes(change(path.read_bytes()))
        load_detector(path.parent)


def weighed(words: str, method: str, name: str, values: Callable[[torch.Tensor], object]) -> None:
    """A detector whose weights were changed by a program, and their digests with them."""

    @wrong(DETECTORS, words)
    def _(root: Path) -> None:
        folder = save_detector(made(method), root / "detector")
        state = load_file(folder / FILE)
        state[name] = torch.as_tensor(values(state[name]))
        save_weights(state, folder)
        note = json.loads((folder / "detector.json").read_text(encoding="utf-8"))
        (folder / "detector.json").write_text(json.dumps(note | {"weights": None}))
        load_detector(folder)


def flipped(content: bytes) -> bytes:
    return content[:-2] + bytes([content[-2] ^ 4]) + content[-1:]


@wrong(DETECTORS, "no detector in the folder")
def _(root: Path) -> None:
    load_detector(root)


file("a `detector.json` that is cut off", "detector.json", lambda text: text[:20])
noted("a detector of a later version", format_version=2)
noted("a text in place of a number", threshold="0.25")
noted("an unknown method, in an older detector", variant="puota", made_with=None)
noted("a threshold that no probability exceeds", threshold=1.0)
noted("a threshold that no distance reaches", PATCHCORE, threshold=4e6)
noted("a scale that is upside down", scale=[9.0, 1.0])
noted("another image size than it was made with", size_px=128)
noted("another depth than it was made with", bits=12)
noted("weights of another detector", weights="0" * 64)
file("weights that are cut off", FILE, lambda content: content[:-9])
file("weights with one bit changed", FILE, flipped)
LAST = "discriminative.mss.4.bias"
weighed("weights with NaN in them", POUTA, LAST, lambda old: old * float("nan"))
weighed("weights of another shape", POUTA, LAST, lambda old: old[:1])
weighed("a PatchCore memory of other features", PATCHCORE, "memory", lambda old: old[:, :7])
weighed("a PatchCore memory without a shape", PATCHCORE, "memory", lambda old: old[0])
weighed("an empty PatchCore memory", PATCHCORE, "memory", lambda old: old[:0])
weighed("a pair that divides by 0", PAIR, "units", lambda old: [[1.0, 1.0], [0.0, 1.0]])
weighed("a pair with a negative unit", PAIR, "units", lambda old: [[1.0, -1.0], [1.0, 1.0]])
weighed("a pair with NaN for a unit", PAIR, "units", lambda old: old * float("nan"))


@wrong(DETECTORS, "the same map for every picture")
def _(root: Path) -> None:
    blind = deepcopy(made(POUTA).model)
    for weight in blind.parameters():
        torch.nn.init.zeros_(weight)
    save_detector(replace(made(POUTA), model=blind), root / "detector")


def photographs(root: Path, count: int, different: int) -> Path:
    """A folder of so many pictures, of which so many differ."""
    folder = root / "photos"
    folder.mkdir()
    for k in range(count):
        Image.new("RGB", (8, 8), (9 * (k % different), 0, 0)).save(folder / f"{k}.png")
    return folder


@wrong(ASKED, "seven photographs")
def _(root: Path) -> None:
    fit(photographs(root, 7, 7), tell=str)


@wrong(ASKED, "one photograph many times")
def _(root: Path) -> None:
    fit(photographs(root, 20, 1), tell=str)


@wrong(ASKED, "two of ten photographs through a covered lens")
def _(root: Path) -> str:
    for path in sorted(photographs(root, 10, 10).iterdir())[2:]:
        Image.effect_noise((64, 64), 90).save(path)
    images, files = (read_photos(root / "photos", 64)[k] for k in (1, 0))
    return told_of_blank(dict(zip(files, map(contrast_of, images), strict=True)))[0]


@wrong(ASKED, "a black photograph whose score is that of a good part")
def _(root: Path) -> None:
    (root / "photos").mkdir()
    Image.new("RGB", (64, 64), (3, 3, 3)).save(root / "photos" / "a.png")
    _, (told,) = predict_folder(
        replace(made(POUTA), threshold=0.99, contrast=30.0), root / "photos", root / "answer"
    )
    raise told


@wrong(ASKED, "another fit is making the detector")
def _(root: Path) -> None:
    with only_one(root / "detector" / ".fit.lock", "the first"):
        fit(photographs(root, 8, 8), output=root / "detector", tell=str)


@wrong(ASKED, "`--minutes 0`")
def _(root: Path) -> None:
    fit(root, minutes=0)


@wrong(ASKED, "`--minutes inf`")
def _(root: Path) -> None:
    fit(root, minutes=float("inf"))


@wrong(ASKED, "`--seed -1`")
def _(root: Path) -> None:
    fit(root, seed=-1)


@wrong(ASKED, "a 14-bit photograph for a detector made from 8-bit ones")
def _(root: Path) -> None:
    (root / "photos").mkdir()
    Image.fromarray(np.full((9, 9), 16_383, np.uint16)).save(root / "photos" / "a.png")
    eight = replace(made(POUTA), darkest=0)
    _, (told,) = predict_folder(eight, root / "photos", root / "answer")
    raise told


@wrong(ASKED, "photographs of another shape than those that the detector was made from")
def _(root: Path) -> str:
    wide = replace(made(POUTA), shapes=(1.5, 1.5))
    with redirect_stderr(io.StringIO()) as told:
        predict_folder(wide, photographs(root, 2, 2), root / "answer")
    return told.getvalue().partition("note: ")[2].strip()


@wrong(ASKED, "an unknown method")
def _(root: Path) -> None:
    fit(root, method="puota")


@wrong(ASKED, "a folder without images")
def _(root: Path) -> None:
    predict_folder(made(POUTA), root, root.parent / "answer")


@wrong(ASKED, "an answer of `pouta predict` in place of photographs")
def _(root: Path) -> None:
    predict_folder(made(POUTA), photographs(root, 1, 1), root / "answer")
    predict_folder(made(POUTA), root / "answer", root / "another")


@wrong(ASKED, "an output folder among the photographs")
def _(root: Path) -> None:
    predict_folder(made(POUTA), photographs(root, 1, 1), root / "photos" / "answer")


@wrong(ASKED, "an output folder that holds other files")
def _(root: Path) -> None:
    (root / "mine").mkdir()
    (root / "mine" / "notes.txt").touch()
    predict_folder(made(POUTA), photographs(root, 1, 1), root / "mine")


@wrong(ASKED, "an output folder with an earlier detector, without `--replace`")
def _(root: Path) -> None:
    for _ in range(2):
        save_detector(made(POUTA), root / "detector")


@wrong(ASKED, "an earlier answer that somebody has edited")
def _(root: Path) -> None:
    photos = photographs(root, 1, 1)
    for _ in range(2):
        predict_folder(made(POUTA), photos, root / "answer")
        (root / "answer" / "scores.csv").write_text("checked\n", encoding="utf-8")

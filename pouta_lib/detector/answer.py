"""What a detector says of a folder of images: scores, verdicts, and maps over the photographs."""

import hashlib
import io
import os
import re
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from pouta_lib.data.blank import is_blank
from pouta_lib.data.images import resize_image
from pouta_lib.detector.photos import (
    ANSWER,
    WORKERS,
    in_order,
    look_at_folder,
    passed_over,
    read_upright,
    told_of_shape,
)
from pouta_lib.detector.saved import Detector, Scale
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.outputs import own_files, refuse_overlap, replaceable
from pouta_lib.ground.progress import tqdm

TURNED = b"of a photograph that EXIF turns"  # the comment in such an overlay
OVERLAY_SHARE = 0.6  # of the map's colour where it is brightest
OVERLAY_PX = 1024  # the longer side of an overlay at the most ...
OVERLAY_QUALITY = 85  # ... and its quality as a JPEG
LONGEST_NAME, NAME_BEGINS = 240, 48  # bytes of a name that is kept; else letters of its beginning
BATCH = 8  # images that are scored together
COLUMNS = ("file", "score", "threshold", "verdict", "overlay", "reason")
SCORES = "scores.csv"
HELD_OUT = "held_out.csv"  # scores of good photographs that the detector's threshold comes from
KIND = ANSWER
FORMULA = tuple("=+-@\t")  # what begins with one of these is computed by a spreadsheet
UNWRITABLE = re.compile(r"[\r\ud800-\udfff]")  # in a CSV of UTF-8 that any program can read
WRITTEN = re.compile(r"\\u(000d|d[89a-f][0-9a-f]{2})")


def predict_folder(
    detector: Detector, images: str | Path, output: str | Path, *, maps: bool = False
) -> tuple[pd.DataFrame, list[PoutaError]]:
    """Scores every image of a folder: ``scores.csv`` and an overlay of each image in `output`.

    Beside them :data:`HELD_OUT`, where the detector knows such scores: what good parts get.

    One row per image: its score, the threshold, and the verdict: ``good``, ``defective`` (the score
    is above the threshold), or ``not read``, with the reason: also for one that shows next to
    nothing and would be called good. What was not read, and what was passed over, is returned as
    errors; none of it ends the rest. What is shaped otherwise than the detector's own photographs
    is told of on stderr. With `maps` the anomaly maps are kept as well, as TIFF files of floats. A
    few images are in memory at a time, however many there are.

    `output` is written whole or not at all. Of what lies there only an earlier answer makes way,
    as it was written.

    *Raises* :class:`PoutaError` for a folder without images, and for an `output` that holds other
    things, is or lies in the folder of images, or holds it.
    """
    images, output = Path(images).expanduser(), Path(output).expanduser()
    refuse_overlap(output, {"the images": images})
    replaceable(output, KIND)
    look = look_at_folder(images)
    namers = [overlay_name, *([map_name] if maps else [])]
    names = [namer(path.name) for path in look.files for namer in namers]
    replaceable(output, KIND, [SCORES, HELD_OUT, *names])
    left_out = [PoutaError(line) for line in passed_over(look)]
    rows: list[dict[str, Any]] = []
    shapes: list[float] = []
    with (
        own_files(output, KIND, SCORES) as temporary,
        ThreadPoolExecutor(WORKERS) as pool,
        tqdm(total=len(look.files), unit="image", disable=None) as bar,
    ):
        photos = in_order(pool, partial(_read, detector), look.files, 2 * BATCH)
        while batch := list(islice(photos, BATCH)):
            rows += _answer(detector, batch, temporary, pool, maps)
            shapes += [photo.shape for photo in batch if photo.small is not None]
            bar.update(len(batch))
        table = pd.DataFrame(rows, columns=COLUMNS)
        written = table.assign(file=table["file"].map(cell), overlay=table["overlay"].map(cell))
        written.to_csv(temporary / SCORES, index=False, lineterminator="\n")
        if detector.fitted and detector.fitted.good:
            good = pd.DataFrame({"score": detector.fitted.good})
            good.to_csv(temporary / HELD_OUT, index=False, lineterminator="\n")
    for line in told_of_shape(shapes, detector.shapes):
        print(f"note: {line}", file=sys.stderr)
    return table, [*left_out, *(PoutaError(row["reason"]) for row in rows if row["reason"])]


class _Photo(NamedTuple):
    """One image file, read; or why not."""

    path: Path
    small: np.ndarray | None = None  # (3, S, S) uint8, as the detector sees it
    shown: Image.Image | None = None  # as its overlay shows it
    shape: float = 1.0  # its width : height
    reason: str = ""


def _read(detector: Detector, path: Path) -> _Photo:
    try:
        size_px = detector.profile.size_px
        photo = read_upright(path, size_px, detector.bits, detector.darkest)
        small = resize_image(photo, size_px)
        shape = photo.width / photo.height
        photo.thumbnail((OVERLAY_PX, OVERLAY_PX), Image.Resampling.BILINEAR)
        return _Photo(path, small, photo, shape)
    except PoutaError as error:
        return _Photo(path, reason=str(error))


def _answer(
    detector: Detector, batch: list[_Photo], folder: Path, pool: Executor, maps: bool
) -> list[dict[str, Any]]:
    """The rows of a batch, whose overlays are written."""
    small = [photo.small for photo in batch if photo.small is not None]
    found = iter(zip(*detector.look_at(np.stack(small)), strict=True) if small else ())
    rows: list[dict[str, Any]] = []
    drawn = []
    for photo in batch:
        row = {"file": photo.path.name, "threshold": detector.threshold}
        row |= {"verdict": "not read", "overlay": "", "reason": photo.reason}
        rows.append(row)
        if photo.shown is None:
            continue
        anomaly_map, score = next(found)
        if not (np.isfinite(score) and np.isfinite(anomaly_map).all()):
            todo = "fit the detector again, with precision=fp32"
            row["reason"] = str(problem("a finite score", str(score), photo.path, todo))
            continue
        # as a float of the threshold's kind, so that what is compared is what is written
        score, name = float(score), overlay_name(photo.path.name)
        said = verdict(score, detector.threshold)
        if said == "good" and photo.small is not None and is_blank(photo.small, detector.contrast):
            nothing = "hardly any contrast, as through a covered lens, and a good part's score"
            todo = "look at it, and photograph the part again"
            row["reason"] = str(problem("a photograph of a part", nothing, photo.path, todo))
            continue
        row |= {"score": score, "verdict": said, "overlay": name}
        if maps:
            (folder / map_name(photo.path.name)).write_bytes(_packed(anomaly_map))
        drawn.append(pool.submit(_draw, detector, photo.shown, anomaly_map, folder / name))
    for done in drawn:
        done.result()
    return rows


def _packed(anomaly_map: np.ndarray) -> bytes:
    """A map as a TIFF of floats; written by Python, which knows odd names and full disks."""
    content = io.BytesIO()
    kept = Image.fromarray(np.asarray(anomaly_map, np.float32))
    kept.save(content, "TIFF", compression="tiff_adobe_deflate")
    return content.getvalue()


def cell(name: str) -> str:
    """A file's name as it stands in the CSV: in UTF-8, and for no spreadsheet a formula.

    >>> [cell(name) for name in ("a.png", "=1+1.png", "stra\\udcdfe.png")]
    ['a.png', './=1+1.png', 'stra\\\\udcdfe.png']
    """
    plain = UNWRITABLE.sub(lambda sign: f"\\u{ord(sign[0]):04x}", name)
    return f"./{plain}" if plain.startswith(FORMULA) else plain


def name_in(cell: str) -> str:
    """The name of the file that a cell stands for.

    >>> name_in(cell("=stra\\udcdfe.png")) == "=stra\\udcdfe.png"
    True
    """
    return WRITTEN.sub(lambda code: chr(int(code[1], 16)), cell.removeprefix("./"))


def verdict(score: float, threshold: float) -> str:
    """``defective`` where the score is above the threshold, else ``good``."""
    return "defective" if score > threshold else "good"


def _draw(detector: Detector, photo: Image.Image, anomaly_map: np.ndarray, to: Path) -> None:
    linear = not find_method(detector.method).bounded
    shown = overlay(photo, anomaly_map, detector.scale, linear=linear)
    comment = TURNED if photo.info["orientation"] != 1 else b""
    shown.save(to, quality=OVERLAY_QUALITY, comment=comment)


def overlay_name(name: str) -> str:
    """Of the overlay of an image of this name."""
    return f"{_short(name)}.jpg"


def map_name(name: str) -> str:
    """Of the map of an image of this name, where maps are kept."""
    return f"{_short(name)}.map.tiff"


def _short(name: str) -> str:
    """A name that leaves room for an ending; a digest stands for what a longer one loses."""
    whole = os.fsencode(name)
    if len(whole) <= LONGEST_NAME:
        return name
    return f"{name[:NAME_BEGINS]}~{hashlib.sha256(whole).hexdigest()[:12]}"


def overlay(
    photo: Image.Image,
    anomaly_map: np.ndarray,
    scale: Scale = (0.0, 1.0),
    *,
    linear: bool = False,
) -> Image.Image:
    """The map over the photograph, at the photograph's size: brighter colour, more suspicious.

    *Shape*: anomaly_map ``(H, W)``, from nothing to the brightest between the bounds of `scale`.
    Brightness goes with the cube root, as in the study's figures; `linear` is for what is no
    probability.
    """
    large = Image.fromarray(np.asarray(anomaly_map, np.float32)).resize(photo.size)
    low, high = scale
    strength = np.clip((np.asarray(large) - low) / (high - low), 0, 1)
    kept, added = _shades(linear)
    shade = np.round(strength * (len(kept) - 1)).astype(np.uint16)
    return Image.fromarray((np.asarray(photo) * kept[shade] + added[shade]).astype(np.uint8))


@cache
def _shades(linear: bool, count: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """By strength, what is kept of the photograph and what is added: ``(count, 1 or 3)``."""
    import matplotlib

    from pouta_lib.report.plots import MAP_COLOURS, MAP_GAMMA

    strength = np.linspace(0, 1, count) ** (1 if linear else MAP_GAMMA)
    share = OVERLAY_SHARE * strength[:, None]
    colour = 255 * matplotlib.colormaps[MAP_COLOURS](strength)[:, :3]
    return (1 - share).astype(np.float32), (colour * share).astype(np.float32)

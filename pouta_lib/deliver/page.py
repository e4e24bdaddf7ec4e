"""An answer as one HTML page that can be looked through, sorted out and sent to somebody."""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from pouta_lib.data.images import num_bits, peaks_of, read_photo
from pouta_lib.deliver.known import (
    Row,
    Truth,
    marked_on,
    metric_rows,
    overlay_of,
    pixel_rows,
    truth_of,
)
from pouta_lib.detector.answer import HELD_OUT, KIND, SCORES, name_in
from pouta_lib.ground.errors import PoutaError, problem, shown
from pouta_lib.ground.outputs import add_own
from pouta_lib.ground.paths import atomic_path

PAGE = "report.html"
MARK = '<meta name="generator" content="pouta report">'  # by which a page of ours is known
MOST_PICTURES = 400  # the worst ones; all others are counted, and listed by name
THUMBNAIL_PX, THUMBNAIL_QUALITY = 320, 80
NUM_BARS = 40
KNOWN = "known to be good"
STYLES = {"these images": "all", "good": "good", "defective": "defective", KNOWN: "known"}
OUTLINE = (0, 229, 255)  # of masks: seen on magma, on gray and by colour-blind readers


def write_page(
    answer: str | Path,
    output: str | Path | None = None,
    *,
    images: str | Path | None = None,
    good: str | Path | None = None,
    labels: str | Path | None = None,
    masks: str | Path | None = None,
    threshold: float | None = None,
) -> Path:
    """Writes the page of an answer of ``pouta predict``; by default as :data:`PAGE` beside it.

    `images` are the photographs, which are then shown beside the overlays; `good` is another
    answer, of parts known to be good, whose scores the histogram shows as well: by default those
    that the detector's fit held out. `threshold` stands in for the detector's. `labels` is a CSV
    with the columns file and label; `masks` a folder: what has a mask is defective, all else good.
    The page holds everything itself and asks no server for anything.

    *Raises* :class:`PoutaError` for what is no answer, for photographs, labels or masks of others,
    for labels or masks of one kind alone, and for an output that is not such a page.
    """
    answer = Path(answer).expanduser()
    target = Path(output).expanduser() if output else answer / PAGE
    table, unread = _read(answer)
    folder = Path(images).expanduser() if images else None
    truth = truth_of(table, labels, masks, unread, folder)
    if truth:
        table["label"] = [truth.labels[name] for name in table["file"]]
    others = _scores_of_good(Path(good).expanduser(), table) if good else _held_out(answer)
    if threshold is not None:
        table["threshold"] = threshold
    _check_target(target)
    if folder and not any(os.path.isfile(folder / name) for name in table["file"]):
        wanted, todo = "the photographs of this answer", "name the folder that `pouta predict` read"
        raise problem(wanted, f"none of them, such as {table['file'][0]}", folder, todo)
    text = _rendered(table, unread, answer, folder, truth, others)
    try:
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
        add_own(answer, KIND, target)  # the next answer is not to lie beside a page of this one
    except OSError as error:
        wanted = "a place that can be written to"
        raise problem(wanted, str(error), target, "name another") from error
    return target


def read_answer(answer: Path) -> pd.DataFrame:
    """``file``, ``score`` and ``threshold`` of an answer, the worst image first.

    *Raises* :class:`PoutaError` for a folder without ``scores.csv``, for one that is damaged, and
    for names that lead out of the folder of photographs.
    """
    return _read(answer)[0]


def _read(answer: Path) -> tuple[pd.DataFrame, list[str]]:
    """:func:`read_answer`, and the names of the images that have no score."""
    path, todo = answer / SCORES, "name the folder that `pouta predict` wrote, as it wrote it"
    try:
        # a file may well be called NA
        kinds = {"file": str, "score": float, "threshold": float}
        table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values={"score": [""]})
        if not isinstance(table.index, pd.RangeIndex):  # the first cells stand for rows' names
            raise problem("an answer", "lines with more cells than columns", path, todo)
        table["file"] = table["file"].map(name_in)
        scored = pd.Series(True, table.index)
        if "verdict" in table:
            scored = table["verdict"] != "not read"
        unread = table.loc[~scored, "file"].tolist()
        table = table.loc[scored, list(kinds)]
    except OSError as error:
        raise problem("an answer", f"none ({error.strerror})", path, todo) from error
    except PoutaError:
        raise
    except (ValueError, KeyError) as error:
        raise problem("an answer", f"an unreadable file ({error})", path, todo) from error
    if unread and not len(table):
        found = f"none: no image of {len(unread)} could be read and shows something"
        todo = "see the column reason, and run `pouta predict` again"
        raise problem("scores of images", found, path, todo)
    if not len(table) or not np.isfinite(table[["score", "threshold"]]).all(axis=None):
        raise problem("finite scores", "others, or none", path, "run `pouta predict` again")
    if table["file"].duplicated().any() or table["threshold"].nunique() > 1:
        wanted = "one line for each image, and one threshold"
        raise problem(wanted, "several", path, "run `pouta predict` again")
    if odd := [name for name in table["file"] if Path(name).name != name or "\0" in name]:
        raise problem("names of files, without folders", repr(odd[0]), path, todo)
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True), unread


def _scores_of_good(answer: Path, table: pd.DataFrame) -> np.ndarray:
    """Of another answer. *Raises* :class:`PoutaError` for one of another detector."""
    others = read_answer(answer)
    if set(others["threshold"]) != set(table["threshold"]):
        found = f"another threshold, {others['threshold'].iloc[0]:.4g}"
        todo = "predict on both folders with one detector"
        raise problem("an answer of the same detector", found, answer, todo)
    scores: np.ndarray = others["score"].to_numpy()
    return scores


def _held_out(answer: Path) -> np.ndarray | None:
    """Scores of good parts that came with the answer."""
    path = answer / HELD_OUT
    if not path.is_file():
        return None
    wanted, todo = "finite scores of good parts", "run `pouta predict` again"
    try:
        scores: np.ndarray = pd.read_csv(path, dtype=float)["score"].to_numpy()
    except (ValueError, KeyError) as error:
        raise problem(wanted, f"an unreadable file ({error})", path, todo) from error
    if not len(scores) or not np.isfinite(scores).all():
        raise problem(wanted, "others, or none", path, todo)
    return scores


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_file():
        found = "a folder, or a device"
        raise problem("a file to write", found, target, "add a name, such as report.html")
    if target.exists() and MARK not in target.read_text("utf-8", errors="replace")[:1000]:
        raise problem("a new file, or an earlier report", "another file", target, "name another")


class _Axis(NamedTuple):
    """Where a score stands in the histogram: by its logarithm where scores span decades."""

    low: float
    high: float
    logarithmic: bool

    def place(self, scores: np.ndarray) -> np.ndarray:
        """From 0 at the left to 1 at the right."""
        low, high, at = self.low, self.high, np.asarray(scores, float)
        if self.logarithmic:
            low, high, at = np.log(low), np.log(high), np.log(np.clip(at, self.low, None))
        return np.clip((at - low) / (high - low), 0, 1)


def _axis(scores: np.ndarray) -> _Axis:
    low, high = float(scores.min()), float(scores.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return _Axis(low, high, logarithmic=low > 0 and high / low > 50)


def _bars(axis: _Axis, groups: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """The height of each bar of each group: its share of the group's images, the highest 1."""
    edges = np.linspace(0, 1, NUM_BARS + 1)
    shares = {
        name: np.histogram(axis.place(scores), edges)[0] / len(scores)
        for name, scores in groups.items()
    }
    highest = max(float(share.max()) for share in shares.values())
    return {name: (share / highest).tolist() for name, share in shares.items()}


def _rendered(
    table: pd.DataFrame,
    unread: list[str],
    answer: Path,
    images: Path | None,
    truth: Truth | None,
    others: np.ndarray | None,
) -> str:
    import jinja2

    scores, threshold = table["score"].to_numpy(), float(table["threshold"].iloc[0])
    groups = {"these images": scores}
    metrics: list[Row] = []
    if truth:
        bad = (table["label"] != "good").to_numpy()
        groups = {"good": scores[~bad], "defective": scores[bad]}
        metrics = metric_rows(scores, bad)
        metrics += pixel_rows(answer, list(table["file"]), truth, images, bad)
    if others is not None:
        groups |= {KNOWN: others}
    photos = [images / name for name in table["file"].head(MOST_PICTURES)] if images else []
    bits = num_bits(peaks_of(photos).values())
    axis = _axis(np.concatenate([*groups.values(), [threshold]]))
    rows = [
        _row(row, answer, images, truth, bits, pictured=k < MOST_PICTURES)
        for k, row in enumerate(table.to_dict("records"))
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pouta_lib.deliver", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    told = {"axis": axis._asdict(), "threshold": threshold, "scores": [r["score"] for r in rows]}
    if truth:
        told["bad"] = bad.tolist()
    if others is not None:
        told["others"] = sorted(others.tolist())
    return environment.get_template("page.html.jinja").render(
        mark=MARK,
        name=shown(answer.resolve().name),
        rows=rows,
        unread=[shown(name) for name in unread],
        lacking=[text for row in rows for text in row["lacking"]],
        num_pictures=min(len(rows), MOST_PICTURES),
        labelled=truth is not None,
        outlined=truth is not None and bool(truth.masks),
        metrics=metrics,
        groups=[
            {"name": name, "style": STYLES[name], "count": len(groups[name]), "heights": heights}
            for name, heights in _bars(axis, groups).items()
        ],
        num_bars=NUM_BARS,
        others=others is not None,
        axis=axis,
        threshold=threshold,
        # "<" would end the script: it is written as JSON allows
        data=json.dumps(told, allow_nan=False).replace("<", "\\u003c"),
    )


def _row(
    row: dict[str, Any],
    answer: Path,
    images: Path | None,
    truth: Truth | None,
    bits: int,
    *,
    pictured: bool,
) -> dict[str, Any]:
    name = row["file"]
    pictures, lacking = [], []
    if pictured:
        mask = truth.masks.get(name) if truth else None
        marked = marked_on(answer, name, mask, images, THUMBNAIL_PX) if mask else None
        sources = {"photograph": images / name} if images else {}
        for kind, path in (sources | {"map": overlay_of(answer, name)}).items():
            address = _thumbnail(path, marked if kind == "map" else None, bits) if path else ""
            if address:
                pictures.append((kind, address))
            else:
                lacking.append(f"the {kind} of {shown(name)}")
    return {
        "name": shown(name),
        "score": row["score"],
        "label": shown(row.get("label", "")),
        "pictures": pictures,
        "lacking": lacking,  # pictures that are missing, or damaged
    }


def _thumbnail(path: Path, marked: np.ndarray | None, bits: int) -> str:
    """A picture as a data address; nothing where there is none that can be read."""
    try:
        picture = read_photo(path, THUMBNAIL_PX, bits)
        picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        if marked is not None:
            picture = _outlined(picture, marked)
    except (OSError, PoutaError):
        return ""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=THUMBNAIL_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _outlined(picture: Image.Image, marked: np.ndarray) -> Image.Image:
    from scipy import ndimage

    small = np.asarray(Image.fromarray(marked).resize(picture.size)) > 0
    edge = ndimage.binary_dilation(small, iterations=2) & ~small
    pixels = np.array(picture)
    pixels[edge] = OUTLINE
    return Image.fromarray(pixels)

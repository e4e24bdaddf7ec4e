"""What is known of the images of an answer, and how well the answer agrees with it."""

import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pouta_lib.data.files import (
    Contents,
    PassedOver,
    look_into,
    masks_in,
    masks_of_none,
    read_list,
    several_masks,
)
from pouta_lib.data.images import read_picture
from pouta_lib.data.masks import marked_in, read_mask
from pouta_lib.data.names import composed, means_good, named_mask, refuse_alike, stem_of
from pouta_lib.detector.answer import OVERLAY_PX, TURNED, map_name, name_in, overlay_name
from pouta_lib.ground.errors import PoutaError, problem, shown
from pouta_lib.score.metrics import image_metrics, pixel_metrics
from pouta_lib.score.uncertainty import ENDS, drawn_again

IMAGE_TITLES = {"image_auroc": "AUROC", "image_ap": "average precision", "image_f1max": "best F1"}
PIXEL_TITLES = {
    "pixel_auroc": "pixels: AUROC",
    "pixel_ap": "pixels: average precision",
    "pixel_aupro": "pixels: AUPRO",
}
REPEATS, PIXEL_REPEATS = 500, 100
MOST_PIXELS = 400_000  # of all maps together, for the intervals: every second row and column, ...
MAPS_AGAIN = "run `pouta predict --maps` again"
NAME_MASKS = "name the folder that they lie in, and each as its image is called, with _mask"
Row = tuple[str, float, float, float]  # title, value, and the ends of its 95 % interval


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of the images, by the names they have in the answer."""

    labels: dict[str, str]  # "good", or a defect's name
    masks: dict[str, Path]


def truth_of(
    table: pd.DataFrame,
    labels: str | Path | None,
    masks: str | Path | None,
    unread: Sequence[str] = (),
    images: Path | None = None,
) -> Truth | None:
    """What a file of labels and a folder of masks say of an answer's images; None without both.

    With masks alone, an image without one counts as good; so does one whose mask is empty. Masks
    may also be of images that were `unread`. What is called as a photograph, beside its mask, is
    taken for it; where `images`, the photographs' folder, is known, only if it is a copy.

    *Raises* :class:`PoutaError` for a file that cannot be read, and for names that fit nothing.
    """
    if not labels and not masks:
        return None
    names = list(table["file"])
    folder = Path(masks).expanduser() if masks else None
    if folder and not folder.is_dir():
        raise problem("a folder of masks", "no such folder", folder, "check the path")
    found = _masks_for(names, folder) if folder else {}
    photos = ((images or folder) / name for name in names) if folder else ()
    if folder and (several := several_masks(folder, photos)):
        raise problem("one mask for each image", several.lines()[0], folder, "leave one for each")
    refuse_alike(map(Path, names), found)
    masked = {name: found[stem] for name in names if (stem := stem_of(Path(name))) in found}
    if folder and not masked:
        found_none = "; ".join(["none", *look_into(folder).passed_over.lines()])
        raise problem("masks of these images", found_none, folder, NAME_MASKS)
    if folder and (passed := _unread_masks(names, folder)):
        if not labels:  # its image would count as good
            wanted, todo = "masks that can be read", "or say by --labels which images are good"
            raise problem(wanted, "; ".join(passed.lines()), folder, f"{NAME_MASKS}; {todo}")
        for line in passed.lines():
            print(f"note: masks: {line}", file=sys.stderr)
    if folder and not labels and (lost := masks_of_none(folder, map(Path, [*names, *unread]))):
        todo = f"{NAME_MASKS}; or say by --labels which images are good"
        raise problem("masks of these images alone", lost.lines()[0], folder, todo)
    marked = {name: mask for name, mask in masked.items() if not _is_empty(mask)}
    said = {name: "defective" if name in marked else "good" for name in names}
    where: object = masks
    if labels:
        where = Path(labels).expanduser()
        said = _read_labels(where)
        spelt = {composed(name): label for name, label in said.items()}
        said = {name: spelt[one] for name in names if (one := composed(name)) in spelt} | said
        missing = [name for name in names if name not in said]
        if missing:
            told = f"none for {len(missing)} images, first {shown(missing[0])}"
            if others := sorted(said.keys() - set(names)):
                told += f", but {len(others)} for others, first {shown(others[0])}"
            todo = "add them, by the images' names, or predict without them"
            raise problem("a label for each image", told, where, todo)
        said = {name: "good" if means_good(said[name]) else said[name] for name in names}
        if both := [name for name in marked if said[name] == "good"]:
            found_both = (
                f"{len(both)} called good whose masks mark something, first {shown(both[0])}"
            )
            raise problem(
                "labels and masks that agree", found_both, where, "correct the one or other"
            )
    good = sum(label == "good" for label in said.values())
    if good in (0, len(names)):
        told = "good ones alone" if good else "defective ones alone"
        todo = "call the good ones good, the others by their defect"
        if not labels:
            todo = "predict on a folder that has both, or leave the masks out"
        raise problem("good and defective images", told, where, todo)
    return Truth(labels=said, masks=marked)


def _masks_for(names: list[str], folder: Path) -> dict[str, Path]:
    """The masks in a folder, by stems; where they lie beside the photographs, these are none."""
    found, look = masks_in(folder), look_into(folder, below=False)
    if look.masks and _has_photos(look, names):
        return {stem: mask for stem, mask in found.items() if mask.name not in set(names)}
    return found


def _has_photos(look: Contents, names: Sequence[str]) -> bool:
    return set(names).issubset(path.name for path in look.files)


def _unread_masks(names: Sequence[str], folder: Path) -> PassedOver:
    """What was passed over in a folder of masks; beside the photographs, what is named as a mask.

    Other photographs may lie there in any form.
    """
    look, stems = look_into(folder), {stem_of(Path(name)) for name in names}
    if not _has_photos(look, names):
        return look.passed_over
    passed = look.passed_over.files.items()
    return PassedOver(
        {
            reason: [path for path in paths if not stems.isdisjoint(named_mask(path)[0])]
            for reason, paths in passed
        }
    )


def _is_empty(mask: Path) -> bool:
    picture = read_picture(mask)
    return not marked_in(picture.image, picture.lossy, mask).any()


def _read_labels(path: Path) -> dict[str, str]:
    """By the names of the images; a row without a label is none."""
    todo = "write a CSV with the columns file and label: good, or the defect's name"
    try:
        text = read_list(path, todo)
        # a spreadsheet separates by what its country does not write in numbers
        separator = max(",;\t", key=text.partition("\n")[0].count)
        table = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False)
        if not isinstance(table.index, pd.RangeIndex):  # the first cells stand for rows' names
            raise problem("as many cells in each line as in the first", "more", path, todo)
        table.columns = table.columns.str.strip().str.lower()
        if sorted(table.columns[table.columns.isin(["file", "label"])]) != ["file", "label"]:
            columns = shown(", ".join(table.columns))
            raise problem("columns file and label", f"a first line {columns}", path, todo)
        names = table["file"].map(lambda name: re.split(r"[/\\]", name_in(name))[-1])
        table = pd.DataFrame({"file": names, "label": table["label"].str.strip()})
        table = table[table["label"] != ""].drop_duplicates()
        if (twice := table["file"][table["file"].duplicated()]).any():
            found = f"several for {shown(twice.iloc[0])}"
            raise problem("one label for each image", found, path, "correct the file")
        said = dict(zip(table["file"], table["label"], strict=True))
        return {name.strip(): label for name, label in said.items()} | said
    except PoutaError:
        raise
    except OSError as error:
        raise problem("labels", f"none ({error.strerror})", path, todo) from error
    except ValueError as error:
        raise problem("labels", f"an unreadable file ({error})", path, todo) from error


def metric_rows(scores: np.ndarray, bad: np.ndarray) -> list[Row]:
    """Of the image scores. *Shape*: ``(M,)``, and which are defective."""

    def found(chosen: np.ndarray) -> Mapping[str, float | None]:
        return image_metrics(bad[chosen], scores[chosen])

    return _rows(IMAGE_TITLES, found, found, bad, REPEATS)


def pixel_rows(
    answer: Path, names: list[str], truth: Truth, images: Path | None, bad: np.ndarray
) -> list[Row]:
    """Of the maps that ``pouta predict --maps`` kept; none without them, or without masks.

    A defective image without a mask has no place here, and a good one has nothing marked. Where
    the photographs are at hand, a mask is turned as its photograph is.

    *Raises* :class:`PoutaError` for a map that is missing, damaged or of another size, and for what
    ``read_mask`` refuses.
    """
    paths = [answer / map_name(name) for name in names]
    if not truth.masks or not any(path.is_file() for path in paths):
        return []
    use = np.array([not b or name in truth.masks for name, b in zip(names, bad, strict=True)])
    maps, masks = [], []
    for name, path in compress(zip(names, paths, strict=True), use):
        if not path.is_file():
            raise problem("a map of each image", f"none of {shown(name)}", answer, MAPS_AGAIN)
        maps.append(np.asarray(read_picture(path).image, np.float32))
        size_px = len(maps[0])
        if maps[-1].shape != (size_px, size_px) or not np.isfinite(maps[-1]).all():
            wanted = f"a map of {size_px} x {size_px} finite numbers"
            raise problem(wanted, f"{maps[-1].shape}, or not finite", path, MAPS_AGAIN)
        marked = np.zeros((size_px, size_px), bool)
        if mask := truth.masks.get(name):
            marked = marked_on(answer, name, mask, images, size_px)
        masks.append(marked)
    all_maps, all_masks, bad = np.stack(maps), np.stack(masks), bad[use]
    step = max(1, round(np.sqrt(all_maps.size / MOST_PIXELS)))

    def found(chosen: np.ndarray) -> Mapping[str, float | None]:
        return pixel_metrics(all_masks[chosen], all_maps[chosen])

    def thinned(chosen: np.ndarray) -> Mapping[str, float | None]:
        rows = slice(step // 2, None, step)
        return pixel_metrics(all_masks[chosen, rows, rows], all_maps[chosen, rows, rows])

    return _rows(PIXEL_TITLES, found, thinned, bad, PIXEL_REPEATS)


def marked_on(answer: Path, name: str, mask: Path, images: Path | None, size_px: int) -> np.ndarray:
    """What a mask marks, as the photograph lies: ``(size_px, size_px)`` bool.

    Where the photograph is not at hand, its size is its overlay's; of a large one that has the
    shape alone, within two pixels, which its reduced sizes are rounded by.

    *Raises* :class:`PoutaError` for what ``read_mask`` refuses; and where the photograph is not at
    hand and EXIF turned it, or its overlay lies otherwise than the mask, so that it may have.
    """
    drawn = read_picture(mask)
    if images:
        return read_mask(drawn, mask, read_picture(images / name, size_px), size_px)
    width, height = across, down = drawn.size
    found = ""
    with suppress(OSError), Image.open(overlay_of(answer, name) or mask) as overlay:
        across, down = overlay.size
        found = (
            "one of a photograph that EXIF turns" if overlay.info.get("comment") == TURNED else ""
        )
    fits = _may_be_of((width, height), (across, down))
    if not fits and _may_be_of((height, width), (across, down)):
        found = f"{width} x {height} for one of {across} x {down}"
    if found:
        todo = "name the photographs as well, by which masks are turned (--images)"
        raise problem("a mask that lies as its photograph", found, mask, todo)
    if not fits:
        wanted = f"a mask of its photograph's size, whose overlay is {across} x {down}"
        todo = "export the mask again at the photograph's own size"
        raise problem(wanted, f"{width} x {height}", mask, todo)
    return read_mask(drawn, mask, drawn, size_px)


def _may_be_of(size: tuple[int, int], overlay: tuple[int, int]) -> bool:
    """May a photograph of this size have such an overlay?"""
    if max(overlay) < OVERLAY_PX:
        return size == overlay
    scale = max(overlay) / max(size)
    return scale <= 1 and all(abs(scale * a - b) <= 2 for a, b in zip(size, overlay, strict=True))


def overlay_of(answer: Path, name: str) -> Path | None:
    """The overlay of an image of this name; a PNG in older answers."""
    path = answer / overlay_name(name)
    return next(filter(Path.is_file, (path, path.with_suffix(".png"))), None)


def _rows(
    titles: dict[str, str],
    metrics: Callable[[np.ndarray], Mapping[str, float | None]],
    quickly: Callable[[np.ndarray], Mapping[str, float | None]],
    bad: np.ndarray,
    repeats: int,
) -> list[Row]:
    """Values of all images; their intervals from images that are drawn again, all at once."""
    values = metrics(np.arange(len(bad)))
    drawn = [quickly(chosen) for chosen in drawn_again(bad, repeats)]
    rows: list[Row] = []
    for name, title in titles.items():
        found = [value for one in drawn if (value := one[name]) is not None]
        value = values[name]
        if value is not None and found:
            low, high = np.quantile(found, ENDS)
            rows.append((title, value, float(low), float(high)))
    return rows

"""The layouts of VisA: as its owners ship it, and as their script converts it.

Raw: ``<category>/Data/{Images/Normal, Images/Anomaly, Masks/Anomaly}`` with the official split in
``split_csv/1cls.csv`` (object, split, label, image, mask). Converted: MVTec AD's layout. Each
category is read by the layout that it is in.
"""

import csv
import os
from io import StringIO
from pathlib import Path

from pouta_lib.data import mvtec
from pouta_lib.data.category import GOOD, Item, Listing
from pouta_lib.data.files import PassedOver, Reason, categories_in, pictures_below, read_list
from pouta_lib.data.names import composed, refuse_shared
from pouta_lib.ground.errors import problem

SPLIT = Path("split_csv") / "1cls.csv"
COLUMNS = ["object", "split", "label", "image", "mask"]
RESTORE = "restore the official split_csv from the archive"


def categories(folder: Path) -> list[str]:
    """The categories of either layout."""
    raw = categories_in(folder, lambda path: (path / "Data").is_dir())
    return sorted({*raw, *mvtec.categories(folder)})


def listing(folder: Path, category: str) -> Listing:
    """The files of one category, by the official one-class split (D21).

    *Raises* :class:`PoutaError` when the list and the files do not belong together.
    """
    if not (folder / category / "Data").is_dir():
        return mvtec.listing(folder, category)
    base = folder / category
    there = {  # links to folders deeper down are not followed
        path: why
        for part in (base, base / "Data" / "Images")
        for why, path in pictures_below(part, Reason.UNLISTED)
    }
    spelt = {composed(str(path)): path for path in there}
    train: list[Item] = []
    test: list[Item] = []
    for row in _rows(folder):
        if composed(row["object"]) == composed(category):
            (train if row["split"] == "train" else test).append(_item(folder, row, spelt))
    if any(item.defect != GOOD for item in train):
        raise problem("normal training images only", "anomalies", folder / SPLIT, RESTORE)
    train.sort(key=lambda item: item.image)
    test.sort(key=lambda item: item.image)
    listed = {item.image for item in (*train, *test)}
    if len(listed) < len(train) + len(test):
        found = f"{len(train) + len(test)} lines for {len(listed)} images of {category}"
        raise problem("one line for each image", found, folder / SPLIT, RESTORE)
    refuse_shared((item.mask for item in test if item.mask), folder / SPLIT, RESTORE)
    listed |= {item.mask for item in test if item.mask}
    passed = PassedOver.of((why, path) for path, why in there.items() if path not in listed)
    return Listing(train, test, extra_files=[folder / SPLIT], passed_over=passed)


def _item(folder: Path, row: dict[str, str], spelt: dict[str, Path]) -> Item:
    """What a line names; where no file is called just so, the one that is `spelt` so, composed."""

    def found(name: str) -> Path:
        path = folder / name  # that may be of any length, which `isfile` takes
        return path if os.path.isfile(path) else spelt.get(composed(str(path)), path)

    image, normal = found(row["image"]), row["label"] == "normal"
    mask = None if normal or not row["mask"] else found(row["mask"])
    if not normal and mask is None:
        raise problem("a mask for each anomaly", "none", f"{SPLIT}: {row['image']}", RESTORE)
    for path in (image, mask):
        if path is not None and (".." in path.parts or folder not in path.parents):
            raise problem("a file in this dataset", f"{path}", f"{folder / SPLIT}", RESTORE)
        if path is not None and not os.path.isfile(path):  # of any name, an endless one too
            todo = "unpack the dataset again; the list and the files belong together"
            raise problem(f"the file that {SPLIT.name} names", "none", path, todo)
    return Item(image, GOOD if normal else "anomaly", mask)


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / SPLIT
    if not path.is_file():
        raise problem("the official split", "no file", path, RESTORE)
    reader = csv.DictReader(StringIO(read_list(path, RESTORE)), strict=True)
    try:
        if reader.fieldnames != COLUMNS:
            raise problem(f"columns {COLUMNS}", f"{reader.fieldnames}", path, RESTORE)
        rows = list(reader)
    except csv.Error as error:
        where = f"{path}, line {reader.line_num}"
        raise problem("a CSV file", str(error), where, RESTORE) from error
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            wanted = f"{len(COLUMNS)} cells"
            raise problem(wanted, "more or fewer", f"{path}, line {number}", RESTORE)
        found = (row["split"], row["label"])
        if found[0] not in ("train", "test") or found[1] not in ("normal", "anomaly"):
            wanted = "split train or test, and label normal or anomaly"
            raise problem(wanted, f"{found}", f"{path}, line {number}", RESTORE)
    return rows

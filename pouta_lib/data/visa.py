"""The layouts of VisA: as its owners ship it, and as their script converts it.

Raw: ``<category>/Data/{Images/Normal, Images/Anomaly, Masks/Anomaly}`` with the official split in
``split_csv/1cls.csv`` (object, split, label, image, mask). Converted: MVTec AD's layout.
"""

import csv
from pathlib import Path

from pouta_lib.data import mvtec
from pouta_lib.data.category import GOOD, Item, Listing
from pouta_lib.errors import problem

SPLIT = Path("split_csv") / "1cls.csv"
COLUMNS = ["object", "split", "label", "image", "mask"]


def categories(folder: Path) -> list[str]:
    """The categories of either layout that have a folder."""
    if not (folder / SPLIT).is_file():
        return mvtec.categories(folder)
    return sorted({row["object"] for row in _rows(folder) if (folder / row["object"]).is_dir()})


def listing(folder: Path, category: str) -> Listing:
    """The files of one category, by the official one-class split (D21)."""
    if not (folder / SPLIT).is_file():
        return mvtec.listing(folder, category)
    train, test = [], []
    for row in _rows(folder):
        if row["object"] != category:
            continue
        mask = folder / row["mask"] if row["mask"] else None
        for path in (folder / row["image"], mask):
            if path is not None and not path.is_file():
                todo = "unpack the dataset again; the list and the files belong together"
                raise problem(f"the file that {SPLIT.name} names", "none", path, todo)
        if row["label"] != "normal" and mask is None:
            todo = "restore the official split_csv"
            raise problem("a mask for each anomaly", "none", f"{SPLIT}: {row['image']}", todo)
        defect = GOOD if row["label"] == "normal" else "anomaly"
        (train if row["split"] == "train" else test).append(
            Item(folder / row["image"], defect, mask if defect != GOOD else None)
        )
    if any(item.defect != GOOD for item in train):
        raise problem("normal training images only", "anomalies", folder / SPLIT, "use 1cls.csv")
    train.sort(key=lambda item: item.image)
    test.sort(key=lambda item: item.image)
    return Listing(train, test, extra_files=[folder / SPLIT])


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / SPLIT
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        if reader.fieldnames != COLUMNS:
            raise problem(f"columns {COLUMNS}", f"{reader.fieldnames}", path, "restore the file")
        return list(reader)

"""The layout of DAGM 2007: ``Class<k>/{Train, Test}/*.PNG`` with ``Label/Labels.txt`` in each.

Labels.txt: a first line ``1``, then for each image its number, 0 or 1, its file, 0, and the file
of its coarse elliptical label (0 where it is good), separated by blanks.
"""

import re
from pathlib import Path

from pouta_lib.data.category import GOOD, Item, Listing
from pouta_lib.data.images import image_files
from pouta_lib.errors import problem


def categories(folder: Path) -> list[str]:
    """``Class1`` ... in the order of their numbers."""
    found = [p.name for p in folder.glob("Class*") if re.fullmatch(r"Class\d+", p.name)]
    return sorted(found, key=lambda name: int(name[5:]))


def listing(folder: Path, category: str) -> Listing:
    """The official split (D21). Defective images in Train are never trained on."""
    parts = {}
    for split in ("Train", "Test"):
        base = folder / category / split
        if not base.is_dir():
            raise problem(f"a folder {split}", "none", base, "unpack the dataset again")
        parts[split] = _items(base)
    train = [item for item in parts["Train"] if item.defect == GOOD]
    lists = [folder / category / split / "Label" / "Labels.txt" for split in ("Train", "Test")]
    return Listing(train, parts["Test"], mask_kind="coarse", extra_files=lists)


def _items(base: Path) -> list[Item]:
    labels = _labels(base / "Label" / "Labels.txt")
    files = {path.name.lower(): path for path in image_files(base)}
    masks = {path.name.lower(): path for path in image_files(base / "Label")}
    items = []
    for name, mask_name in sorted(labels.items()):
        if name not in files:
            todo = "unpack the dataset again"
            raise problem(f"the image {name} that Labels.txt names", "none", base, todo)
        if mask_name is None:
            items.append(Item(files[name]))
        elif mask_name in masks:
            items.append(Item(files[name], "defect", masks[mask_name]))
        else:
            wanted = f"a label {mask_name} for the defective image {name}"
            raise problem(wanted, "none", base / "Label", "unpack the dataset again")
    unlisted = sorted(set(files) - set(labels))
    if unlisted:
        found = f"{len(unlisted)} images without a line, first {unlisted[0]}"
        where = base / "Label" / "Labels.txt"
        raise problem("a line for each image", found, where, "unpack the dataset again")
    return items


def _labels(path: Path) -> dict[str, str | None]:
    """For each image file (lower case) its label file, or nothing where it is good."""
    if not path.is_file():
        raise problem("a list of labels", "none", path, "unpack the dataset again")
    labels: dict[str, str | None] = {}
    for line in path.read_text(encoding="utf-8-sig").splitlines()[1:]:
        words = line.split()
        if not words:
            continue
        if len(words) != 5 or words[1] not in ("0", "1"):
            wanted = "lines of 'number, 0 or 1, image, 0, label or 0'"
            raise problem(wanted, repr(line), path, "unpack the dataset again")
        labels[words[2].lower()] = words[4].lower() if words[1] == "1" else None
    return labels

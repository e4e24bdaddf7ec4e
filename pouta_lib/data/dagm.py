"""The layout of DAGM 2007: ``Class<k>/{Train, Test}/*.PNG`` with ``Label/Labels.txt`` in each.

Labels.txt: a first line ``1``, then for each image its number, 0 or 1, its file, 0, and the file
of its coarse elliptical label (0 where it is good), separated by tabs. Names are compared
without regard to upper and lower case, which copies of the dataset have changed.
"""

import re
from itertools import chain
from pathlib import Path

from pouta_lib.data.category import GOOD, Item, Listing
from pouta_lib.data.files import (
    PassedOver,
    Reason,
    beside,
    categories_in,
    child,
    folders_in,
    image_files,
    look_into,
    pictures_below,
    read_list,
)
from pouta_lib.data.names import refuse_shared
from pouta_lib.ground.errors import problem, shown

SPLITS = ("Train", "Test")
AGAIN = "unpack the dataset again"


def categories(folder: Path) -> list[str]:
    """``Class1`` ... in the order of their numbers, so called in whatever case they are there."""
    found = map(str.capitalize, categories_in(folder, _is_class))
    return sorted(set(found), key=lambda name: (int(name[5:]), name))


def _is_class(path: Path) -> bool:
    known = re.fullmatch(r"(?i)class\d+", path.name)
    return bool(known) and any(child(path, split).is_dir() for split in SPLITS)


def listing(folder: Path, category: str) -> Listing:
    """The official split (D21). Defective images in Train are never trained on.

    *Raises* :class:`PoutaError` when Labels.txt and the files do not belong together.
    """
    splits, lists, passed = {}, [], PassedOver()
    whole = child(folder, category)
    for split in SPLITS:
        base = child(whole, split)
        if not base.is_dir():
            raise problem(f"a folder {split}", "none", base, AGAIN)
        labels = child(child(base, "Label"), "Labels.txt")
        splits[split] = _items(base, labels)
        lists.append(labels)
        passed += _passed_over(base, labels.parent, splits[split])
    passed += beside(whole, [path.parent.parent for path in lists])
    train = [item for item in splits["Train"] if item.defect == GOOD]
    return Listing(
        train,
        splits["Test"],
        mask_kind="coarse",
        extra_files=lists,
        num_left_out=len(splits["Train"]) - len(train),
        passed_over=passed,
    )


def _passed_over(base: Path, labels: Path, read: list[Item]) -> PassedOver:
    """What lies in a split's folder, or in that of its labels, and belongs to nothing that is read.

    That includes a label of an image which the list calls good.
    """
    deeper = (pictures_below(path, Reason.DEEPER) for path in folders_in(base) if path != labels)
    known = {item.mask for item in read}
    unlisted = ((Reason.UNLISTED, path) for path in image_files(labels) if path not in known)
    passed = PassedOver.of(chain(*deeper, unlisted))
    return passed + look_into(base, below=False).passed_over


def _items(base: Path, list_file: Path) -> list[Item]:
    labels = _labels(list_file)
    files = _by_name(image_files(base))
    masks = _by_name(image_files(list_file.parent))
    items = []
    for name, mask_name in sorted(labels.items()):
        if name not in files:
            raise problem(f"the image {name} that Labels.txt names", "none", base, AGAIN)
        if mask_name is None:
            items.append(Item(files[name]))
        elif mask_name in masks:
            items.append(Item(files[name], "defect", masks[mask_name]))
        else:
            wanted = f"a label {mask_name} for the defective image {name}"
            raise problem(wanted, "none", list_file.parent, AGAIN)
    refuse_shared((item.mask for item in items if item.mask), list_file, AGAIN)
    unlisted = sorted(set(files) - set(labels))
    if unlisted:
        found = f"{len(unlisted)} images without a line, first {unlisted[0]}"
        raise problem("a line for each image", found, list_file, AGAIN)
    return items


def _by_name(paths: list[Path]) -> dict[str, Path]:
    """By their names in lower case. *Raises* :class:`PoutaError` where two have one name so."""
    found: dict[str, Path] = {}
    for path in paths:
        if (other := found.setdefault(path.name.lower(), path)) != path:
            names = f"{shown(other.name)} and {shown(path.name)}"
            raise problem("names that differ in more than case", names, path.parent, "remove one")
    return found


def _labels(path: Path) -> dict[str, str | None]:
    """For each image file (lower case) its label file, or nothing where it is good."""
    if not path.is_file():
        raise problem("a list of labels", "none", path, AGAIN)
    labels: dict[str, str | None] = {}
    for number, line in enumerate(read_list(path, AGAIN).splitlines()):
        words = line.split()
        if not words or (number == 0 and len(words) == 1):
            continue
        if len(words) != 5 or words[1] not in ("0", "1"):
            wanted = "lines of 'number, 0 or 1, image, 0, label or 0'"
            raise problem(wanted, repr(line), path, AGAIN)
        if words[2].lower() in labels:
            raise problem("one line for each image", f"several of {words[2]}", path, AGAIN)
        labels[words[2].lower()] = words[4].lower() if words[1] == "1" else None
    return labels

"""The layout of MVTec AD: ``<category>/{train/good, test/<defect>, ground_truth/<defect>}``.

VisA converted by its owners' script has the same layout, with masks named like their images.
"""

from pathlib import Path

from pouta_lib.data.category import GOOD, Item, Listing
from pouta_lib.data.images import image_files
from pouta_lib.errors import problem


def categories(folder: Path) -> list[str]:
    """The folders below `folder` that have a train/good folder."""
    return sorted(path.parent.parent.name for path in folder.glob("*/train/good"))


def listing(folder: Path, category: str) -> Listing:
    """The files of one category. *Raises* :class:`PoutaError` for missing folders and masks."""
    base = folder / category
    layout = "the MVTec layout has train/good, test/<defect> and ground_truth/<defect>"
    for name in ("train/good", "test", "ground_truth"):
        if not (base / name).is_dir():
            raise problem(f"a folder {name}", "none", base, f"{layout}; unpack the dataset again")
    test = []
    for defect in sorted(path.name for path in (base / "test").iterdir() if path.is_dir()):
        for image in image_files(base / "test" / defect):
            mask = None if defect == GOOD else find_mask(base / "ground_truth" / defect, image)
            test.append(Item(image, defect, mask))
    return Listing([Item(path) for path in image_files(base / "train" / "good")], test)


def find_mask(folder: Path, image: Path) -> Path:
    """The mask of `image`: ``<stem>_mask.png``, else ``<stem>.png``."""
    for name in (f"{image.stem}_mask.png", f"{image.stem}.png"):
        if (folder / name).is_file():
            return folder / name
    wanted = f"a mask {image.stem}_mask.png for the defective image {image.name}"
    raise problem(wanted, "none", folder, "add the mask, or remove the image")

"""The layout of MVTec AD: ``<category>/{train/good, test/<defect>, ground_truth/<defect>}``.

VisA converted by its owners' script has the same layout, with masks named like their images.
"""

from pathlib import Path

from pouta_lib.data.category import GOOD, Item, Listing
from pouta_lib.data.images import SUFFIXES, image_files
from pouta_lib.ground.errors import PoutaError, problem


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
            if defect == GOOD:
                test.append(Item(image))
                continue
            truth = base / "ground_truth" / defect
            mask = find_mask(truth, image)
            if mask is None:
                raise missing_mask(truth, image)
            test.append(Item(image, defect, mask))
    return Listing([Item(path) for path in image_files(base / "train" / "good")], test)


def find_mask(folder: Path, image: Path) -> Path | None:
    """The mask of `image` in `folder`: ``<stem>_mask.png``, else ``<stem>.png``, if there is one.

    Other image formats serve as well.
    """
    for stem in (f"{image.stem}_mask", image.stem):
        for suffix in SUFFIXES:
            for path in (folder / f"{stem}{suffix}", folder / f"{stem}{suffix.upper()}"):
                if path.is_file():
                    return path
    return None


def missing_mask(folder: Path, image: Path) -> PoutaError:
    """What to tell the user when `image` has no mask in `folder`."""
    wanted = f"a mask {image.stem}_mask.png for the defective image {image.name}"
    return problem(wanted, "none", folder, "add the mask, or remove the image")

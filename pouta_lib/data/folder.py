"""A user's own photographs: good ones, and where there are any, defective ones.

``<name>/good/*`` is trained on; ``<name>/test/good`` and ``<name>/test/<defect>`` are optional,
and so are masks: ``<name>/ground_truth/<defect>/<stem>_mask.png``. A folder that holds nothing
but images is read as good ones.
"""

from pathlib import Path

from pouta_lib.data.category import GOOD, Item, Listing
from pouta_lib.data.images import image_files
from pouta_lib.data.mvtec import find_mask


def categories(folder: Path) -> list[str]:
    """The folders below `folder` with good images in one of the two forms."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and ((path / GOOD).is_dir() or image_files(path))
    )


def listing(folder: Path, category: str) -> Listing:
    """The files of one folder. Masks count when every defective image has one."""
    base = folder / category
    train = image_files(base / GOOD if (base / GOOD).is_dir() else base)
    test_folder, truth = base / "test", base / "ground_truth"
    test = []
    for kind in sorted(p.name for p in test_folder.iterdir()) if test_folder.is_dir() else []:
        for image in image_files(test_folder / kind) if (test_folder / kind).is_dir() else []:
            masked = kind != GOOD and truth.is_dir()
            test.append(Item(image, kind, find_mask(truth / kind, image) if masked else None))
    kind = "exact" if truth.is_dir() else "none"
    return Listing([Item(path) for path in train], test, mask_kind=kind)

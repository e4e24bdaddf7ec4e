"""A user's own photographs: good ones, and where there are any, defective ones.

``<name>/good/*`` is trained on (``<name>/train/good/*`` as well). ``<name>/test/good`` and
``<name>/test/<defect>`` are optional, and so are masks: ``<stem>_mask.png`` beside its image or in
``<name>/ground_truth/<defect>``. A folder that holds nothing but images is read as good ones.
"""

from pathlib import Path

from pouta_lib.data.category import GOOD, Item, Listing
from pouta_lib.data.images import image_files
from pouta_lib.data.mvtec import find_mask, missing_mask
from pouta_lib.ground.errors import problem


def categories(folder: Path) -> list[str]:
    """The folders below `folder` that hold good images in one of the forms above."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and _good_folder(path) is not None
    )


def listing(folder: Path, category: str) -> Listing:
    """The files of one folder. Once one defective image has a mask, each needs one.

    *Raises* :class:`PoutaError` for images in test/ that lie in no folder of their own kind.
    """
    base = folder / category
    train = image_files(_good_folder(base) or base)
    test: list[Item] = []
    missing = []
    for kind in _kinds(base / "test"):
        files = image_files(base / "test" / kind)
        stems = {path.stem for path in files}
        for image in files:
            if kind == GOOD:
                test.append(Item(image))
            elif not (image.stem.endswith("_mask") and image.stem.removesuffix("_mask") in stems):
                mask = _mask(base, kind, image)
                test.append(Item(image, kind, mask))
                missing += [image] if mask is None else []
    masked = any(item.mask for item in test) or (base / "ground_truth").is_dir()
    if masked and missing:
        raise missing_mask(base / "ground_truth" / missing[0].parent.name, missing[0])
    return Listing([Item(path) for path in train], test, mask_kind="exact" if masked else "none")


def _good_folder(base: Path) -> Path | None:
    for path in (base / GOOD, base / "train" / GOOD):
        if path.is_dir():
            return path
    return base if image_files(base) else None


def _kinds(test_folder: Path) -> list[str]:
    if not test_folder.is_dir():
        return []
    loose = image_files(test_folder)
    if loose:
        todo = "move each image to test/good or to test/<name of its defect>"
        found = f"{len(loose)} images, first {loose[0].name}"
        raise problem("folders of images only", found, test_folder, todo)
    return sorted(
        p.name for p in test_folder.iterdir() if p.is_dir() and not p.name.startswith(".")
    )


def _mask(base: Path, kind: str, image: Path) -> Path | None:
    """From ground_truth/, else ``<stem>_mask`` beside the image (which is not its own mask)."""
    found = find_mask(base / "ground_truth" / kind, image)
    if found is None:
        beside = find_mask(image.parent, image)
        found = beside if beside is not None and beside.stem != image.stem else None
    return found

"""The layout of MVTec AD: ``<category>/{train/good, test/<defect>, ground_truth/<defect>}``.

VisA converted by its owners' script has the same layout, with masks named like their images.
"""

from collections.abc import Iterator
from pathlib import Path

from pouta_lib.data.category import GOOD, Item, Listing
from pouta_lib.data.files import (
    Contents,
    PassedOver,
    Reason,
    beside,
    categories_in,
    child,
    folders_in,
    good_folders,
    look_into,
    masks_in,
    masks_of_none,
    not_read_in,
    several_masks,
)
from pouta_lib.data.names import means_good, named_as_masks, refuse_alike, stem_of
from pouta_lib.ground.errors import PoutaError, problem, shown


def categories(folder: Path) -> list[str]:
    """The folders below `folder` that have a train/good folder."""
    return categories_in(folder, lambda path: good_folders(child(path, "train")))


def listing(folder: Path, category: str) -> Listing:
    """The files of one category. *Raises* :class:`PoutaError` for missing folders and masks."""
    base = folder / category
    layout = "the MVTec layout has train/good, test/<defect> and ground_truth/<defect>"
    parts = train_folder, test_folder, truth = [
        child(base, name) for name in ("train", "test", "ground_truth")
    ]
    for path in (train_folder / GOOD, test_folder, truth):
        if not path.is_dir() and not (path.name == GOOD and good_folders(train_folder)):
            name, found = path.relative_to(base).as_posix(), "none"
            todo = f"{layout}; unpack the dataset again"
            near = [one.name for one in folders_in(base) if named_as_masks(one.name, ())]
            if path == truth and near:
                found, todo = f"none, but {shown(near[0])}", f"rename it to {name}"
            raise problem(f"a folder {name}", found, base, todo)
    goods = good_folders(train_folder)
    train, passed = read_good(goods)
    passed += beside(base, parts) + beside(train_folder, goods)
    passed += beside(test_folder, folders_in(test_folder))
    test = []
    kinds = list(read_kinds(test_folder))
    if kinds and all(kind != GOOD for kind, _ in kinds):
        found = f"only {', '.join(shown(kind) for kind, _ in kinds)}"
        todo = "rename the folder of good ones, or add it"
        raise problem(f"a folder test/{GOOD}", found, test_folder, todo)
    for kind, look in kinds:
        passed += look.passed_over
        of_kind = child(truth, look.folder.name)
        masks = masks_in(of_kind) if kind != GOOD else {}
        passed += several_masks(of_kind, look.files if kind != GOOD else ())
        refuse_alike(look.files, masks)
        for image in look.files:
            mask = masks.get(stem_of(image))
            if kind != GOOD and mask is None:
                raise missing_mask(of_kind, image)
            test.append(Item(image, kind, mask))
    passed += lost_images(truth, [look for _, look in kinds])
    notes = renamed([*goods, *folders_in(test_folder)])
    return Listing(train, test, passed_over=passed, notes=notes)


def read_good(folders: list[Path]) -> tuple[list[Item], PassedOver]:
    """The good images of the folders, and what is passed over in them."""
    looks = [look_into(folder) for folder in folders]
    passed = sum((look.passed_over for look in looks), PassedOver())
    return [Item(path) for look in looks for path in look.files], passed


def read_kinds(test_folder: Path) -> Iterator[tuple[str, Contents]]:
    """Each folder of test images: ``good``, or the name of its defect, and what lies in it."""
    for folder in folders_in(test_folder):
        yield GOOD if means_good(folder.name) else folder.name, look_into(folder)


def lost_images(truth: Path, looks: list[Contents]) -> PassedOver:
    """What in `truth` is read for no image.

    Masks whose images are in none of the folders of test images, or good, and what is no mask.
    """
    images = {child(truth, look.folder.name): look.files for look in looks}
    passed = not_read_in(truth)
    for path in folders_in(truth):
        if means_good(path.name):
            paths = look_into(path, below=False).paths
            passed += PassedOver.of((Reason.OF_GOOD, mask) for mask in sorted(paths))
        else:
            passed += masks_of_none(path, images.get(path, []))
    return passed


def renamed(folders: list[Path]) -> list[str]:
    """A word on each folder that is read as another than it is called."""
    return [
        f"{path.parent.name}/{shown(path.name)} is read as {path.parent.name}/{GOOD}"
        for path in folders
        if means_good(path.name) and path.name != GOOD
    ]


def missing_mask(folder: Path, image: Path) -> PoutaError:
    """What to tell the user when `image` has no mask in `folder`."""
    wanted = f"a mask {image.stem}_mask.png for the defective image {image.name}"
    if (folder / image.stem).is_dir():  # MVTec LOCO AD
        todo = f"merge the masks in each such folder into one, {image.stem}_mask.png beside it"
        return problem(wanted, "a folder of masks", folder / image.stem, todo)
    look = look_into(folder) if folder.is_dir() else None
    near = [path for path in look.files if stem_of(path).startswith(stem_of(image))] if look else []
    found = f"none, but {shown(near[0].name)}" if near else "none"
    found = "; ".join([found, *(look.passed_over.lines() if look else ())])
    todo = "rename or merge the masks" if near else "add the mask, or remove the image"
    return problem(wanted, found, folder, todo)

"""A user's own photographs: good ones, and where there are any, defective ones.

``<name>/good/*`` is trained on (``<name>/train/good/*`` as well). ``<name>/test/good`` and
``<name>/test/<defect>`` are optional, and so are masks: ``<stem>_mask.png`` beside its image or in
``<name>/ground_truth/<defect>``. A folder that holds nothing but images is read as good ones.
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
    image_files,
    is_copy,
    masks_in,
    several_masks,
)
from pouta_lib.data.mvtec import lost_images, missing_mask, read_good, read_kinds, renamed
from pouta_lib.data.names import named_as_another, named_as_masks, refuse_alike, stem_of
from pouta_lib.ground.errors import in_short, problem, shown


def categories(folder: Path) -> list[str]:
    """The folders below `folder` that hold good images in one of the forms above.

    *Raises* :class:`PoutaError` where `folder` is itself such a one.
    """
    if good := [path for path in good_folders(folder) if image_files(path)]:
        todo = "name the folder above as the data root: this one is a category of it"
        raise problem("folders of parts", f"a folder {good[0].name} of images", folder, todo)
    return categories_in(folder, lambda path: _good_folders(path) or image_files(path))


def listing(folder: Path, category: str) -> Listing:
    """The files of one folder. Once one defective image has a mask, each needs one.

    *Raises* :class:`PoutaError` for images in test/ that lie in no folder of their own kind.
    """
    base = folder / category
    goods = _good_folders(base)
    test_folder, truth = child(base, "test"), child(base, "ground_truth")
    parents = {path.parent for path in goods} - {base}
    passed = beside(base, [*goods, *parents, test_folder, truth])
    if goods:
        train, more = read_good(goods)
        passed += sum((beside(path, goods) for path in parents), more)
    else:
        train = [Item(path) for path in passed.files.pop(Reason.LOOSE, [])]
    test, missing, twins = [], [], []
    kinds = list(_kinds(test_folder))
    if test_folder.is_dir():
        passed += beside(test_folder, [look.folder for _, look in kinds])
    passed += lost_images(truth, [look for _, look in kinds])
    for kind, look in kinds:
        passed += look.passed_over
        masks = masks_in(child(truth, look.folder.name))
        bad = look.files if kind != GOOD else ()
        passed += several_masks(child(truth, look.folder.name), bad)
        lying = {stem_of(image): mask for image, mask in look.masks.items()}
        passed += PassedOver.of(
            (Reason.SECOND, mask)
            for stem, mask in lying.items()
            if kind != GOOD and stem in masks and not is_copy(mask, masks[stem])
        )
        masks = lying | masks
        if kind != GOOD:
            refuse_alike(look.files, masks)
            twins += named_as_another(look.files)
        for image in look.files:
            mask = masks.get(stem_of(image)) if kind != GOOD else None
            test.append(Item(image, kind, mask))
            missing += [image] if kind != GOOD and mask is None else []
    masked = any(item.mask for item in test) or truth.is_dir()
    if masked and missing:
        raise missing_mask(child(truth, missing[0].parent.name), missing[0])
    notes = renamed([*goods, *folders_in(test_folder)])
    if twins:
        first = " and ".join(map(in_short, twins[0]))
        todo = f"if one is a mask, call it {shown(twins[0][0].stem)}_mask.png"
        notes.append(f"{len(twins)} defective images are named as another, first {first}: {todo}")
    names = [look.folder.name for _, look in kinds]
    for name in (one for one in names if named_as_masks(one, names)):
        said = f"test/{shown(name)} is named as masks are, and read as defective images"
        notes.append(f"{said}: if it holds masks, move them to ground_truth/<defect>")
    return Listing(
        train, test, mask_kind="exact" if masked else "none", passed_over=passed, notes=notes
    )


def _good_folders(base: Path) -> list[Path]:
    return good_folders(base) or good_folders(child(base, "train"))


def _kinds(test_folder: Path) -> Iterator[tuple[str, Contents]]:
    loose = image_files(test_folder) if test_folder.is_dir() else []
    if loose:
        todo = "move each image to test/good or to test/<name of its defect>"
        found = f"{len(loose)} images, first {loose[0].name}"
        raise problem("folders of images only", found, test_folder, todo)
    yield from read_kinds(test_folder)

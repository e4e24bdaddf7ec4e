"""From files to a :class:`Category`: decode, check and resize each file once."""

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pouta_lib.data import cache
from pouta_lib.data.category import GOOD, Category, Item, Listing
from pouta_lib.data.images import decode, resize_image, resize_mask, to_rgb
from pouta_lib.data.registry import kind_of, locate
from pouta_lib.errors import problem


def list_categories(dataset: str, root: str | Path | None = None) -> list[str]:
    """The categories of `dataset` that are there. *Raises* where there is none."""
    folder, reader = locate(dataset, root)
    names = reader.categories(folder)
    if not names:
        todo = "see docs/DATASETS.md for the layout; unpack the dataset again"
        raise problem(f"categories of {dataset}", "none", folder, todo)
    return names


def load_category(
    dataset: str,
    category: str,
    size_px: int,
    *,
    root: str | Path | None = None,
    max_train: int | None = None,
    max_test: int | None = None,
) -> Category:
    """One category at one size. A limit takes images evenly spread over the sorted ones.

    *Shape*: see :class:`Category`; H = W = size_px.
    *Raises* :class:`PoutaError` for an unknown category and for each kind of damaged data.
    """
    names = list_categories(dataset, root)
    folder, reader = locate(dataset, root)
    if category not in names:
        near = difflib.get_close_matches(category, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "choose one of these"
        raise problem(f"a category out of {names}", repr(category), folder, hint)
    listing = reader.listing(folder, category)
    _check_listing(listing, folder / category)
    train = _spread(listing.train, max_train)
    test = _spread_over_defects(listing.test, max_test)
    shortened = Listing(train, test, listing.mask_kind, listing.extra_files)
    arrays, manifest_hash = cache.through_cache(
        shortened, size_px, lambda: _decode_all(shortened, folder, size_px)
    )
    return Category(
        dataset=dataset,
        name=category,
        kind=kind_of(dataset, category),
        train=arrays["train"],
        test=arrays["test"],
        masks=None if listing.mask_kind == "none" else arrays["masks"],
        mask_kind=listing.mask_kind,
        labels=np.array([item.defect != GOOD for item in test], bool),
        defects=[item.defect for item in test],
        train_paths=[item.image.relative_to(folder).as_posix() for item in train],
        test_paths=[item.image.relative_to(folder).as_posix() for item in test],
        manifest_hash=manifest_hash,
    )


def _check_listing(listing: Listing, where: Path) -> None:
    if not listing.train:
        todo = "add good images, or unpack the dataset again"
        raise problem("good training images", "none", where, todo)
    defective = sum(item.defect != GOOD for item in listing.test)
    if listing.test and defective in (0, len(listing.test)):
        found = "good ones only" if defective == 0 else "defective ones only"
        todo = "add the missing kind, or remove the test folder"
        raise problem("good and defective test images", found, where, todo)


def _spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int)]


def _spread_over_defects(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit`: half good, half defective, each evenly spread; the order is kept."""
    if limit is None or limit >= len(items):
        return list(items)
    half = max(1, limit // 2)
    kept = _spread([i for i in items if i.defect == GOOD], half)
    kept += _spread([i for i in items if i.defect != GOOD], half)
    return [item for item in items if item in set(kept)]


def _decode_all(listing: Listing, folder: Path, size_px: int) -> tuple[dict, str]:
    """The arrays of a listing, and the hash over all that was read."""
    digest = hashlib.sha256(f"size {size_px}\n".encode())

    def read(path: Path) -> bytes:
        try:
            content = path.read_bytes()
        except OSError as error:
            todo = "check the file and its permissions"
            raise problem("a readable file", error.strerror, path, todo) from error
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        return content

    for path in listing.extra_files:
        read(path)
    images = np.empty((len(listing.train) + len(listing.test), 3, size_px, size_px), np.uint8)
    masks = np.zeros((len(listing.test), size_px, size_px), bool)
    for k, item in enumerate([*listing.train, *listing.test]):
        image = to_rgb(decode(read(item.image), item.image), item.image)
        images[k] = resize_image(image, size_px)
        if item.mask is not None:
            mask = decode(read(item.mask), item.mask)
            masks[k - len(listing.train)] = resize_mask(mask, item.mask, image.size, size_px)
    count = len(listing.train)
    arrays = {"train": images[:count], "test": images[count:], "masks": masks}
    return arrays, digest.hexdigest()

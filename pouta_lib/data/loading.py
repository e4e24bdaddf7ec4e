"""From a dataset's folder to a :class:`Category`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pouta_lib.data.cache import read_through_cache
from pouta_lib.data.category import GOOD, Category, Item, Listing
from pouta_lib.data.files import (
    PassedOver,
    Reason,
    child,
    folders_in,
    good_folders,
    image_files,
    pictures_below,
)
from pouta_lib.data.images import num_bits, told_of_depth
from pouta_lib.data.manifest import read_listing
from pouta_lib.data.names import one_of
from pouta_lib.data.registry import kind_of, locate
from pouta_lib.data.together import Reader
from pouta_lib.ground.errors import problem, shown
from pouta_lib.ground.spread import spread


def list_categories(dataset: str, root: str | Path | None = None) -> list[str]:
    """The categories of `dataset` that are there. *Raises* where there is none."""
    folder, reader = locate(dataset, root)
    names = reader.categories(folder)
    if not names:
        raise problem(f"categories of {dataset}", "none", folder, _another_layout(folder, reader))
    return names


def count_good(dataset: str, category: str, most: int | None = None) -> int:
    """How many images there are to train on, at most `most`; none of them is opened."""
    folder, reader = locate(dataset)
    return len(_spread(reader.listing(folder, category).train, most))


def _another_layout(folder: Path, reader: Reader) -> str:
    """What to do about a folder without categories: where some lie may be one folder off."""
    if good_folders(child(folder, "train")):
        return f"{shown(folder.name)} is a category itself: name a folder above it"
    deeper = folders_in(folder)
    for path in deeper:
        train = child(path, "train")
        if child(train, "Label").is_dir():  # DAGM's layout, which has no good/
            continue
        if train.is_dir() and (loose := image_files(train)):
            where = shown(f"{path.name}/{train.name}")
            return f"move the {len(loose)} images in {where} to {where}/good"
        if child(path, "test").is_dir():
            return f"put good images into {shown(path.name)}/train/good: none are there"
    for path in [*deeper, *(inner for outer in deeper for inner in folders_in(outer))]:
        if names := reader.categories(path):
            move = f"move what is in {shown(path.relative_to(folder).as_posix())} up to here"
            return f"{move}: the categories, first {shown(names[0])}, lie in there"
    gone = [found for found in pictures_below(folder, Reason.BESIDE) if found[0] is Reason.DANGLING]
    lines = PassedOver.of(gone).lines()
    return "; ".join([*lines, "see docs/DATASETS.md for the layout; unpack the dataset again"])


def load_category(
    dataset: str,
    category: str,
    size_px: int,
    *,
    root: str | Path | None = None,
    max_train: int | None = None,
    max_test: int | None = None,
    cache: bool = True,
    quiet: bool = False,
) -> Category:
    """One category at one size. A limit takes images evenly spread over the sorted ones.

    Large categories are decoded once and then mapped from ``<root>/.cache``; ``cache=False``
    reads the files again and keeps nothing. What was passed over, is read otherwise than it is
    called, or has more than 8 bits is told of on stderr, unless it is to be `quiet`.

    *Shape*: see :class:`Category`; H = W = size_px.
    *Raises* :class:`PoutaError` for an unknown category and for each kind of damaged data.
    """
    folder, reader = locate(dataset, root)
    category = one_of(list_categories(dataset, root), category, folder)
    listing = reader.listing(folder, category)
    check_listing(listing, folder / category)
    if not quiet:
        _note(category, [*listing.notes, *listing.passed_over.lines()])
    train = _spread(listing.train, max_train)
    test = _spread_over_defects(listing.test, max_test)
    shortened = Listing(train, test, listing.mask_kind, listing.extra_files)
    if cache:
        arrays, manifest_hash = read_through_cache(shortened, folder, size_px, root)
    else:
        arrays, manifest_hash = read_listing(shortened, folder, size_px)
    items = [*train, *test]
    peaks = {item.image: int(peak) for item, peak in zip(items, arrays["peaks"]) if peak}
    if not quiet:
        _note(category, told_of_depth(peaks, len(items)))
    return Category(
        dataset=dataset,
        name=category,
        kind=kind_of(dataset, category),
        train=arrays["train"],
        test=arrays["test"],
        masks=None if listing.mask_kind == "none" else arrays["masks"],
        mask_kind=listing.mask_kind,
        labels=np.array([item.defect != GOOD for item in test], bool),
        defects=[shown(item.defect) for item in test],
        train_paths=[shown(item.image.relative_to(folder).as_posix()) for item in train],
        test_paths=[shown(item.image.relative_to(folder).as_posix()) for item in test],
        manifest_hash=manifest_hash,
        bits=num_bits(peaks.values()),
    )


def _note(category: str, lines: list[str]) -> None:
    for line in lines:
        print(f"note: {shown(category)}: {line}", file=sys.stderr)


def check_listing(listing: Listing, where: Path) -> None:
    """*Raises* :class:`PoutaError` when nothing can be trained on, or a test set is one-sided."""
    if not listing.train:
        todo = "add good images, or unpack the dataset again"
        found = "; ".join(["none", *listing.passed_over.lines()])
        raise problem("good training images", found, where, todo)
    defective = sum(item.defect != GOOD for item in listing.test)
    if listing.test and defective in (0, len(listing.test)):
        kinds = ", ".join(sorted({shown(item.defect) for item in listing.test}))
        found = "good ones only" if defective == 0 else f"defective ones only, in {kinds}"
        found = "; ".join([found, *listing.passed_over.lines()])
        todo = "put good ones into test/good and others into test/<defect>, or remove test"
        raise problem("good and defective test images", found, where, todo)


def _spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    return [items[i] for i in spread(len(items), limit)]


def _spread_over_defects(items: Sequence[Item], limit: int | None) -> list[Item]:
    """About half good and half defective, the latter in equal parts of each defect.

    Within a part the images are evenly spread over the sorted ones, and the order is kept. There
    is at least one of each kind, even where `limit` is 1; where it is 0 there are none.
    """
    if limit == 0:
        return []
    if limit is None or limit >= len(items):
        return list(items)
    by_defect: dict[str, list[Item]] = {}
    for item in items:
        by_defect.setdefault(item.defect, []).append(item)
    good = by_defect.pop(GOOD, [])
    num_bad = len(items) - len(good)
    num_good = min(len(good), max(1, limit // 2))
    num_bad = min(num_bad, max(1, limit - num_good))
    num_good = min(len(good), max(1, limit - num_bad))
    kept = set(_spread(good, num_good))
    shares = _equal_shares([len(part) for part in by_defect.values()], num_bad)
    for part, share in zip(by_defect.values(), shares, strict=True):
        kept.update(_spread(part, share))
    return [item for item in items if item in kept]


def _equal_shares(sizes: list[int], total: int) -> list[int]:
    """`total` dealt out one by one, to each in turn, as far as its size allows.

    >>> _equal_shares([8, 1, 8], 6)
    [3, 1, 2]
    """
    shares = [0] * len(sizes)
    while sum(shares) < min(total, sum(sizes)):
        for k, size in enumerate(sizes):
            if shares[k] < size and sum(shares) < total:
                shares[k] += 1
    return shares

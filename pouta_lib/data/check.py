"""Is a dataset whole? Counts against the published ones, and every damaged file by name."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pouta_lib.data.blank import contrast_of, nearly_highest, told_of_blank, told_of_dim
from pouta_lib.data.category import GOOD, Item, Listing
from pouta_lib.data.files import PassedOver, Reason, child, folders_in, pictures_below
from pouta_lib.data.images import num_bits, told_of_depth
from pouta_lib.data.loading import check_listing, list_categories
from pouta_lib.data.manifest import read_items
from pouta_lib.data.registry import DATASETS, Counts, DatasetInfo, locate
from pouta_lib.data.textures import dtd_files
from pouta_lib.data.together import SUFFIX, Reader, Together
from pouta_lib.ground.errors import PoutaError, in_short, shown
from pouta_lib.ground.labels import check_name
from pouta_lib.ground.paths import data_root

SMALL_PX = 32
DTD_CLASSES, DTD_IMAGES_A_CLASS = 47, 120
COLUMNS = ("train", "left out", "test good", "test defective", "images")


@dataclass(frozen=True)
class Report:
    """What is there, and what is wrong with it; printing it is its purpose."""

    dataset: str
    counts: pd.DataFrame  # one row per category: what is there, and how many images were published
    expected: int | None  # images, as published; defective ones in DAGM's Train included
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was read otherwise than one may think

    def __str__(self) -> str:
        total = int(self.counts["images"].sum())
        known = f" of {self.expected} published" if self.expected else ""
        lines = [] if self.counts.empty else [self.counts.to_string(index=False)]
        lines += [f"{self.dataset}: {total} images{known}"]
        lines += [f"note: {text}" for text in self.notes]
        return "\n".join([*lines, *([f"problem: {p}" for p in self.problems] or ["no problems"])])


def check_dataset(dataset: str, root: str | Path | None = None) -> Report:
    """Reads every image and mask of a dataset once, DTD included.

    *Raises* :class:`PoutaError` only when the dataset is not there at all; what is wrong inside
    stands in the report's ``problems``.
    """
    if dataset == "dtd":
        return _check_dtd(root)
    folder, reader = locate(dataset, root)
    if isinstance(reader, Together):  # each category is looked at by itself
        dataset, reader = dataset.removesuffix(SUFFIX), reader.reader
    names = list_categories(dataset, root)
    info = DATASETS.get(dataset)
    published = info.published if info else {}
    problems = [f"no category {name}" for name in published if name not in names]
    known = {child(folder, name) for name in names}
    beside = [path for path in folders_in(folder) if path not in known]
    pictures = (found for path in beside for found in pictures_below(path, Reason.BESIDE))
    problems += PassedOver.of(pictures).lines()
    rows, notes = [], []
    for name in names:
        try:
            check_name(name, "a category")
        except PoutaError as error:  # no run would take it
            problems.append(f"{shown(name)}: {error}")
        try:
            listing = reader.listing(folder, name)
            check_listing(listing, folder / name)
        except PoutaError as error:
            problems.append(f"{name}: {error}")
            continue
        counts = count_images(listing)
        problems += [f"{name}: {text}" for text in _differences(counts, published.get(name, {}))]
        items = [*listing.train, *listing.test]
        problems += [f"{name}: {text}" for text in listing.passed_over.lines()]
        damage, peaks, digests, contrasts, highest = _read(items, folder)
        problems += [f"{name}: {text}" for text in damage]
        told = [*listing.notes, *listing.passed_over.lines(lost=False)]
        told += told_of_depth(peaks, len(items) - len(damage))
        told += told_of_dim(highest)
        told += told_of_blank(contrasts) + _told_of_copies(listing, digests)
        notes += [f"{name}: {text}" for text in told]
        expected = sum(published.get(name, {}).get(key, 0) for key in COLUMNS)
        rows.append([name, *(counts[key] for key in COLUMNS), expected or None])
    table = pd.DataFrame(rows, columns=["category", *COLUMNS, "published"])
    table["published"] = table["published"].astype("Int64")
    if not table["left out"].any():
        table = table.drop(columns="left out")
    if table["published"].isna().all():
        table = table.drop(columns="published")
    return Report(dataset, table, info.num_images if info else None, problems, notes)


def count_images(listing: Listing) -> Counts:
    """How many images of each kind; ``left out`` are the defective ones of DAGM's Train."""
    bad = sum(item.defect != GOOD for item in listing.test)
    counts = {
        "train": len(listing.train),
        "left out": listing.num_left_out,
        "test good": len(listing.test) - bad,
        "test defective": bad,
    }
    counts["images"] = sum(counts.values())
    counts["all train"] = counts["train"] + counts["left out"]
    counts["all defective"] = counts["left out"] + bad
    return counts


def count_problems(info: DatasetInfo, reader: Reader, folder: Path) -> list[str]:
    """Where the categories in `folder` differ from what was published of them; opens no image."""
    problems = []
    for name in reader.categories(folder):
        try:
            counts = count_images(reader.listing(folder, name))
        except PoutaError as error:
            problems.append(f"{name}: {error}")
            continue
        differences = _differences(counts, info.published.get(name, {}))
        problems += [f"{name}: {text}" for text in differences]
    return problems


def _differences(counts: Counts, published: Counts) -> list[str]:
    return [
        f"{counts[key]} {'' if key == 'images' else f'{key} '}images, {number} published"
        for key, number in published.items()
        if counts[key] != number
    ]


class _Found(NamedTuple):
    damage: list[str]  # what is wrong with each file
    peaks: dict[Path, int]  # the highest values of images of more than 8 bits
    digests: dict[Path, bytes]
    contrasts: dict[Path, float]
    highest: dict[Path, float]  # of these: what nearly all their pixels stay below


def _read(items: list[Item], folder: Path) -> _Found:
    found = _Found([], {}, {}, {}, {})
    for item, result in zip(items, read_items(items, folder, SMALL_PX), strict=True):
        if isinstance(result, PoutaError):
            found.damage.append(str(result))
            continue
        found.digests[item.image] = result.lines[0].rpartition(b" ")[2]
        found.contrasts[item.image] = contrast_of(result.image)
        if result.peak:
            found.peaks[item.image] = result.peak
            found.highest[item.image] = nearly_highest(result.image)
    white = 1 << num_bits(found.peaks.values())
    for path in found.peaks:  # they were read as if they had 16 bits
        found.contrasts[path] *= (1 << 16) / white
        found.highest[path] *= (1 << 16) / white
    return found


def _told_of_copies(listing: Listing, digests: dict[Path, bytes]) -> list[str]:
    """What to say of test images that were trained on, and of images that are there twice."""
    train = {item.image: digests[item.image] for item in listing.train if item.image in digests}
    test = {item.image: digests[item.image] for item in listing.test if item.image in digests}
    bad = {digests.get(item.image) for item in listing.test if item.defect != GOOD}
    good = [item.image for item in listing.test if item.defect == GOOD]
    first = {digest: path for path, digest in reversed(train.items())}
    found = (
        (
            [path for path, digest in test.items() if digest in first],
            f"{len(listing.test)} test images are copies of training images: what is said of them"
            " is no test",
        ),
        (
            [path for path, digest in train.items() if first[digest] != path],
            f"{len(listing.train)} training images are copies of others",
        ),
        (
            [path for path in good if path in test and test[path] in bad],
            f"{len(good)} good test images are copies of defective ones",
        ),
    )
    return [f"{len(paths)} of {said}, first {in_short(paths[0])}" for paths, said in found if paths]


def _check_dtd(root: str | Path | None) -> Report:
    paths = dtd_files(root)
    counts = Counter(path.parent.name for path in paths)
    other = [f"{n} ({count})" for n, count in counts.items() if count != DTD_IMAGES_A_CLASS]
    problems = [f"not {DTD_IMAGES_A_CLASS} images: {', '.join(other)}"] if other else []
    if len(counts) != DTD_CLASSES:
        problems.append(f"{len(counts)} classes, {DTD_CLASSES} published")
    problems += _read([Item(path) for path in paths], data_root(root) / "dtd").damage
    table = pd.DataFrame({"category": list(counts), "images": list(counts.values())})
    table["published"] = DTD_IMAGES_A_CLASS
    return Report("dtd", table, DTD_CLASSES * DTD_IMAGES_A_CLASS, problems)

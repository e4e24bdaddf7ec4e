"""Is a dataset whole? Counts against the published ones, and every damaged file by name."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pouta_lib.data.category import GOOD
from pouta_lib.data.loading import list_categories, load_category
from pouta_lib.data.registry import DATASETS, MVTEC_COUNTS, locate
from pouta_lib.errors import PoutaError

SMALL_PX = 32


@dataclass(frozen=True)
class Report:
    """What is there, and what is wrong with it; printing it is its purpose."""

    dataset: str
    counts: pd.DataFrame  # category, train, test good, test defective
    expected: int | None  # images, as published; defective ones in DAGM's Train included
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        total = int(self.counts[["train", "test good", "test defective"]].to_numpy().sum())
        known = f" of {self.expected} published" if self.expected else ""
        lines = [self.counts.to_string(index=False), f"{self.dataset}: {total} images{known}"]
        return "\n".join([*lines, *(f"problem: {p}" for p in self.problems)] or ["no problems"])


def check_dataset(dataset: str, root: str | Path | None = None) -> Report:
    """Reads every image and mask of a dataset once.

    *Raises* :class:`PoutaError` only when the dataset is not there at all; what is wrong inside
    stands in the report's ``problems``.
    """
    info = DATASETS.get(dataset)
    names = list_categories(dataset, root)
    problems = [f"no category {name}" for name in (info.categories if info else ())
                if name not in names]  # fmt: skip
    folder, reader = locate(dataset, root)
    rows = []
    for name in names:
        try:
            listing = reader.listing(folder, name)
            bad = sum(item.defect != GOOD for item in listing.test)
            counts = (len(listing.train), len(listing.test) - bad, bad)
            load_category(dataset, name, SMALL_PX, root=root)
        except PoutaError as error:
            problems.append(f"{name}: {error}")
            continue
        rows.append([name, *counts])
        wanted = MVTEC_COUNTS.get(name) if dataset == "mvtec" else None
        if wanted and counts != wanted:
            problems.append(f"{name}: {counts} images (train, good, defective), not {wanted}")
    columns = ["category", "train", "test good", "test defective"]
    return Report(
        dataset, pd.DataFrame(rows, columns=columns), info.num_images if info else None, problems
    )

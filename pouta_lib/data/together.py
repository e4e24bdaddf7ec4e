"""A dataset's categories as one, for one model of them all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pouta_lib.data.category import Listing
from pouta_lib.data.files import PassedOver

SUFFIX = "-together"  # of the name of a dataset whose categories are taken as one
ALL = "all"  # what this one category is called


class Reader(Protocol):
    """What knows a layout: a module, or :class:`Together`."""

    def categories(self, folder: Path) -> list[str]: ...

    def listing(self, folder: Path, category: str) -> Listing: ...


@dataclass(frozen=True)
class Together:
    """Reads what `reader` reads as a single category.

    *Source*: our choice (D46); the paper trains a model for each category.
    """

    reader: Reader

    def categories(self, folder: Path) -> list[str]:
        """``all``, where there is any category."""
        return [ALL] if self.reader.categories(folder) else []

    def listing(self, folder: Path, category: str) -> Listing:
        """The files of all categories, one after the other."""
        parts = [self.reader.listing(folder, name) for name in self.reader.categories(folder)]
        kinds = sorted({part.mask_kind for part in parts})
        mixed = f"masks of several kinds ({', '.join(kinds)}): none is scored"
        return Listing(
            train=[item for part in parts for item in part.train],
            test=[item for part in parts for item in part.test],
            mask_kind=kinds[0] if len(kinds) == 1 else "none",
            extra_files=[path for part in parts for path in part.extra_files],
            num_left_out=sum(part.num_left_out for part in parts),
            passed_over=sum((part.passed_over for part in parts), PassedOver()),
            notes=[note for part in parts for note in part.notes] + [mixed] * (len(kinds) > 1),
        )

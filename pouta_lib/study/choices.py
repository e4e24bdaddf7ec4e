"""The lists in a profile's file: which runs a study makes, and what it judges."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pouta_lib.data import list_categories
from pouta_lib.data.names import one_of
from pouta_lib.ground.labels import check_name
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.profiles import config_path, read_config
from pouta_lib.ground.validation import STRICT, NamesOrAll, Seed, above, checked
from pouta_lib.study.records import RunKey

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What stands together in a profile's list: each category by each variant and seed."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    dataset: str
    categories: NamesOrAll
    variants: list[str]
    seeds: list[Seed]

    def names(self, where: object) -> list[str]:
        """The categories.

        *Raises* :class:`PoutaError` for a dataset, a category or a method that there is not.
        """
        for variant in self.variants:
            find_method(variant)
        check_name(self.dataset, "a dataset")
        present = list_categories(self.dataset)  # draws the mini datasets, once for all runs
        names: list[str] = present if self.categories == "all" else self.categories
        of = f"{where}, dataset {self.dataset}"
        return [check_name(one_of(present, name, of), "a category") for name in names]

    def keys(
        self, label: str, where: object, shots: Sequence[int | None] = (None,)
    ) -> Iterator[RunKey]:
        """Each category by each variant, by each number of shots and by each seed."""
        for words in itertools.product(self.names(where), self.variants, shots, self.seeds):
            yield RunKey(label, self.dataset, *words)


@dataclass(frozen=True, kw_only=True)
class RunGroup(Choice):
    """Runs of a study: also by each number of shots."""

    shots: list[Annotated[int, above(0)] | None]


@dataclass(frozen=True, kw_only=True)
class JudgementGroup(Choice):
    """Judgements of a study: also by each of the settings."""

    settings: list[dict[str, Any]]  # what to override; {} for nothing
    watch: bool


def read_choices(kind: type[T], profile: str, part: str) -> T:
    """The list that stands in ``configs/<profile>.yaml`` under `part`, empty where there is none.

    *Raises* :class:`PoutaError` for an entry with unknown, missing or wrong words.
    """
    listed = read_config(profile).get(part) or []
    return checked(kind, listed, f"{config_path(profile)}, {part}")

"""Judgements as tables: which settings were tried, and what became of them."""

from collections.abc import Iterator, Sequence
from itertools import product
from string import ascii_uppercase
from typing import Any

import pandas as pd

from pouta_lib.ground.profiles import SETTINGS, Profile
from pouta_lib.study.judgements import Judgement

UNTOUCHED = "the profile's own"


def setting_names(judgements: Sequence[Judgement]) -> list[str]:
    """What each judgement was made with: the settings in which it differs from the profile's own.

    Where the profile's own settings were not judged, all those that are not the same everywhere.
    """
    profiles = [judgement.profile for judgement in judgements]
    own = [p for p, j in zip(profiles, judgements, strict=True) if j.label == p.name]

    def differs(profile: Profile, field: str) -> bool:
        others = own[:1] or profiles
        return any(getattr(profile, field) != getattr(other, field) for other in others)

    return [
        ", ".join(f"{f}={getattr(p, f)}" for f in SETTINGS if differs(p, f)) or UNTOUCHED
        for p in profiles
    ]


def _named(judgements: Sequence[Judgement]) -> Iterator[tuple[Judgement, dict[str, Any]]]:
    """Each judgement, and what its rows begin with: setting, category, variant, seed."""
    for judgement, setting in zip(judgements, setting_names(judgements), strict=True):
        run = judgement.run
        words = {"category": run.category, "variant": run.variant, "seed": run.seed}
        yield judgement, {"setting": setting} | words


def judged_frame(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """One row for each judgement, in percent, over all damages.

    ``found`` is the image AUROC on images as they are, ``changed`` on harmlessly changed ones,
    ``both`` on the two pooled; ``pixel AP`` is of unchanged images, ``false alarms`` the mean share
    over all changes and strengths.
    """
    rows = []
    for judgement, words in _named(judgements):
        alarms = judgement.false_alarms.changed
        shares = [share for of_change in alarms.values() for share in of_change]
        numbers = {
            "found": judgement.unchanged["all"].image_auroc,
            "changed": judgement.changed["all"].image_auroc,
            "both": judgement.both["all"].image_auroc,
            "pixel AP": judgement.unchanged["all"].pixel_ap,
            "false alarms": sum(shares) / len(shares),
        }
        percent = {name: None if v is None else 100 * v for name, v in numbers.items()}
        rows.append(words | percent)
    return pd.DataFrame(rows)


def setting_letters(frame: pd.DataFrame) -> dict[str, str]:
    """A short name for each setting of a :func:`judged_frame`, in its order: A to Z, then AA on."""
    letters = [*ascii_uppercase, *map("".join, product(ascii_uppercase, repeat=2))]
    return dict(zip(frame["setting"].unique(), letters, strict=False))


def strength_frame(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """False alarms and detections, in percent, by change and strength; strength 0 is no change."""
    rows = []
    for judgement, words in _named(judgements):
        for what in ("false alarms", "detections"):
            shares = getattr(judgement, what.replace(" ", "_"))
            for change, of_change in shares.changed.items():
                strengths, found = [0.0, *judgement.strengths], [shares.unchanged, *of_change]
                for strength, share in zip(strengths, found, strict=True):
                    point = {"change": change, "strength": strength, "percent": 100 * share}
                    rows.append(words | {"shown": what} | point)
    return pd.DataFrame(rows)


def course_frame(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """What was watched along the trainings, in percent; empty where nothing was."""
    rows = []
    for judgement, words in _named(judgements):
        for moment in judgement.watched or []:
            both = moment.image_auroc_both
            percent = {"image AUROC, both, %": None if both is None else 100 * both}
            rows.append(words | {"step": moment.step} | percent)
    return pd.DataFrame(rows)


def choose_setting(frame: pd.DataFrame, by: str = "both") -> pd.DataFrame:
    """The settings of a :func:`judged_frame` in order of merit, for each method.

    The merit is the mean over categories of the mean over seeds of column `by`. A setting that
    was not tried on every category of the method is left out: its mean would be of other things.
    """
    over_seeds = frame.groupby(["variant", "setting", "category"])[by].agg(["mean", "count"])
    grouped = over_seeds.groupby(["variant", "setting"])
    merit = grouped.agg(
        merit=("mean", "mean"), categories=("mean", "size"), judgements=("count", "sum")
    )
    tried = frame.groupby("variant")["category"].nunique()
    complete = merit[merit["categories"] == merit.index.get_level_values("variant").map(tried)]
    complete = complete.reset_index()
    order = complete.sort_values(["variant", "merit"], ascending=[True, False], kind="stable")
    return order.reset_index(drop=True)

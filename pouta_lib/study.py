"""What the batch makes: the runs of a profile's study, and what they will cost here."""

import itertools
from typing import Any

import numpy as np
import torch
import yaml

from pouta_lib.data import list_categories
from pouta_lib.errors import problem
from pouta_lib.profiles import Profile, config_path, load_profile
from pouta_lib.records import RunKey
from pouta_lib.training import train

FIELDS = ("dataset", "categories", "variants", "shots", "seeds")


def planned_runs(
    profile: str = "", categories: list[str] | None = None, **overrides: Any
) -> list[RunKey]:
    """The runs of a study, in the order they are started.

    They stand in ``configs/<profile>.yaml`` under ``study``: a list of groups, each with
    ``dataset``, ``categories`` (a list, or ``all``), ``variants``, ``shots`` and ``seeds``.
    `categories` as ``dataset/category`` or ``dataset`` replaces them: one POUTA run each.

    *Raises* :class:`PoutaError` for a group with unknown or missing words.
    """
    settings = load_profile(profile, **overrides)
    if categories:
        groups = [_group_of(word) for word in categories]
    else:
        path = config_path(settings.name)
        groups = yaml.safe_load(path.read_text(encoding="utf-8")).get("study") or []
        for group in groups:
            if not isinstance(group, dict) or set(group) != set(FIELDS):
                raise problem(f"a group with {FIELDS}", f"{group}", path, "correct the study")
    keys: dict[RunKey, None] = {}
    for group in groups:
        present = list_categories(group["dataset"])  # draws the mini datasets, once for all runs
        names = present if group["categories"] == "all" else group["categories"]
        for category, variant, shots, seed in itertools.product(
            names, group["variants"], group["shots"], group["seeds"]
        ):
            if category not in present:
                where = f"the study of {settings.name}"
                raise problem(f"a category out of {present}", repr(category), where, "correct it")
            keys[RunKey(settings.label, group["dataset"], category, variant, shots, seed)] = None
    return list(keys)


def _group_of(word: str) -> dict[str, Any]:
    dataset, _, category = word.partition("/")
    names = [category] if category else "all"
    group = {"dataset": dataset, "categories": names, "variants": ["pouta"]}
    return group | {"shots": [None], "seeds": [0]}


def seconds_per_step(profile: Profile, probe_seconds: float = 2.0) -> float:
    """How long a training step of POUTA takes here on one thread, by doing a few.

    One step warms up and tells how many more fit into `probe_seconds`.
    """
    size = profile.size_px
    images = np.random.default_rng(0).integers(0, 256, (8, 3, size, size), dtype=np.uint8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps = 1
        while True:
            settings = profile.to_dict() | {"steps": steps, "epochs": None, "overrides": ()}
            seconds = train(images, images, Profile(**settings), "pouta", seed=0).seconds
            if steps > 1 or seconds > probe_seconds:
                return seconds / steps
            steps = max(2, int(probe_seconds / seconds))
    finally:
        torch.set_num_threads(threads)

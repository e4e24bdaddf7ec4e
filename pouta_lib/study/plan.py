"""What the batch makes: a study's runs, the notebooks they feed, and what they cost here."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pouta_lib.ground.errors import problem
from pouta_lib.ground.labels import folder_name
from pouta_lib.ground.methods import ABLATED, ASKED, COMPARED
from pouta_lib.ground.paths import results_root, roots_to_read
from pouta_lib.ground.profiles import (
    Profile,
    config_path,
    load_profile,
    profile_name,
    require_suitable,
)
from pouta_lib.study.choices import RunGroup, read_choices
from pouta_lib.study.judgements import planned_judgements
from pouta_lib.study.records import RUN_FILES, Record, RunKey, find_records, require

# notebooks that others read from, or that read judgements
ABLATION_NOTEBOOK = "12_ablation"
SETTINGS_NOTEBOOK = "17_how_settings_were_chosen"
QUESTIONS_NOTEBOOK = "18_open_questions"


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
        where, groups = "--categories", [_group_of(word) for word in categories]
    else:
        where = f"{config_path(settings.name)}, study"
        groups = read_choices(list[RunGroup], settings.name, "study")
    keys: dict[RunKey, None] = {}
    for group in groups:
        for variant in group.variants:
            require_suitable(settings, variant)
        keys |= dict.fromkeys(group.keys(settings.label, where, group.shots))
    return list(keys)


def study_notebooks(keys: Sequence[RunKey]) -> dict[str, list[RunKey]]:
    """The study notebooks that a plan feeds, and the runs that each of them reads.

    A plan without few-shot runs, say, has no notebook 11.
    """
    full = [key for key in keys if key.shots is None]
    there: dict[tuple[str, str, int], set[str]] = {}
    for key in full:
        there.setdefault((key.dataset, key.category, key.seed), set()).add(key.variant)

    def beside(key: RunKey) -> set[str]:
        return there.get((key.dataset, key.category, key.seed), set())

    few = [k for k in keys if k.shots is not None and k.variant == "pouta"]  # as in Table IV
    of_few = {(key.dataset, key.category, key.seed) for key in few}
    whole = [k for k in full if (k.dataset, k.category, k.seed) in of_few and k.variant == "pouta"]
    seeds: dict[tuple[str, str, str], int] = {}
    for key in full:
        name = (key.dataset, key.category, key.variant)
        seeds[name] = seeds.get(name, 0) + 1
    first = [key for key in full if key.seed == min(k.seed for k in full)]
    pair = {"pouta", "vanilla"}  # figure 3 sets these two side by side
    vanilla = any(key.variant == "vanilla" for key in full)
    found = {
        "10_benchmarks": [key for key in full if key.variant in COMPARED],
        "11_few_shot": [*few, *whole] if few and whole else [],
        ABLATION_NOTEBOOK: [k for k in full if beside(k) >= set(ABLATED) and k.variant in ABLATED],
        "13_shift_tsne": [k for k in first if k.variant == "pouta" and "vanilla" in beside(k)],
        "14_gradcam": [k for k in first if pair <= beside(k) and k.variant in pair],
        # these two need no run: one draws figure 4; the other measures time, so it waits until
        # no training keeps the machine busy
        "03_reconstruction": full[:1] if vanilla else [],
        "15_efficiency": full if vanilla else [],
        "16_how_sure": [k for k in full if seeds[k.dataset, k.category, k.variant] > 1],
        QUESTIONS_NOTEBOOK: [k for k in full if beside(k) >= {"pouta", *ASKED}],
    }
    return {name: chosen for name, chosen in found.items() if chosen}


class Study(NamedTuple):
    """All that a batch makes."""

    runs: list[RunKey]
    judgements: dict[Path, str]  # each with the command that makes it
    notebooks: dict[Path, list[Path]]  # the executed copies; what each one reads of this study


def planned_study(settings: Profile, categories: list[str]) -> Study:
    """What stands in a profile's file; named `categories` take the place of its list of runs.

    Named categories, and overridden settings, are a study of runs and what shows them: nothing is
    judged.
    """
    runs = planned_runs(settings.name, categories, **settings.overrides)
    alone = categories or settings.overrides
    judgements = {} if alone else planned_judgements(settings.name)
    folder = results_root() / folder_name(settings.label) / "notebooks"
    reads = {
        folder / f"{name}.ipynb": [key.folder() / file for key in keys for file in RUN_FILES[:3]]
        for name, keys in study_notebooks(runs).items()
    }
    questions = folder / f"{QUESTIONS_NOTEBOOK}.ipynb"
    ablation = folder / f"{ABLATION_NOTEBOOK}.ipynb"
    if not judgements:
        reads.pop(questions, None)  # it shows judgements beside runs
    else:
        reads[folder / f"{SETTINGS_NOTEBOOK}.ipynb"] = [*judgements]
    if questions in reads:
        reads[questions] += [*judgements, *({ablation} & set(reads))]  # whose tables it compares
    return Study(runs, judgements, reads)


def read_plan(
    notebook: str, profile: str = "", categories: list[str] | None = None, **overrides: Any
) -> tuple[Profile, list[Record]]:
    """The settings and the run records that a study notebook stands on, in the plan's order.

    *Raises* :class:`PoutaError` for a run that is missing, naming its command, and for a study
    that has no runs of the kind that the notebook shows.
    """
    settings = load_profile(profile, **overrides)
    notebooks = study_notebooks(planned_runs(settings.name, categories, **overrides))
    if notebook not in notebooks:
        where = config_path(settings.name)
        todo = f"add them under study (demo.yaml has them), or open one of {list(notebooks)}"
        raise problem(f"runs that notebook {notebook} shows", "none in the study", where, todo)
    keys = notebooks[notebook]
    there = {record.key: record for record in find_records(settings.label)}
    require(there, keys)
    return settings, [there[key] for key in keys]


def read_questions(profile: str = "", **overrides: Any) -> tuple[Profile, list[Record]]:
    """The settings and the run records that notebook 18 stands on, without a look at the data.

    An empty name means ``$POUTA_PROFILE``, and where that is not set ``questions``. Where the
    results have none, those in ``results/real`` are taken.

    *Raises* :class:`PoutaError` where there are none.
    """
    name = profile_name(profile, "questions")
    settings = load_profile(name, **overrides)
    for root in roots_to_read():
        records = find_records(settings.label, root)
        shown = study_notebooks([r.key for r in records]).get(QUESTIONS_NOTEBOOK, [])
        if shown:
            return settings, [r for r in records if r.key in shown]
    wanted = f"runs of {['pouta', *ASKED]} on one category"
    todo = "pouta study --profile questions"
    raise problem(wanted, "none", results_root() / folder_name(settings.label), todo)


def _group_of(word: str) -> RunGroup:
    dataset, _, category = word.partition("/")
    names = [category] if category else "all"
    return RunGroup(dataset=dataset, categories=names, variants=["pouta"], shots=[None], seeds=[0])


def seconds_per_step(
    profile: Profile, method: str = "pouta", probe_seconds: float = 2.0, threads: int | None = 1
) -> float:
    """How long a training step of `method` takes here on so many threads, by doing a few.

    The first step of all counts for nothing: it loads libraries and can take ten times as long.
    The next tells how many more fit into `probe_seconds`; where none does, it is the answer. A card
    records its step among the first ten: where there are more, these count for nothing either. With
    ``threads=None`` torch has as many as it had. The memory that it took of a card is given back.
    """
    import torch

    from pouta_lib.method.device import give_back_memory
    from pouta_lib.method.training import fit

    size = profile.size_px
    images = np.random.default_rng(0).integers(0, 256, (8, 3, size, size), dtype=np.uint8)

    def timed(steps: int) -> float:
        few, told = replace(profile, steps=steps, epochs=None), list[tuple[int, float]]()

        def progress(step: int, *_: object) -> None:
            told.append((step, time.monotonic()))

        trained = fit(images, images, few, method, 0, progress=progress)
        (first, begun), (last, ended) = told[0], told[-1]
        if trained.compute.device.type == "cuda" and last > first:
            return (ended - begun) / (last - first)
        return trained.seconds / steps

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        timed(1)
        seconds = timed(1)
        more = int(probe_seconds / seconds)
        return timed(more) if more > 1 else seconds
    finally:
        torch.set_num_threads(before)
        give_back_memory()  # a batch times the steps, and then waits for those who make them

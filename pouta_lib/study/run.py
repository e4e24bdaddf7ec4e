"""One run, from its parameters to its record: what notebook 05 does step by step."""

import ast
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from pouta_lib.data import Category, list_categories, load_category, load_textures
from pouta_lib.data.names import one_of
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.labels import check_name
from pouta_lib.ground.locks import only_one
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.paths import data_root
from pouta_lib.ground.profiles import Profile, load_profile, require_suitable
from pouta_lib.ground.validation import STRICT, Seed, above, checked
from pouta_lib.study.records import (
    Record,
    RunKey,
    lock_path,
    made_by,
    partial_folder,
    selection_of,
    write_run,
)

if TYPE_CHECKING:  # torch is imported where it is used: a batch job that waits needs none
    from torch import nn

    from pouta_lib.method.device import Compute
    from pouta_lib.method.training import Trained
    from pouta_lib.score.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What notebook 05 can be asked for; empty texts mean the default, or the first of its kind."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    profile: str
    dataset: str
    category: str
    variant: str
    shots: Annotated[int, above(0)] | None  # None: all images
    seed: Seed
    overrides: dict[str, Any]


PARAMETERS = tuple(parameter.name for parameter in fields(Parameters))


@dataclass(frozen=True)
class Run:
    """A run whose parameters have been checked."""

    key: RunKey
    profile: Profile
    # what code it is made by, as it was when the run was prepared; of a finished run nothing
    code: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def checkpoint(self) -> Path:
        """Where training keeps its resumable state."""
        return partial_folder(self.key) / "checkpoint.pt"


def prepare_run(
    profile: str = "",
    dataset: str = "mini-mvtec",
    category: str = "",
    variant: str = "pouta",
    shots: int | None = None,
    seed: int = 0,
    overrides: dict[str, Any] | None = None,
) -> Run:
    """The run that these parameters mean; an empty category is the dataset's first.

    *Raises* :class:`PoutaError` for an unknown name or a value of the wrong type; the message
    lists what is valid.
    """
    given = (profile, dataset, category, variant, shots, seed, overrides or {})
    named = dict(zip(PARAMETERS, given, strict=True))
    if isinstance(category, str) and category:
        check_name(category, "a category")
    checked(Parameters, named, "the parameters", "correct the parameter")
    find_method(variant)
    settings = load_profile(profile, **(overrides or {}))
    require_suitable(settings, variant)
    names = list_categories(check_name(dataset, "a dataset"))
    category = one_of(names, category or names[0], f"{data_root()}, dataset {dataset}")
    check_name(category, "a category")
    key = RunKey(settings.label, dataset, category, variant, shots, seed)
    return Run(key, settings, made_by())  # before the checkout can change


def check_parameters(valid: Sequence[str] = PARAMETERS, cells: Sequence[str] | None = None) -> None:
    """*Raises* :class:`PoutaError` for a parameter that a notebook does not know.

    Papermill itself would only warn.
    `cells` are the sources that have run so far, by default those of this notebook. Papermill
    writes the parameters it was given into a cell that begins with ``# Parameters``; each name
    assigned in such a cell has to be one of `valid`.
    """
    if cells is None:
        from IPython import get_ipython

        cells = get_ipython().user_ns["In"]
    assigned = {
        target.id
        for source in cells
        if source.startswith("# Parameters")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    unknown = sorted(assigned - set(valid))
    if unknown:
        where = "the notebook's parameters"
        raise problem(f"parameters out of {list(valid)}", f"{unknown}", where, "correct them")


def support_indices(num_images: int, shots: int | None, seed: int) -> np.ndarray:
    """Which training images a k-shot run gets, in rising order; all of them without `shots`.

    The sets are nested: the 2 shots of a seed are among its 4, and those among its 8, so that
    more shots never means other shots.

    *Shape*: ``(shots,)``.
    *Source*: our choice (D30); the paper says nothing of how its images were drawn.
    *Raises* :class:`PoutaError` for more shots than there are images.
    """
    if shots is None:
        return np.arange(num_images)
    if shots > num_images:
        todo = "ask for fewer shots"
        raise problem(f"at most {num_images} shots", str(shots), "the training images", todo)
    return np.sort(np.random.default_rng([seed, 3]).permutation(num_images)[:shots])


def todays_category(run: Run, *, quiet: bool = False) -> Category:
    """The images that a run reads, as they are there today."""
    p, key = run.profile, run.key
    return load_category(
        key.dataset,
        key.category,
        p.size_px,
        max_train=p.max_train,
        max_test=p.max_test,
        quiet=quiet,
    )


def load_run_data(run: Run) -> tuple[Category, np.ndarray, np.ndarray]:
    """The category, the indices of the training images used, and the anomaly textures.

    *Shape*: textures ``(K, 3, S, S)`` uint8.
    """
    p = run.profile
    category = todays_category(run)
    support = support_indices(len(category.train), run.key.shots, run.key.seed)
    textures = load_textures(p.textures, p.size_px, max_images=p.max_textures)
    return category, support, textures


def open_data(record: Record) -> Category:
    """What a finished run was trained and tested on.

    *Raises* :class:`PoutaError` where the data is no longer the same.
    """
    run = run_of(record)
    category, _, _ = load_run_data(run)
    if category.manifest_hash != record.data.manifest_hash:
        where = f"{data_root()}, {run.key.dataset}/{run.key.category}"
        raise problem("the data the run was made with", "other files", where, run.key.command())
    return category


def open_run(record: Record) -> "tuple[Category, nn.Module, Compute]":
    """A finished run's data, its trained model, and where to compute.

    *Raises* :class:`PoutaError` where the weights are absent, or the data is no longer the same.
    """
    from pouta_lib.method.device import choose_compute
    from pouta_lib.method.models import build_for_weights
    from pouta_lib.method.weights import load_weights

    run = run_of(record)
    model = build_for_weights(run.key.variant, run.profile)
    compute = choose_compute(precision=record.precision)
    model = load_weights(model, record.path, record.weights).to(compute.device)
    return open_data(record), model, compute


def run_of(record: Record) -> Run:
    """The run that a record tells of."""
    return Run(record.key, record.profile)


def watch_test(run: Run, category: Category) -> "Callable[[nn.Module], dict[str, float | None]]":
    """What :func:`train` can ask of a half-trained model: its metrics on the test images."""
    from pouta_lib.method.device import compute_of
    from pouta_lib.score.evaluation import score_test

    method = run.key.variant
    compute = compute_of(method, run.profile)
    return lambda model: score_test(model, category, run.profile, compute, method)[2]


def save_run(
    run: Run,
    category: Category,
    support: np.ndarray,
    trained: "Trained",
    evaluation: "Evaluation",
) -> Path:
    """Writes the run's folder; its path.

    The checkpoint is removed, except within :func:`execute_run`, which holds the run's lock and
    removes it when the executed copy is there too: the run is whole only then.

    *Shape*: support ``(K,)``, the indices of the training images that the run had.
    """
    few = run.key.shots is not None
    record = run.code | {
        "profile": run.profile.to_dict(),
        "device": trained.compute.describe(),
        "precision": trained.compute.precision,
        "data": {
            "manifest_hash": category.manifest_hash,
            "num_train": len(support),
            "num_test": len(category.test),
            "num_defect": int(category.labels.sum()),
            "train_paths": [category.train_paths[i] for i in support] if few else None,
        },
        "selection": selection_of(run.profile, trained.steps),
        "backbone": run.profile.backbone if find_method(run.key.variant).backbone else None,
        "warm_start": trained.warm_start,
        "steps": trained.steps,
        "history": trained.history,
        "metrics": evaluation.metrics,
        "by_category": evaluation.by_category,
        "watched": trained.watched,
        "seconds": {"train": round(trained.seconds, 2), "evaluate": round(evaluation.seconds, 2)},
    }
    most = np.finfo(np.float16).max  # a pair's map, in its members' units, knows no bound
    arrays = {
        "maps": np.minimum(evaluation.maps, most, dtype=np.float32).astype(np.float16),
        "scores": evaluation.scores,
    }
    if evaluation.reconstructions is not None:
        arrays["reconstructions"] = evaluation.reconstructions
    folder = write_run(run.key, record, trained.model, arrays)
    with suppress(PoutaError), only_one(lock_path(run.key), f"run {run.key.name}"):
        run.checkpoint.unlink(missing_ok=True)
        with suppress(OSError):  # not there, or not empty
            run.checkpoint.parent.rmdir()
    return folder

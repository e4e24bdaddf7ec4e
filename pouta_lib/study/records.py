"""Run records: what one training run was and what came out, written whole or not at all."""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import numpy as np

from pouta_lib.ground.errors import problem
from pouta_lib.ground.labels import command_of, folder_name
from pouta_lib.ground.methods import METHODS
from pouta_lib.ground.paths import atomic_path, project_root, results_root
from pouta_lib.ground.profiles import MOST_STEPS, Backbone, Profile, with_todays_profile
from pouta_lib.ground.validation import STRICT, Rule, above, checked, read_json, within, write_json
from pouta_lib.method.history import HISTORY

if TYPE_CHECKING:  # torch is imported where it is used: most of this module does without it
    from torch import nn

SCHEMA_VERSION = 3
Metric = Literal[
    "image_auroc",
    "image_ap",
    "image_f1max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1max",
    "pixel_aupro",
]
METRICS: tuple[str, ...] = get_args(Metric)
SHOWN_METRICS: tuple[Metric, ...] = ("image_auroc", "pixel_auroc", "pixel_ap")  # where few are
ALL_SHOTS = "all"
TODO = "make the run again (delete its folder first)"
RUN_FILES = ("record.json", "model.safetensors", "maps.npz", "train.ipynb")
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas")


@dataclass(frozen=True, order=True)
class RunKey:
    """What a run is called: the six words of its folder."""

    label: str  # the profile's name and its overridden settings
    dataset: str
    category: str
    variant: str = "pouta"  # the method's id
    shots: int | None = None  # None: all training images
    seed: int = 0

    @property
    def shots_name(self) -> str:
        return ALL_SHOTS if self.shots is None else f"k{self.shots}"

    @property
    def name(self) -> str:
        """A run's name in messages: ``demo/mini-mvtec/nut/pouta/all/seed0``."""
        words = [self.label, self.dataset, self.category, self.variant, self.shots_name]
        return "/".join([*words, f"seed{self.seed}"])

    @property
    def place(self) -> str:
        """``<label>/runs/<dataset>/<category>/<variant>/<shots>/seed<k>``: its folder's place."""
        words = [folder_name(self.label), "runs", self.dataset, self.category, self.variant]
        return "/".join([*words, self.shots_name, f"seed{self.seed}"])

    def folder(self, results: str | Path | None = None) -> Path:
        """``results/<place>``."""
        return results_root(results) / self.place

    def command(self, verb: str = "run") -> str:
        """The command of this run, for the system's shell; with ``judge``, of its judgement."""
        words = ["--dataset", self.dataset, "--category", self.category]
        words += ["--variant", self.variant, "--seed", str(self.seed)]
        words += ["--shots", str(self.shots)] if self.shots is not None else []
        return command_of(verb, self.label, *words)


def shots_of(name: str) -> int | None:
    """The number of shots that :attr:`RunKey.shots_name` tells."""
    return None if name == ALL_SHOTS else int(name.removeprefix("k"))


Fraction = Annotated[float, within(0, 1)] | None  # None: undefined


def _has_all(names: tuple[str, ...]) -> Rule:
    return Rule(f"numbers for all of {list(names)}", lambda found: set(names) <= set(found))


@dataclass(frozen=True, kw_only=True)
class RunName:
    """What was run, on what: the words of a run's folder below the profile's."""

    dataset: str
    category: str
    variant: Annotated[str, Rule(f"a method out of {[*METHODS]}", METHODS.__contains__)]
    shots: Annotated[int, above(0)] | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class DataNote:
    """The data of a run; `train_paths` for few shots only."""

    manifest_hash: str
    num_train: int
    num_test: int
    num_defect: int
    train_paths: list[str] | None


@dataclass(frozen=True, kw_only=True)
class RunSeconds:
    """How long a run took, those stretches before a stop among it; in older records without."""

    train: float  # the steps alone
    evaluate: float


RunMetrics = Annotated[dict[Metric, Fraction], _has_all(METRICS)]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run as it was written down: ``record.json``."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    schema_version: Literal[3]
    run: RunName
    commit: str | None
    dirty: bool | None
    threads: int
    versions: dict[str, str]
    profile: Profile
    device: str
    precision: Literal["fp32", "tf32", "bf16"]
    data: DataNote
    selection: str
    backbone: Backbone | None
    steps: Annotated[int, within(0, MOST_STEPS)]
    history: Annotated[dict[str, list[float]], _has_all(HISTORY)]
    metrics: RunMetrics
    watched: list[Annotated[dict[str, float | None], _has_all(("step", *METRICS))]]
    seconds: RunSeconds
    weights: str | None = None  # their digest, where it was noted
    arrays: str | None = None  # the digest of those in maps.npz, likewise
    warm_start: str | None = None  # the digest of the weights that training began with (D44)
    by_category: dict[str, RunMetrics] | None = None  # of several taken together (D46)
    path: Path = Path()  # the run's folder, where the record was read

    @property
    def key(self) -> RunKey:
        """What the run is called."""
        return RunKey(self.profile.label, **asdict(self.run))


def commit() -> tuple[str | None, bool | None]:
    """The checkout's commit and whether it has changes; nothing where there is no checkout.

    A checkout of something else, in a folder of which the library was installed, is none.
    """

    def git(*words: str) -> str:
        run = subprocess.run(
            ["git", *words], cwd=project_root(), capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    try:
        if git("rev-parse", "--show-prefix"):
            return None, None
        code = ["pouta_lib", "notebooks", "configs", "Snakefile", "requirements.lock"]
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", *code))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def selection_of(profile: Profile, steps: int) -> str:
    """Which weights a run keeps and measures (D23, D42)."""
    if not steps:
        return "no training"
    if profile.average_share:
        return f"average over the last {100 * profile.average_share:g} % of steps"
    return "last step"


def made_by() -> dict[str, Any]:
    """What code is running: its commit, and the versions that numbers depend on."""
    head, dirty = commit()
    versions = {"python": platform.python_version()} | {p: metadata.version(p) for p in PACKAGES}
    return {"commit": head, "dirty": dirty, "versions": versions}


def in_percent(metrics: Mapping[Metric, Fraction] | Mapping[str, float | None]) -> str:
    """The metrics that are shown where there is room for few, in percent."""
    found = [(name, value) for name in SHOWN_METRICS if (value := metrics[name]) is not None]
    return ", ".join(f"{name} {100 * value:.1f} %" for name, value in found)


def write_run(
    key: RunKey,
    record: dict[str, Any],
    model: "nn.Module",
    arrays: dict[str, np.ndarray],
    results: str | Path | None = None,
) -> Path:
    """Writes ``record.json``, ``model.safetensors`` and ``maps.npz`` in one move.

    `record` is completed with the key and, where it has none, today's commit and versions, and
    checked before anything is written. A run that is already there is replaced whole. Returns the
    run's folder.
    """
    import torch

    from pouta_lib.method.weights import save_weights, weights_digest

    names = asdict(key)
    names.pop("label")
    whole = {"schema_version": SCHEMA_VERSION, "run": names} | made_by()
    whole |= {"threads": torch.get_num_threads()} | record
    whole |= {"weights": weights_digest(model.state_dict()), "arrays": arrays_digest(arrays)}
    folder = key.folder(results)
    if find_spec("pydantic"):  # none on a bare GPU machine (tools/gpu_jobs.py): checked when read
        checked(Record, whole, folder, TODO)
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        write_json(temporary / "record.json", whole)
        save_weights(model, temporary)
        np.savez_compressed(temporary / "maps.npz", **arrays)  # type: ignore[arg-type]  # none is called allow_pickle
    return folder


def partial_folder(key: RunKey) -> Path:
    """Where an unfinished run keeps its checkpoint: beside the run's folder."""
    folder = key.folder()
    return folder.with_name(folder.name + ".partial")


def lock_path(key: RunKey) -> Path:
    """The lock of the process that makes this run: beside the run's folder."""
    folder = key.folder()
    return folder.with_name(f".{folder.name}.lock")


def is_whole(key: RunKey) -> bool:
    """Whether all files of a run are there."""
    return all((key.folder() / name).is_file() for name in RUN_FILES)


def remove_partial(key: RunKey) -> None:
    """Removes the checkpoint of a run that is finished."""
    shutil.rmtree(partial_folder(key), ignore_errors=True)


def read_record(path: str | Path) -> Record:
    """One record, of this or an earlier version, checked; its ``path`` is the run's folder.

    *Raises* :class:`PoutaError` for a file that is missing, is no JSON or no record, and for one
    that lies in another run's folder.
    """
    path = Path(path)
    path = path / "record.json" if path.is_dir() else path
    found = read_json(path, "a run record", "make the run", TODO)
    record = replace(checked(Record, _todays(found), path, TODO), path=path.parent)
    require_place(record.path, record.key.place)
    return record


def require_place(path: Path, place: str) -> None:
    """*Raises* :class:`PoutaError` for a record that lies elsewhere than at `place` in results."""
    here = Path(os.path.abspath(path)).parts  # a link's own name, not that of its target
    if here[-len(parts := PurePosixPath(place).parts) :] != parts:
        todo = "move it there, or remove it, where it is a copy"
        raise problem("a record in its own place", f"that of {place}", path, todo)


def _todays(record: Any) -> Any:
    """A record as it is written today; version 2 kept overrides as text."""
    if not isinstance(record, dict) or record.get("schema_version") != 2:
        return record
    return with_todays_profile(record) | {"schema_version": SCHEMA_VERSION}


def find_records(label: str, results: str | Path | None = None, **filters: Any) -> list[Record]:
    """All records of a profile, sorted by path; `filters` compare with fields of ``run``.

    ``find_records("demo", dataset="mini-mvtec", variant="pouta")``
    """
    unknown = set(filters) - {field.name for field in fields(RunName)}
    if unknown:
        raise TypeError(f"unknown filters {sorted(unknown)}")
    runs = results_root(results) / folder_name(label) / "runs"
    records = [read_record(path) for path in sorted(runs.glob("*/*/*/*/seed*/record.json"))]
    return [r for r in records if all(getattr(r.run, key) == v for key, v in filters.items())]


def require(there: Container[RunKey], expected: Sequence[RunKey]) -> None:
    """*Raises* :class:`PoutaError` for an expected run without a record, naming its command."""
    missing = [key for key in expected if key not in there]
    if missing:
        found = f"{len(missing)} of {len(expected)} missing"
        raise problem("a record for each run", found, missing[0].folder(), missing[0].command())


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of named arrays: names, types, shapes and every bit of the numbers."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def load_arrays(folder: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a run: maps, scores and reconstructions.

    *Raises* :class:`PoutaError` where they are absent or damaged, or others than those that the
    run's record tells of.
    """
    path = Path(folder) / "maps.npz"
    todo = "maps stay out of git: make the run again on this machine"
    if not path.is_file():
        raise problem("the run's maps", "no file", path, todo)
    try:
        with np.load(path) as file:
            arrays = dict(file)
    except Exception as error:  # NumPy, zipfile and zlib each have errors of their own
        raise problem("the run's maps", f"a damaged file ({error})", path, todo) from error
    noted = read_record(folder).arrays
    if noted not in (None, found := arrays_digest(arrays)):
        wanted = "the run's maps as its record tells of them, by their digest"
        raise problem(wanted, f"others ({found[:12]})", path, todo)
    return arrays

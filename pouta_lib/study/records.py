"""Run records: what one training run was and what came out, written whole or not at all."""

import json
import platform
import reprlib
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pouta_lib.ground.errors import problem
from pouta_lib.ground.paths import atomic_path, project_root, results_root

if TYPE_CHECKING:  # torch is imported where it is used: most of this module does without it
    from torch import nn

SCHEMA_VERSION = 2
METRICS = (
    "image_auroc",
    "image_ap",
    "image_f1max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1max",
    "pixel_aupro",
)
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas")


@dataclass(frozen=True, order=True)
class RunKey:
    """What a run is called: the six words of its folder."""

    profile: str  # the profile's label, with any overridden settings in it
    dataset: str
    category: str
    variant: str = "pouta"  # the method's id
    shots: int | None = None  # None: all training images
    seed: int = 0

    @property
    def shots_name(self) -> str:
        return "all" if self.shots is None else f"k{self.shots}"

    def folder(self, results: str | Path | None = None) -> Path:
        """``results/<profile>/runs/<dataset>/<category>/<variant>/<shots>/seed<k>``."""
        runs = results_root(results) / self.profile / "runs" / self.dataset / self.category
        return runs / self.variant / self.shots_name / f"seed{self.seed}"

    def command(self) -> str:
        """The command that makes this run."""
        name, *overrides = self.profile.split("~")
        words = [f"pouta run --profile {name} --dataset {self.dataset}"]
        words += [f"--category {self.category} --variant {self.variant} --seed {self.seed}"]
        words += [f"--shots {self.shots}"] if self.shots is not None else []
        words += [f"--set {override}" for override in overrides]
        return " ".join(words)


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties} | more


_TEXT, _WHOLE, _NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
_NUMBERS = {"type": "array", "items": _NUMBER}
_FRACTION = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
SCHEMA = _object(
    {
        "schema_version": {"const": SCHEMA_VERSION},
        "run": _object(
            {
                "dataset": _TEXT,
                "category": _TEXT,
                "variant": _TEXT,
                "shots": {"type": ["integer", "null"], "minimum": 1},
                "seed": _WHOLE,
            },
            additionalProperties=False,
        ),
        "profile": _object({"name": _TEXT, "size_px": _WHOLE, "overrides": {"type": "array"}}),
        "commit": {"type": ["string", "null"]},
        "dirty": {"type": ["boolean", "null"]},
        "device": _TEXT,
        "threads": _WHOLE,
        "precision": {"enum": ["fp32", "tf32", "bf16"]},
        "versions": {"type": "object", "additionalProperties": _TEXT},
        "data": _object(
            {
                "manifest_hash": _TEXT,
                "num_train": _WHOLE,
                "num_test": _WHOLE,
                "num_defect": _WHOLE,
                "train_paths": {"type": ["array", "null"], "items": _TEXT},
            }
        ),
        "selection": _TEXT,
        "backbone": {"type": ["string", "null"]},
        "steps": _WHOLE,
        "history": _object(
            dict.fromkeys(("step", "total", "reconstruction", "anomaly", "mss"), _NUMBERS)
        ),
        "metrics": _object(dict.fromkeys(METRICS, _FRACTION), additionalProperties=False),
        "watched": {
            "type": "array",
            "items": _object({"step": _WHOLE} | dict.fromkeys(METRICS, _FRACTION)),
        },
        "seconds": _object({"train": _NUMBER, "evaluate": _NUMBER}),
    }
)


def commit() -> tuple[str | None, bool | None]:
    """The checkout's commit and whether it has changes; nothing where there is no checkout."""

    def git(*words: str) -> str:
        run = subprocess.run(
            ["git", *words], cwd=project_root(), capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    try:
        code = ["pouta_lib", "notebooks", "configs", "Snakefile", "requirements.lock"]
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", *code))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def versions() -> dict[str, str]:
    """Python's version and those of the packages that numbers depend on."""
    return {"python": platform.python_version()} | {p: metadata.version(p) for p in PACKAGES}


def write_run(
    key: RunKey,
    record: dict[str, Any],
    model: "nn.Module",
    arrays: dict[str, np.ndarray],
    results: str | Path | None = None,
) -> Path:
    """Writes ``record.json``, ``model.safetensors`` and ``maps.npz`` in one move.

    `record` is completed with the key, the commit and the versions, and checked against the
    schema before anything is written. A run that is already there is replaced whole. Returns the
    run's folder.
    """
    import torch

    from pouta_lib.method.weights import save_weights

    head, dirty = commit()
    names = asdict(key)
    names.pop("profile")
    whole = {"schema_version": SCHEMA_VERSION, "run": names, "commit": head, "dirty": dirty}
    whole |= {"threads": torch.get_num_threads(), "versions": versions()} | record
    folder = key.folder(results)
    _validate(whole, folder)
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        text = json.dumps(whole, indent=1, allow_nan=False)
        (temporary / "record.json").write_text(text + "\n", encoding="utf-8")
        save_weights(model, temporary)
        np.savez_compressed(temporary / "maps.npz", **arrays)
    return folder


def partial_folder(key: RunKey, results: str | Path | None = None) -> Path:
    """Where an unfinished run keeps its checkpoint: beside the run's folder."""
    folder = key.folder(results)
    return folder.with_name(folder.name + ".partial")


def remove_partial(key: RunKey, results: str | Path | None = None) -> None:
    """Removes the checkpoint of a run that is finished."""
    shutil.rmtree(partial_folder(key, results), ignore_errors=True)


def read_record(path: str | Path) -> dict[str, Any]:
    """One record, checked against the schema; ``path`` is added: the run's folder.

    *Raises* :class:`PoutaError` for a file that is missing, is no JSON or breaks the schema.
    """
    path = Path(path)
    path = path / "record.json" if path.is_dir() else path
    todo = "make the run again (delete its folder first)"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise problem("a run record", f"none ({error.strerror})", path, "make the run") from error
    except ValueError as error:
        raise problem("a run record in JSON", f"{error}", path, todo) from error
    _validate(record, path)
    return record | {"path": str(path.parent)}


def _validate(record: Any, where: Path) -> None:
    try:
        from fastjsonschema import JsonSchemaValueException
    except ImportError:  # a bare GPU machine (tools/gpu_jobs.py): checked where it is read
        return
    try:
        _schema_check()(record)
    except JsonSchemaValueException as fault:
        todo = "make the run again (delete its folder first)"
        wanted = f"a record of schema version {SCHEMA_VERSION}"
        value = "" if fault.value is record else f", but is {reprlib.repr(fault.value)}"
        raise problem(wanted, fault.message + value, where, todo) from fault


@cache
def _schema_check() -> Callable[[Any], Any]:
    import fastjsonschema

    return fastjsonschema.compile(SCHEMA, use_default=False)


def find_records(
    profile: str, results: str | Path | None = None, **filters: Any
) -> list[dict[str, Any]]:
    """All records of a profile, sorted by path; `filters` compare with fields of ``run``.

    ``find_records("demo", dataset="mini-mvtec", variant="pouta")``
    """
    unknown = set(filters) - {"dataset", "category", "variant", "shots", "seed"}
    if unknown:
        raise TypeError(f"unknown filters {sorted(unknown)}")
    runs = results_root(results) / profile / "runs"
    records = [read_record(path) for path in sorted(runs.glob("*/*/*/*/seed*/record.json"))]
    return [r for r in records if all(r["run"][key] == v for key, v in filters.items())]


def key_of(record: dict[str, Any]) -> RunKey:
    """The key of a record."""
    profile = record["profile"]
    return RunKey("~".join([profile["name"], *profile["overrides"]]), **record["run"])


def require(records: Sequence[dict[str, Any]], expected: Sequence[RunKey]) -> None:
    """*Raises* :class:`PoutaError` for an expected run without a record, naming its command."""
    there = {key_of(r) for r in records}
    missing = [key for key in expected if key not in there]
    if missing:
        found = f"{len(missing)} of {len(expected)} missing"
        raise problem("a record for each run", found, missing[0].folder(), missing[0].command())


def load_arrays(folder: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a run: maps, scores and reconstructions. Raises where they are absent."""
    path = Path(folder) / "maps.npz"
    if not path.is_file():
        todo = "maps stay out of git: make the run again on this machine"
        raise problem("the run's maps", "no file", path, todo)
    with np.load(path) as arrays:
        return dict(arrays)

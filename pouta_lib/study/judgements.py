"""Records of judgements: what a recipe was and what became of it on held-out good images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pouta_lib.ground.errors import problem
from pouta_lib.ground.paths import atomic_path, results_root
from pouta_lib.study.records import RunKey, commit, versions

if TYPE_CHECKING:
    from pouta_lib.study.run import Run

STRENGTHS = (0.25, 0.5, 1.0)  # of the harmless changes
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metrics(_Part):
    """Fractions in [0, 1]; None where a kind is missing."""

    image_auroc: Fraction | None
    pixel_auroc: Fraction | None
    pixel_ap: Fraction | None


class Judged(_Part):
    """What was judged: the words of its path."""

    dataset: str
    category: str
    variant: str
    seed: Annotated[int, Field(ge=0)]


class HeldOutData(_Part):
    """The good images: their manifest, and how many served for what."""

    manifest_hash: str
    num_train: int
    num_whole: int  # held out
    num_damaged: int  # made of them


class Shares(_Part):
    """The share of images above the threshold: as they are, and by change and strength."""

    unchanged: Fraction
    changed: dict[str, list[Fraction]]  # one for each of the record's strengths


class Moment(_Part):
    """A model on its way."""

    step: int
    image_auroc_unchanged: Fraction | None
    image_auroc_changed: Fraction | None
    image_auroc_both: Fraction | None
    pixel_ap_unchanged: Fraction | None


class Seconds(_Part):
    """How long it took."""

    train: float
    judge: float


class Judgement(_Part):
    """One recipe with one seed on one category, judged without a single defect.

    *Source*: our choice (D35).
    """

    schema_version: Literal[1] = 1
    run: Judged
    label: str  # of the profile, with any overridden settings in it
    profile: dict[str, Any]
    commit: str | None
    dirty: bool | None
    device: str
    precision: Literal["fp32", "tf32", "bf16"]
    threads: int
    versions: dict[str, str]
    data: HeldOutData
    steps: int
    seconds: Seconds
    unchanged: dict[str, Metrics]  # "all" damages, and each by its name
    changed: dict[str, Metrics]  # the same with every image harmlessly changed
    both: dict[str, Metrics]  # the two pooled
    threshold: float
    strengths: list[float]
    false_alarms: Shares  # whole images
    detections: Shares  # damaged images
    watched: list[Moment] | None


def judgement_path(key: RunKey, results: str | Path | None = None) -> Path:
    """``results/<profile>/judged/<dataset>/<category>/<variant>/seed<k>.json``."""
    folder = results_root(results) / key.profile / "judged" / key.dataset / key.category
    return folder / key.variant / f"seed{key.seed}.json"


def partial_judgement(key: RunKey, results: str | Path | None = None) -> Path:
    """Where an unfinished judgement keeps its checkpoint: beside its record."""
    return judgement_path(key, results).with_suffix(".partial")


def judge_command(key: RunKey) -> str:
    """The command that makes this judgement."""
    return key.command().replace("pouta run", "pouta judge", 1)


def write_judgement(run: "Run", record: dict[str, Any]) -> Judgement:
    """The judgement, completed with what is the same for all, checked and written in one move."""
    import torch

    key = run.key
    head, dirty = commit()
    words = {name: getattr(key, name) for name in Judged.model_fields}
    whole = {"run": words, "label": key.profile, "profile": run.profile.to_dict()}
    whole |= {"commit": head, "dirty": dirty, "versions": versions()}
    whole |= {"threads": torch.get_num_threads(), "strengths": list(STRENGTHS)} | record
    judgement = Judgement.model_validate(whole)
    with atomic_path(judgement_path(key)) as temporary:
        temporary.write_text(judgement.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return judgement


def read_judgement(path: str | Path) -> Judgement:
    """One record, checked.

    *Raises* :class:`PoutaError` for a file that is missing, is no JSON or breaks the schema.
    """
    try:
        return Judgement.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        found, todo = f"none ({error.strerror})", "make it with pouta judge"
        raise problem("a record of a judgement", found, path, todo) from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        todo = "make it again with pouta judge --again"
        raise problem("a record of a judgement", f"{place} {fault['msg']}", path, todo) from error


def judgement_of(run: "Run") -> Judgement | None:
    """The judgement of a run where it has been made, else nothing.

    *Raises* :class:`PoutaError` where it was made with other settings than the profile has now.
    """
    path = judgement_path(run.key)
    if not path.is_file():
        return None
    judgement = read_judgement(path)
    ours, theirs = run.profile.to_dict(), judgement.profile
    differing = [k for k in ours.keys() & theirs.keys() - {"overrides"} if ours[k] != theirs[k]]
    if differing:
        found = ", ".join(f"{k}={theirs[k]} in place of {ours[k]}" for k in sorted(differing))
        todo = "make it again with --again, or remove the record"
        raise problem(f"a judgement of {run.key.profile} as it is now", found, path, todo)
    return judgement


def find_judgements(profile: str, results: str | Path | None = None) -> list[Judgement]:
    """All judgements of a profile, of its overridden settings too, sorted by path."""
    root = results_root(results)
    paths = [*root.glob(f"{profile}/judged/*/*/*/seed*.json")]
    paths += root.glob(f"{profile}~*/judged/*/*/*/seed*.json")
    return [read_judgement(path) for path in sorted(paths)]


def summary(judgement: Judgement) -> str:
    """A short table in percent: the metrics by damage, false alarms and detections by change."""
    told = {"unchanged": judgement.unchanged, "changed": judgement.changed, "both": judgement.both}
    lines = ["%: image AUROC / pixel AUROC / pixel AP"]
    lines += [f"  {'':14}" + "".join(f"{name:>22}" for name in told)]
    for damage in judgement.unchanged:
        cells = [" / ".join(map(_percent, dict(found[damage]).values())) for found in told.values()]
        lines += [f"  {damage:14}" + "".join(f"{cell:>22}" for cell in cells)]
    alarms, detections = judgement.false_alarms, judgement.detections
    strengths = ", ".join(map(str, judgement.strengths))
    lines += [f"%: false alarms, and damage detected, at strengths {strengths}"]
    plain = [_percent(alarms.unchanged), _percent(detections.unchanged)]
    lines += [f"  {'unchanged':14}" + "".join(f"{cell:>22}" for cell in plain)]
    for change in alarms.changed:
        shares = alarms.changed[change], detections.changed[change]
        cells = [" ".join(map(_percent, found)) for found in shares]
        lines += [f"  {change:14}" + "".join(f"{cell:>22}" for cell in cells)]
    return "\n".join(lines)


def _percent(fraction: float | None) -> str:
    return f"{'-':>5}" if fraction is None else f"{100 * fraction:5.1f}"

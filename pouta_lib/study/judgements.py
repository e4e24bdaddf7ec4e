"""Records of judgements: settings, and what became of them on held-out good images."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pouta_lib.ground.errors import problem
from pouta_lib.ground.labels import folder_name
from pouta_lib.ground.paths import results_root, roots_to_read
from pouta_lib.ground.profiles import (
    SETTINGS,
    Profile,
    config_path,
    load_profile,
    profile_name,
    with_todays_profile,
)
from pouta_lib.ground.validation import STRICT, Seed, checked, read_json, within, write_json
from pouta_lib.study.choices import JudgementGroup, read_choices
from pouta_lib.study.records import Fraction, RunKey, made_by, require_place

if TYPE_CHECKING:
    from pouta_lib.study.run import Run

STRENGTHS = (0.25, 0.5, 1.0)  # of the harmless changes
Share = Annotated[float, within(0, 1)]
TODO = "make it again with pouta judge --again"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Fractions in [0, 1]; None where a kind is missing."""

    image_auroc: Fraction
    pixel_auroc: Fraction
    pixel_ap: Fraction


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was judged: the words of its path."""

    dataset: str
    category: str
    variant: str
    seed: Seed


@dataclass(frozen=True, kw_only=True)
class HeldOutData:
    """The good images: their manifest, and how many served for what."""

    manifest_hash: str
    num_train: int
    num_whole: int  # held out
    num_damaged: int  # made of them


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The share of images above the threshold: as they are, and by change and strength."""

    unchanged: Share
    changed: dict[str, list[Share]]  # one for each of the record's strengths


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A model on its way."""

    step: int
    image_auroc_unchanged: Fraction
    image_auroc_changed: Fraction
    image_auroc_both: Fraction
    pixel_ap_unchanged: Fraction


@dataclass(frozen=True, kw_only=True)
class JudgementSeconds:
    """How long it took."""

    train: float
    judge: float


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A method with its settings, one seed, one category, judged without a single defect.

    *Source*: our choice (D35).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    schema_version: Literal[1] = 1
    run: Judged
    label: str  # of the profile, with any overridden settings in it
    profile: Profile
    commit: str | None
    dirty: bool | None
    device: str
    precision: Literal["fp32", "tf32", "bf16"]
    threads: int
    versions: dict[str, str]
    data: HeldOutData
    steps: int
    seconds: JudgementSeconds
    unchanged: dict[str, Metrics]  # "all" damages, and each by its name
    changed: dict[str, Metrics]  # the same with every image harmlessly changed
    both: dict[str, Metrics]  # the two pooled
    threshold: float
    strengths: list[float]
    false_alarms: Shares  # whole images
    detections: Shares  # damaged images
    watched: list[Moment] | None
    path: Path = Path()  # of the file, where the record was read


def judgement_path(key: RunKey) -> Path:
    """``results/<profile>/judged/<dataset>/<category>/<variant>/seed<k>.json``."""
    return results_root() / _place(key)


def _place(key: RunKey) -> str:
    words = [folder_name(key.label), "judged", key.dataset, key.category, key.variant]
    return "/".join([*words, f"seed{key.seed}.json"])


def partial_judgement(key: RunKey) -> Path:
    """Where an unfinished judgement keeps its checkpoint: beside its record."""
    return judgement_path(key).with_suffix(".partial")


def write_judgement(run: "Run", record: dict[str, Any]) -> Judgement:
    """The judgement, completed with what is the same for all, checked and written in one move."""
    import torch

    key = run.key
    whole: dict[str, Any] = {
        "run": {field.name: getattr(key, field.name) for field in fields(Judged)}
    }
    whole |= {"label": key.label, "profile": run.profile} | made_by() | run.code
    whole |= {"threads": torch.get_num_threads(), "strengths": list(STRENGTHS)} | record
    path = judgement_path(key)
    judgement = checked(Judgement, whole, path, TODO)
    plain = asdict(judgement)
    del plain["path"]
    write_json(path, plain)
    return replace(judgement, path=path)


def read_judgement(path: str | Path) -> Judgement:
    """One record, checked; its ``path`` is the file.

    *Raises* :class:`PoutaError` for a file that is missing, is no JSON or no judgement, and for one
    that lies in another's place.
    """
    path = Path(path)
    record = read_json(path, "a record of a judgement", "make it with pouta judge", TODO)
    judgement = replace(checked(Judgement, with_todays_profile(record), path, TODO), path=path)
    require_place(path, _place(RunKey(judgement.label, **asdict(judgement.run))))
    return judgement


def judgement_of(run: "Run") -> Judgement | None:
    """The judgement of a run where it has been made, else nothing.

    *Raises* :class:`PoutaError` where it was made with other settings than the profile has now.
    """
    path = judgement_path(run.key)
    if not path.is_file():
        return None
    judgement = read_judgement(path)
    both = [
        (name, getattr(judgement.profile, name), getattr(run.profile, name)) for name in SETTINGS
    ]
    differing = [f"{name}={then} in place of {now}" for name, then, now in both if then != now]
    if differing:
        todo = "make it again with --again, or remove the record"
        wanted = f"a judgement of {run.key.label} as it is now"
        raise problem(wanted, ", ".join(sorted(differing)), path, todo)
    return judgement


def find_judgements(profile: str, results: str | Path | None = None) -> list[Judgement]:
    """All judgements of a profile, of its overridden settings too, sorted by path."""
    root = results_root(results)
    paths = [*root.glob(f"{profile}/judged/*/*/*/seed*.json")]
    paths += root.glob(f"{profile}~*/judged/*/*/*/seed*.json")
    return [read_judgement(path) for path in sorted(paths)]


def planned_judgements(profile: str) -> dict[Path, str]:
    """The judgements that a study makes: where each is kept, and the command that makes it.

    They stand in ``configs/<profile>.yaml`` under ``judge``: a list of groups, each with
    ``dataset``, ``categories`` (a list, or ``all``), ``variants``, ``seeds``, ``settings`` (a list
    of what to override, ``{}`` for nothing) and ``watch``.

    *Raises* :class:`PoutaError` for a group with unknown or missing words.
    """
    where = f"{config_path(profile)}, judge"
    planned = {}
    for group in read_choices(list[JudgementGroup], profile, "judge"):
        watch = " --watch" if group.watch else ""
        for settings in group.settings:
            for key in group.keys(load_profile(profile, **settings).label, where):
                planned[judgement_path(key)] = key.command("judge") + watch
    return planned


def study_judgements(profile: str = "") -> list[Judgement]:
    """What notebook 17 stands on: all judgements of a profile that there are.

    An empty name means ``$POUTA_PROFILE``, and where that is not set ``real-cpu``, whose settings
    were chosen by them. Where the results have none, those in ``results/real`` are taken.

    *Raises* :class:`PoutaError` for one that the profile plans and that is missing, and where
    there is none at all, naming the command.
    """
    name = load_profile(profile_name(profile, "real-cpu")).name
    own, photographs = (find_judgements(name, root) for root in roots_to_read())
    if photographs and not own:
        return photographs
    planned = planned_judgements(name)
    missing = [path for path in planned if not path.is_file()]
    if own and not missing:
        return own
    path = missing[0] if missing else results_root() / name / "judged"
    command = planned.get(path, f"pouta judge --profile {name}")
    raise problem(f"judgements of {name}", f"{len(own)}, {len(missing)} missing", path, command)


def summary(judgement: Judgement) -> str:
    """A short table in percent: the metrics by damage, false alarms and detections by change."""
    told = {"unchanged": judgement.unchanged, "changed": judgement.changed, "both": judgement.both}
    lines = ["%: image AUROC / pixel AUROC / pixel AP"]
    lines += [f"  {'':14}" + "".join(f"{name:>22}" for name in told)]
    for damage in judgement.unchanged:
        cells = [
            " / ".join(map(_percent, asdict(found[damage]).values())) for found in told.values()
        ]
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

"""Profiles: every setting of a run in one frozen, validated object.

A profile is a file ``configs/<name>.yaml`` with two parts: ``settings`` (this module) and
``study`` (:mod:`pouta_lib.study.choices`: which runs the batch makes).
"""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pouta_lib.ground.errors import did_you_mean, problem
from pouta_lib.ground.labels import make_label
from pouta_lib.ground.methods import METHODS, find_method
from pouta_lib.ground.paths import project_root
from pouta_lib.ground.validation import (
    STRICT,
    Rule,
    above,
    checked,
    read_yaml,
    read_yaml_file,
    within,
)

MOST_STEPS = 10**8  # months; beyond it the list of losses fills the memory
Backbone = Literal["efficientnet_lite0", "wide_resnet50_2", "resnet18"]


def _multiple_of(n: int, most: int) -> Rule:
    words = f"at most {most} and a multiple of {n}"
    return Rule(words, lambda value: 0 < value <= most and value % n == 0)


def _rising(shares: list[float]) -> bool:
    return shares == sorted(shares) and all(0 < share < 1 for share in shares)


@dataclass(frozen=True, kw_only=True)
class SynthesisSettings:
    """How :func:`pouta_lib.method.synthesis.synthesize` makes what a training step sees.

    M may lie anywhere: there is no setting that keeps it on the part (D25).
    """

    anomalous_share: Annotated[float, within(0, 1)] = 0.5  # of the images get an anomaly
    # I_aug = (1-b) texture + b T(I_ori), b uniform in [0, max_opacity]
    max_opacity: Annotated[float, within(0, 1)] = 0.8
    # share of the anomalies that are cut out of the image itself (D36)
    structural_share: Annotated[float, within(0, 1)] = 0.0
    light_share: Annotated[float, within(0, 1)] = 0.0  # of the images whose light is varied (D38)
    light_range: Annotated[float, within(0, 0.5)] = 0.2  # how far: see vary_light
    # how far good images are shifted, turned and zoomed: see vary_position (D40); 0: not at all
    move_range: Annotated[float, within(0, 0.5)] = 0.0
    # largest deviation of the noise that is added to what the network sees (D41); 0: none
    noise_range: Annotated[float, within(0, 0.5)] = 0.0
    # share of the images that are moved, and of those that get noise; the others stay as they are
    varied_share: Annotated[float, within(0, 1)] = 0.5
    # softness of the pasted edge: Gaussian sigma as a share of the image's side; 0: hard
    edge_sigma: Annotated[float, within(0, 0.1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Profile(SynthesisSettings):
    """The settings of a run. Lengths named ``_px`` are pixels of the resized image.

    Made by :func:`load_profile`, or from a record; the class itself checks nothing.

    *Source*: paper, IV-A "Implementation Details", for the values of ``configs/paper.yaml``; the
    other profiles are our choice (D29) and say so in their files.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    size_px: Annotated[int, _multiple_of(32, 8192)]  # side of the square the images are resized to
    width: Annotated[int, _multiple_of(4, 4096)]  # channels of the first level; 64: the paper's
    norm: bool  # normalisation in FCM and HSG too (D31); the paper names none
    normalisation: Literal["batch", "group", "instance"] = "batch"  # of every CBR block (D37)
    # a network that is trained sees each image by its own channels' mean and deviation (D48)
    standardise: bool = False
    batch_size: Annotated[int, within(1, 65536)]
    # either a fixed number of optimiser steps, or passes over the category's training images
    steps: Annotated[int, within(1, MOST_STEPS)] | None
    epochs: Annotated[int, within(1, MOST_STEPS)] | None
    # steps of a k-shot run, whose epochs would be too short to count
    few_shot_steps: Annotated[int, within(1, MOST_STEPS)]
    lr: Annotated[float, above(0)]  # of Adam
    # shares of the run after which lr is multiplied by lr_gamma
    lr_milestones: Annotated[list[float], Rule("rising shares between 0 and 1", _rising)]
    lr_gamma: Annotated[float, above(0)]
    # the weights that are kept: averaged over about this share of the steps (D42); 0: the last
    average_share: Annotated[float, within(0, 0.5)] = 0.0
    warm_start: bool = False  # begin with weights that tools/warm_start.py made (D44)
    textures: Literal["builtin", "dtd"]  # what anomalies are made of (D11)
    max_textures: Annotated[int, above(0)] | None  # at most so many of them; none: all
    precision: Literal["auto", "fp32", "tf32", "bf16"]  # of what is trained (D27)
    compile: bool  # the forward pass through torch.compile, on a CUDA card only
    backbone: Backbone  # of PatchCore (D22)
    checkpoint_steps: Annotated[int, above(0)]  # a resumable checkpoint every so many steps
    max_train: Annotated[int, above(0)] | None  # at most so many training images; none: all
    max_test: Annotated[int, above(0)] | None
    overrides: dict[str, Any] = field(default_factory=dict)  # what differs from the file

    @property
    def label(self) -> str:
        """What this profile's results are called: overridden settings never share a label."""
        return make_label(self.name, self.overrides)

    @property
    def synthesis(self) -> SynthesisSettings:
        """The settings of the synthesis, as one group."""
        names = [f.name for f in dataclasses.fields(SynthesisSettings)]
        return SynthesisSettings(**{name: getattr(self, name) for name in names})

    @property
    def score_window_px(self) -> int:
        """Side of the mean-pooling window of the image score: 21 at 224 px, always odd.

        *Source*: paper III-B (21 x 21 at 224 px); scaling it with the image is our choice (D14).
        """
        return max(1, 2 * round((21 * self.size_px / 224 - 1) / 2) + 1)

    def to_dict(self) -> dict[str, Any]:
        """All fields, JSON-ready, the name first."""
        return {"name": self.name} | dataclasses.asdict(self)


SETTINGS = [f.name for f in dataclasses.fields(Profile) if f.name not in ("name", "overrides")]


def with_todays_profile(record: Any) -> Any:
    """A record of a run, a judgement or a detector, with its profile as it is written today.

    Once ``overrides`` was a list of "field=value", whose values cannot all be read back; they
    stand among the settings as well. A setting that did not exist then has its default.
    """
    old = record.get("profile") if isinstance(record, dict) else None
    if not isinstance(old, dict) or not isinstance(old.get("overrides"), list):
        return record  # of today already, or for the check to refuse
    changed = [str(word).partition("=")[0] for word in old["overrides"]]
    overrides = {field: old[field] for field in changed if field in old}
    return record | {"profile": old | {"overrides": overrides}}


def profile_names() -> list[str]:
    """The profiles that have a file in configs/."""
    return sorted(path.stem for path in (project_root() / "configs").glob("*.yaml"))


def config_path(name: str) -> Path:
    """The file of profile `name`. *Raises* :class:`PoutaError` that lists the valid names."""
    path = project_root() / "configs" / f"{name}.yaml"
    if name not in profile_names():  # not ../configs/demo either
        raise problem(
            f"a profile out of {profile_names()}",
            f"{name!r}",
            path.parent,
            "choose one of these, or add a file with that name",
        )
    return path


def read_config(name: str) -> dict[str, Any]:
    """The parts of a profile's file. *Raises* :class:`PoutaError` where it has none."""
    path = config_path(name)
    parts = read_yaml_file(path)
    if not isinstance(parts, dict) or not isinstance(parts.get("settings") or {}, dict):
        wanted = "settings, each a name and a value"
        raise problem(wanted, type(parts).__name__, path, "see configs/demo.yaml")
    return parts


def profile_name(name: str | None, default: str = "demo") -> str:
    """The profile that is meant: an empty name is ``$POUTA_PROFILE``, else `default`."""
    return name or os.environ.get("POUTA_PROFILE") or default


def load_profile(name: str | None = "", /, **overrides: Any) -> Profile:
    """The profile called `name`, with any field overridden by keyword.

    An empty name means ``$POUTA_PROFILE``, and where that is not set ``demo``.

    *Raises* :class:`PoutaError` for an unknown profile, an unknown setting, or a value of the
    wrong type or out of range; the message lists what is valid.
    """
    name = profile_name(name)
    path = config_path(name)
    settings = read_config(name).get("settings") or {}
    missing = sorted(set(SETTINGS) - set(settings))
    if missing:
        raise problem(f"all of {SETTINGS}", f"no {missing}", path, "add the missing settings")
    given = "the overrides"
    for key, where in [*((key, path) for key in settings), *((key, given) for key in overrides)]:
        if key not in SETTINGS:
            hint = did_you_mean(str(key), SETTINGS, "correct the name")  # YAML's may be no text
            raise problem(f"a setting out of {SETTINGS}", repr(key), where, hint)
    todo = "correct the value (in YAML write 0.0001, since 1e-4 is read as text)"
    plain = checked(Profile, {"name": name} | settings, path, todo)
    profile = checked(Profile, {"name": name} | settings | overrides, given, todo)
    changed = [key for key in overrides if getattr(profile, key) != getattr(plain, key)]
    if (profile.steps is None) == (profile.epochs is None):
        found = f"steps={profile.steps}, epochs={profile.epochs}"
        where = given if changed else path
        raise problem("exactly one of steps and epochs", found, where, "set the other to null")
    return dataclasses.replace(
        profile, overrides={key: getattr(profile, key) for key in sorted(changed)}
    )


def require_suitable(settings: Profile, method: str) -> None:
    """*Raises* :class:`PoutaError` where the settings ask for what `method` does not have.

    That is: weights to begin with (D44), and on its coarsest level more than one value of a
    channel to normalise (D37).
    """
    chosen = find_method(method)
    if settings.warm_start and not chosen.warm_start:
        able = [other.id for other in METHODS.values() if other.warm_start]
        todo = "set warm_start=false: these weights are POUTA's"
        raise problem(f"a method out of {able}", repr(method), "the setting warm_start", todo)
    single = {"batch": settings.batch_size == 1, "instance": True}  # a group has more channels
    one_pixel = chosen.trained and settings.size_px == 2**chosen.halvings
    if one_pixel and single.get(settings.normalisation, False):
        found = f"one pixel there, of {settings.size_px} x {settings.size_px} and batches of"
        raise problem(
            f"more than one value of a channel on the coarsest level of {method}",
            f"{found} {settings.batch_size}",
            f"the setting normalisation={settings.normalisation}",
            f"set size_px={2 * settings.size_px} or more, or normalisation=group",
        )


def parse_overrides(words: list[str]) -> dict[str, Any]:
    """``["lr=0.001", "steps=50"]`` as a dictionary; the values are read as JSON, else as YAML.

    *Raises* :class:`PoutaError` for a word without ``=``, and for a value that is neither.
    """
    pairs = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise problem("field=value", repr(word), "--set", f"name one of {SETTINGS}")
        try:
            pairs[key] = json.loads(text)  # which reads 1e-4 as a number; YAML 1.1 does not
        except (ValueError, RecursionError):
            pairs[key] = read_yaml(text, f"--set {key}")
    return pairs

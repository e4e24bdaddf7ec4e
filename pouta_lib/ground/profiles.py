"""Profiles: every setting of a run in one frozen, validated object.

A profile is a file ``configs/<name>.yaml`` with two parts: ``settings`` (this module) and
``study`` (:mod:`pouta_lib.study.plan`: which runs the batch makes).
"""

import dataclasses
import difflib
import os
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pouta_lib.ground.errors import problem
from pouta_lib.ground.paths import project_root


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The settings of a run. Lengths named ``_px`` are pixels of the resized image.

    Source: paper, IV-A "Implementation details", for the values of ``configs/paper.yaml``; the
    other profiles are our choice and say so in their files.
    """

    name: str
    size_px: int  # side of the square the images are resized to; a multiple of 32
    width: int  # channels of the first level; 64 is the paper's size
    norm: bool  # normalisation in FCM and HSG too (D31); the paper names none
    normalisation: Literal["batch", "group", "instance"] = "batch"  # of every CBR block (D37)
    batch_size: int
    steps: int | None  # either a fixed number of optimiser steps ...
    epochs: int | None  # ... or passes over the category's training images
    few_shot_steps: int  # steps of a k-shot run, whose epochs would be too short to count
    lr: float  # of Adam
    lr_milestones: list[float]  # shares of the run after which lr is multiplied by lr_gamma
    lr_gamma: float
    anomalous_share: float  # share of training images that get a synthetic anomaly
    max_opacity: float  # I_aug = (1-b) texture + b T(I_ori), b uniform in [0, max_opacity]
    structural_share: float = 0.0  # share of the anomalies cut out of the image itself (D36)
    light_share: float = 0.0  # share of the training images whose light is varied (D38)
    light_range: float = 0.2  # how far: see pouta_lib.synthesis.vary_light
    edge_sigma: float  # softness of the pasted edge: Gaussian sigma as a share of size_px; 0: hard
    textures: Literal["builtin", "dtd"]
    max_textures: int | None
    precision: Literal["auto", "fp32", "tf32", "bf16"]
    compile: bool  # the forward pass through torch.compile, on a CUDA card only
    backbone: Literal["efficientnet_lite0", "wide_resnet50_2", "resnet18"]  # of PatchCore (D22)
    checkpoint_steps: int  # a resumable checkpoint every so many steps
    max_train: int | None  # at most so many training images; none: all
    max_test: int | None
    overrides: tuple[str, ...] = ()  # "field=value" of everything that differs from the file

    @property
    def label(self) -> str:
        """The folder name of this profile's results: overridden settings never share one."""
        return "~".join([self.name, *self.overrides])

    @property
    def score_window_px(self) -> int:
        """Side of the mean-pooling window of the image score: 21 at 224 px, always odd.

        Source: paper III-B (21 x 21 at 224 px); scaling it with the image is our choice (D14).
        """
        return max(1, 2 * round((21 * self.size_px / 224 - 1) / 2) + 1)

    def to_dict(self) -> dict[str, Any]:
        """All fields, JSON-ready."""
        return dataclasses.asdict(self) | {"overrides": list(self.overrides)}


FIELDS = {f.name: f for f in dataclasses.fields(Profile)}
SETTINGS = [name for name in FIELDS if name not in ("name", "overrides")]
DEFAULTS = {  # what records and detectors had that were made before a setting existed
    name: FIELDS[name].default
    for name in SETTINGS
    if FIELDS[name].default is not dataclasses.MISSING
}


def profile_names() -> list[str]:
    """The profiles that have a file in configs/."""
    return sorted(path.stem for path in (project_root() / "configs").glob("*.yaml"))


def config_path(name: str) -> Path:
    """The file of profile `name`. Raises a :class:`PoutaError` that lists the valid names."""
    path = project_root() / "configs" / f"{name}.yaml"
    if not path.is_file():
        raise problem(
            f"a profile out of {profile_names()}",
            f"{name!r}",
            path.parent,
            "choose one of these, or add a file with that name",
        )
    return path


def load_profile(name: str | None = "", **overrides: Any) -> Profile:
    """The profile called `name`, with any field overridden by keyword.

    An empty name means ``$POUTA_PROFILE``, and where that is not set ``demo``.

    *Raises* :class:`PoutaError` for an unknown profile, an unknown setting, or a value of the
    wrong type or out of range; the message lists what is valid.
    """
    name = name or os.environ.get("POUTA_PROFILE") or "demo"
    import yaml

    path = config_path(name)
    settings = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("settings") or {}
    missing = sorted(set(SETTINGS) - set(settings))
    if missing:
        raise problem(f"all of {SETTINGS}", f"no {missing}", path, "add the missing settings")
    changed = [key for key, value in overrides.items() if settings.get(key, path) != value]
    values = settings | overrides
    for key, value in values.items():
        _check(key, value, path if key not in overrides else "the overrides")
    profile = Profile(
        name=name,
        overrides=tuple(f"{key}={_brief(values[key])}" for key in sorted(changed)),
        **values,
    )
    _check_together(profile, path)
    return profile


def parse_overrides(words: list[str]) -> dict[str, Any]:
    """``["lr=0.001", "steps=50"]`` as a dictionary; the values are read as YAML."""
    import yaml

    pairs = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise problem("field=value", repr(word), "--set", f"name one of {SETTINGS}")
        value = yaml.safe_load(text)
        if isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
            try:
                value = float(value)
            except ValueError:
                pass
        pairs[key] = value
    return pairs


def _brief(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def _check(key: str, value: Any, where: object) -> None:
    if key not in SETTINGS:
        near = difflib.get_close_matches(key, SETTINGS, n=1)
        raise problem(
            f"a setting out of {SETTINGS}",
            repr(key),
            where,
            f"did you mean {near[0]!r}?" if near else "correct the name",
        )
    kind = FIELDS[key].type
    if not _fits(value, kind):
        wanted = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
        raise problem(
            f"{key} to be of type {wanted}",
            f"{value!r} ({type(value).__name__})",
            where,
            "correct the value (in YAML write 0.0001, since 1e-4 is read as text)",
        )


def _fits(value: Any, kind: Any) -> bool:
    origin = typing.get_origin(kind)
    if origin is Literal:
        return value in typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, option) for option in typing.get_args(kind))
    if origin is list:
        return isinstance(value, list) and all(_fits(v, typing.get_args(kind)[0]) for v in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _check_together(profile: Profile, where: object) -> None:
    p = profile
    rules = [
        (p.size_px > 0 and p.size_px % 32 == 0, "size_px to be a multiple of 32", p.size_px),
        (p.width > 0 and p.width % 4 == 0, "width to be a multiple of 4", p.width),
        (p.batch_size > 0, "batch_size above 0", p.batch_size),
        (
            (p.steps is None) != (p.epochs is None),
            "exactly one of steps and epochs",
            f"steps={p.steps}, epochs={p.epochs}",
        ),
        ((p.steps or p.epochs or 0) > 0, "steps or epochs above 0", p.steps or p.epochs),
        (p.few_shot_steps > 0, "few_shot_steps above 0", p.few_shot_steps),
        (p.checkpoint_steps > 0, "checkpoint_steps above 0", p.checkpoint_steps),
        (p.lr > 0, "lr above 0", p.lr),
        (
            p.lr_milestones == sorted(p.lr_milestones) and all(0 < m < 1 for m in p.lr_milestones),
            "lr_milestones as rising shares between 0 and 1",
            p.lr_milestones,
        ),
        (0 <= p.anomalous_share <= 1, "anomalous_share in [0, 1]", p.anomalous_share),
        (0 <= p.max_opacity <= 1, "max_opacity in [0, 1]", p.max_opacity),
        (0 <= p.structural_share <= 1, "structural_share in [0, 1]", p.structural_share),
        (0 <= p.light_share <= 1, "light_share in [0, 1]", p.light_share),
        (0 <= p.light_range <= 0.5, "light_range in [0, 0.5]", p.light_range),
        (0 <= p.edge_sigma <= 0.1, "edge_sigma in [0, 0.1]", p.edge_sigma),
    ]
    for holds, expected, found in rules:
        if not holds:
            raise problem(expected, str(found), where, "correct the value")

"""A trained detector as a folder that can be carried away."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from torch import nn

from pouta_lib.ground.errors import in_a_line, problem
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.outputs import own_files, replaceable
from pouta_lib.ground.profiles import Profile, with_todays_profile
from pouta_lib.ground.validation import STRICT, Rule, above, checked, read_json, within, write_json
from pouta_lib.method.device import Compute, compute_of, within_memory
from pouta_lib.method.models import build_for_weights
from pouta_lib.method.models.pair import Pair
from pouta_lib.method.weights import load_weights, save_weights, weights_digest
from pouta_lib.score.evaluation import detect

FORMAT_VERSION = 1
NOTE = "detector.json"
KIND = "detector"  # in the folder's manifest
Scale = tuple[float, float]  # the map's values that are shown as nothing, and as the brightest
RISING = Rule("two numbers, the lower first", lambda pair: pair[0] < pair[1])
SHAPES = Rule("two numbers above 0, the lower first", lambda pair: 0 < pair[0] <= pair[1])
AGAIN = "copy the detector's folder again, whole, or fit it again"
BEYOND = 10  # times the scores of gray and of noise: a threshold that nothing exceeds


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One method that a fit tried; counts are (how many, of how many)."""

    method: str
    size_px: int
    steps: int  # 0: none are needed, or it was not made
    seconds: float
    told_apart: float | None = None  # image AUROC of damaged and whole, as they are and changed
    found: tuple[int, int] | None = None  # damages above the threshold
    changed_alarms: tuple[int, int] | None = None  # good images above it once harmlessly changed
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """How a detector came to be, and what to expect of it."""

    method: str
    size_px: int = 0  # 0: the only one that was tried
    num_photos: int
    num_held_out: int  # that the threshold comes from
    false_alarm_rate: float  # that was asked for
    tried: list[Tried]
    found: dict[str, tuple[int, int]]  # damages of each kind that the detector finds
    changed_alarms: tuple[int, int]
    why: str
    # the scores that these counts come from, for another threshold; none in older detectors
    good: list[float] = field(default_factory=list)  # held out
    damaged: dict[str, list[float]] = field(default_factory=dict)
    changed: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class DetectorNote:
    """What stands in :data:`NOTE`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    format_version: Literal[1]
    variant: str
    profile: Profile
    threshold: Annotated[float, above(0)]
    how: str
    scale: Annotated[Scale, RISING] = (0.0, 1.0)  # what detectors had that were saved without
    weights: str | None = None  # their digest, where it was noted
    made_with: str | None = None  # the digest of what threshold and scale hold for, likewise
    fitted: Fitted | None = None
    bits: Literal[8, 10, 12, 14, 16] = 16
    darkest: Annotated[int, within(0, 65535)] | None = None
    contrast: Annotated[float, within(0, 255)] | None = None
    shapes: Annotated[Scale, SHAPES] | None = None


@dataclass(frozen=True)
class Detector:
    """A model, the settings it was trained with, and the score from which on a part is refused."""

    model: nn.Module
    method: str  # its id
    profile: Profile
    threshold: float
    how: str  # how the threshold was chosen, in words
    scale: Scale
    compute: Compute
    fitted: Fitted | None = None  # None: made by hand
    bits: int = 16  # of the photographs where they have more than 8: see data.images.num_bits
    darkest: int | None = None  # of these: the highest value of the darkest; see photos.least_peak
    contrast: float | None = None  # of these, the usual one: see data.blank
    shapes: tuple[float, float] | None = None  # of these, the least and largest width : height

    def look_at(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Anomaly maps and image scores: ``(M, 3, S, S)`` uint8 gives ``(M, S, S)``, ``(M,)``.

        *Raises* :class:`PoutaError` for others, such as floats, or images of another size S.
        """
        side = self.profile.size_px
        if images.dtype != np.uint8 or images.shape != (len(images) or 1, 3, side, side):
            wanted = f"images (M, 3, {side}, {side}) uint8, RGB, of one or more"
            found = f"{images.shape} {images.dtype}"
            todo = "read them with pouta_lib.detector.read_photos, which resizes them"
            raise problem(wanted, found, "look_at", todo)
        return detect(self.model, images, self.profile, self.compute, self.method)

    def save(self, folder: str | Path, *, replace: bool = False) -> Path:
        """:func:`save_detector`."""
        return save_detector(self, folder, replace=replace)

    def check(self, where: object) -> None:
        """*Raises* :class:`PoutaError` for a detector that would pass everything as good.

        That is: a threshold that no score can exceed, weights that are not finite, do not go
        together or turn scores upside down, or maps of two test pictures, gray and noise, that are
        not finite, or the same for both.
        """
        todo = "fit it again; with a lower lr or precision=fp32 where its weights are not finite"
        highest = highest_score(self.method)
        if not 0 < self.threshold < highest:
            wanted = f"a threshold above 0 and below {highest}"
            again = "correct it, or fit it again from photographs of different parts"
            raise problem(wanted, str(self.threshold), where, again)
        for name, tensor in self.model.state_dict().items():
            if not tensor.numel() or not tensor.isfinite().all():
                raise problem("finite weights", f"none, or others, in {name}", where, todo)
        if isinstance(self.model, Pair) and not (self.model.units > 0).all():
            found = str(self.model.units.tolist())
            raise problem("units above 0 for what is added", found, where, AGAIN)
        size = self.profile.size_px
        noise = np.random.default_rng(0).integers(0, 256, (3, size, size), np.uint8)
        try:
            with within_memory(self.profile):
                maps, scores = self.look_at(np.stack([np.full_like(noise, 128), noise]))
        except (IndexError, RuntimeError) as error:  # torch's, for shapes that do not go together
            found = f"shapes that do not ({in_a_line(error)})"
            raise problem("weights that go together", found, where, AGAIN) from error
        if not (np.isfinite(maps).all() and np.isfinite(scores).all()):
            raise problem("finite scores", "others", where, todo)
        if np.allclose(maps[0], maps[1], rtol=1e-5, atol=0):
            found = f"about {maps.mean():.4g}, for gray as for noise"
            raise problem("a detector that tells pictures apart", found, where, todo)
        if math.isinf(highest) and self.threshold > BEYOND * float(scores.max()):
            wanted = f"a threshold that scores exceed, such as {scores.max():.3g} of noise"
            raise problem(wanted, f"{self.threshold:.3g}", where, "correct it, or fit it again")


def highest_score(method: str) -> float:
    """Which score no image exceeds: 1 of a probability, infinity of a distance."""
    return 1.0 if find_method(method).bounded else math.inf


def choose_threshold(good_scores: np.ndarray, false_alarm_rate: float) -> float:
    """The score above which at most a share of good parts should lie.

    The k-th smallest of n held-out scores with ``k = ceil((n + 1) (1 - rate))``: a new good part,
    drawn like them, lies above it with a probability of at most `false_alarm_rate`. Where n is
    too small for the rate, there is no such score, and the highest one is taken; the rate that it
    stands for is then ``1 / (n + 1)``.

    *Shape*: good_scores ``(n,)``: of good images that were **not** trained on.
    *Raises* :class:`PoutaError` for no scores and for a rate outside (0, 1).
    *Source*: split conformal prediction (Vovk et al. 2005); our choice, since the paper names no
    threshold.
    """
    scores = np.sort(np.asarray(good_scores, float))
    if not len(scores) or not 0 < false_alarm_rate < 1:
        wanted = "held-out good scores and a rate between 0 and 1"
        found = f"{len(scores)} scores, rate {false_alarm_rate}"
        raise problem(wanted, found, "the threshold", "hold out good images; say 0.05 for 5 %")
    return float(scores[false_alarm_rank(len(scores), false_alarm_rate) - 1])


def false_alarm_rank(count: int, false_alarm_rate: float) -> int:
    """Which of `count` rising good scores is the threshold, from 1."""
    return min(math.ceil((count + 1) * (1 - false_alarm_rate)), count)


def choose_scale(good_maps: np.ndarray, method: str) -> Scale:
    """Between which values of its map a detector's overlays go from nothing to the brightest.

    A probability has its own scale, 0 to 1. A distance has none; its scale begins at the mean of
    the good images' maps and ends twice as far from there as their highest value: what is half as
    bright as can be is as far from the memory as the strangest good spot.

    *Shape*: good_maps ``(n, H, W)``: of the images that the threshold was chosen from.
    *Source*: our choice.
    """
    return scale_between(float(good_maps.mean()), float(good_maps.max()), method)


def scale_between(middle: float, highest: float, method: str) -> Scale:
    """:func:`choose_scale` where only the mean and the highest value of the maps are known."""
    if find_method(method).bounded:
        return 0.0, 1.0
    return middle, middle + 2 * max(highest - middle, 1e-6)


def save_detector(detector: Detector, folder: str | Path, *, replace: bool = False) -> Path:
    """Writes ``model.safetensors`` and ``detector.json``, whole or not at all; the folder.

    An earlier detector makes way only with `replace`, and nothing else ever does.

    *Raises* :class:`PoutaError` for a folder that holds something, and for a blind detector (see
    :meth:`Detector.check`).
    """
    folder = replaceable(folder, KIND, replace=replace)
    detector.check(folder)
    made_of = {
        "variant": detector.method,
        "profile": detector.profile.to_dict(),
        "bits": detector.bits,
    }
    note = made_of | {
        "format_version": FORMAT_VERSION,
        "made_with": _made_with(made_of),
        "threshold": float(detector.threshold),
        "how": detector.how,
        "darkest": detector.darkest,
        "contrast": detector.contrast,
        "shapes": detector.shapes,
        "scale": [float(bound) for bound in detector.scale],
        "weights": weights_digest(detector.model.state_dict()),
        "fitted": None if detector.fitted is None else asdict(detector.fitted),
    }
    with own_files(folder, KIND, NOTE) as temporary:
        save_weights(detector.model, temporary)
        write_json(temporary / NOTE, note)
    return folder


def load_detector(folder: str | Path) -> Detector:
    """The detector that :func:`save_detector` wrote.

    *Raises* :class:`PoutaError` for a folder that is none, for settings or weights that are not
    those that were saved, and for a blind detector (see :meth:`Detector.check`).
    """
    folder = Path(folder).expanduser()
    path = folder / NOTE
    todo = "name the folder that `pouta fit` or notebook 20 saved"
    written = read_json(path, "a saved detector", todo, AGAIN)
    note = checked(DetectorNote, with_todays_profile(written), path, AGAIN)
    if note.made_with not in (None, _made_with(written)):
        wanted = "the method, profile and bits that it was made with, by their digest"
        raise problem(wanted, "others", path, AGAIN)
    profile = note.profile
    model = build_for_weights(note.variant, profile)
    load_weights(model, folder, note.weights, AGAIN)
    compute = compute_of(note.variant, profile)
    detector = Detector(
        model=model.to(compute.device),
        method=note.variant,
        profile=profile,
        threshold=note.threshold,
        how=note.how,
        scale=note.scale,
        compute=compute,
        fitted=note.fitted,
        bits=note.bits,
        darkest=note.darkest,
        contrast=note.contrast,
        shapes=note.shapes,
    )
    detector.check(folder)
    return detector


def _made_with(note: dict[str, Any]) -> str:
    """The SHA-256 of what a detector's scores depend on beside its weights."""
    made = [note.get(name) for name in ("variant", "profile", "bits")]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()

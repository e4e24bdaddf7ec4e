"""A trained detector as a folder that can be carried away, and what it says of other images."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from PIL import Image
from torch import nn

from pouta_lib.data.images import SUFFIXES, decode, image_files, resize_image, to_rgb
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.paths import atomic_path
from pouta_lib.ground.profiles import Profile, todays_profile
from pouta_lib.ground.validation import STRICT, checked
from pouta_lib.method.device import Compute, compute_of
from pouta_lib.method.models import build_model
from pouta_lib.method.weights import load_weights, save_weights
from pouta_lib.score.evaluation import detect

FORMAT_VERSION = 1
OVERLAY_SHARE = 0.6  # of the map's colour where it is brightest
Scale = tuple[float, float]  # the map's values that are shown as nothing, and as the brightest


@dataclass(frozen=True, kw_only=True)
class DetectorNote:
    """What stands in ``detector.json``."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    format_version: Literal[1]
    variant: str
    profile: Profile
    threshold: float
    how: str
    scale: Scale = (0.0, 1.0)  # what detectors had that were saved without


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

    def look_at(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Anomaly maps and image scores: ``(M, 3, S, S)`` uint8 gives ``(M, S, S)``, ``(M,)``."""
        return detect(self.model, images, self.profile, self.compute, self.method)


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
    rank = math.ceil((len(scores) + 1) * (1 - false_alarm_rate))
    return float(scores[min(rank, len(scores)) - 1])


def choose_scale(good_maps: np.ndarray, method: str) -> Scale:
    """Between which values of its map a detector's overlays go from nothing to the brightest.

    A probability has its own scale, 0 to 1. A distance has none; its scale begins at the mean of
    the good images' maps and ends twice as far from there as their highest value: what is half as
    bright as can be is as far from the memory as the strangest good spot.

    *Shape*: good_maps ``(n, H, W)``: of the images that the threshold was chosen from.
    *Source*: our choice.
    """
    if find_method(method).bounded:
        return 0.0, 1.0
    middle, highest = float(good_maps.mean()), float(good_maps.max())
    return middle, middle + 2 * max(highest - middle, 1e-6)


def save_detector(
    folder: str | Path,
    model: nn.Module,
    method: str,
    profile: Profile,
    threshold: float,
    how: str,
    scale: Scale,
) -> Path:
    """Writes ``model.safetensors`` and ``detector.json``, whole or not at all; the folder."""
    folder = Path(folder)
    note = {
        "format_version": FORMAT_VERSION,
        "variant": method,
        "profile": profile.to_dict(),
        "threshold": float(threshold),
        "how": how,
        "scale": [float(bound) for bound in scale],
    }
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        save_weights(model, temporary)
        text = json.dumps(note, indent=1, allow_nan=False) + "\n"
        (temporary / "detector.json").write_text(text, encoding="utf-8")
    return folder


def load_detector(folder: str | Path) -> Detector:
    """The detector that :func:`save_detector` wrote.

    *Raises* :class:`PoutaError` for a folder that is none, and for weights that do not fit.
    """
    path = Path(folder) / "detector.json"
    todo = "name the folder that notebook 20 saved"
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise problem("a saved detector", f"none ({error.strerror})", path, todo) from error
    except ValueError as error:
        raise problem("a saved detector", f"an unreadable file ({error})", path, todo) from error
    if isinstance(note, dict) and isinstance(note.get("profile"), dict):
        note |= {"profile": todays_profile(note["profile"])}
    note = checked(DetectorNote, note, path, "save it again with notebook 20")
    profile = note.profile
    model = build_model(note.variant, profile)
    try:
        load_weights(model, folder)
    except RuntimeError as error:
        found = str(error).splitlines()[0]
        raise problem("weights that fit the settings", found, folder, todo) from error
    compute = compute_of(note.variant, profile)
    model = model.to(compute.device)
    return Detector(model, note.variant, profile, note.threshold, note.how, note.scale, compute)


def read_photos(
    folder: str | Path, size_px: int
) -> tuple[list[Path], np.ndarray, list[PoutaError]]:
    """The image files of a folder, decoded and resized, and what could not be read.

    *Shape*: ``(N, 3, size_px, size_px)`` uint8, in the order of the returned files.
    *Raises* :class:`PoutaError` for a folder that is not there or has no image file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise problem("a folder of images", "no such folder", folder, "check the path")
    files, images, unreadable = [], [], []
    for path in image_files(folder):
        try:
            images.append(resize_image(to_rgb(decode(path.read_bytes(), path), path), size_px))
            files.append(path)
        except PoutaError as error:
            unreadable.append(error)
    if not files and not unreadable:
        wanted = f"image files ({', '.join(SUFFIXES)})"
        raise problem(wanted, "none", folder, "put images directly into this folder")
    shape = (0, 3, size_px, size_px)
    return files, np.stack(images) if images else np.empty(shape, np.uint8), unreadable


def overlay(
    photo: Image.Image,
    anomaly_map: np.ndarray,
    scale: Scale = (0.0, 1.0),
    *,
    linear: bool = False,
) -> Image.Image:
    """The map over the photograph, at the photograph's size: brighter colour, more suspicious.

    *Shape*: anomaly_map ``(H, W)``, from nothing to the brightest between the bounds of `scale`.
    Brightness goes with the cube root, as in the study's figures; `linear` is for what is no
    probability.
    """
    import matplotlib

    from pouta_lib.report.plots import MAP_COLOURS, MAP_GAMMA

    large = Image.fromarray(np.asarray(anomaly_map, np.float32)).resize(photo.size)
    low, high = scale
    strength = np.clip((np.asarray(large) - low) / (high - low), 0, 1)
    strength = strength if linear else strength**MAP_GAMMA
    colour = 255 * matplotlib.colormaps[MAP_COLOURS](strength)[..., :3]
    share = OVERLAY_SHARE * strength[..., None]
    return Image.fromarray((np.asarray(photo) * (1 - share) + colour * share).astype(np.uint8))


def predict_folder(
    detector: Detector, images: str | Path, output: str | Path
) -> tuple[pd.DataFrame, list[PoutaError]]:
    """Scores every image of a folder: ``scores.csv`` and an overlay of each image in `output`.

    `output` is written whole or not at all, and replaced when it holds an earlier answer. Images
    that cannot be read are left out and returned as errors.

    *Raises* :class:`PoutaError` where nothing can be read, and for an `output` that holds other
    things.
    """
    output = Path(output)
    if output.exists() and not (output / "scores.csv").is_file():
        found = "other files" if output.is_dir() else "a file"
        raise problem("a new folder, or an earlier answer", found, output, "name another folder")
    files, pictures, unreadable = read_photos(images, detector.profile.size_px)
    if not files:
        raise unreadable[0]
    maps, scores = detector.look_at(pictures)
    linear = not find_method(detector.method).bounded
    table = pd.DataFrame({"file": [path.name for path in files], "score": scores})
    table["threshold"] = detector.threshold
    table["verdict"] = np.where(scores > detector.threshold, "defective", "good")
    with atomic_path(output) as temporary:
        temporary.mkdir(parents=True)
        for path, found in zip(files, maps, strict=True):
            photo = to_rgb(decode(path.read_bytes(), path), path)
            shown = overlay(photo, found, detector.scale, linear=linear)
            shown.save(temporary / f"{path.name}.png")
        table.to_csv(temporary / "scores.csv", index=False, lineterminator="\n")
    return table, unreadable

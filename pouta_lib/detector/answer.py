"""What a detector says of a folder of images: scores, verdicts, and maps over the photographs."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pouta_lib.data.files import SUFFIXES, image_files
from pouta_lib.data.images import decode, resize_image, to_rgb
from pouta_lib.detector.saved import Detector, Scale
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.outputs import own_files, refuse_overlap, replaceable

OVERLAY_SHARE = 0.6  # of the map's colour where it is brightest
SCORES = "scores.csv"
KIND = "answer"  # in the folder's manifest


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

    `output` is written whole or not at all. Of what lies there only an earlier answer makes way,
    as it was written. Images that cannot be read are left out and returned as errors.

    *Raises* :class:`PoutaError` where nothing can be read, for an `output` that holds other
    things, is or lies in the folder of images, or holds it.
    """
    images, output = Path(images).expanduser(), Path(output).expanduser()
    refuse_overlap(output, {"the images": images})
    replaceable(output, KIND)
    files, pictures, unreadable = read_photos(images, detector.profile.size_px)
    if not files:
        raise unreadable[0]
    names = [f"{path.name}.png" for path in files]
    replaceable(output, KIND, [SCORES, *names])
    maps, scores = detector.look_at(pictures)
    linear = not find_method(detector.method).bounded
    # as floats of the threshold's kind, so that what is compared is what is written
    table = pd.DataFrame({"file": [path.name for path in files], "score": scores.astype(float)})
    table["threshold"] = detector.threshold
    table["verdict"] = np.where(table["score"] > detector.threshold, "defective", "good")
    with own_files(output, KIND, SCORES) as temporary:
        for path, name, found in zip(files, names, maps, strict=True):
            photo = to_rgb(decode(path.read_bytes(), path), path)
            overlay(photo, found, detector.scale, linear=linear).save(temporary / name)
        table.to_csv(temporary / SCORES, index=False, lineterminator="\n")
    return table, unreadable

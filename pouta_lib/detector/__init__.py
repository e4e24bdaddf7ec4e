"""From photographs to a detector that can be carried away, and to what it says of others."""

from pouta_lib.detector.answer import overlay, predict_folder, read_photos
from pouta_lib.detector.saved import (
    Detector,
    choose_scale,
    choose_threshold,
    load_detector,
    save_detector,
)

__all__ = [
    "Detector",
    "choose_scale",
    "choose_threshold",
    "load_detector",
    "overlay",
    "predict_folder",
    "read_photos",
    "save_detector",
]

"""From photographs to a detector that can be carried away, and to what it says of others.

How one is made, :mod:`pouta_lib.detector.fitting`, is imported where it is asked for: a detector at
work needs neither the judge nor the training.
"""

from pouta_lib.detector.answer import overlay, predict_folder
from pouta_lib.detector.photos import read_photos
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

"""The one in-memory form of every dataset, and the listing that each reader makes of its files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pouta_lib.data.files import PassedOver

GOOD = "good"


@dataclass(frozen=True)
class Item:
    """One image file, with what its dataset says of it."""

    image: Path
    defect: str = GOOD
    mask: Path | None = None


@dataclass(frozen=True)
class Listing:
    """The files of one category: good training images, and test images of both kinds."""

    train: list[Item]
    test: list[Item]
    mask_kind: str = "exact"  # "exact", "coarse" (shown, never scored) or "none"
    extra_files: list[Path] = field(default_factory=list)  # lists that were read as well
    num_left_out: int = 0  # defective images of the training split, never trained on
    passed_over: PassedOver = field(default_factory=PassedOver)
    notes: list[str] = field(default_factory=list)  # what was read otherwise than it is called


@dataclass(frozen=True)
class Category:
    """One category, decoded, resized and kept as uint8.

    *Source*: our choice: decoded once, so that training needs no loader processes, works alike on
    Windows, and a GPU never waits.
    """

    dataset: str
    name: str
    kind: str  # "texture", "object" or "unknown"
    train: np.ndarray  # (N, 3, H, W) uint8, RGB, good images only
    test: np.ndarray  # (M, 3, H, W) uint8
    masks: np.ndarray | None  # (M, H, W) bool; nowhere True for a good image
    mask_kind: str  # "exact", "coarse" (shown, never scored) or "none"
    labels: np.ndarray  # (M,) bool, True: defective
    defects: list[str]  # (M) "good" or the defect's name
    train_paths: list[str]  # relative to the dataset's folder
    test_paths: list[str]
    manifest_hash: str  # SHA-256 over the names and contents of the files, and the size
    bits: int = 16  # of images of more than 8: see images.num_bits

"""What a training tells of itself: its losses, and what a record keeps of them."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # a record's form is known without torch
    from torch import Tensor

LOSSES = ("total", "reconstruction", "anomaly", "mss")
HISTORY = ("step", *LOSSES)
POINTS = 200


def summarise(losses: "Tensor", points: int = POINTS) -> dict[str, list[float]]:
    """The losses averaged over at most `points` equal stretches, each named by its last step.

    *Shape*: ``(steps, 4)``.
    """
    import torch

    stretches = torch.tensor_split(losses, min(points, len(losses)))
    ends = np.cumsum([len(part) for part in stretches]).tolist()
    means = torch.stack([part.mean(dim=0) for part in stretches]).T.tolist()
    return {"step": ends} | dict(zip(LOSSES, means, strict=True))

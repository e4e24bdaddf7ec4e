"""Seamless cloning: I_aug's gradients inside M, joined to I_ori without an edge (D43).

*Source*: Perez et al., "Poisson Image Editing", SIGGRAPH 2003.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.sparse.csgraph import laplacian
from scipy.sparse.linalg import splu
from torch import Tensor


def clone_seamlessly(sigma_px: float, original: Tensor, augmented: Tensor, mask: Tensor) -> Tensor:
    """I_ori outside M; inside I_aug and a membrane, which takes up the difference at M's rim.

    The membrane is the harmonic function that equals ``I_ori - I_aug`` around M. Nothing bounds
    it where M reaches the image's border. The rim has no width: `sigma_px` is left unused.

    *Shape*: ``(B, C, S, S)`` twice and ``(B, S, S)`` give ``(B, C, S, S)`` in [0, 1]; where M is
    the whole image, I_aug.
    """
    differences = (original - augmented).detach().cpu().double().flatten(2).numpy()  # (B, C, S*S)
    regions = (mask > 0.5).cpu().flatten(1).numpy()
    membranes = np.zeros_like(differences)
    grid = _grid_laplacian(mask.shape[-1])
    for membrane, difference, inside in zip(membranes, differences, regions, strict=True):
        if inside.any() and not inside.all():
            rows = grid[inside]
            pull = -rows[:, ~inside] @ difference[:, ~inside].T
            solver = splu(rows[:, inside].tocsc(), permc_spec="MMD_AT_PLUS_A")
            membrane[:, inside] = solver.solve(pull).T
    found = torch.from_numpy(membranes).to(original).view_as(original)
    return torch.where(mask.unsqueeze(1) > 0.5, augmented + found, original).clamp(0, 1)


@lru_cache(maxsize=2)
def _grid_laplacian(size: int) -> Any:  # a sparse matrix; scipy has no types
    """Of each pixel the number of its neighbours, and -1 for each of them."""
    from sklearn.feature_extraction.image import grid_to_graph

    return laplacian(grid_to_graph(size, size, dtype=np.float64)).tocsr()

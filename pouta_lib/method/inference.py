"""A function of batches of images, over any number of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pouta_lib.method.device import Compute, keep_freed_memory


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within the block the model is in eval mode; then every part is in the mode that it had."""
    trained = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in trained:
            part.training = True


@torch.inference_mode()
def in_batches(
    function: Callable[[Tensor], tuple[Tensor, ...]],
    images: np.ndarray,
    compute: Compute,
    batch_size: int = 16,
) -> list[np.ndarray]:
    """What `function` gives for all images, each of its results put together again.

    *Shape*: images ``(M, 3, H, W)`` uint8; the function is handed ``(B, 3, H, W)`` in [0, 1] and
    gives tensors ``(B, ...)``, which come back as ``(M, ...)``: float32, or the whole numbers that
    they are.
    """
    keep_freed_memory()
    gathered: list[np.ndarray] = []
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size]))
        batch = batch.to(compute.device).float() / 255
        with compute.autocast():
            results = function(batch.contiguous(memory_format=torch.channels_last))
        found = [(r.float() if r.is_floating_point() else r).cpu().numpy() for r in results]
        gathered = gathered or [np.empty((len(images), *f.shape[1:]), f.dtype) for f in found]
        for whole, part in zip(gathered, found, strict=True):
            whole[start : start + batch_size] = part
    return gathered

"""Anomaly maps, image scores and metrics of a trained model on a category's test images."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pouta_lib.data import Category
from pouta_lib.ground.errors import problem
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.device import Compute
from pouta_lib.method.models.patchcore import PatchCore
from pouta_lib.score.metrics import image_metrics, pixel_metrics

PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro")


@dataclass(frozen=True)
class Evaluation:
    """What one model says of one test set."""

    maps: np.ndarray  # (M, H, W) float32: M_p of each test image
    scores: np.ndarray  # (M,) float32: the image scores S
    reconstructions: np.ndarray | None  # (M, 3, H, W) uint8: I_r, for figures; PatchCore has none
    metrics: dict[str, float | None]  # fractions in [0, 1]; None where there is no exact mask
    seconds: float


def image_scores(maps: np.ndarray | Tensor, window_px: int) -> np.ndarray:
    """The maximum of each map after mean pooling: S.

    *Shape*: ``(M, H, W) -> (M,)``; window_px odd. The border is padded with zeros.
    *Source*: paper, III-B, last paragraph; the padding is DRAEM's (D14).
    """
    maps = torch.as_tensor(maps).unsqueeze(1)
    pooled = F.avg_pool2d(maps, window_px, stride=1, padding=window_px // 2)
    return pooled.amax(dim=(1, 2, 3)).numpy()


def predict(
    model: nn.Module, images: np.ndarray, compute: Compute, batch_size: int = 16
) -> np.ndarray:
    """The anomaly maps of `images`, by the inference path alone.

    *Shape*: ``(M, 3, H, W)`` uint8 gives ``(M, H, W)`` float32.
    """
    return _apply(lambda x: (model(x),), images, compute, batch_size)[0]


def reconstruct(
    model: nn.Module, images: np.ndarray, compute: Compute, batch_size: int = 16
) -> np.ndarray:
    """The reconstructed images I_r: ``(M, 3, H, W)`` uint8 to ``(M, 3, H, W)`` uint8."""
    repairs = model.get_submodule("reconstructive")
    rebuilt = _apply(lambda x: (repairs(x)["I_r"],), images, compute, batch_size)[0]
    return (rebuilt.clip(0, 1) * 255).round().astype(np.uint8)


@torch.inference_mode()
def _apply(
    function: Callable[[Tensor], tuple[Tensor, ...]],
    images: np.ndarray,
    compute: Compute,
    batch_size: int = 16,
) -> list[np.ndarray]:
    parts = []
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size]))
        batch = batch.to(compute.device).float() / 255
        with compute.autocast():
            results = function(batch.contiguous(memory_format=torch.channels_last))
        parts.append([result.float().cpu() for result in results])
    return [torch.cat(column).numpy() for column in zip(*parts, strict=True)]


def score_test(
    model: nn.Module, category: Category, profile: Profile, compute: Compute
) -> tuple[np.ndarray, np.ndarray, dict[str, float | None]]:
    """Maps, image scores and all metrics of `model` on the test images of `category`.

    *Raises* :class:`PoutaError` for a category without test images.
    Pixels are pooled over the category (D19). Coarse masks (DAGM) are shown, never scored.
    """
    if not len(category.test):
        todo = "add a folder test with good and defective images"
        raise problem("test images to score", "none", f"{category.dataset}/{category.name}", todo)
    model.eval()
    if isinstance(model, PatchCore):
        maps, scores = _apply(model.map_and_score, category.test, compute)
    else:
        maps = predict(model, category.test, compute)
        scores = image_scores(maps, profile.score_window_px)
    metrics: dict[str, float | None] = image_metrics(category.labels, scores)
    if category.masks is not None and category.mask_kind == "exact":
        metrics |= pixel_metrics(category.masks, maps)
    else:
        metrics |= dict.fromkeys(PIXEL_METRICS)
    return maps, scores, metrics


def evaluate(
    model: nn.Module, category: Category, profile: Profile, compute: Compute
) -> Evaluation:
    """What :func:`score_test` finds, and the rebuilt test images."""
    started = time.perf_counter()
    maps, scores, metrics = score_test(model, category, profile, compute)
    repairs = not isinstance(model, PatchCore)
    reconstructions = reconstruct(model, category.test, compute) if repairs else None
    seconds = time.perf_counter() - started
    return Evaluation(maps, scores, reconstructions, metrics, seconds)

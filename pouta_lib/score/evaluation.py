"""Anomaly maps, image scores and metrics of a trained model on a category's test images."""

import time
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from pouta_lib.data import Category
from pouta_lib.data.together import SUFFIX
from pouta_lib.ground.errors import problem
from pouta_lib.ground.methods import find_method, resolve
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.device import Compute
from pouta_lib.method.inference import evaluating, in_batches
from pouta_lib.score.metrics import image_metrics, pixel_metrics

PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro")


@dataclass(frozen=True)
class Evaluation:
    """What one model says of one test set."""

    maps: np.ndarray  # (M, H, W) float32: the anomaly map of each test image
    scores: np.ndarray  # (M,) float32: the image scores S
    reconstructions: np.ndarray | None  # (M, 3, H, W) uint8: I_r, where the method has one
    metrics: dict[str, float | None]  # fractions in [0, 1]; None where there is no exact mask
    by_category: dict[str, dict[str, float | None]] | None  # of several taken together (D46)
    seconds: float


def image_scores(maps: np.ndarray | Tensor, window_px: int) -> np.ndarray:
    """The maximum of each map after mean pooling: S.

    *Shape*: ``(M, H, W) -> (M,)``; window_px odd. The border is padded with zeros.
    *Source*: paper, III-B, last paragraph; the padding is DRAEM's (D14).
    """
    maps = np.asarray(maps)
    height, width = maps.shape[1:]
    border = window_px // 2
    row = width + 2 * border
    # one row of zeros more than the windows need: sums across may run past the end of the last row
    padded = np.zeros((height + 2 * border + 1, row), np.result_type(maps, np.float32))
    highest = np.empty(len(maps), padded.dtype)
    for k, one in enumerate(maps):
        padded[border : border + height, border : border + width] = one
        columns = _running_sums(padded.ravel(), window_px, row)
        windows = _running_sums(columns, window_px, 1)[: height * row]
        highest[k] = windows.reshape(height, row)[:, :width].max()
    return highest / window_px**2


def _running_sums(values: np.ndarray, count: int, step: int) -> np.ndarray:
    """The sum of `count` values, `step` apart, from each on: of twice as many from sums of half.

    *Shape*: ``(N,)`` gives ``(N - (count - 1) step,)``.
    """
    last = len(values) - (count - 1) * step
    power, taken = 1, 0  # `values` holds sums of `power` values; `taken` are in the total
    total = np.zeros(last, values.dtype)
    while True:
        if count & power:
            total += values[taken * step : taken * step + last]
            taken += power
        if taken == count:
            return total
        values = values[: -power * step] + values[power * step :]
        power *= 2


def predict(
    model: nn.Module, images: np.ndarray, compute: Compute, batch_size: int = 16
) -> np.ndarray:
    """The anomaly maps of `images`, by the inference path alone.

    *Shape*: ``(M, 3, H, W)`` uint8 gives ``(M, H, W)`` float32.
    """
    with evaluating(model):
        return in_batches(lambda x: (model(x),), images, compute, batch_size)[0]


def reconstruct(model: nn.Module, images: np.ndarray, compute: Compute) -> np.ndarray:
    """The reconstructed images I_r, clipped to be shown (D17).

    *Shape*: ``(M, 3, H, W)`` uint8 to ``(M, 3, H, W)`` uint8.
    """
    repairs = model.get_submodule("reconstructive")

    def rebuilt(image: Tensor) -> tuple[Tensor]:
        return ((repairs(image)["I_r"].float().clamp(0, 1) * 255).round().byte(),)

    with evaluating(repairs):
        return in_batches(rebuilt, images, compute)[0]


def detect_by_map(
    model: nn.Module, images: np.ndarray, profile: Profile, compute: Compute
) -> tuple[np.ndarray, np.ndarray]:
    """Anomaly maps, and the image scores that they alone decide: :func:`image_scores`.

    *Shape*: as of :func:`detect`.
    """
    maps = predict(model, images, compute)
    return maps, image_scores(maps, profile.score_window_px)


class MapAndScore(nn.Module):
    """What :func:`detect_by_map` computes, as one network that can be written to a file.

    The square mean is taken by columns and then by rows, which is the same.

    *Shape*: ``(B, 3, H, W)`` in [0, 1] gives ``(B, H, W)`` and ``(B,)``.
    """

    def __init__(self, model: nn.Module, profile: Profile) -> None:
        super().__init__()
        self.model, self.window_px = model, profile.score_window_px

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(image)
        size, pad = self.window_px, self.window_px // 2
        columns = F.avg_pool2d(found.unsqueeze(1), (size, 1), stride=1, padding=(pad, 0))
        pooled = F.avg_pool2d(columns, (1, size), stride=1, padding=(0, pad))
        return found, pooled.amax(dim=(1, 2, 3))


def detect(
    model: nn.Module, images: np.ndarray, profile: Profile, compute: Compute, method: str
) -> tuple[np.ndarray, np.ndarray]:
    """Anomaly maps and image scores, as `method` gives them.

    *Shape*: images ``(M, 3, H, W)`` uint8 give ``(M, H, W)`` and ``(M,)`` float32.
    """
    with evaluating(model):
        return resolve(find_method(method).detect)(model, images, profile, compute)


def score_test(
    model: nn.Module, category: Category, profile: Profile, compute: Compute, method: str
) -> tuple[np.ndarray, np.ndarray, dict[str, float | None]]:
    """Maps, image scores and all metrics of `model` on the test images of `category`.

    *Raises* :class:`PoutaError` for a category without test images.
    Pixels are pooled over the category (D19). Coarse masks (DAGM) are shown, never scored.
    """
    if not len(category.test):
        todo = "add a folder test with good and defective images"
        raise problem("test images to score", "none", f"{category.dataset}/{category.name}", todo)
    maps, scores = detect(model, category.test, profile, compute, method)
    return maps, scores, all_metrics(category, maps, scores)


def all_metrics(
    category: Category, maps: np.ndarray, scores: np.ndarray
) -> dict[str, float | None]:
    """The metrics of a category's test images; those of pixels are None without exact masks.

    *Shape*: maps ``(M, H, W)``, scores ``(M,)``.
    """
    metrics: dict[str, float | None] = image_metrics(category.labels, scores)
    if category.masks is not None and category.mask_kind == "exact":
        return metrics | pixel_metrics(category.masks, maps)
    return metrics | dict.fromkeys(PIXEL_METRICS)


def metrics_by_category(
    category: Category, maps: np.ndarray, scores: np.ndarray
) -> dict[str, dict[str, float | None]] | None:
    """The metrics of each category among several that are taken together (D46), by its name.

    None for a category that is one.

    *Shape*: maps ``(M, H, W)``, scores ``(M,)``.
    """
    if not category.dataset.endswith(SUFFIX):
        return None
    names = np.array([path.partition("/")[0] for path in category.test_paths])
    found = {}
    for name in np.unique(names):
        of = names == name
        masks = None if category.masks is None else category.masks[of]
        own = replace(category, labels=category.labels[of], masks=masks)
        found[str(name)] = all_metrics(own, maps[of], scores[of])
    return found


def evaluate(
    model: nn.Module, category: Category, profile: Profile, compute: Compute, method: str
) -> Evaluation:
    """What :func:`score_test` finds, and the rebuilt test images where the method has them."""
    started = time.perf_counter()
    maps, scores, metrics = score_test(model, category, profile, compute, method)
    by_category = metrics_by_category(category, maps, scores)
    rebuilds = find_method(method).rebuilds
    reconstructions = reconstruct(model, category.test, compute) if rebuilds else None
    seconds = time.perf_counter() - started
    return Evaluation(maps, scores, reconstructions, metrics, by_category, seconds)

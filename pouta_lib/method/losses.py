"""The losses of equations 1 and 5 to 8."""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

MSS_WEIGHTS = {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1}  # lambda_i; the paper's text is garbled here (D02)
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
FOCAL_GAMMA = 2.0


@functools.lru_cache(maxsize=8)
def _window_matrix(size: int, device: torch.device) -> Tensor:
    """The Gaussian window at each valid position along one axis: ``(size - 10, size)``."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    rows = size - SSIM_WINDOW + 1
    matrix = torch.zeros(rows, size, dtype=torch.float64)
    for k, weight in enumerate(weights / weights.sum()):
        matrix[torch.arange(rows), torch.arange(rows) + k] = weight
    return matrix.float().to(device)


def _blur(x: Tensor) -> Tensor:
    """The window over the valid region: ``(N, H, W) -> (N, H-10, W-10)``.

    Two products with band matrices: on a CPU ten times faster than a one-channel convolution.
    """
    down = _window_matrix(x.shape[-2], x.device)
    across = _window_matrix(x.shape[-1], x.device)
    return down @ x @ across.T


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """The mean structural similarity of two batches with values in [0, 1]; 1 when equal.

    *Shape*: two ``(B, C, H, W) -> ()``; H and W at least 11.
    *Source*: Wang et al. 2004 (paper's [28]); Gaussian window 11, sigma 1.5, K1 0.01, K2 0.03,
    channels alike, as scikit-image with ``gaussian_weights=True`` (D08).
    """
    a, b = (x.float().flatten(0, 1) for x in (a, b))  # (B C, H, W)
    mean_a, squares, products = _blur(torch.cat([a, a * a + b * b, a * b])).chunk(3)
    mean_b = _blur(b)  # by itself: it needs no gradient
    product, square = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance, variances = products - product, squares - square  # of both, added
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * product + c1) * (2 * covariance + c2) / ((square + c1) * (variances + c2))).mean()


def reconstruction_loss(reconstruction: Tensor, original: Tensor) -> Tensor:
    """``L_rec = MSE(I_r, I_ori) + (1 - SSIM(I_r, I_ori))``.

    SSIM sees I_r clamped to [0, 1]: both of its factors change sign with I_r, so that -I_ori
    scores nearly 1 as well, and a linear output that starts below zero would be trapped (D32).

    *Shape*: two ``(B, 3, H, W) -> ()``.
    *Source*: equation 1.
    """
    reconstruction = reconstruction.float()
    similarity = ssim(reconstruction.clamp(0, 1), original)
    return F.mse_loss(reconstruction, original) + 1 - similarity


def focal_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """``mean(-(1 - p_t)^gamma log p_t)`` of the softmax over two channels.

    *Shape*: logits ``(B, 2, H, W)``, mask ``(B, H, W)`` with 1 where anomalous; ``()``.
    DRAEM's loss (D39); POUTA's is the same, with L_1 in one: :func:`anomaly_loss`.

    *Source*: Lin et al. 2017 (paper's [7]); gamma 2 and no class weight are our reading (D06).
    """
    margin = (logits[:, 1] - logits[:, 0]).float()
    log_p = F.logsigmoid(torch.where(mask > 0.5, margin, -margin))
    return ((1 - log_p.exp()) ** FOCAL_GAMMA * -log_p).mean()


def anomaly_loss(logits: Tensor, mask: Tensor, alpha: float | None = None) -> Tensor:
    """``L_focal + L_1`` (D06, D07): equation 5 for one MSS head, equation 7 for the anomaly map.

    Both are made of what is missing to certainty: ``1 - p_t = sigmoid(lead)``, where the wrong
    channel's logit leads by so much, and ``-log p_t = softplus(lead)``. With ``alpha`` the focal
    loss is weighted by ``alpha`` where the mask is 1 and by ``1 - alpha`` elsewhere (D43).

    *Shape*: logits ``(..., B, 2, H, W)``, mask ``(B, H, W)``; ``(...)``, one for each head.
    """
    normal, anomalous = logits.unbind(-3)
    lead = (anomalous - normal).float() * (1 - 2 * mask)
    missing = lead.sigmoid()
    focal = missing**FOCAL_GAMMA * F.softplus(lead)
    if alpha is not None:
        focal = focal * torch.where(mask > 0.5, alpha, 1 - alpha)
    return (focal + missing).mean(dim=(-3, -2, -1))


def total_loss(
    named: dict[str, Tensor], original: Tensor, mask: Tensor, alpha: float | None = None
) -> dict[str, Tensor]:
    """``L_total`` and its terms, from a model's trace; ``alpha`` as in :func:`anomaly_loss`.

    *Shape*: original ``(B, 3, H, W)`` in [0, 1]; mask ``(B, H, W)`` with 0 and 1.
    *Source*: equations 6 and 8. Vanilla and POUTA without MSS have no ``logits1..4`` in their
    trace; their MSS term is zero.
    """
    reconstruction = reconstruction_loss(named["I_r"], original)
    anomaly = anomaly_loss(named["logits"], mask, alpha)
    mss = torch.zeros_like(anomaly)
    heads = {i: named[f"logits{i}"] for i in MSS_WEIGHTS if f"logits{i}" in named}
    if heads:
        losses = anomaly_loss(torch.stack(list(heads.values())), mask, alpha)
        for i, loss in zip(heads, losses, strict=True):
            mss = mss + MSS_WEIGHTS[i] * loss
    total = reconstruction + anomaly + mss
    return {"total": total, "reconstruction": reconstruction, "anomaly": anomaly, "mss": mss}

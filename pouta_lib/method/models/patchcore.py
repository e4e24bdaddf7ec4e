"""PatchCore: the embedding-based baseline. A memory of normal patches, and distances to it.

*Source*: Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022 (the
paper's [17]); the numbers of equations are theirs. Readings: D22.
"""

import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pouta_lib.ground.methods import Method, find_method
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.device import Compute, compute_of
from pouta_lib.method.history import HISTORY
from pouta_lib.method.inference import in_batches
from pouta_lib.method.models.backbones import build_backbone
from pouta_lib.method.training import Trained

CORESET_SHARE = 0.01
PROJECTED = 128  # dimensions in which the coreset is chosen
BLOCK = 256  # features that are compared together
NEIGHBOURS = 9  # b of equation 7
WORKING_PX = 224  # the backbones' own training size; smaller images are enlarged to it
MAP_SIGMA = 4 / 224  # of the map's Gaussian, as a share of the image's side


def patch_features(levels: list[Tensor]) -> Tensor:
    """Locally aware patch features: each level averaged over 3 x 3, then set side by side.

    The deeper level is up-sampled to the shallower one's resolution.

    *Shape*: ``[(B, C, h, w), (B, D, h/2, w/2)] -> (B, h, w, C + D)``.
    *Source*: equations 1 to 3; the plain mean of the neighbourhood is our choice (D22).
    """
    averaged = [F.avg_pool2d(level, 3, stride=1, padding=1) for level in levels]
    size = averaged[0].shape[-2:]
    same = [averaged[0]]
    same += [F.interpolate(a, size, mode="bilinear", align_corners=False) for a in averaged[1:]]
    return torch.cat(same, dim=1).permute(0, 2, 3, 1)


def nearest(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The squared distance of each point to the nearest of the others, and that one's index.

    By way of a matrix product, hence not exact near zero.

    *Shape*: ``(N, D)`` and ``(M, D)`` give two ``(N,)``.
    """
    squares = others.square().sum(dim=1)
    found = [torch.addmm(squares, p, others.T, alpha=-2).min(dim=1) for p in points.split(BLOCK)]
    distance = torch.cat([smallest for smallest, _ in found]) + points.square().sum(dim=1)
    return distance.clamp(min=0), torch.cat([index for _, index in found])


def greedy_coreset(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The indices of `count` features that cover the others: k-centre, greedily.

    Each new one is the feature farthest from all that were chosen before; the first is drawn.
    Distances are taken after a random projection to 128 dimensions. They only fall while more are
    chosen, so one that is out of date is a bound: a block of features is looked at again when its
    bound is the highest, with all that were chosen since in one matrix product.

    *Shape*: features ``(N, D)``; indices ``(count,)``.
    *Source*: algorithm 1 and equation 5; the projection keeps distances (Johnson-Lindenstrauss).
    """
    if features.shape[1] > PROJECTED:
        matrix = torch.randn(features.shape[1], PROJECTED, generator=generator)
        features = (features @ matrix.to(features.device)).div_(PROJECTED**0.5)
    blocks = features.split(BLOCK)
    distances = [torch.full_like(block[:, 0], torch.inf) for block in blocks]
    bounds = torch.full((len(blocks),), torch.inf, dtype=features.dtype)
    compared = [0] * len(blocks)  # with how many of the chosen ones each block was
    chosen = [int(torch.randint(len(features), (), generator=generator))]
    while len(chosen) < count:
        b = int(bounds.argmax())
        if compared[b] < len(chosen):
            since = features[chosen[compared[b] :]]
            distances[b] = torch.minimum(distances[b], nearest(blocks[b], since)[0])
            bounds[b], compared[b] = distances[b].max(), len(chosen)
        else:
            chosen.append(b * BLOCK + int(distances[b].argmax()))
    return torch.tensor(chosen)


class PatchCore(nn.Module):
    """Finds what is far from every remembered patch of the good training images.

    *Shape*: ``model(image)`` maps ``(B, 3, H, W)`` in [0, 1] to distances ``(B, H, W)``: zero or
    more, without an upper bound. ``model.map_and_score(image)`` gives image scores ``(B,)`` too.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.register_buffer("memory", torch.empty(0, 0))

    def fit(self, batches: Iterable[Tensor], num_images: int, seed: int) -> None:
        """Remembers a coreset of the patches of good images, batches ``(B, 3, H, W)``."""
        patches, filled = torch.empty(0), 0
        for batch in batches:
            found = self.embed(batch)  # (B, h, w, D)
            if not filled:
                patches = found.new_empty(num_images, *found.shape[1:])
            patches[filled : filled + len(found)] = found
            filled += len(found)
        patches = patches.flatten(0, 2)
        count = max(1, round(CORESET_SHARE * len(patches)))
        chosen = greedy_coreset(patches, count, torch.Generator().manual_seed(seed))
        self.memory = patches[chosen.to(patches.device)]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A memory of any size is taken over: how much is remembered is part of what was fitted."""
        found = state.get(f"{prefix}memory")
        if found is not None:
            self.memory = self.memory.new_empty(found.shape)
        super()._load_from_state_dict(state, prefix, *rest)

    @torch.no_grad()
    def embed(self, image: Tensor) -> Tensor:
        """Patch features ``(B, h, w, D)`` of images ``(B, 3, H, W)``."""
        side = max(WORKING_PX, image.shape[-1])
        if side != image.shape[-1]:
            image = F.interpolate(image, (side, side), mode="bilinear", align_corners=False)
        levels = self.backbone(image.contiguous(memory_format=torch.channels_last))
        return patch_features([level.float() for level in levels])

    def nearest(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Each patch's distance to its nearest memory, and that memory's index.

        *Shape*: ``(..., D)`` gives two ``(...)``. *Source*: equation 6.
        """
        distance, index = nearest(patches.flatten(0, -2), self.memory)
        return distance.sqrt().view(patches.shape[:-1]), index.view(patches.shape[:-1])

    def forward(self, image: Tensor) -> Tensor:
        """The anomaly map: patch distances, up-sampled and smoothed."""
        return self.map_and_score(image)[0]

    def map_and_score(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The anomaly map, and the image score from the same features.

        The score is the largest patch distance s*, weighted by how unusual its memory is:
        ``s = (1 - exp(s*) / sum_b exp(distance of the patch to m_b)) s*`` over the `NEIGHBOURS`
        memories m_b nearest to the patch's own memory, itself among them.

        *Shape*: ``(B, 3, H, W)`` gives ``(B, H, W)`` and ``(B,)``. *Source*: equation 7.
        """
        patches = self.embed(image)  # (B, h, w, D)
        distance, index = self.nearest(patches)
        maps = self._as_map(distance, image.shape[-1])
        patches, distance, index = (x.flatten(1, 2) for x in (patches, distance, index))
        worst = distance.argmax(dim=1)
        rows = torch.arange(image.shape[0], device=image.device)
        patch, star = patches[rows, worst], distance[rows, worst]
        memory = self.memory[index[rows, worst]]
        count = min(NEIGHBOURS, len(self.memory))
        around = torch.cdist(memory, self.memory).topk(count, largest=False).indices
        others = torch.cdist(patch.unsqueeze(1), self.memory[around]).squeeze(1)  # (B, count)
        # the softmax with s* as its reference, so that no exponential overflows
        weight = 1 - 1 / (others - star.unsqueeze(1)).exp().sum(dim=1)
        return maps, weight * star

    def _as_map(self, distance: Tensor, side: int) -> Tensor:
        from torchvision.transforms.v2.functional import gaussian_blur

        grown = F.interpolate(
            distance.unsqueeze(1), (side, side), mode="bilinear", align_corners=False
        )
        sigma = MAP_SIGMA * side
        kernel = 2 * round(4 * sigma) + 1
        return gaussian_blur(grown, [kernel, kernel], [sigma, sigma]).squeeze(1)


class ByProducts(PatchCore):
    """A fitted PatchCore in operations that other runtimes have: products of matrices.

    Distances come from ``|p|^2 + |m|^2 - 2 p m``. Enlarging and smoothing are linear, along rows as
    along columns: the map is ``A d A^T`` with one constant matrix A.

    *Shape*: ``(B, 3, S, S)`` in [0, 1] gives ``(B, S, S)`` and ``(B,)``, S the profile's.
    """

    grow: Tensor

    def __init__(self, model: PatchCore, profile: Profile) -> None:
        nn.Module.__init__(self)
        self.backbone, self.memory = model.backbone, model.memory
        side = profile.size_px
        rows = model.embed(self.memory.new_zeros(1, 3, side, side)).shape[1]
        steps = torch.eye(rows).unsqueeze(-1).expand(-1, -1, rows)  # one row is 1, of each map
        self.register_buffer("grow", model._as_map(steps, side)[:, :, 0].T.contiguous())

    def nearest(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        squares = patches.square().sum(-1, keepdim=True) + self.memory.square().sum(-1)
        return (squares - 2 * patches @ self.memory.T).clamp(min=0).sqrt().min(dim=-1)

    def _as_map(self, distance: Tensor, side: int) -> Tensor:
        return self.grow @ distance @ self.grow.T

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # both at once
        return self.map_and_score(image)


def build(method: Method, profile: Profile) -> PatchCore:
    """A PatchCore on the profile's backbone that remembers nothing yet."""
    return PatchCore(profile.backbone)


def fit(
    images: np.ndarray,
    textures: np.ndarray,
    profile: Profile,
    method: str,
    seed: int,
    *,
    device: str = "auto",
    **_: Any,
) -> Trained:
    """A PatchCore whose memory holds a coreset of the good images' patches; nothing is trained.

    So there is no checkpoint, no progress and nothing to watch, and the textures go unused.

    *Shape*: images ``(N, 3, S, S)`` uint8. Float32 throughout.
    *Raises* :class:`PoutaError` where the backbone's pretrained weights cannot be had.
    """
    compute = compute_of(method, profile, device)
    model = build(find_method(method), profile).to(compute.device)
    started = time.perf_counter()
    parts = np.array_split(images, math.ceil(len(images) / 16))
    batches = (torch.from_numpy(part).to(compute.device).float() / 255 for part in parts)
    model.fit(batches, len(images), seed)
    seconds = time.perf_counter() - started
    no_history: dict[str, list[float]] = {name: [] for name in HISTORY}
    return Trained(model.eval(), no_history, 0, seconds, compute, [])


def detect(
    model: PatchCore, images: np.ndarray, profile: Profile, compute: Compute
) -> tuple[np.ndarray, np.ndarray]:
    """Anomaly maps and image scores: equation 7 needs the features that the map is made of."""
    maps, scores = in_batches(model.map_and_score, images, compute)
    return maps, scores

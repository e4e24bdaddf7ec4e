"""What the features say: encoder against decoder, before and after the mapping, and Grad-CAM."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pouta_lib.data import Category
from pouta_lib.ground.errors import problem
from pouta_lib.ground.methods import METHODS
from pouta_lib.method.device import Compute
from pouta_lib.method.inference import in_batches
from pouta_lib.method.models.pouta import Pouta
from pouta_lib.method.models.vanilla import Vanilla

Traced = Pouta | Vanilla  # networks that name every tensor
GRAD_CAM_OF = (  # what :func:`grad_cam` does by default, for captions
    "Target: the region that the network calls anomalous; layers: F_C1 to F_C4, and of Vanilla's"
    " U-Net the four finest steps."
)
COVERED = 0.2  # share of a location's cell that the mask has to cover to call it abnormal


@dataclass(frozen=True)
class FeaturePairs:
    """The encoder's and the decoder's features of one level, location by location."""

    encoder: np.ndarray  # (N, C) float32: F_Ei
    decoder: np.ndarray  # (N, C) float32: F_Di of the same location
    abnormal: np.ndarray  # (N,) bool


def trace_images(
    model: Traced, images: np.ndarray, compute: Compute, names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Named tensors of ``model.trace`` for many images, in float32 on the CPU.

    *Shape*: ``(M, 3, H, W)`` uint8 gives, for each name, ``(M, ...)``.
    """
    model.to(compute.device).eval()

    def chosen(batch: Tensor) -> tuple[Tensor, ...]:
        named = model.trace(batch)
        return tuple(named[name] for name in names)

    found = in_batches(chosen, images, compute)
    return {name: torch.from_numpy(array) for name, array in zip(names, found, strict=True)}


def feature_pairs(
    model: Traced, images: np.ndarray, masks: np.ndarray, compute: Compute, level: int = 4
) -> FeaturePairs:
    """The features of `level` at normal and abnormal locations of `images`.

    A location is abnormal when the mask covers at least a fifth of its cell, normal when the
    mask does not touch the cell; those in between are left out (our choice, D33).

    *Shape*: images ``(M, 3, H, W)`` uint8, masks ``(M, H, W)`` bool.
    *Source*: figures 2, 8 and 10: "the last encoder representations and the first decoder
    representations".
    """
    named = trace_images(model, images, compute, (f"F_E{level}", f"F_D{level}"))
    encoder, decoder = (t.permute(0, 2, 3, 1).flatten(0, 2).numpy() for t in named.values())
    height, width = named[f"F_E{level}"].shape[-2:]
    marked = torch.from_numpy(np.asarray(masks, np.float32)).unsqueeze(1)
    covered = F.adaptive_avg_pool2d(marked, (height, width)).flatten().numpy()
    kept = (covered == 0) | (covered >= COVERED)
    return FeaturePairs(encoder[kept], decoder[kept], covered[kept] >= COVERED)


def thin_out(pairs: FeaturePairs, most: int) -> FeaturePairs:
    """At most `most` normal and `most` abnormal locations, drawn at random, always the same."""
    generator = np.random.default_rng(0)
    chosen = []
    for kind in (False, True):
        indices = np.flatnonzero(pairs.abnormal == kind)
        chosen.append(generator.permutation(indices)[:most])
    rows = np.sort(np.concatenate(chosen))
    return FeaturePairs(pairs.encoder[rows], pairs.decoder[rows], pairs.abnormal[rows])


def embed_together(clouds: list[np.ndarray]) -> list[np.ndarray]:
    """One t-SNE embedding of all clouds, so that their places can be compared; always the same.

    *Shape*: clouds ``(N_k, C)`` give ``(N_k, 2)``.
    *Raises* :class:`PoutaError` for fewer than 10 points in all.
    *Source*: van der Maaten and Hinton 2008 (the paper's [37]); scikit-learn's, perplexity 30.
    """
    from sklearn.manifold import TSNE

    points = np.concatenate(clouds)
    if len(points) < 10:
        todo = "take more images, or a category with larger defects"
        raise problem("at least 10 points to embed", str(len(points)), "t-SNE", todo)
    perplexity = min(30.0, (len(points) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1)
    embedded = tsne.fit_transform(points)
    return np.split(embedded, np.cumsum([len(cloud) for cloud in clouds])[:-1])


def shift_numbers(pairs: FeaturePairs) -> dict[str, float]:
    """What a t-SNE picture cannot prove, in numbers of the full feature space.

    ``separation_before`` and ``separation_after``: the distance between the centres of the
    abnormal and the normal cloud, in units of the normal cloud's root mean square radius, for the
    encoder's and the decoder's features. Repair is seen when the second is smaller.
    ``shift_ratio``: the mean distance ``|F_E - F_D|`` at abnormal locations over that at normal
    ones. Contrast is seen when it is above 1.

    *Raises* :class:`PoutaError` without both kinds of locations.
    *Source*: our addition to figures 2, 8 and 10 (D33).
    """
    bad = pairs.abnormal
    if bad.all() or not bad.any():
        counted = f"{int(bad.sum())} abnormal of {len(bad)}"
        todo = "take test images whose masks cover more"
        raise problem("normal and abnormal locations", counted, "feature pairs", todo)
    found: dict[str, float] = {}
    for name, cloud in (("before", pairs.encoder), ("after", pairs.decoder)):
        centre = cloud[~bad].mean(axis=0)
        radius = np.sqrt(((cloud[~bad] - centre) ** 2).sum(axis=1).mean())
        found[f"separation_{name}"] = float(np.linalg.norm(cloud[bad].mean(axis=0) - centre))
        found[f"separation_{name}"] /= float(radius)
    shift = np.linalg.norm(pairs.encoder - pairs.decoder, axis=1)
    found["shift_ratio"] = float(shift[bad].mean() / shift[~bad].mean())
    return found


@dataclass(frozen=True)
class Clouds:
    """What one t-SNE panel shows, and the numbers beside it."""

    encoder: np.ndarray  # (N, 2): embedded F_E4
    decoder: np.ndarray  # (N, 2): F_D4 of the same locations, in the same embedding
    abnormal: np.ndarray  # (N,) bool
    numbers: dict[str, float]  # of all locations, in the full feature space


def clouds(model: Traced, category: Category, compute: Compute, most: int = 250) -> Clouds:
    """Encoder and decoder features of a category's defective test images, embedded together.

    At most `most` normal and as many abnormal locations are drawn; the numbers are those of all.

    *Raises* :class:`PoutaError` for a category without masks.
    *Source*: figures 2, 8 and 10 (D33).
    """
    if category.masks is None:
        where = f"{category.dataset}/{category.name}"
        raise problem("masks of the defects", "none", where, "take a category that has them")
    bad = category.labels
    pairs = feature_pairs(model, category.test[bad], category.masks[bad], compute)
    few = thin_out(pairs, most)
    encoder, decoder = embed_together([few.encoder, few.decoder])
    return Clouds(encoder, decoder, few.abnormal, shift_numbers(pairs))


def latent_prediction(model: Traced, images: np.ndarray, compute: Compute) -> np.ndarray:
    """Maps of M_p4, predicted from F_E4 and F_D4 alone: ``(M, 3, H, W)`` uint8 to ``(M, H, W)``.

    The head that MSS puts on F_C4, the contrast of exactly these two.

    *Raises* :class:`PoutaError` for a method without MSS, which has no such head.
    *Source*: figure 2, "the anomaly predicted only by the differences in representation of the
    aforementioned two layers" (D33).
    """
    if not getattr(model.discriminative, "mss", None):
        todo = f"take one of {[m.id for m in METHODS.values() if m.modules and m.modules.mss]}"
        raise problem("a network with MSS", type(model).__name__, "M_p4", todo)
    return trace_images(model, images, compute, ("M_p4",))["M_p4"].numpy()


def latent_difference(model: Traced, images: np.ndarray, compute: Compute) -> np.ndarray:
    """Maps of ``|F_E4 - F_D4|`` alone, up-sampled: ``(M, 3, H, W)`` uint8 to ``(M, H, W)``.

    No detector: channels of encoder and decoder do not correspond.

    *Source*: our addition, beside :func:`latent_prediction` in figure 2 (D33).
    """
    named = trace_images(model, images, compute, ("F_E4", "F_D4"))
    distance = (named["F_E4"] - named["F_D4"]).square().sum(dim=1, keepdim=True).sqrt()
    size = images.shape[-2:]
    return F.interpolate(distance, size, mode="bilinear", align_corners=False)[:, 0].numpy()


class Logits(nn.Module):
    """A model as Grad-CAM wants it: one tensor of class scores."""

    def __init__(self, model: Traced) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.trace(image)["logits"]


def grad_cam(model: Traced, image: np.ndarray, region: np.ndarray | None = None) -> np.ndarray:
    """The Grad-CAM of the anomalous class, summed over the predicted region.

    `region` defaults to where the model's own map is above one half, and where it is nowhere, to
    the map's highest hundredth. On the CPU in float32, where `model` then stays. Values are
    stretched to 0 .. 1 within the image, by pytorch-grad-cam: two images' values cannot be
    compared.

    *Shape*: image ``(3, H, W)`` uint8; region ``(H, W)`` bool; ``(H, W)`` float32 in [0, 1].
    *Source*: Selvaraju et al. 2017 (the paper's [4]); figures 3 and 9.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

    model = model.cpu().float().eval()
    batch = torch.from_numpy(image).unsqueeze(0).float() / 255
    if region is None:
        with torch.inference_mode():
            found = model(batch)[0].numpy()
        region = found > 0.5
        if not region.any():
            region = found >= np.quantile(found, 0.99)
    target = SemanticSegmentationTarget(1, region.astype(np.float32))
    with GradCAM(Logits(model), model.seen_by_scale()) as cam:
        return cam(batch, [target])[0]

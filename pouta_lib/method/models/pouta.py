"""POUTA and its ablations: one reconstructive and one discriminative network (figure 4b)."""

from torch import Tensor, nn

from pouta_lib.ground.methods import Method
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.models.discriminative import DiscriminativeNetwork
from pouta_lib.method.models.reconstructive import LEVELS, ReconstructiveNetwork


def anomaly_probability(logits: Tensor) -> Tensor:
    """Softmax over the two channels, the anomalous one kept: ``(B, 2, H, W) -> (B, H, W)``."""
    return logits.float().softmax(dim=1)[:, 1]


class Pouta(nn.Module):
    """Finds anomalies by contrasting the reconstructive network's own features.

    ``model(image)`` is the anomaly map ``M_p`` alone: neither the reconstructed image nor another
    head than the map's is computed. ``model.trace(image)`` is every tensor that the paper names.

    *Shape*: image ``(B, 3, H, W)`` float in [0, 1], H and W multiples of 16; map ``(B, H, W)``.
    *Source*: paper, III and figure 4(b).
    """

    of_map = "logits"  # those that M_p is the softmax of

    def __init__(
        self,
        width: int = 64,
        hsg: bool = True,
        mss: bool = True,
        norm: bool = False,
        normalisation: str = "batch",
        channels: dict[int, int] | None = None,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        self.reconstructive = ReconstructiveNetwork(width, normalisation, channels, standardise)
        self.discriminative = DiscriminativeNetwork(
            width, hsg, mss, normalisation if norm else None, channels
        )

    def forward(self, image: Tensor) -> Tensor:
        """The anomaly map ``M_p``."""
        named = self.reconstructive(image, reconstruct=False)
        return anomaly_probability(self.discriminative(named, (self.of_map,))[self.of_map])

    def seen_by_scale(self) -> list[nn.Module]:
        """Where each scale's finding is, for Grad-CAM: the contrasts F_C1 to F_C4 (D34)."""
        return [fcm.get_submodule("contrast") for fcm in self.discriminative.fcm.values()]

    def trace(self, image: Tensor) -> dict[str, Tensor]:
        """Every named tensor: see docs/GLOSSARY.md. A module that is off leaves its names out."""
        named = self.reconstructive(image)
        return named | self.predictions(self.discriminative(named))

    def predictions(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the discriminative network found, with ``M_p`` and ``M_p(i)`` beside the logits."""
        maps = {"M_p": anomaly_probability(found[self.of_map])}
        for i in LEVELS:
            if f"logits{i}" in found:
                maps[f"M_p{i}"] = anomaly_probability(found[f"logits{i}"])
        return found | maps


def build(method: Method, profile: Profile) -> Pouta:
    """POUTA, or what is left of it with the modules that `method` has (IV-D)."""
    modules = method.modules
    assert modules is not None, f"{method.id} says which modules it has"
    p = profile
    return Pouta(
        p.width, modules.hsg, modules.mss, p.norm, p.normalisation, standardise=p.standardise
    )

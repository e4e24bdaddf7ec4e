"""POUTA with one thing of its training done otherwise, for questions that were asked (D43)."""

from dataclasses import replace

from torch import Tensor

from pouta_lib.ground.methods import Method
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.losses import total_loss
from pouta_lib.method.models.pouta import Pouta
from pouta_lib.method.synthesis import SyntheticBatch
from pouta_lib.method.training import PAPER

FOCAL_ALPHA = 0.25  # the paper's [7] has it beside gamma 2, for its own task (D06)


class ApartPouta(Pouta):
    """POUTA whose reconstructive network learns to repair and nothing else.

    The discriminative network takes its features as they are: none of its gradient goes back.

    *Source*: our choice (D43); D15 is the joint training.
    """

    def trace(self, image: Tensor) -> dict[str, Tensor]:
        """Every named tensor; those that the discriminative network takes without gradient."""
        named = self.reconstructive(image)
        found = self.discriminative({name: tensor.detach() for name, tensor in named.items()})
        return named | self.predictions(found)


class SupervisedPouta(Pouta):
    """POUTA without L_pre: the head of the finest level, which MSS trains, gives the map.

    *Source*: our choice (D43); the map is ``M_p(1)``, since nothing trains the common head.
    """

    of_map = "logits1"


def build_apart(method: Method, profile: Profile) -> ApartPouta:
    """The whole of POUTA, to be trained apart."""
    return ApartPouta(profile.width, norm=profile.norm, normalisation=profile.normalisation)


def build_supervised(method: Method, profile: Profile) -> SupervisedPouta:
    """The whole of POUTA, to be trained by MSS alone."""
    return SupervisedPouta(profile.width, norm=profile.norm, normalisation=profile.normalisation)


def build_weighted(method: Method, profile: Profile) -> Pouta:
    """The whole of POUTA, to be trained with weighted classes."""
    return Pouta(profile.width, norm=profile.norm, normalisation=profile.normalisation)


def losses_without_prediction(named: dict[str, Tensor], batch: SyntheticBatch) -> dict[str, Tensor]:
    """``L_rec + L_mss`` and the terms of equation 8; ``anomaly`` is noted and not learned from."""
    losses = total_loss(named, batch.original, batch.mask)
    return losses | {"total": losses["reconstruction"] + losses["mss"]}


def losses_with_class_weights(named: dict[str, Tensor], batch: SyntheticBatch) -> dict[str, Tensor]:
    """Equation 8 with the focal loss's class weight of the paper's [7], in all five heads."""
    return total_loss(named, batch.original, batch.mask, FOCAL_ALPHA)


MSS_ALONE = replace(PAPER, losses=losses_without_prediction)
WEIGHTED = replace(PAPER, losses=losses_with_class_weights)

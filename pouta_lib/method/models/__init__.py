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

"""The networks by name: the five variants of Table V, and DRAEM."""

from typing import TYPE_CHECKING

from pouta_lib.ground.errors import did_you_mean, problem

if TYPE_CHECKING:  # a program that only needs the names starts three seconds earlier
    from torch import nn

VARIANTS = ("vanilla", "base", "base+hsg", "base+mss", "pouta")
DRAEM = "draem"
NETWORKS = (*VARIANTS, DRAEM)


def build_model(
    variant: str, width: int = 64, norm: bool = False, normalisation: str = "batch"
) -> "nn.Module":
    """The network of `variant` with fresh weights from torch's current random state.

    `norm` puts a normalisation into FCM and HSG as well (D31; Vanilla and DRAEM have neither), of
    the kind that every other block has: `normalisation` (D37).

    *Raises* :class:`PoutaError` for a name outside :data:`NETWORKS`.
    *Source*: paper, IV-D and Table V.
    """
    from pouta_lib.method.models.draem import Draem
    from pouta_lib.method.models.pouta import Pouta
    from pouta_lib.method.models.vanilla import Vanilla

    if variant not in NETWORKS:
        hint = did_you_mean(variant, NETWORKS)
        raise problem(f"a variant out of {list(NETWORKS)}", repr(variant), "variant", hint)
    if variant == DRAEM:
        return Draem(width, normalisation)
    if variant == "vanilla":
        return Vanilla(width, normalisation)
    hsg, mss = variant in ("base+hsg", "pouta"), variant in ("base+mss", "pouta")
    return Pouta(width, hsg, mss, norm, normalisation)

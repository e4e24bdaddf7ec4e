"""Weights that a training of POUTA may begin with, in place of fresh ones (D44).

``tools/warm_start.py`` makes them; the record beside them says from what.
"""

from pathlib import Path
from typing import Any

from torch import nn

from pouta_lib.ground.paths import results_root
from pouta_lib.ground.validation import read_json
from pouta_lib.method.weights import load_weights

RECORD = "made_from.json"
MAKE = "python tools/warm_start.py makes them; or set warm_start=false"


def warm_folder() -> Path:
    """Where the weights and their record are: ``results/warm``."""
    return results_root() / "warm"


def start_warm(model: nn.Module) -> nn.Module:
    """`model` with the weights of the warm start; they are in half precision there.

    *Raises* :class:`PoutaError` where they were not made, and for a network that they do not fit.
    """
    record = _record()
    names = ("width", "norm", "normalisation")
    made = ", ".join(f"{name}={record['profile'][name]}" for name in names)
    return load_weights(model, warm_folder(), record["weights"], f"they fit {made}; {MAKE}")


def warm_digest() -> str:
    """The digest of these weights, as their record tells it. *Raises* where there is none."""
    digest: str = _record()["weights"]
    return digest


def _record() -> dict[str, Any]:
    record: dict[str, Any] = read_json(
        warm_folder() / RECORD, "the weights of the warm start", MAKE, MAKE
    )
    return record

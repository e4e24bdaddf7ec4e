"""The weights that a training of POUTA may begin with, in place of fresh ones (D44).

``tools/warm_start.py`` made them, and ``record.json`` beside them says from what.
"""

import json
from pathlib import Path

from torch import nn

from pouta_lib.method.weights import load_weights

HERE = Path(__file__).parent
RECORD = "record.json"
TODO = "set width=16, norm=true, normalisation=batch, as they were made, or warm_start=false"


def start_warm(model: nn.Module) -> nn.Module:
    """`model` with the weights that come with the library; they are in half precision there.

    *Raises* :class:`PoutaError` for a network that they do not fit.
    """
    return load_weights(model, HERE, warm_digest(), TODO)


def warm_digest() -> str:
    """The digest of these weights, as their record tells it; a test holds the two equal."""
    record = json.loads((HERE / RECORD).read_text(encoding="utf-8"))
    digest: str = record["weights"]
    return digest

"""A network's weights as a file that runs no code when it is read, and a digest to know them by."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from pouta_lib.ground.errors import in_a_line, problem

FILE = "model.safetensors"
TODO = "models stay out of git: make the run again on this machine"


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """The SHA-256 of a network's state: names, types, shapes and every bit of the numbers."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_weights(model: nn.Module | Mapping[str, Tensor], folder: str | Path) -> Path:
    """Writes the weights of a network, or of its state, into a folder; the file's path.

    Their digest stands in the file's header. The file's rights are those that the user's umask
    gives: safetensors' own writer would leave it to its owner alone.
    """
    state = model.state_dict() if isinstance(model, nn.Module) else model
    path = Path(folder) / FILE
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    path.write_bytes(save(tensors, {"sha256": weights_digest(tensors)}))
    return path


def load_weights(
    model: nn.Module, folder: str | Path, digest: str | None = None, todo: str = TODO
) -> nn.Module:
    """`model` with the weights of a run's or a detector's folder, in eval mode.

    *Raises* :class:`PoutaError` as :func:`read_weights`, and where they do not fit the model.
    """
    state = read_weights(folder, digest, todo)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        found = f"shapes that do not ({in_a_line(error)})"
        path = Path(folder) / FILE
        raise problem("weights that fit the settings", found, path, todo) from error
    return model.eval()


def read_weights(
    folder: str | Path, digest: str | None = None, todo: str = TODO
) -> dict[str, Tensor]:
    """The weights of a run's or a detector's folder, by their names.

    `digest` is what the record or the detector says of them; None, as in older ones: nothing.
    `todo` is what a user can do about weights that are not right; of a run's, by default.

    *Raises* :class:`PoutaError` where they are absent, damaged, not finite, or others than the
    digests say.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise problem("saved weights", "no file", path, todo)
    try:
        content = path.read_bytes()  # safetensors opens no path that is not UTF-8
    except OSError as error:
        raise problem("saved weights", f"none ({error.strerror})", path, todo) from error
    try:
        state = load(content)
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        told = head.get("__metadata__", {}).get("sha256")
    except Exception as error:  # safetensors has errors of its own for each kind of damage
        raise problem("saved weights", f"a damaged file ({error})", path, todo) from error
    found = weights_digest(state)
    if any(said not in (None, found) for said in (told, digest)):
        wanted = "the weights as they were saved, by their digest"
        raise problem(wanted, f"others ({found[:12]})", path, todo)
    bad = [name for name, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise problem("finite weights", f"NaN or infinity in {bad[0]}", path, todo)
    return state

"""A network's weights as a file that runs no code when it is read."""

from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor, nn

from pouta_lib.ground.errors import problem

FILE = "model.safetensors"


def save_weights(model: nn.Module | dict[str, Tensor], folder: str | Path) -> Path:
    """Writes the weights of a network, or of its state, into a folder; the file's path.

    The file's rights are those that the user's umask gives: safetensors' own writer would leave
    it to its owner alone.
    """
    state = model.state_dict() if isinstance(model, nn.Module) else model
    path = Path(folder) / FILE
    path.write_bytes(save({name: t.detach().cpu().contiguous() for name, t in state.items()}))
    return path


def load_weights(model: nn.Module, folder: str | Path) -> nn.Module:
    """`model` with the weights of a run's or a detector's folder, in eval mode.

    *Raises* :class:`PoutaError` where they are absent.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        todo = "models stay out of git: make the run again on this machine"
        raise problem("the run's weights", "no file", path, todo)
    model.load_state_dict(load_file(path))
    return model.eval()

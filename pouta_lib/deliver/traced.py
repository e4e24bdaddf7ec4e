"""A network as an ONNX file that gives what the paper names, not its map alone.

The book's page "Paint a defect" runs it in a browser. What a factory needs is written by
:mod:`pouta_lib.deliver.export`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pouta_lib.deliver.export import as_onnx, package
from pouta_lib.ground.errors import problem
from pouta_lib.ground.profiles import Profile
from pouta_lib.score.evaluation import MapAndScore
from pouta_lib.score.explain import Traced

# How far the file's values may be from the network's own, on weights rounded to half precision; of
# F_C, which has no upper bound, as a share of its largest value where that is above 1.
TOLERANCE = 0.02
FEWEST_HALVED = 64  # numbers of a weight: of fewer, halves save less than their cast takes
SHOWN = ("I_r", "F_C", "W_sp", "M_p")  # what the names of shown tensors begin with


class Shown(nn.Module):
    """What the page shows of one image: pictures, maps and the score, by name.

    ``F_C`` is a list of channels at each place, of which the mean is shown.

    *Shape*: ``(1, 3, S, S)`` in [0, 1] gives I_r ``(1, 3, S, S)``, other maps ``(1, h, w)`` and
    the score ``(1,)``, in the order of :attr:`names`.
    """

    def __init__(self, model: Traced, profile: Profile) -> None:
        super().__init__()
        self.model, self.scored = model, MapAndScore(nn.Identity(), profile)
        with torch.inference_mode():
            named = model.eval().trace(torch.zeros(1, 3, profile.size_px, profile.size_px))
        self.shown = [name for name in named if name.startswith(SHOWN)]
        self.names = [*self.shown, "score"]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        named = self.model.trace(image)
        maps = [named[name] for name in self.shown]
        maps = [
            m if m.ndim == 3 or name == "I_r" else m.mean(dim=1)
            for name, m in zip(self.shown, maps)
        ]
        return (*maps, self.scored(named["M_p"])[1])


def export_shown(model: Traced, profile: Profile, path: Path) -> dict[str, float]:
    """Writes :class:`Shown` as ONNX; for each name, how far the file is from the network.

    The input is ``image``, ``(1, 3, S, S)`` float32 in [0, 1]. Weights are kept in half precision
    and computed with in float32, which every browser can; in float32 where half is too coarse for
    them. The file is run beside the network on a random image, and kept if they agree.

    *Raises* :class:`PoutaError` where the extra ``export`` is not installed, and for a file that
    differs by more than :data:`TOLERANCE`.
    *Source*: our choice.
    """
    onnx, onnxruntime = package("onnx"), package("onnxruntime")
    network = Shown(model, profile).eval()
    shape = (1, 3, profile.size_px, profile.size_px)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    content = as_onnx(network, image, network.names)
    with torch.no_grad():  # not inference mode: the file has the network as the paper draws it
        expected = network(image)
    for half in (True, False):
        graph = onnx.load_from_string(content)
        if half:
            halve_weights(graph)
        onnx.checker.check_model(graph)
        written = graph.SerializeToString()
        session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
        found = session.run(None, {"image": image.numpy()})
        differs_by, too_far = {}, []
        for name, ours, theirs in zip(network.names, expected, found, strict=True):
            differs_by[name] = float(np.abs(theirs - ours.numpy()).max())
            if not differs_by[name] <= TOLERANCE * max(1.0, float(ours.abs().max())):
                too_far.append(name)
        if not too_far:
            path.write_bytes(written)
            return differs_by
    wanted = f"{too_far[0]} within {TOLERANCE} of the network's"
    todo = "train it again, or raise TOLERANCE in pouta_lib/deliver/traced.py"
    raise problem(wanted, f"{differs_by[too_far[0]]:.2g}", path, todo)


def halve_weights(graph: Any) -> None:
    """Keeps the weights of `graph` in half precision; a cast before each makes them float32."""
    onnx = package("onnx")
    casts = []
    for weight in graph.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < FEWEST_HALVED:
            continue
        name = weight.name
        values = onnx.numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}_half"))
        casts.append(
            onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT)
        )
    for place, node in enumerate(casts):
        graph.graph.node.insert(place, node)

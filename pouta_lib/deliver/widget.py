"""The page "Paint a defect" in a notebook, where the live kernel's own networks answer."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from pouta_lib.data import Category
from pouta_lib.deliver.painting import IN_FULL, judged, pictures_of, still, surroundings
from pouta_lib.deliver.traced import Shown
from pouta_lib.ground.paths import project_root
from pouta_lib.ground.profiles import Profile
from pouta_lib.method.inference import in_batches
from pouta_lib.score.explain import Traced


def paint(networks: Mapping[str, Traced], category: Category, profile: Profile) -> Any:
    """A widget to paint on parts of `category`, which `networks`, by their names, answer.

    A network has ``trace(image)``, which names its tensors as the paper does: at least ``I_r`` and
    ``M_p``, and of ``F_C1`` .. ``W_sp3`` .. ``M_p4`` those that are to be shown. It is moved to the
    CPU, where the page's pictures are, and put into evaluation.

    Where the package anywidget is missing, a picture of the page as it opens is given in its
    place; the widget has the same one for all who show the notebook without a kernel.
    """
    shown = {name: Shown(network.cpu(), profile) for name, network in networks.items()}
    models, found = [], []
    for name, network in shown.items():
        told, scores = judged(network, category)
        models.append({"id": name, "method": name, "title": name, "shots": None} | told)
        found.append(scores / told["threshold"])
    pictures, clean, painted = pictures_of(category, np.max(found, axis=0))
    first = next(iter(shown.values()))
    picture = still(clean, painted, answer(first, painted)["M_p"])
    if find_spec("anywidget") is None:
        return picture
    part = {"name": category.name, "models": models} | pictures
    return _widget(shown, surroundings(profile) | {"parts": [part]}, picture)


def answer(network: Shown, image: np.ndarray) -> dict[str, np.ndarray]:
    """All that the page shows of one picture ``(3, S, S)`` uint8, by name, in float32."""
    found = in_batches(network, image[np.newaxis], IN_FULL)
    return {name: values[0] for name, values in zip(network.names, found, strict=True)}


def front_end() -> tuple[str, str]:
    """The page's script and style: its modules in ``book/``, as the one that a widget may have."""
    book = project_root() / "book"
    modules = [(book / f"{name}.js").read_text("utf-8") for name in ("brush", "paint", "kernel")]
    script = re.sub(r"(?m)^import .*\n|^export (?!default)", "", "\n".join(modules))
    return script, (book / "paint.css").read_text("utf-8")


def _widget(shown: Mapping[str, Shown], data: dict[str, Any], picture: Image.Image) -> Any:
    """The widget itself: it answers each picture that the page sends."""
    import anywidget
    import traitlets

    size = data["size"]

    class Painting(anywidget.AnyWidget):
        _esm, _css = front_end()
        data = traitlets.Dict().tag(sync=True)

        def _repr_mimebundle_(self, **options: Any) -> Any:
            bundle, metadata = super()._repr_mimebundle_(**options) or ({}, {})
            return bundle | {"image/png": picture._repr_png_()}, metadata

    def reply(widget: Painting, asked: dict[str, Any], buffers: list[memoryview]) -> None:
        try:
            pixels = np.frombuffer(buffers[0], np.uint8).reshape(size, size, 4)[..., :3]
            found = answer(shown[asked["network"]], np.moveaxis(pixels, -1, 0))
        except Exception as error:  # it would go unseen in the kernel: the page shows it
            widget.send({"call": asked["call"], "error": f"{type(error).__name__}: {error}"})
            return
        maps = [{"name": name, "side": m.shape[-1] if m.ndim else 1} for name, m in found.items()]
        values = [np.ascontiguousarray(m) for m in found.values()]
        widget.send({"call": asked["call"], "maps": maps}, values)

    painting = Painting(data=data)
    painting.on_msg(reply)
    return painting

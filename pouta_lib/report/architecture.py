"""Figure 4, drawn from the models themselves, and the map of the course, from its notebooks.

Names, shapes and counts are asked of the modules, titles of the notebooks: neither goes stale.
"""

import json
import textwrap
from collections.abc import Callable
from typing import Any, cast

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor, nn

from pouta_lib.ground.paths import project_root
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.models import build_model
from pouta_lib.method.models.reconstructive import LEVELS
from pouta_lib.score.efficiency import count_parameters
from pouta_lib.score.explain import Traced

Shapes = dict[str, tuple[int, ...]]
COLOURS = {  # light fills of the colour-blind palette
    "image": "#ffffff",
    "encoder": "#cfe4f3",
    "decoder": "#fbe3c2",
    "mapping": "#e3e3e3",
    "contrast": "#cdebe0",
    "guidance": "#f6d5e8",
    "head": "#fdf3b8",
}
WIDTH, HEIGHT = 1.62, 0.62  # of a box, in units of the drawing


def layer_shapes(method: str, width: int = 64, size_px: int = 224) -> Shapes:
    """``(C, H, W)`` of every tensor that a model names, by one pass that computes nothing.

    Those of its trace, and the ``levels()`` of its discriminative network where that names any.
    """
    model = _network(method, width).to("meta").eval()
    found: Shapes = {}

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, inputs, output: found.update({name: tuple(output.shape[1:])})

    for name, stage in getattr(model.discriminative, "levels", dict)().items():
        stage.register_forward_hook(note(name))
    with torch.no_grad():
        named = model.trace(torch.empty(1, 3, size_px, size_px, device="meta"))
    return found | {name: tuple(tensor.shape[1:]) for name, tensor in named.items()}


def _network(method: str, width: int) -> Traced:
    """The paper's own network, at another width."""
    return cast(Traced, build_model(method, load_profile("paper", width=width)))


def draw_architecture(width: int = 64, size_px: int = 224) -> Figure:
    """Vanilla above, POUTA below, with the shape of every tensor at this size.

    *Source*: figure 4 (a) and (b); the layers are our reading of it (D01).
    """
    layout = {"height_ratios": [7.25, 7.85]}
    figure, axes = plt.subplots(
        2, 1, figsize=(10.8, 10.4), constrained_layout=True, gridspec_kw=layout
    )
    _draw_vanilla(axes[0], layer_shapes("vanilla", width, size_px), _millions("vanilla", width))
    _draw_pouta(axes[1], layer_shapes("pouta", width, size_px), _millions("pouta", width))
    for ax in axes:
        ax.set_axis_off()
        ax.set_aspect("equal")
        ax.autoscale_view()
    return figure


def _millions(method: str, width: int) -> tuple[float, float]:
    """Parameters of the reconstructive and of the discriminative network, in millions."""
    model = _network(method, width)
    first, second = model.reconstructive, model.discriminative
    return count_parameters(first) / 1e6, count_parameters(second) / 1e6


def _box(
    ax: Axes,
    x: float,
    y: float,
    name: str,
    shape: tuple[int, ...],
    kind: str,
    *,
    dashed: bool = False,
) -> None:
    style: dict[str, Any] = {"facecolor": COLOURS[kind], "edgecolor": "0.25", "linewidth": 0.9}
    corner = x - WIDTH / 2, y - HEIGHT / 2
    look = "round,pad=0,rounding_size=0.08"
    patch = FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=look, **style)
    patch.set_linestyle("--" if dashed else "-")
    ax.add_patch(patch)
    ax.text(x, y + 0.13, name, ha="center", va="center", fontsize=8.5)
    text = " × ".join(str(n) for n in shape)
    ax.text(x, y - 0.15, text, ha="center", va="center", fontsize=6.8, color="0.25")


def _arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    bend: float = 0.0,
    dashed: bool = False,
) -> None:
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8}
    style |= {"linewidth": 0.9, "color": "0.3"}
    curve = f"arc3,rad={bend}"
    arrow = FancyArrowPatch(start, end, connectionstyle=curve, shrinkA=0, shrinkB=0, **style)
    arrow.set_linestyle("--" if dashed else "-")
    ax.add_patch(arrow)


def _draw_reconstructive(ax: Axes, shapes: Shapes, row: dict[int, float]) -> None:
    """Encoder down, mapping, decoder up: the same in both methods."""
    encoder, decoder = 2.3, 4.5
    _box(ax, 0, row[1], "$I_{in}$", (3, *shapes["F_E1"][1:]), "image")
    _arrow(ax, (WIDTH / 2, row[1]), (encoder - WIDTH / 2, row[1]))
    for i in LEVELS:
        _box(ax, encoder, row[i], f"$F_{{E{i}}}$", shapes[f"F_E{i}"], "encoder")
        _box(ax, decoder, row[i], f"$F_{{D{i}}}$", shapes[f"F_D{i}"], "decoder")
        if i > 1:
            down = (encoder, row[i - 1] - HEIGHT / 2), (encoder, row[i] + HEIGHT / 2)
            up = (decoder, row[i] + HEIGHT / 2), (decoder, row[i - 1] - HEIGHT / 2)
            _arrow(ax, *down)
            _arrow(ax, *up)
    middle, below = (encoder + decoder) / 2, row[4] - 1.0
    _box(ax, middle, below, "mapping $F_M$", shapes["F_M"], "mapping")
    _arrow(ax, (encoder, row[4] - HEIGHT / 2), (middle - 0.5, below + HEIGHT / 2), bend=0.2)
    _arrow(ax, (middle + 0.5, below + HEIGHT / 2), (decoder, row[4] - HEIGHT / 2), bend=0.2)


def _titles(ax: Axes, top: float, title: str, millions: tuple[float, float], x: float) -> None:
    ax.text(-0.8, top + 1.25, title, fontsize=12, weight="bold", va="center")
    told = f"reconstructive network, {millions[0]:.2f} M parameters"
    ax.text(3.4, top + 0.72, told, fontsize=9, ha="center", va="center")
    told = f"discriminative network, {millions[1]:.2f} M parameters"
    ax.text(x, top + 0.72, told, fontsize=9, ha="center", va="center")


def _draw_vanilla(ax: Axes, shapes: Shapes, millions: tuple[float, float]) -> None:
    row = {i: -1.05 * (i - 1) for i in range(1, 7)}
    _titles(ax, 0, "(a) Vanilla: compares pictures", millions, 10.3)
    _draw_reconstructive(ax, shapes, row)
    encoder, decoder = 9.1, 11.5
    _box(ax, 6.7, row[1], "$I_r$ (beside $I_{in}$)", shapes["I_r"], "image")
    _arrow(ax, (4.5 + WIDTH / 2, row[1]), (6.7 - WIDTH / 2, row[1]))
    _arrow(ax, (6.7 + WIDTH / 2, row[1]), (encoder - WIDTH / 2, row[1]))
    for i in range(1, 7):
        _box(ax, encoder, row[i], f"U-Net encoder {i}", shapes[f"U_E{i}"], "encoder")
        if i > 1:
            ends = (encoder, row[i - 1] - HEIGHT / 2), (encoder, row[i] + HEIGHT / 2)
            _arrow(ax, *ends)
        if i < 6:
            _box(ax, decoder, row[i], f"U-Net decoder {i}", shapes[f"U_D{i}"], "decoder")
            _arrow(ax, (encoder + WIDTH / 2, row[i]), (decoder - WIDTH / 2, row[i]))
        if i < 5:
            _arrow(ax, (decoder, row[i + 1] + HEIGHT / 2), (decoder, row[i] - HEIGHT / 2))
    _arrow(ax, (encoder + WIDTH / 2, row[6]), (decoder, row[5] - HEIGHT / 2), bend=0.25)
    _box(ax, 13.8, row[1], "map $M_p$", shapes["M_p"], "head")
    _arrow(ax, (decoder + WIDTH / 2, row[1]), (13.8 - WIDTH / 2, row[1]))
    ax.set_xlim(-1, 15.2)
    ax.set_ylim(row[6] - 0.4, 1.6)


def _draw_pouta(ax: Axes, shapes: Shapes, millions: tuple[float, float]) -> None:
    row = {i: -1.35 * (i - 1) for i in LEVELS}
    _titles(ax, 0.7, "(b) POUTA: contrasts features", millions, 10.4)
    _draw_reconstructive(ax, shapes, row)
    decoder, contrast, guidance, supervision, joined, head = 4.5, 6.9, 9.1, 11.15, 12.6, 14.2
    channels = 0
    rebuilt = (contrast, row[1] + 1.0)
    _box(ax, *rebuilt, "$I_r$", shapes["I_r"], "image", dashed=True)
    up = (decoder + 0.3, row[1] + HEIGHT / 2), (contrast - WIDTH / 2, rebuilt[1])
    _arrow(ax, *up, bend=-0.25, dashed=True)
    for i in LEVELS:
        refined = f"F'_C{i}" if i < 4 else "F_C4"
        channels += shapes[refined][0]
        _box(ax, contrast, row[i], f"FCM: $F_{{C{i}}}$", shapes[f"F_C{i}"], "contrast")
        _arrow(ax, (decoder + WIDTH / 2, row[i]), (contrast - WIDTH / 2, row[i]))
        over = (2.3 + WIDTH / 2, row[i] + 0.2), (contrast - WIDTH / 2, row[i] + 0.2)
        _arrow(ax, *over, bend=-0.13)
        last = contrast
        if i < 4:
            last = guidance
            _box(ax, guidance, row[i], f"HSG: $F'_{{C{i}}}$", shapes[refined], "guidance")
            _arrow(ax, (contrast + WIDTH / 2, row[i]), (guidance - WIDTH / 2, row[i]))
            below = (guidance, row[i + 1] + HEIGHT / 2)
            below = (contrast + WIDTH / 2, row[4] + 0.2) if i == 3 else below
            _arrow(ax, below, (guidance, row[i] - HEIGHT / 2), bend=0.25 if i == 3 else 0.0)
        lower = row[i] - 0.42
        _box(ax, supervision, lower, f"MSS: $M_{{p({i})}}$", shapes[f"M_p{i}"], "head", dashed=True)
        side = (last + WIDTH / 2, row[i] - 0.2), (supervision - WIDTH / 2, lower + 0.1)
        _arrow(ax, *side, dashed=True)
        _arrow(ax, (last + WIDTH / 2, row[i] + 0.12), (joined - 0.2, row[i] + 0.12))
    bottom, top = row[4] - HEIGHT / 2, row[1] + HEIGHT / 2
    bar: dict[str, Any] = {"facecolor": COLOURS["mapping"], "edgecolor": "0.25", "linewidth": 0.9}
    look = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((joined - 0.2, bottom), 0.4, top - bottom, boxstyle=look, **bar))
    told = f"concatenated, {channels} channels"
    middle = (top + bottom) / 2
    ax.text(joined, middle, told, fontsize=8, rotation=90, ha="center", va="center")
    _box(ax, head, middle, "head: map $M_p$", shapes["M_p"], "head")
    _arrow(ax, (joined + 0.2, middle), (head - WIDTH / 2, middle))
    note = "dashed: in training only"
    ax.text(supervision, row[4] - 1.0, note, fontsize=8, ha="center", va="center", color="0.3")
    ax.set_xlim(-1, 15.2)
    ax.set_ylim(row[4] - 1.5, 2.3)


COURSE_ROWS = {
    "the course": "0[0-4]_*",
    "training": "0[5-7]_*",
    "the study": "1?_*",
    "yours": "2?_*",
}


def draw_course() -> Figure:
    """The notebooks by purpose, as boxes with their own titles."""
    figure, ax = plt.subplots(figsize=(11.4, 3.6), constrained_layout=True)
    most, fills = 0, ("encoder", "decoder", "contrast", "guidance")
    for k, ((row, pattern), fill) in enumerate(zip(COURSE_ROWS.items(), fills, strict=True)):
        ax.text(-0.85, -k, row, ha="right", va="center", fontsize=10, weight="bold")
        for x, path in enumerate(sorted((project_root() / "notebooks").glob(f"{pattern}.ipynb"))):
            first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]
            title = "".join(first).splitlines()[0].lstrip("# ").split(":")[0]
            number, _, words = title.partition(" · ")
            text = "\n".join([number, *textwrap.wrap(words, 15)])
            style = {"boxstyle": "round,pad=0.4", "facecolor": COLOURS[fill], "edgecolor": "0.4"}
            ax.text(1.35 * x, -k, text, ha="center", va="center", fontsize=7.5, bbox=style)
            if x:
                _arrow(ax, (1.35 * x - 0.82, -k), (1.35 * x - 0.6, -k))
            most = max(most, x)
    ax.set(xlim=(-2.2, 1.35 * most + 0.7), ylim=(-3.5, 0.5))
    ax.set_axis_off()
    return figure

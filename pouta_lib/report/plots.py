"""The pictures, and the one function that saves them with the list of what they show."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image
from scipy.ndimage import distance_transform_edt

from pouta_lib.data import Category
from pouta_lib.ground.labels import folder_name
from pouta_lib.ground.methods import METHODS
from pouta_lib.ground.paths import atomic_path, figures_root, results_root
from pouta_lib.ground.spread import spread
from pouta_lib.ground.validation import write_json
from pouta_lib.method.synthesis import SyntheticBatch
from pouta_lib.score.explain import Clouds

OUTLINE = "#00e5ff"  # cyan: seen on magma, on gray and by colour-blind readers
MAP_COLOURS, CAM_COLOURS, WEIGHT_COLOURS = "magma", "plasma", "viridis"
MAP_GAMMA = 1 / 3
DPI, PICTURE_DPI = 200, 110  # of line art; of photographs, which have 96 to 224 pixels to show
LOSS_NAMES = {
    "total": "total",
    "reconstruction": "reconstruction (MSE + SSIM)",
    "anomaly": "anomaly map (focal + L1)",
    "mss": "MSS heads, weighted",
}


class Kept(Protocol):
    """What a figure can be drawn from: a record of a run, or of a judgement."""

    @property
    def path(self) -> Path:
        """Where it is kept."""


def save_figure(
    figure: Figure,
    name: str,
    label: str,
    caption: str,
    records: Sequence[Kept] = (),
    *,
    line_art: bool = False,
) -> None:
    """Writes ``figures/<label>/<name>.png`` and ``<name>.json``: what it shows, and from what.

    Line art is written as PDF as well; pictures of photographs keep all their colours, at fewer
    dots an inch. The dates that the formats would carry are left out, so that the same figure is
    the same file. Prints where it went.
    """
    folder = figures_root() / folder_name(label)
    results = results_root()
    sources = [r.path.relative_to(results).as_posix() for r in records]
    for suffix in (".png", ".pdf") if line_art else (".png",):
        no_dates = {"Software": None} if suffix == ".png" else {"CreationDate": None}
        path = folder / (name + suffix)
        with atomic_path(path) as temporary:
            dpi = DPI if line_art else PICTURE_DPI
            style: dict[str, Any] = {"dpi": dpi, "bbox_inches": "tight", "metadata": no_dates}
            figure.savefig(temporary, format=suffix[1:], **style)
            if not line_art:
                with Image.open(temporary) as picture:
                    colours = picture.convert("RGB")
                colours.save(temporary, "PNG", optimize=True, dpi=(dpi, dpi))
    note = {"figure": name, "caption": caption, "records": sources}
    write_json(folder / f"{name}.json", note)
    print(f"saved figures/{folder.name}/{name}.png")


def show_image(ax: Axes, image: np.ndarray, mask: np.ndarray | None = None) -> None:
    """An image ``(3, H, W)`` uint8 or float in [0, 1], with a mask's outline ``(H, W)``."""
    ax.imshow(np.moveaxis(np.asarray(image), 0, -1))
    _outline(ax, mask)
    ax.set_axis_off()


def show_map(
    ax: Axes, anomaly_map: np.ndarray, mask: np.ndarray | None = None, *, linear: bool = False
) -> AxesImage:
    """A map ``(H, W)`` on the fixed scale from 0 to 1, with a mask's outline.

    Brightness goes with the cube root, so that a probability of 0.01 can be told from zero:
    scores and metrics depend on the order of values only, and real defects often get small ones.
    `linear` is for what is no probability.
    """
    norm = Normalize(0, 1) if linear else PowerNorm(MAP_GAMMA, 0, 1, clip=True)
    shown = ax.imshow(np.asarray(anomaly_map, np.float32), cmap=MAP_COLOURS, norm=norm)
    shown.set_gid(LINEAR_BAR if linear else MAP_BAR)
    _outline(ax, mask)
    ax.set_axis_off()
    return shown


def show_weight(ax: Axes, weight: np.ndarray, mask: np.ndarray | None = None) -> AxesImage:
    """A weight map ``(H, W)`` on a linear scale from 0 to 1, in colours of its own."""
    shown = ax.imshow(np.asarray(weight, np.float32), cmap=WEIGHT_COLOURS, vmin=0, vmax=1)
    shown.set_gid(WEIGHT_BAR)
    _outline(ax, mask)
    ax.set_axis_off()
    return shown


def show_cam(
    ax: Axes, cam: np.ndarray, image: np.ndarray, mask: np.ndarray | None = None
) -> AxesImage:
    """A Grad-CAM ``(H, W)`` in [0, 1] over the image in gray, with a mask's outline.

    The image shines through where the Grad-CAM is low, so that both can be read.
    """
    ax.imshow(np.asarray(image).mean(axis=0), cmap="gray", vmin=-60, vmax=255)
    cam = np.clip(np.asarray(cam, np.float32), 0, 1)
    shown = ax.imshow(cam, cmap=CAM_COLOURS, alpha=0.25 + 0.65 * cam, vmin=0, vmax=1)
    shown.set_gid(CAM_BAR)
    _outline(ax, mask)
    ax.set_axis_off()
    return shown


MAP_BAR, LINEAR_BAR = "probability, stretched by its cube root", "lowest to highest"
WEIGHT_BAR, CAM_BAR = "weight", "Grad-CAM, within its image"


BAR_INCHES = 0.55  # that a bar and its label make a figure wider


def add_bars(figure: Figure, axes: np.ndarray, whose: str = "") -> None:
    """A colour bar for each scale that the panels use, beside them: the figure grows by it.

    `whose` names those that are on the linear scale, where others are not.
    """
    kinds = {str(shown.get_gid()): shown for ax in axes.flat for shown in ax.images[::-1]}
    for label in (MAP_BAR, LINEAR_BAR, WEIGHT_BAR, CAM_BAR):
        if label in kinds:
            figure.set_figwidth(figure.get_figwidth() + BAR_INCHES)
            # laid out in shares of its length: a bar asks a norm of its own two thousand times
            shown, norm = ScalarMappable(Normalize(0, 1), kinds[label].cmap), kinds[label].norm
            size: dict[str, Any] = {
                "fraction": 0.03 * axes.shape[1],
                "pad": 0.01 * axes.shape[1],
                "aspect": 22,
                "shrink": 1.8 / max(len(axes), 2),
            }
            bar = figure.colorbar(shown, ax=axes[:, -1], **size)
            bar.set_label(
                f"{whose}: {label}" if whose and label == LINEAR_BAR else label, fontsize=7
            )
            if label == MAP_BAR:
                values = [0, 0.01, 0.1, 0.3, 1]
                bar.set_ticks(list(norm(values)), labels=[f"{value:g}" for value in values])
            bar.ax.tick_params(labelsize=7)


def plot_panels(
    panels: Sequence[Sequence[Callable[[Axes], Any]]],
    row_titles: Sequence[str],
    column_titles: Sequence[str],
) -> Figure:
    """A grid of pictures; each panel is a function that draws on its axes.

    ``partial(show_map, anomaly_map=found, mask=mask)`` is such a function.
    """
    rows, columns = len(panels), len(column_titles)
    figure, axes = _grid(rows, columns, 1.45 * columns + 1.3, 1.5 * rows + 0.3)
    for row, drawn in zip(axes, panels, strict=True):
        for ax, draw in zip(row, drawn, strict=True):
            draw(ax)
    for ax, title in zip(axes[0], column_titles, strict=True):
        if title:  # else a panel may have one of its own
            ax.set_title(title, fontsize=8, parse_math=_has_formula(title))
    _row_titles(axes, row_titles)
    add_bars(figure, axes)
    return figure


def _grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """A figure of so many inches, and its places for pictures, ``(rows, columns)``."""
    style: dict[str, Any] = {"constrained_layout": True, "squeeze": False}
    return plt.subplots(rows, columns, figsize=(width, height), **style)


def _outline(ax: Axes, mask: np.ndarray | None) -> None:
    """A line around the mask, two hundredths of the image away from it: it covers nothing of it."""
    if mask is not None and mask.any():
        edge = 3
        away = distance_transform_edt(~np.pad(np.asarray(mask, bool), edge))
        rows, columns = (np.arange(-edge, side - edge) for side in away.shape)
        margin = max(1.0, 0.02 * len(mask))
        ax.contour(columns, rows, away, [margin], colors=OUTLINE, linewidths=0.9)
        ax.set(xlim=(-0.5, len(mask[0]) - 0.5), ylim=(len(mask) - 0.5, -0.5))


def method_colours() -> dict[str, tuple[float, ...]]:
    """A colour for each method, by its title: the same in every picture, whoever is missing there.

    >>> method_colours()["PatchCore"] == method_colours()["POUTA"]
    False
    """
    import seaborn as sns

    titles = [method.title for method in METHODS.values()]
    return dict(zip(titles, sns.color_palette("colorblind", len(titles)), strict=True))


def plot_losses(history: dict[str, list[float]]) -> Figure:
    """The loss curves of one run, one panel each, so that each keeps its own scale."""
    shown = {key: name for key, name in LOSS_NAMES.items() if any(history[key])}
    figure, axes = plt.subplots(
        1, len(shown), figsize=(3.1 * len(shown), 2.4), constrained_layout=True
    )
    colours = plt.style.library["seaborn-v0_8-colorblind"]["axes.prop_cycle"].by_key()["color"]
    for ax, (key, name), colour in zip(np.atleast_1d(axes), shown.items(), colours, strict=False):
        ax.plot(history["step"], history[key], color=colour, linewidth=1.2)
        ax.set(title=name, xlabel="step", yscale="log")
        ax.title.set_fontsize(10)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def plot_synthesis(batch: SyntheticBatch, count: int = 6) -> Figure:
    """How a training sample comes about: one column per sample, one row per step."""
    count = min(count, len(batch.image))
    rows = ["original", "Perlin field", "mask M", "augmented", "training input", "outlined"]
    figure, axes = _grid(len(rows), count, 1.35 * count + 1.1, 1.38 * len(rows))
    for j in range(count):
        mask = batch.mask[j].numpy()
        show_image(axes[0, j], batch.original[j].numpy())
        axes[1, j].imshow(batch.field[j].numpy(), cmap="gray", vmin=-1, vmax=1)
        axes[2, j].imshow(mask, cmap="gray", vmin=0, vmax=1)
        show_image(axes[3, j], batch.augmented[j].numpy())
        show_image(axes[4, j], batch.image[j].numpy())
        show_image(axes[5, j], batch.image[j].numpy(), mask)
    _row_titles(axes, rows)
    return figure


def example(category: Category, index: int, **stages: np.ndarray) -> dict[str, Any]:
    """One column of :func:`plot_detections`: a test image, its defect, and what was found."""
    mask = None if category.masks is None else category.masks[index]
    title = category.defects[index].replace("_", " ")
    return {"title": title, "image": category.test[index], "mask": mask} | stages


def plot_detections(
    examples: Sequence[dict[str, Any]],
    stages: Sequence[str] = ("input", "truth", "rebuilt", "map"),
    *,
    linear: Sequence[str] = (),
) -> Figure:
    """Detections side by side: one column per example, one row per stage.

    Each of `examples` has ``title``, ``image``, ``mask``, and for the other stages
    ``rebuilt`` (an image) or, under any other name, an anomaly map; the name is the row's title.
    All maps share the scale of :func:`show_map`, those named in `linear` its linear one.
    """
    titles = {
        "input": "input",
        "truth": "ground truth",
        "rebuilt": "rebuilt $I_r$",
        "map": "anomaly map $M_p$",
    }
    rows, columns = len(stages), len(examples)
    figure, axes = _grid(rows, columns, 1.45 * columns + 1.3, 1.55 * rows)
    for j, example in enumerate(examples):
        for i, stage in enumerate(stages):
            ax, mask = axes[i, j], example["mask"]
            if stage in ("input", "rebuilt"):
                show_image(ax, example["image" if stage == "input" else "rebuilt"])
            elif stage == "truth":
                show_image(ax, example["image"], mask)
            else:
                show_map(ax, example[stage], mask, linear=stage in linear)
        axes[0, j].set_title(example["title"], fontsize=8, parse_math=False)
    _row_titles(axes, [titles.get(stage, stage) for stage in stages])
    maps = [stage for stage in stages if stage not in ("input", "truth", "rebuilt")]
    distances = [stage for stage in maps if stage in linear]
    add_bars(figure, axes, ", ".join(distances) if distances != maps else "")
    return figure


def _has_formula(title: str) -> bool:
    """Whether a title has a symbol of the course, ``$W_{sp(1)}$``; other dollars are a name's."""
    return re.search(r"\$[^$]*[A-Z]_[^$]*\$", title) is not None


def _row_titles(axes: np.ndarray, titles: Sequence[str]) -> None:
    """A title left of each row, and no axis at all: each is laid out four times, seen or not."""
    for ax in axes.flat:
        ax.set_axis_off()
        ax.xaxis.set_visible(False)
        ax.yaxis.set_visible(False)
    for ax, title in zip(axes[:, 0], titles, strict=True):
        ax.annotate(
            title,
            (0, 0.5),
            parse_math=_has_formula(title),
            xytext=(-4, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=8,
            ha="right",
            va="center",
        )


def plot_contact_sheet(categories: Sequence[Category], per_row: int = 6) -> Figure:
    """Good test images left, defective ones right, one row per category, defects outlined."""
    rows, columns = len(categories), 2 * per_row
    figure, axes = _grid(rows, columns, 0.95 * columns + 1.4, 0.98 * rows + 0.3)
    for row, category in zip(axes, categories, strict=True):
        good = some_of(np.flatnonzero(~category.labels), per_row)
        bad = some_of(np.flatnonzero(category.labels), per_row)
        for ax, index in zip(row, [*good, *bad], strict=False):
            mask = None if category.masks is None else category.masks[index]
            show_image(ax, category.test[index], mask)
            plt.setp(ax.collections, linewidth=0.6)  # the images are small here
            if category.labels[index]:
                title = category.defects[index].replace("_", " ")
                ax.set_title(title, fontsize=6, pad=2, parse_math=False)
    _row_titles(axes, [f"{c.dataset}\n{c.name}" for c in categories])
    return figure


CLOUDS = {  # what a t-SNE panel tells apart: marker, colour; safe for colour-blind readers
    "encoder, normal": ("o", "#0173b2"),
    "decoder, normal": ("o", "#7cc4ee"),
    "encoder, abnormal": ("^", "#d55e00"),
    "decoder, abnormal": ("v", "black"),
}


def plot_clouds(ax: Axes, clouds: Clouds, title: str = "") -> None:
    """One t-SNE panel: encoder and decoder features of normal and abnormal locations."""
    for name, (marker, colour) in CLOUDS.items():
        points = clouds.encoder if name.startswith("encoder") else clouds.decoder
        points = points[clouds.abnormal if name.endswith("abnormal") else ~clouds.abnormal]
        style: dict[str, Any] = {"marker": marker, "color": colour, "linewidths": 0, "label": name}
        x, y = points.T
        ax.scatter(x, y, s=11 if marker == "o" else 14, alpha=0.8, **style)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)


def legend_of_clouds(figure: Figure) -> None:
    """The legend of the t-SNE panels, once, below the figure."""
    axes = [ax for ax in figure.axes if ax.get_legend_handles_labels()[1]]
    handles, labels = axes[0].get_legend_handles_labels()
    style = {"frameon": False, "markerscale": 1.6, "fontsize": 8, "handletextpad": 0.1}
    figure.legend(handles, labels, loc="outside lower center", ncols=4, **style)


def to_unit(maps: np.ndarray) -> np.ndarray:
    """Maps without an upper bound, from their common lowest value at 0 to their highest at 1.

    PatchCore's distances and latent differences are shown so: one scale for all maps of a
    category, and none between categories.
    """
    maps = np.asarray(maps, np.float32)
    return (maps - maps.min()) / max(float(np.ptp(maps)), 1e-12)


def some_of(indices: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `indices`, evenly spread from the first to the last: nothing is picked."""
    return indices[spread(len(indices), count)]

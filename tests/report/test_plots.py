"""Pictures keep their colours, their scales have bars, and outlines cover nothing."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from pouta_lib.report import plots


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def test_a_picture_keeps_all_its_colours(tmp_path, monkeypatch):
    monkeypatch.setenv("POUTA_FIGURES", str(tmp_path))
    colours = np.random.default_rng(0).random((3, 64, 64))
    figure, ax = plt.subplots(figsize=(3, 3))
    plots.show_image(ax, colours)
    plots.save_figure(figure, "colours", "demo", "Many colours.")
    with Image.open(tmp_path / "demo" / "colours.png") as picture:
        assert picture.mode == "RGB"
        assert len(picture.getcolors(maxcolors=10**6)) > 1000


def test_an_outline_stands_beside_what_it_marks():
    mask = np.zeros((96, 96), bool)
    mask[40:44, 20:60] = True  # a scratch of four pixels
    mask[0:5, 90:96] = True  # in a corner: the line is cut at the image's edge
    _, ax = plt.subplots()
    plots.show_image(ax, np.zeros((3, 96, 96)), mask)
    lines = np.concatenate([p.vertices for c in ax.collections for p in c.get_paths()])
    near = np.abs(lines[:, None] - np.argwhere(mask)[None, :, ::-1]).max(axis=2).min(axis=1)
    assert near.min() > 1  # in pixels, from their centres
    assert ax.get_xlim() == (-0.5, 95.5)


def test_every_scale_has_one_bar():
    image, grid = np.zeros((3, 8, 8), np.uint8), np.eye(8)
    row = [
        partial(plots.show_image, image=image),
        partial(plots.show_map, anomaly_map=grid),
        partial(plots.show_map, anomaly_map=grid, linear=True),
        partial(plots.show_cam, cam=grid, image=image),
        partial(plots.show_weight, weight=grid),
    ]
    figure = plots.plot_panels([row, row], ["", ""], [""] * 5)
    labels = [ax.get_ylabel() for ax in figure.axes[10:]]
    assert labels == [plots.MAP_BAR, plots.LINEAR_BAR, plots.WEIGHT_BAR, plots.CAM_BAR]
    assert len(plots.plot_panels([row[:1]], [""], [""]).axes) == 1


def test_a_bar_says_whose_it_is_where_maps_have_two_scales():
    column = {"title": "", "image": np.zeros((3, 8, 8)), "mask": None}
    columns = [column | {"PatchCore": np.eye(8), "POUTA": np.eye(8)}]
    stages = ("input", "PatchCore", "POUTA")
    for linear, label in (
        (stages[1:2], f"PatchCore: {plots.LINEAR_BAR}"),
        (stages[1:], plots.LINEAR_BAR),
    ):
        figure = plots.plot_detections(columns, stages, linear=linear)
        assert figure.axes[-1].get_ylabel() == label


def test_formulas_are_set_and_names_are_left_as_they_are():
    panel = partial(plots.show_map, anomaly_map=np.eye(8))
    rows, columns = ["rebuilt $I_r$", "$\\no$"], ["$W_{sp(1)}$", "$(touch x)$"]
    figure = plots.plot_panels([[panel] * 2] * 2, rows, columns)
    titles = [figure.axes[k].title for k in (0, 1)]
    beside = [figure.axes[k].texts[0] for k in (0, 2)]
    assert [text.get_text() for text in (*titles, *beside)] == [*columns, *rows]
    assert [text.get_parse_math() for text in (*titles, *beside)] == [True, False, True, False]
    figure.canvas.draw()  # an unknown command would end it

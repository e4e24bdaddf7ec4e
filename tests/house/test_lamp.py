"""tools/lamp.py: what the light of the test images gives away, on pictures made for it."""

import lamp
import numpy as np
import pandas as pd
import pytest

from pouta_lib.study.execution import execute_run
from pouta_lib.study.records import read_record


def pictures(grays, part=200):
    """A bright part on a background of each of these grays: ``(N, 3, 50, 50)``."""
    images = np.empty((len(grays), 3, 50, 50), np.uint8)
    images[:] = np.array(grays, np.uint8)[:, None, None, None]
    images[:, :, 20:30, 20:30] = part
    return images


def test_the_borders_gray_is_the_backgrounds():
    assert lamp.border_gray(pictures([40, 60])).tolist() == [40, 60]


def test_light_is_a_gain():
    images = pictures([40, 60], part=100)
    light = lamp.in_light(images, 50)
    assert light.mean(axis=(1, 2, 3)) == pytest.approx([50, 50], abs=0.5)
    assert light[0, 0, 25, 25] / light[0, 0, 0, 0] == pytest.approx(100 / 40, rel=0.02)
    other = lamp.in_light(images, images.mean(axis=(1, 2, 3))[::-1])
    assert other.mean(axis=(1, 2, 3))[0] > other.mean(axis=(1, 2, 3))[1]


def test_black_pictures_stay_black():
    assert lamp.in_light(pictures([0], part=0), 50).max() == 0


def test_where_the_light_has_drifted_only_the_good_ones_are_darker():
    images, bad = pictures([100, 200], part=100), np.array([True, False])
    lights = lamp.in_every_light(images, bad, 50)
    (drifted,), (equal,) = lights["good ones darker"], lights["equally light"]
    assert (drifted[0] == images[0]).all()
    assert (drifted[1] == (images[1] * 0.93).round()).all()
    assert equal.mean(axis=(1, 2, 3)) == pytest.approx([50, 50], abs=0.5)


def test_a_run_is_measured_in_every_light(bolt):
    folder = execute_run(profile="smoke", dataset="mvtec", category="bolt", variant="patchcore")
    record, out = read_record(folder), bolt / "lamp.csv"
    assert lamp.main([str(folder), "--out", str(out)]) == 0
    table = pd.read_csv(out)
    assert list(table["method"]) == ["border gray", *["patchcore"] * 4]
    lights = ["as they are", "as they are", "equally light", "light dealt at random"]
    lights.append("good ones darker")
    assert list(table["test images"]) == lights
    assert table["image_auroc"][1] == pytest.approx(record.metrics["image_auroc"], abs=1e-6)
    assert table["pixel_ap"][1] == pytest.approx(record.metrics["pixel_ap"], abs=1e-6)


def test_a_run_without_weights_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        lamp.main([str(tmp_path / "nothing"), "--out", str(tmp_path / "lamp.csv")])
    assert stopped.value.code == 1 and "lamp: " in capsys.readouterr().err
    assert not (tmp_path / "lamp.csv").exists()

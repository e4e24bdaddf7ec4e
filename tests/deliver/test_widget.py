"""The widget's answers are the network's own, and a picture stands where there can be no widget."""

import io
import json
import shutil
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from pouta_lib.data.mini import generate_mini
from pouta_lib.deliver import widget
from pouta_lib.deliver.painting import packed
from pouta_lib.deliver.traced import Shown
from pouta_lib.deliver.widget import answer, front_end, paint
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.models import build_model
from pouta_lib.score.evaluation import image_scores
from pouta_lib.study.run import load_run_data, prepare_run


@pytest.fixture(scope="module")
def profile():
    return load_profile("smoke")


@pytest.fixture(scope="module")
def nut(tmp_path_factory):
    root = tmp_path_factory.mktemp("widget")
    generate_mini(root, share=0.05, workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POUTA_DATA", str(root))
        yield load_run_data(prepare_run("smoke", "mini-mvtec", "nut"))[0]


@pytest.fixture
def network(profile):
    torch.manual_seed(0)
    return build_model("pouta", profile)


def test_an_answer_is_what_the_network_says(network, profile, nut):
    painted = nut.test[0].copy()
    painted[:, 20:30, 20:40] = 255
    found = answer(Shown(network, profile), painted)
    with torch.no_grad():
        named = network.eval().trace(torch.from_numpy(painted)[None] / 255)
    for name in ("I_r", "M_p", "M_p4"):
        assert np.allclose(found[name], named[name][0], atol=1e-6), name
    assert np.allclose(found["F_C2"], named["F_C2"][0].mean(dim=0), atol=1e-5)
    expected = image_scores(named["M_p"].numpy(), profile.score_window_px)
    assert found["score"] == pytest.approx(expected[0], abs=1e-6)


def test_a_network_that_was_trained_on_a_card_comes_to_the_pictures(network, profile, nut):
    with mock.patch.object(network, "cpu", wraps=network.cpu) as moved:
        paint({"my network": network}, nut, profile)
    moved.assert_called_once_with()


def test_a_picture_that_is_sent_comes_back_as_its_maps(network, profile, nut, monkeypatch):
    pytest.importorskip("anywidget")
    painting = paint({"my network": network}, nut, profile)
    (part,) = painting.data["parts"]
    (model,) = part["models"]
    assert (model["title"], part["name"]) == ("my network", "nut")
    assert len(model["good"]) + len(model["bad"]) == len(nut.test)
    assert part["images"][0]["pixels"] in [packed(image) for image in nut.test]
    sent = []
    monkeypatch.setattr(painting, "send", lambda told, buffers=None: sent.append((told, buffers)))
    image = nut.test[3]
    pixels = np.concatenate([image, np.full_like(image[:1], 255)])
    pixels = memoryview(np.moveaxis(pixels, 0, -1).tobytes())
    asked = {"call": "1", "network": "my network"}
    painting._handle_custom_msg(asked, [pixels])
    painting._handle_custom_msg({"call": "2", "network": "another"}, [pixels])
    (told, buffers), (refused, _) = sent
    expected = answer(Shown(network, profile), image)
    assert json.loads(json.dumps(told))["call"] == "1"
    assert [m["name"] for m in told["maps"]] == list(expected)
    for (name, values), of, raw in zip(expected.items(), told["maps"], buffers, strict=True):
        found = np.frombuffer(raw, np.float32)
        assert np.array_equal(found, np.ravel(values)), name
        assert of["side"] == (1 if name == "score" else values.shape[-1])
    assert refused == {"call": "2", "error": "KeyError: 'another'"}


def test_a_picture_stands_where_nothing_runs(network, profile, nut, monkeypatch):
    pytest.importorskip("anywidget")
    bundle, _ = paint({"mine": network}, nut, profile)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    monkeypatch.setattr(widget, "find_spec", lambda name: None)
    picture = paint({"mine": network}, nut, profile)
    same = Image.open(io.BytesIO(bundle["image/png"]))
    assert np.array_equal(np.asarray(picture), np.asarray(same))
    assert picture.width == 3 * picture.height


def test_the_front_end_is_one_module():
    script, style = front_end()
    assert "import" not in [line.split(" ")[0] for line in script.splitlines()]
    assert script.count("\nexport ") == 1 and ".paint" in style
    if node := shutil.which("node"):
        check = [node, "--input-type=module", "--check"]
        subprocess.run(check, input=script, text=True, check=True, stdout=sys.stderr)

"""What the page's networks say is what the networks say, in every tensor that is shown."""

import numpy as np
import pytest
import torch

from pouta_lib.deliver import traced
from pouta_lib.deliver.traced import TOLERANCE, Shown, export_shown
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.methods import ABLATED
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.models import build_model
from pouta_lib.score.evaluation import image_scores

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is in the extra `export`")
pytest.importorskip("onnx", reason="onnx is in the extra `export`")
IMAGE = torch.rand((1, 3, 64, 64), generator=torch.manual_seed(1))
OF_LEVELS = {"base": ["F_C"], "base+hsg": ["F_C", "W_sp"], "base+mss": ["F_C", "M_p"]}
OF_LEVELS |= {"vanilla": [], "pouta": ["F_C", "W_sp", "M_p"]}


def lively(method, profile="smoke"):
    """A network with random weights whose maps are not flat, and its profile."""
    profile = load_profile(profile)
    torch.manual_seed(0)
    model = build_model(method, profile).eval()
    for weights in filter(lambda p: p.ndim > 1, model.parameters()):
        torch.nn.init.kaiming_normal_(weights)
    return model, profile


@pytest.mark.parametrize("method", ABLATED)
def test_the_file_says_what_the_network_says(method, tmp_path):
    model, profile = lively(method)
    differs_by = export_shown(model, profile, tmp_path / "a.onnx")
    with torch.no_grad():
        named = model.trace(IMAGE)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"image": IMAGE.numpy()}), strict=True))
    levels = {f"{of}{i}" for of in OF_LEVELS[method] for i in (1, 2, 3, 4)} - {"W_sp4"}
    assert set(found) == set(differs_by) == {"I_r", "M_p", "score"} | levels
    assert found["M_p"].std() > 0.001
    for name in set(found) - {"score"}:
        expected = named[name] if name == "I_r" or name[0] == "M" else named[name].mean(dim=1)
        bound = TOLERANCE * max(1.0, float(expected.abs().max()))
        assert float(np.abs(found[name] - expected.numpy()).max()) <= bound, name
    score = image_scores(named["M_p"].numpy(), profile.score_window_px)
    assert found["score"] == pytest.approx(score, abs=TOLERANCE)


def test_weights_are_kept_in_half_precision(tmp_path):
    model, profile = lively("pouta", "demo")
    export_shown(model, profile, tmp_path / "a.onnx")
    count = sum(weights.numel() for weights in model.parameters())
    assert 2 * count < (tmp_path / "a.onnx").stat().st_size < 2.2 * count < 2e6 * 1.1


def test_weights_are_kept_in_full_where_half_is_too_coarse(tmp_path, monkeypatch):
    model, profile = lively("pouta")
    export_shown(model, profile, tmp_path / "half.onnx")

    def spoilt(graph):
        weight = max(graph.graph.initializer, key=lambda w: np.prod(w.dims))
        weight.raw_data = bytes(len(weight.raw_data))

    monkeypatch.setattr(traced, "halve_weights", spoilt)
    assert max(export_shown(model, profile, tmp_path / "full.onnx").values()) < 1e-3
    half, full = ((tmp_path / f"{name}.onnx").stat().st_size for name in ("half", "full"))
    assert 1.5 * half < full


def test_a_file_that_says_something_else_is_not_kept(tmp_path, monkeypatch):
    model, profile = lively("pouta")
    monkeypatch.setattr(traced, "TOLERANCE", -1.0)
    with pytest.raises(PoutaError, match=r"within -1.0 of the network's, found "):
        export_shown(model, profile, tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_names_come_in_the_order_of_the_tensors():
    model, profile = lively("base+hsg")
    shown = Shown(model, profile)
    with torch.no_grad():
        sides = {n: t.shape[-1] for n, t in zip(shown.names, shown(IMAGE), strict=True)}
    assert {n: side for n, side in sides.items() if n[0] in "FW"} == {
        f"{of}{i}": 64 // 2 ** (i - 1)
        for of, most in (("F_C", 4), ("W_sp", 3))
        for i in range(1, most + 1)
    }

"""Run parameters, the study's plan, evaluation and the command line."""

import numpy as np
import pytest
import torch
from trees import mvtec_tree

from pouta_lib import cli
from pouta_lib.data import load_category
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import choose_compute
from pouta_lib.method.models import build_model
from pouta_lib.score.evaluation import evaluate, image_scores, predict
from pouta_lib.study.plan import planned_runs
from pouta_lib.study.records import RunKey
from pouta_lib.study.run import check_parameters, prepare_run, support_indices


@pytest.fixture
def bolt(tmp_path, monkeypatch):
    monkeypatch.setenv("POUTA_DATA", str(tmp_path))
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path / "results"))
    mvtec_tree(tmp_path)
    return tmp_path


def test_a_run_from_its_parameters(bolt):
    run = prepare_run("smoke", "mvtec", "", "base+mss", 2, 5, {"steps": 3})
    assert run.key == RunKey("smoke~steps=3", "mvtec", "bolt", "base+mss", 2, 5)
    assert run.profile.steps == 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"seed": "0"}, "expected seed to be a whole number from 0, found '0' (str)"),
        ({"seed": True}, "found True (bool)"),
        ({"shots": 2.0}, "expected shots to be a whole number above 0, or None"),
        ({"shots": 0}, "expected shots above 0"),
        ({"variant": "Pouta"}, "expected a variant out of ['vanilla', 'base'"),
        ({"category": "nail"}, "expected a category out of ['bolt'], found 'nail'"),
        ({"dataset": "mvtek"}, "expected a dataset out of"),
        ({"profile": "dmeo"}, "expected a profile out of"),
        ({"overrides": {"stepz": 1}}, "did you mean 'steps'"),
        ({"overrides": "steps=1"}, "expected overrides to be a dictionary"),
    ],
)
def test_wrong_parameters_are_named(bolt, parameters, message):
    with pytest.raises(PoutaError) as error:
        prepare_run(**({"dataset": "mvtec", "category": "bolt"} | parameters))
    assert message in str(error.value)


def test_an_unknown_notebook_parameter_is_refused():
    good = ['# Parameters\nprofile = ""\nseed = 0', "x = 3", "# Parameters\nseed = 4\n"]
    check_parameters(cells=good)
    with pytest.raises(PoutaError, match=r"parameters out of \['profile'.*found \['sede'\]"):
        check_parameters(cells=[*good, "# Parameters\nsede = 4\n"])


def test_support_sets_are_nested_and_follow_the_seed():
    sets = [set(support_indices(50, k, seed=1)) for k in (2, 4, 8)]
    assert [len(s) for s in sets] == [2, 4, 8]
    assert sets[0] < sets[1] < sets[2]
    assert sets[2] != set(support_indices(50, 8, seed=2))
    assert support_indices(5, None, 0).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(PoutaError, match="expected at most 5 shots, found 8"):
        support_indices(5, 8, 0)


def test_plan_of_named_categories(bolt):
    mvtec_tree(bolt, "surface", "tile")
    mvtec_tree(bolt, "surface", "plate")
    assert planned_runs("demo", ["mvtec/bolt", "surface"]) == [
        RunKey("demo", "mvtec", "bolt"),
        RunKey("demo", "surface", "plate"),
        RunKey("demo", "surface", "tile"),
    ]


def test_image_score_against_the_definition():
    maps = np.random.default_rng(0).random((3, 12, 10)).astype(np.float32)
    expected = []
    for m in np.pad(maps, ((0, 0), (2, 2), (2, 2))):
        windows = [m[i : i + 5, j : j + 5].mean() for i in range(12) for j in range(10)]
        expected.append(max(windows))
    np.testing.assert_allclose(image_scores(maps, 5), expected, rtol=1e-5)


def test_prediction_does_not_depend_on_the_batch(bolt):
    torch.manual_seed(0)
    model = build_model("pouta", 8).eval()
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    compute = choose_compute("cpu", "fp32")
    whole = predict(model, images, compute, batch_size=5)
    np.testing.assert_allclose(whole, predict(model, images, compute, batch_size=2), atol=1e-6)
    with torch.no_grad():
        one = model(torch.from_numpy(images[:1]).float() / 255)
    np.testing.assert_allclose(whole[:1], one.numpy(), atol=1e-6)


def test_evaluation_without_masks_or_images(bolt):
    from dataclasses import replace

    category = load_category("mvtec", "bolt", 32)
    model, compute = build_model("base", 8), choose_compute("cpu", "fp32")
    profile = load_profile("smoke", size_px=32)
    found = evaluate(model, category, profile, compute)
    assert found.reconstructions.shape == category.test.shape
    assert all(0 <= value <= 1 for value in found.metrics.values())
    coarse = evaluate(model, replace(category, mask_kind="coarse"), profile, compute)
    assert coarse.metrics["pixel_ap"] is None
    assert coarse.metrics["image_auroc"] == found.metrics["image_auroc"]
    with pytest.raises(PoutaError, match="expected test images to score"):
        evaluate(model, replace(category, test=category.test[:0]), profile, compute)


def test_devices():
    assert choose_compute("cpu").device.type == "cpu"
    with pytest.raises(PoutaError, match="expected a device out of"):
        choose_compute("tpu")


def test_command_line_prints_errors_without_a_traceback(bolt, capsys):
    assert cli.main(["run", "--dataset", "mvtec", "--category", "nail"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("pouta: expected a category out of ['bolt'], found 'nail'")
    assert "Traceback" not in text


def test_command_line_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("study", "run", "data"))

"""Methods out of anomalib: what is handed over, what comes back, and what is refused."""

import json
import subprocess

import numpy as np
import pytest

from pouta_lib.ground.errors import PoutaError
from pouta_lib.study import peers
from pouta_lib.study.peers import measure_peer, peers_python

HERE = {"profile": "smoke", "dataset": "mvtec", "category": "bolt", "overrides": {"size_px": 32}}


def test_an_unknown_method_is_refused(bolt):
    with pytest.raises(PoutaError, match=r"\['draem', 'rd', 'patchcore'\], found 'dream'"):
        measure_peer("dream", **HERE)


def test_without_the_environment_it_says_how_to_make_it(bolt, monkeypatch):
    monkeypatch.setattr(peers, "peers_python", lambda: None)
    with pytest.raises(PoutaError, match=r"tools/peers_env\.py"):
        measure_peer("draem", **HERE)


@pytest.fixture
def worker(monkeypatch, tmp_path):
    """In anomalib's place: maps that are bright where the test images are; keeps what it was
    handed."""
    handed, run = {}, subprocess.run

    def work(command, **options):
        if command[0] == "git":
            return run(command, **options)
        folder = command[-1]
        handed.update(json.loads((folder / "task.json").read_text()))
        handed["textures"] = len(list((folder / "textures").glob("*.png")))
        with np.load(folder / "images.npz") as arrays:
            handed["train"] = arrays["train"]
            maps = arrays["test"].mean(axis=1, dtype=np.float32) / 255
        scores = np.arange(len(maps), dtype=np.float32)
        np.savez(folder / "maps.npz", maps=maps, scores=scores, seconds=1.0)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(peers, "peers_python", lambda: tmp_path / "python")
    monkeypatch.setattr(peers.subprocess, "run", work)
    return handed


def test_the_study_s_images_steps_and_metrics(bolt, worker):
    from pouta_lib.study.run import load_run_data, prepare_run

    folder, metrics = measure_peer("rd", **HERE)
    run = prepare_run(**HERE)
    data, support, textures = load_run_data(run)
    assert np.array_equal(worker["train"], data.train[support])
    assert (worker["steps"], worker["batch_size"]) == (run.profile.steps, run.profile.batch_size)
    assert worker["width"] == run.profile.width
    assert worker["textures"] == len(textures)
    told = json.loads((folder / "metrics.json").read_text())
    assert told["metrics"] == metrics
    assert (told["method"], told["title"][:12]) == ("rd", "RD (anomalib")
    assert {"commit", "dirty", "versions"} <= set(told)
    with np.load(folder / "maps.npz") as arrays:
        assert arrays["maps"].shape == data.masks.shape
        assert arrays["scores"].tolist() == list(range(len(data.test)))  # anomalib's own


def test_draem_is_scored_by_its_paper(bolt, worker):
    from pouta_lib.score.evaluation import image_scores
    from pouta_lib.study.run import load_run_data, prepare_run

    folder, _ = measure_peer("draem", **HERE)
    run = prepare_run(**HERE)
    test = load_run_data(run)[0].test
    maps = test.mean(axis=1, dtype=np.float32) / 255
    with np.load(folder / "maps.npz") as arrays:
        expected = image_scores(maps, run.profile.score_window_px)
        assert np.allclose(arrays["scores"], expected)


def test_what_anomalib_says_last_is_passed_on(bolt, monkeypatch, tmp_path):
    run = subprocess.run

    def fail(command, **options):
        if command[0] == "git":
            return run(command, **options)
        options["stdout"].write("a lot\nOSError: no weights\n")
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(peers, "peers_python", lambda: tmp_path / "python")
    monkeypatch.setattr(peers.subprocess, "run", fail)
    with pytest.raises(PoutaError, match=r"OSError: no weights\n(.*\n)*.*pretrained weights"):
        measure_peer("patchcore", **HERE)
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(peers_python() is None, reason="no anomalib: tools/peers_env.py installs it")
def test_anomalibs_draem_runs(bolt):
    _, metrics = measure_peer("draem", **HERE | {"overrides": {"size_px": 32, "steps": 2}})
    assert 0 <= metrics["image_auroc"] <= 1

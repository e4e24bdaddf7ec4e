"""Run records: written whole or not at all, checked when they are read."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import fake_run, record_body

from pouta_lib.cli import _parser
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile, parse_overrides
from pouta_lib.method.weights import load_weights, save_weights
from pouta_lib.study.records import (
    METRICS,
    RunKey,
    arrays_digest,
    commit,
    find_records,
    in_percent,
    load_arrays,
    read_record,
    selection_of,
    write_run,
)
from pouta_lib.study.run import Run, run_of


def test_round_trip(tmp_path):
    folder = fake_run(tmp_path, "mini-mvtec", "nut", image_auroc=0.9)
    where = "demo/runs/mini-mvtec/nut/pouta/all/seed0"
    assert folder.relative_to(tmp_path).as_posix() == where
    record = read_record(folder)
    assert record == read_record(folder / "record.json")
    assert record.metrics["image_auroc"] == 0.9
    assert torch.__version__.startswith(record.versions["torch"])
    assert record.key == RunKey("demo", "mini-mvtec", "nut")
    assert record.path == folder
    assert set(load_arrays(folder)) == {"maps"}
    layer = load_weights(torch.nn.Conv2d(3, 2, 1), folder)
    assert not layer.training


def test_commands_and_folders_of_keys(tmp_path):
    key = RunKey("demo~lr=0.001~steps=50", "mvtec", "bottle", "base+hsg", 4, 2)
    tail = "demo~lr=0.001~steps=50/runs/mvtec/bottle/base+hsg/k4/seed2"
    assert key.folder(tmp_path).relative_to(tmp_path).as_posix() == tail
    assert key.command() == (
        "pouta run --profile demo --dataset mvtec --category bottle --variant base+hsg --seed 2"
        " --shots 4 --set lr=0.001 --set steps=50"
    )


def test_a_command_works_when_it_is_pasted(tmp_path):
    label = load_profile("demo", lr_milestones=[0.5, 0.9], max_train=None, textures="dtd").label
    key = RunKey(label, "my photos", "left side; rm", "base+hsg", None, 2)
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    pasted = key.command().replace("pouta ", shlex.join([sys.executable, "-c", program, ""]), 1)
    told = subprocess.run(["sh", "-c", pasted], capture_output=True, text=True, check=True).stdout
    options = _parser().parse_args(json.loads(told))
    assert (options.dataset, options.category) == (key.dataset, key.category)
    profile = load_profile(options.profile, **parse_overrides(options.overrides))
    assert profile.label == label
    again = RunKey(profile.label, options.dataset, options.category, options.variant, options.shots)
    assert replace(again, seed=options.seed) == key


@pytest.mark.parametrize("overrides", [{"lr_milestones": [0.5, 0.9]}, {"max_train": None}])
def test_what_was_overridden_is_read_back_from_the_record(tmp_path, overrides):
    profile = load_profile("smoke", **overrides)
    key = RunKey(profile.label, "mini-mvtec", "nut")
    body = record_body() | {"profile": profile.to_dict()}
    folder = write_run(key, body, torch.nn.Conv2d(3, 2, 1), {"maps": np.zeros(1)}, tmp_path)
    record = read_record(folder)
    assert (record.key, record.profile) == (key, profile)
    assert run_of(record) == Run(key, profile)
    assert find_records(profile.label, tmp_path) == [record]


def test_records_of_version_2_are_read(tmp_path):
    folder = fake_run(tmp_path, "mini-mvtec", "nut")
    today, path = read_record(folder), folder / "record.json"
    old = json.loads(path.read_text()) | {"schema_version": 2}
    old["profile"] |= {"lr_milestones": [0.5, 0.9], "max_train": None}
    old["profile"]["overrides"] = ["lr_milestones=0.5-0.9", "max_train=None"]
    for setting in ("light_share", "light_range", "normalisation"):
        del old["profile"][setting]
    path.write_text(json.dumps(old))
    changed = {"lr_milestones": [0.5, 0.9], "max_train": None}
    key = RunKey("demo~lr_milestones=[0.5,0.9]~max_train=null", "mini-mvtec", "nut")
    with pytest.raises(PoutaError, match=key.place):  # where it was written in those days
        read_record(folder)
    key.folder(tmp_path).parent.mkdir(parents=True)
    record = read_record(folder.rename(key.folder(tmp_path)))
    assert record.profile == replace(today.profile, **changed, overrides=changed)
    assert record.key == key


def test_every_committed_record_is_found_under_its_label(committed):
    results = committed / "results"
    paths = sorted(results.glob("**/record.json"))
    assert len(paths) > 80
    for path in paths:
        root = next(folder for folder in path.parents if folder.name == "runs").parents[1]
        assert read_record(path).key.folder(root) == path.parent


def test_find_and_filter(tmp_path):
    for category in ("nut", "cap"):
        for seed in (0, 1):
            fake_run(tmp_path, "mini-mvtec", category, seed=seed)
    fake_run(tmp_path, "mini-visa", "tablets", shots=2)
    assert len(find_records("demo", tmp_path)) == 5
    assert len(find_records("demo", tmp_path, category="nut")) == 2
    assert len(find_records("demo", tmp_path, shots=None, seed=1)) == 2
    assert find_records("paper", tmp_path) == []
    with pytest.raises(TypeError, match="unknown filters"):
        find_records("demo", tmp_path, colour="red")


@pytest.mark.parametrize(
    "place",
    [
        "demo/runs/mini-mvtec/nut/pouta/all/seed1",
        "demo/runs/mini-mvtec/nut/pouta/all/seed0 copy",
        "demo/runs/mini-mvtec/nut/pouta/k4/seed0",
        "demo/runs/mini-mvtec/nut/vanilla/all/seed0",
        "demo/runs/mini-mvtec/cap/pouta/all/seed0",
        "demo/runs/mvtec/nut/pouta/all/seed0",
        "demo~steps=9/runs/mini-mvtec/nut/pouta/all/seed0",
    ],
)
def test_a_record_in_another_runs_folder_is_refused(tmp_path, place):
    folder = fake_run(tmp_path, "mini-mvtec", "nut")
    shutil.copytree(folder, tmp_path / place)
    label, nut = place.partition("/")[0], RunKey("demo", "mini-mvtec", "nut")
    for read in (lambda: find_records(label, tmp_path), lambda: load_arrays(tmp_path / place)):
        with pytest.raises(PoutaError) as refused:
            read()
        assert f"found that of {nut.place}" in str(refused.value)
        assert f"where: {tmp_path / place}\n" in str(refused.value)
    assert read_record(folder).key == nut


@pytest.mark.skipif(os.name == "nt", reason="links want a right of their own")
def test_results_elsewhere_are_read_through_a_link_and_from_within(tmp_path, monkeypatch):
    folder = fake_run(tmp_path / "disk", "mini-mvtec", "nut")
    (tmp_path / "disk" / "demo").rename(tmp_path / "disk" / "large")
    (tmp_path / "demo").symlink_to(tmp_path / "disk" / "large")
    assert [r.key for r in find_records("demo", tmp_path)] == [RunKey("demo", "mini-mvtec", "nut")]
    (tmp_path / "disk" / "large").rename(tmp_path / "disk" / "demo")
    monkeypatch.chdir(folder)
    assert read_record("record.json").key == read_record(".").key


def test_an_old_run_is_replaced_whole(tmp_path):
    folder = fake_run(tmp_path, "mini-mvtec", "nut", image_auroc=0.1)
    (folder / "left_over.txt").write_text("x")
    fake_run(tmp_path, "mini-mvtec", "nut", image_auroc=0.2)
    assert read_record(folder).metrics["image_auroc"] == 0.2
    assert not (folder / "left_over.txt").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["seed0"]


def test_nothing_is_half_written(tmp_path, monkeypatch):
    folder = fake_run(tmp_path, "mini-mvtec", "nut", image_auroc=0.1)

    def full_disk(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("pouta_lib.method.weights.save", full_disk)
    with pytest.raises(OSError, match="no space"):
        fake_run(tmp_path, "mini-mvtec", "nut", image_auroc=0.2)
    with pytest.raises(OSError, match="no space"):
        fake_run(tmp_path, "mini-mvtec", "cap")
    assert read_record(folder).metrics["image_auroc"] == 0.1
    assert [p.name for p in folder.parent.iterdir()] == ["seed0"]
    assert find_records("demo", tmp_path, category="cap") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {"image_auroc": 93.0}}, "image_auroc to be in [0, 1], or null, found 93"),
        ({"steps": "400"}, "steps to be a valid integer, found '400' (str)"),
        ({"selection": None}, "selection to be a valid string, found None"),
        ({"backbone": "resnet19"}, "backbone to be 'efficientnet_lite0', "),
        ({"steps": -1}, "steps to be in [0, 100000000], found -1"),
    ],
)
def test_a_wrong_record_is_not_written(tmp_path, change, message):
    body = record_body()
    for name, value in change.items():
        body[name] = body[name] | value if isinstance(value, dict) else value
    key = RunKey("demo", "mini-mvtec", "nut")
    with pytest.raises(PoutaError) as error:
        write_run(key, body, torch.nn.Conv2d(3, 2, 1), {"maps": np.zeros(1)}, tmp_path)
    assert message in str(error.value)
    assert not key.folder(tmp_path).exists()


def test_damaged_records_are_named(tmp_path):
    folder = fake_run(tmp_path, "mini-mvtec", "nut")
    path = folder / "record.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"schema_version": 99}))
    with pytest.raises(PoutaError, match="schema_version to be 3, found 99"):
        read_record(folder)
    del whole["history"]
    path.write_text(json.dumps(whole))
    with pytest.raises(PoutaError, match="expected history, found none"):
        find_records("demo", tmp_path)
    path.write_text('{"run": ')
    with pytest.raises(PoutaError, match="expected a run record in JSON"):
        read_record(folder)
    path.unlink()
    with pytest.raises(PoutaError, match="expected a run record, found none"):
        read_record(folder)


def test_missing_weights_and_maps_say_what_to_do(tmp_path):
    folder = fake_run(tmp_path, "mini-mvtec", "nut")
    for name in ("model.safetensors", "maps.npz"):
        (folder / name).unlink()
    with pytest.raises(PoutaError, match="make the run again"):
        load_weights(torch.nn.Conv2d(3, 2, 1), folder)
    with pytest.raises(PoutaError, match="make the run again"):
        load_arrays(folder)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_weights_are_readable_as_the_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        path = save_weights(torch.nn.Conv2d(3, 2, 1), tmp_path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_record_knows_its_weights(tmp_path):
    folder = fake_run(tmp_path, "mini-mvtec", "nut")
    other = fake_run(tmp_path, "mini-mvtec", "cap")
    noted = read_record(folder).weights
    assert load_weights(torch.nn.Conv2d(3, 2, 1), folder, noted)
    shutil.copy(other / "model.safetensors", folder)
    with pytest.raises(PoutaError, match="the weights as they were saved"):
        load_weights(torch.nn.Conv2d(3, 2, 1), folder, noted)


def test_a_record_knows_its_maps(tmp_path):
    folder = fake_run(tmp_path, "mini-mvtec", "nut")
    arrays = load_arrays(folder)
    assert read_record(folder).arrays == arrays_digest(arrays)
    changes = (
        {"maps": np.nextafter(arrays["maps"], np.float16(1))},
        {"maps": arrays["maps"].reshape(4, 64)},
        {"maps": arrays["maps"].astype(np.float32)},
        {"scores": arrays["maps"]},
    )
    for other in changes:
        np.savez_compressed(folder / "maps.npz", **other)
        with pytest.raises(PoutaError, match="maps as its record tells of them"):
            load_arrays(folder)
    record = json.loads((folder / "record.json").read_text())
    del record["arrays"]  # as in records of before
    (folder / "record.json").write_text(json.dumps(record))
    assert set(load_arrays(folder)) == {"scores"}


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_damaged_maps_are_named(tmp_path, keep):
    path = fake_run(tmp_path, "mini-mvtec", "nut") / "maps.npz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(PoutaError, match=r"the run's maps, found a damaged file.*\n.*maps.npz\n"):
        load_arrays(path.parent)


def test_metrics_in_few_words_leave_out_what_is_not_defined():
    metrics = dict.fromkeys(METRICS, 0.5) | {"image_auroc": 0.987654, "pixel_auroc": None}
    assert in_percent(metrics) == "image_auroc 98.8 %, pixel_ap 50.0 %"


def test_which_weights_a_run_keeps():
    profile = load_profile("demo")
    averaged = replace(profile, average_share=0.05)
    assert selection_of(profile, 0) == "no training"
    assert selection_of(profile, 400) == "last step"
    assert selection_of(averaged, 400) == "average over the last 5 % of steps"


def test_the_commit_is_that_of_this_checkout_alone(tmp_path, monkeypatch):
    def git(*words):
        identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setenv("POUTA_HOME", str(tmp_path))
    (tmp_path / "pouta_lib").mkdir()
    (tmp_path / "pouta_lib" / "a.py").touch()
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "x")
    assert commit() == (git("rev-parse", "HEAD"), False)
    (tmp_path / "notes").touch()
    assert commit()[1] is False, "no code"
    (tmp_path / "pouta_lib" / "b.py").touch()
    assert commit()[1] is True
    monkeypatch.setenv("POUTA_HOME", str(tmp_path / "pouta_lib"))  # installed below another project
    assert commit() == (None, None)

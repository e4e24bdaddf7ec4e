"""Run records: written whole or not at all, checked when they are read."""

import json
import os

import numpy as np
import pytest
import torch
from fakes import fake_run, record_body

from pouta_lib.ground.errors import PoutaError
from pouta_lib.method.weights import load_weights, save_weights
from pouta_lib.study.records import (
    RunKey,
    find_records,
    key_of,
    load_arrays,
    read_record,
    write_run,
)


def test_round_trip(tmp_path):
    folder = fake_run(tmp_path, "mini-mvtec", "nut", image_auroc=0.9)
    where = "demo/runs/mini-mvtec/nut/pouta/all/seed0"
    assert folder.relative_to(tmp_path).as_posix() == where
    record = read_record(folder)
    assert record == read_record(folder / "record.json")
    assert record["metrics"]["image_auroc"] == 0.9
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert key_of(record) == RunKey("demo", "mini-mvtec", "nut")
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


def test_an_old_run_is_replaced_whole(tmp_path):
    folder = fake_run(tmp_path, "mini-mvtec", "nut", image_auroc=0.1)
    (folder / "left_over.txt").write_text("x")
    fake_run(tmp_path, "mini-mvtec", "nut", image_auroc=0.2)
    assert read_record(folder)["metrics"]["image_auroc"] == 0.2
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
    assert read_record(folder)["metrics"]["image_auroc"] == 0.1
    assert [p.name for p in folder.parent.iterdir()] == ["seed0"]
    assert find_records("demo", tmp_path, category="cap") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {"image_auroc": 93.0}}, "smaller than or equal to 1, but is 93.0"),
        ({"steps": "400"}, "data.steps must be integer, but is '400'"),
        ({"selection": None}, "data.selection must be string, but is None"),
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
    with pytest.raises(PoutaError, match=r"schema version 2, found data\.schema_version"):
        read_record(folder)
    del whole["history"]
    path.write_text(json.dumps(whole))
    with pytest.raises(PoutaError, match=r"must contain \['history'\] properties"):
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

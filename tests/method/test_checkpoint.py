"""A training that was broken off goes on to the bit; another run's checkpoint is refused."""

import errno
import io
import os
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import IMAGES, TEXTURES, Stop, equal, settings, weights

from pouta_lib.ground.errors import PoutaError, TooLittleMemory
from pouta_lib.method import checkpoint as checkpoints
from pouta_lib.method.training import fit, train


@pytest.mark.parametrize(
    "changes", [{"precision": "fp32"}, {"precision": "bf16", "average_share": 0.2}]
)
def test_interrupted_run_ends_with_the_same_weights(tmp_path, changes):
    profile = settings(steps=13, checkpoint_steps=4, **changes)
    whole = train(IMAGES, TEXTURES, profile, "pouta", 0, device="cpu")

    def stop_late(step, steps, losses):
        raise Stop

    checkpoint = tmp_path / "run.partial" / "checkpoint.pt"
    with pytest.raises(Stop):  # at step 10, after the checkpoint of step 8
        train(
            IMAGES, TEXTURES, profile, "pouta", 0,
            device="cpu", checkpoint=checkpoint, progress=stop_late,
        )  # fmt: skip
    assert torch.load(checkpoint, weights_only=True)["step"] == 8
    torch.manual_seed(99)  # whatever happened in between must not matter
    resumed = train(IMAGES, TEXTURES, profile, "pouta", 0, device="cpu", checkpoint=checkpoint)
    assert equal(weights(whole), weights(resumed))
    assert whole.history == resumed.history


KILLED = """
import sys, time
import numpy as np
from safetensors.torch import save_file
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.training import train
folder, pause = sys.argv[1], float(sys.argv[2])
images = np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
profile = load_profile("smoke", size_px=32, steps=30, checkpoint_steps=10)
def progress(step, steps, losses):
    print(step, flush=True)
    time.sleep(pause)
done = train(images, images, profile, "pouta", 3, device="cpu",
             checkpoint=__import__("pathlib").Path(folder) / "c.pt", progress=progress)
state = {k: v.contiguous() for k, v in done.model.state_dict().items()}
save_file(state, folder + "/w.safetensors")
assert "torch._dynamo" not in sys.modules  # a second of every run
"""


def test_killed_process_started_again_ends_with_the_same_weights(tmp_path):
    def start(folder, pause):
        folder.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder), str(pause)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )

    assert start(tmp_path / "whole", 0).wait(300) == 0
    killed = start(tmp_path / "killed", 600)
    assert killed.stdout.readline().strip() == "10"
    killed.kill()
    killed.wait(60)
    assert (tmp_path / "killed" / "c.pt").is_file()
    assert not (tmp_path / "killed" / "w.safetensors").exists()
    assert start(tmp_path / "killed", 0).wait(300) == 0
    whole, again = (load_file(tmp_path / f / "w.safetensors") for f in ("whole", "killed"))
    assert equal(whole, again)


def test_checkpoint_of_another_run_is_refused(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    train(IMAGES, TEXTURES, settings(steps=2), "base", 0, checkpoint=checkpoint)
    with pytest.raises(PoutaError, match=r"another's: variant=base in place of pouta\n"):
        train(IMAGES, TEXTURES, settings(steps=2), "pouta", 0, checkpoint=checkpoint)


def test_checkpoint_of_other_images_is_refused(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    train(IMAGES, TEXTURES, settings(steps=2), "base", 0, checkpoint=checkpoint)
    with pytest.raises(PoutaError, match=r"another's: images="):
        train(255 - IMAGES, TEXTURES, settings(steps=2), "base", 0, checkpoint=checkpoint)


def test_checkpoint_of_other_code_is_refused(tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.pt"
    train(IMAGES, TEXTURES, settings(steps=2), "base", 0, checkpoint=checkpoint)
    for name, value in (("_sources_digest", lambda: "0"), ("torch.__version__", "1.0")):
        with monkeypatch.context() as patch:
            patch.setattr(f"pouta_lib.method.checkpoint.{name}", value)
            with pytest.raises(PoutaError, match=r"another's: (sources|torch)=.* in place of "):
                train(IMAGES, TEXTURES, settings(steps=2), "base", 0, checkpoint=checkpoint)


def test_checkpoint_of_another_device_is_refused(tmp_path):
    """Its record would name the one that ended the training for all of it."""
    checkpoint = tmp_path / "checkpoint.pt"
    train(IMAGES, TEXTURES, settings(steps=2), "base", 0, device="cpu", checkpoint=checkpoint)
    kept = torch.load(checkpoint, weights_only=True)
    kept["identity"]["device"] = "cuda"
    torch.save(kept, checkpoint)
    with pytest.raises(PoutaError, match=r"another's: device=cuda in place of cpu\n"):
        train(IMAGES, TEXTURES, settings(steps=2), "base", 0, device="cpu", checkpoint=checkpoint)


@pytest.mark.parametrize("name", ["torch.load", "State._take"])
def test_a_checkpoint_that_memory_is_lacking_for_is_not_called_damaged(tmp_path, monkeypatch, name):
    """A fit would throw it away."""
    checkpoint = tmp_path / "checkpoint.pt"
    train(IMAGES, TEXTURES, settings(steps=2), "base", 0, checkpoint=checkpoint)
    lacking = Mock(side_effect=RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    monkeypatch.setattr(f"pouta_lib.method.checkpoint.{name}", lacking)
    with pytest.raises(TooLittleMemory):
        fit(IMAGES, TEXTURES, settings(steps=2), "base", 0, checkpoint=checkpoint)


@pytest.mark.parametrize("share", [0, 0.5, 0.99, 1])
def test_a_disk_that_takes_no_whole_checkpoint_leaves_the_earlier_one(tmp_path, monkeypatch, share):
    """And the system's own words, which the commands tell."""
    resource = pytest.importorskip("resource")
    checkpoint, profile = tmp_path / "checkpoint.pt", settings(steps=4, checkpoint_steps=2)
    save, kept = checkpoints.State.save, []
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_less(state, *arguments):
        if kept:
            most = int(share * (len(kept[0]) - 1))
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, allowed[1]))
        save(state, *arguments)
        kept.append(checkpoint.read_bytes())

    monkeypatch.setattr(checkpoints.State, "save", save_less)
    try:
        with pytest.raises(OSError) as refused:
            train(IMAGES, TEXTURES, profile, "base", 0, checkpoint=checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert refused.value.errno == errno.EFBIG
    assert [checkpoint.read_bytes()] == kept and list(tmp_path.iterdir()) == [checkpoint]


@pytest.fixture(scope="module")
def half_way(tmp_path_factory):
    """A checkpoint of step 2 of 4, as bytes, and what makes and continues it."""
    path = tmp_path_factory.mktemp("half way") / "checkpoint.pt"
    profile = settings(steps=4, checkpoint_steps=2, width=4)

    def go_on(content=None):
        if content is not None:
            path.write_bytes(content)
        return weights(train(IMAGES, TEXTURES, profile, "base", 0, checkpoint=path))

    save = checkpoints.State.save

    def save_and_stop(state, *arguments):
        save(state, *arguments)
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.State, "save", save_and_stop)
        with pytest.raises(Stop):
            go_on()
    return path.read_bytes(), go_on


def test_no_flipped_bit_of_a_checkpoint_changes_what_is_trained(half_way):
    content, go_on = half_way
    whole, random, told = go_on(content), np.random.default_rng(0), []
    for place in random.integers(0, len(content), 16):
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.integers(8)
        try:
            assert equal(go_on(bytes(damaged)), whole)  # a bit that means nothing
        except PoutaError as error:
            told.append(str(error))
    assert len(told) > 8
    assert all(text.count("\n") == 2 and "checkpoint.pt" in text for text in told)


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept.pop("optimizer"),
        lambda kept: kept.update(optimizer={}),
        lambda kept: kept.update(step=5),
        lambda kept: kept.update(step="two"),
        lambda kept: kept.update(losses=torch.zeros(7, 4)),
        lambda kept: kept.update(watched=None),
        lambda kept: kept["model"].popitem(),
        lambda kept: next(iter(kept["model"].values())).fill_(float("nan")),
        lambda kept: kept.update(identity=None),
        lambda kept: kept.clear(),
    ],
)
def test_a_malformed_checkpoint_is_refused(half_way, change, tmp_path):
    content, go_on = half_way
    kept = torch.load(io.BytesIO(content), weights_only=True)
    change(kept)
    torch.save(kept, tmp_path / "changed")
    with pytest.raises(PoutaError, match="to do: delete this file to train from the start"):
        go_on((tmp_path / "changed").read_bytes())
    for nothing in (b"", content[: len(content) // 2]):
        with pytest.raises(PoutaError, match="found an unreadable file"):
            go_on(nothing)


def test_truncated_checkpoint_is_refused(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(PoutaError, match="unreadable file"):
        train(IMAGES, TEXTURES, settings(steps=2), "base", 0, checkpoint=checkpoint)

"""Training: seeds repeat, losses fall and are those of the equations, watching changes nothing."""

import os
import subprocess
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import IMAGES, TEXTURES, Stop, equal, settings, weights
from torch.nn import functional

from conftest import REPOSITORY
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method import checkpoint, training
from pouta_lib.method.history import LOSSES
from pouta_lib.method.losses import MSS_WEIGHTS, focal_loss, reconstruction_loss
from pouta_lib.method.models import build_model
from pouta_lib.method.schedule import batch_indices
from pouta_lib.method.training import PAPER, make_batch, num_steps, train


def test_seeds_differ_and_repeat():
    one, same, other = (train(IMAGES, TEXTURES, settings(), "base", s) for s in (0, 0, 1))
    assert equal(weights(one), weights(same))
    assert not equal(weights(one), weights(other))


ON_CORES = """
import os, sys
os.sched_setaffinity(0, map(int, sys.argv[1:]))
from tiny import IMAGES, TEXTURES, settings, weights
from pouta_lib.method.training import train
from pouta_lib.method.weights import weights_digest
print(weights_digest(weights(train(IMAGES, TEXTURES, settings(), "pouta", 0, device="cpu"))))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be taken away")
def test_on_one_thread_the_number_of_cores_changes_nothing():
    """D27: so a study's records are the same on however many cores."""
    cores = sorted(map(str, os.sched_getaffinity(0)))
    if len(cores) == 1:
        pytest.skip("there is one core alone")
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    own = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    digests = []
    for some in (cores[:1], cores):
        command = [sys.executable, "-c", ON_CORES, *some]
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
        digests.append(done.stdout)
    assert len(digests[0].strip()) == 64 and digests[0] == digests[1]


def test_training_reduces_the_loss():
    profile = settings(steps=60, lr=0.002)
    history = train(IMAGES[:4], TEXTURES, profile, "pouta", 0).history
    assert np.mean(history["total"][-10:]) < 0.8 * np.mean(history["total"][:5])


def test_few_shot_steps_do_not_shrink_with_the_support_set():
    paper = load_profile("paper")
    assert num_steps(paper, 2, shots=2) == num_steps(paper, 8, shots=8) == paper.few_shot_steps


def test_watching_is_kept_over_a_break_and_changes_nothing(tmp_path):
    def watch(model):
        assert not model.training
        return {"norm": float(sum(p.detach().square().sum() for p in model.parameters()))}

    def run(checkpoint=None, progress=None):
        profile = settings(steps=20, checkpoint_steps=5)
        return train(
            IMAGES, TEXTURES, profile, "pouta", 0, checkpoint=checkpoint, progress=progress,
            watch=watch,
        )  # fmt: skip

    def stop(step, steps, losses):
        raise KeyboardInterrupt

    whole = run()
    plain = train(IMAGES, TEXTURES, settings(steps=20, checkpoint_steps=5), "pouta", 0)
    assert [point["step"] for point in whole.watched] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert equal(weights(whole), weights(plain))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c.pt", stop)
    assert run(tmp_path / "c.pt").watched == whole.watched


@pytest.fixture
def clock(monkeypatch):
    """A clock by which a step takes a second."""
    now = [100.0]

    def tick(*args):
        now[0] += 1
        return batch_indices(*args)

    monkeypatch.setattr(training, "batch_indices", tick)
    for module in (training, checkpoint):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_training_that_would_be_late_is_shortened_and_its_schedule_with_it(clock, monkeypatch):
    rates = []
    monkeypatch.setattr(training, "_set_rate", lambda group, rate: rates.append(rate))
    profile = settings(steps=12, lr_milestones=[0.5])
    trained = train(IMAGES, TEXTURES, profile, "pouta", 0, until=106)
    assert trained.steps == trained.history["step"][-1] == 6
    assert rates[:3] == [profile.lr] * 3, "the planned schedule's"
    assert rates[3:] == pytest.approx([profile.lr * profile.lr_gamma] * 3), "of six steps"


def test_a_shortened_training_is_resumed_as_it_was(clock, tmp_path):
    def stop(*_):
        raise Stop

    options = {"profile": settings(steps=20), "method": "pouta", "seed": 0}
    options["watch"] = lambda model: {}
    whole = train(IMAGES, TEXTURES, until=115, **options)
    clock[0] = 100.0
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Stop):
        train(IMAGES, TEXTURES, until=115, checkpoint=path, progress=stop, **options)
    resumed = train(IMAGES, TEXTURES, checkpoint=path, **options)
    assert resumed.steps == whole.steps == 15 and equal(weights(resumed), weights(whole))
    assert resumed.watched == whole.watched
    assert [point["step"] for point in whole.watched][-2:] == [14, 15]


def test_seconds_are_those_of_all_steps_and_of_nothing_else(clock, tmp_path):
    def watch(model):
        clock[0] += 50
        return {}

    def stop(*_):
        raise Stop

    options = {"profile": settings(steps=20, checkpoint_steps=10), "method": "pouta", "seed": 0}
    options |= {"checkpoint": tmp_path / "checkpoint.pt", "watch": watch}
    with pytest.raises(Stop):  # at step 10
        train(IMAGES, TEXTURES, progress=stop, **options)
    clock[0] += 1000
    assert train(IMAGES, TEXTURES, **options).seconds == 20


def test_time_enough_changes_nothing():
    options = {"profile": settings(), "method": "pouta", "seed": 0}
    plain, timed = (train(IMAGES, TEXTURES, until=t, **options) for t in (None, 1e12))
    assert plain.steps == timed.steps == 8 and equal(weights(plain), weights(timed))


def test_progress_is_told_at_the_end():
    told = []
    train(IMAGES, TEXTURES, settings(steps=8), "base", 0, progress=lambda *a: told.append(a))
    step, steps, losses = told[-1]
    assert (step, steps) == (8, 8)
    assert set(losses) == set(LOSSES)


def test_steps_are_those_of_the_losses_as_they_are_written(monkeypatch):
    """Equations 1 and 5 to 8 term by term; the first steps in float32 differ by rounding alone."""

    def as_written(named, batch):
        pairs = {i: named[f"logits{i}"] for i in MSS_WEIGHTS} | {0: named["logits"]}
        heads = {
            i: focal_loss(p, batch.mask) + functional.l1_loss(p.softmax(dim=1)[:, 1], batch.mask)
            for i, p in pairs.items()
        }
        mss = sum(weight * heads[i] for i, weight in MSS_WEIGHTS.items())
        reconstruction = reconstruction_loss(named["I_r"], batch.original)
        total = reconstruction + heads[0] + mss
        return {"total": total, "reconstruction": reconstruction, "anomaly": heads[0], "mss": mss}

    profile = settings(steps=4, precision="fp32")
    ours = train(IMAGES, TEXTURES, profile, "pouta", 0, device="cpu")
    monkeypatch.setattr(training, "PAPER", replace(PAPER, losses=as_written))
    written = train(IMAGES, TEXTURES, profile, "pouta", 0, device="cpu")
    for name in LOSSES:
        one, other = ours.history[name], written.history[name]
        assert one[0] == pytest.approx(other[0], rel=1e-6), name
        assert one == pytest.approx(other, rel=1e-3), name  # Adam raises what is near zero


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="a graph is recorded on a CUDA card alone"
)
def test_a_recorded_step_draws_and_does_what_the_step_does(monkeypatch):
    profile = settings(precision="fp32")
    recorded = train(IMAGES, TEXTURES, profile, "pouta", 0, device="cuda")
    monkeypatch.setattr(training, "_records", lambda *_: False)
    plain = train(IMAGES, TEXTURES, profile, "pouta", 0, device="cuda")
    for name in LOSSES:
        assert recorded.history[name] == pytest.approx(plain.history[name], rel=0.02), name


def test_a_method_may_have_a_recipe_of_its_own(monkeypatch):
    """Without anomalies and at rate 0, nothing is to be found and no weight moves."""
    seen = []

    def plain(good, bank, generator, profile):
        batch = make_batch(good, bank, generator, profile)
        seen.append(len(bank))
        return batch._replace(image=batch.original, mask=torch.zeros_like(batch.mask))

    own = replace(PAPER, batch=plain, rate=lambda profile, step, steps: 0.0)
    monkeypatch.setattr(training, "PAPER", own)
    trained = train(IMAGES, TEXTURES, settings(steps=3), "base", 0, device="cpu")
    assert seen == [len(TEXTURES)] * 3
    torch.manual_seed(0)
    fresh = build_model("base", settings(steps=3))
    for (name, new), old in zip(trained.model.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(new, old), name


def test_what_is_not_trained_in_steps_is_refused():
    with pytest.raises(PoutaError, match="trained in steps, found 'patchcore'"):
        train(IMAGES, TEXTURES, settings(), "patchcore", 0, device="cpu")

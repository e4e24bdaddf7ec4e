"""Training: resumes to the bit, follows the schedule, refuses another run's checkpoint."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method import training
from pouta_lib.method.losses import (
    MSS_WEIGHTS,
    focal_loss,
    l1_loss,
    reconstruction_loss,
    total_loss,
)
from pouta_lib.method.models import build_model
from pouta_lib.method.training import (
    PAPER,
    PlainAdam,
    batch_indices,
    learning_rate,
    make_batch,
    num_steps,
    summarise,
    train,
)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def textures():
    return np.random.default_rng(1).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)


def settings(**changes):
    return load_profile("smoke", **({"size_px": 32, "steps": 8, "checkpoint_steps": 3} | changes))


def weights(trained):
    return trained.model.state_dict()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    "changes", [{"precision": "fp32"}, {"precision": "bf16", "average_share": 0.2}]
)
def test_interrupted_run_ends_with_the_same_weights(images, textures, tmp_path, changes):
    profile = settings(steps=13, checkpoint_steps=4, **changes)
    whole = train(images, textures, profile, "pouta", 0, device="cpu")

    def stop_late(step, steps, losses):
        raise Stop

    checkpoint = tmp_path / "run.partial" / "checkpoint.pt"
    with pytest.raises(Stop):  # at step 10, after the checkpoint of step 8
        train(
            images, textures, profile, "pouta", 0,
            device="cpu", checkpoint=checkpoint, progress=stop_late,
        )  # fmt: skip
    assert torch.load(checkpoint, weights_only=True)["step"] == 8
    torch.manual_seed(99)  # whatever happened in between must not matter
    resumed = train(images, textures, profile, "pouta", 0, device="cpu", checkpoint=checkpoint)
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


def test_the_optimiser_is_torchs_adam():
    def steps(kind):
        generator = torch.Generator().manual_seed(0)
        weights = [torch.randn(3, 4, generator=generator, requires_grad=True) for _ in range(2)]
        optimizer = kind(weights, lr=0.1, fused=True)
        for k in range(5):
            optimizer.zero_grad()
            weights[k % 2].square().sum().backward()  # the other one has no gradient
            optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
        return weights

    assert all(map(torch.equal, steps(PlainAdam), steps(torch.optim.Adam)))


def test_seeds_differ_and_repeat(images, textures):
    one, same, other = (train(images, textures, settings(), "base", s) for s in (0, 0, 1))
    assert equal(weights(one), weights(same))
    assert not equal(weights(one), weights(other))


def test_training_reduces_the_loss(images, textures):
    profile = settings(steps=60, lr=0.002)
    history = train(images[:4], textures, profile, "pouta", 0).history
    assert np.mean(history["total"][-10:]) < 0.8 * np.mean(history["total"][:5])


def test_checkpoint_of_another_run_is_refused(images, textures, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    train(images, textures, settings(steps=2), "base", 0, checkpoint=checkpoint)
    with pytest.raises(PoutaError, match=r"another's: variant=base in place of pouta\n"):
        train(images, textures, settings(steps=2), "pouta", 0, checkpoint=checkpoint)


def test_checkpoint_of_other_images_is_refused(images, textures, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    train(images, textures, settings(steps=2), "base", 0, checkpoint=checkpoint)
    with pytest.raises(PoutaError, match=r"another's: images="):
        train(255 - images, textures, settings(steps=2), "base", 0, checkpoint=checkpoint)


def test_checkpoint_of_other_code_is_refused(images, textures, tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.pt"
    train(images, textures, settings(steps=2), "base", 0, checkpoint=checkpoint)
    for name, value in (("_sources_digest", lambda: "0"), ("torch.__version__", "1.0")):
        with monkeypatch.context() as patch:
            patch.setattr(f"pouta_lib.method.training.{name}", value)
            with pytest.raises(PoutaError, match=r"another's: (sources|torch)=.* in place of "):
                train(images, textures, settings(steps=2), "base", 0, checkpoint=checkpoint)


@pytest.fixture(scope="module")
def half_way(images, textures, tmp_path_factory):
    """A checkpoint of step 2 of 4, as bytes, and what makes and continues it."""
    path = tmp_path_factory.mktemp("half way") / "checkpoint.pt"
    profile = settings(steps=4, checkpoint_steps=2, width=4)

    def go_on(content=None):
        if content is not None:
            path.write_bytes(content)
        return weights(train(images, textures, profile, "base", 0, checkpoint=path))

    save = training._State.save

    def save_and_stop(state, *arguments):
        save(state, *arguments)
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._State, "save", save_and_stop)
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


def test_truncated_checkpoint_is_refused(images, textures, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(PoutaError, match="unreadable file"):
        train(images, textures, settings(steps=2), "base", 0, checkpoint=checkpoint)


def test_a_loss_that_is_not_finite_leaves_a_record_of_why(images, textures, monkeypatch, tmp_path):
    steps = iter(range(99))
    seen = []

    def broken(named, original, mask):
        losses = total_loss(named, original, mask)
        if next(steps) == 13:
            losses["anomaly"] = losses["anomaly"] * float("inf")
        seen.append([float(losses[name].detach()) for name in training.LOSSES])
        return losses

    monkeypatch.setattr(training, "total_loss", broken)
    wrong = settings(steps=20, checkpoint_steps=10)
    checkpoint = tmp_path / "a run" / "checkpoint.pt"
    said = r"finite losses, found .*'anomaly': inf.* at step 13\n.*not_finite.json\n.*lower lr"
    with pytest.raises(PoutaError, match=said):
        train(images, textures, wrong, "base", 0, checkpoint=checkpoint)
    told = json.loads((checkpoint.parent / "not_finite.json").read_text())
    assert (told["step"], told["losses"]) == (13, list(training.LOSSES))
    assert list(told["of_steps"]) == [str(step) for step in range(3, 14)]
    assert told["of_steps"]["13"][2] == "inf"
    assert told["of_steps"]["12"] == pytest.approx(seen[12], rel=1e-6)
    assert told["settings"] | {"lr": wrong.lr, "steps": 20, "seed": 0} == told["settings"]
    assert torch.load(checkpoint, weights_only=True)["step"] == 10  # of the time before


def test_diverging_loss_is_named(images, textures, monkeypatch):
    def broken(named, original, mask):
        return dict.fromkeys(training.LOSSES, named["I_r"].float().sum() * float("nan"))

    monkeypatch.setattr(training, "total_loss", broken)
    with pytest.raises(PoutaError, match=r"finite losses.*step 0\n.*training at lr=.*\n.*lower lr"):
        train(images, textures, settings(steps=3), "base", 0)


def test_schedule_of_the_paper():
    paper = load_profile("paper")
    steps = num_steps(paper, 240)
    assert steps == 600 * 30
    rates = {epoch: learning_rate(paper, epoch * 30, steps) for epoch in (0, 479, 480, 539, 540)}
    expected = {0: 2e-4, 479: 2e-4, 480: 4e-5, 539: 4e-5, 540: 8e-6}
    assert rates == pytest.approx(expected)


def test_few_shot_steps_do_not_shrink_with_the_support_set():
    paper = load_profile("paper")
    assert num_steps(paper, 2, shots=2) == num_steps(paper, 8, shots=8) == paper.few_shot_steps


@pytest.mark.parametrize("num_images", [1, 3, 10, 64])
def test_batches_are_full_and_each_pass_takes_every_image_once(num_images):
    batches = [batch_indices(num_images, 8, step, seed=4) for step in range(16)]
    assert all(len(batch) == 8 for batch in batches)
    row = np.concatenate(batches)
    for start in range(0, len(row) - num_images + 1, num_images):
        assert sorted(row[start : start + num_images]) == list(range(num_images))


def test_history_keeps_the_mean_of_each_stretch():
    losses = torch.arange(40, dtype=torch.float32).view(10, 4)
    history = summarise(losses, points=3)
    assert history["step"] == [4, 7, 10]
    assert history["total"] == [6.0, 20.0, 32.0]  # means of rows 0-3, 4-6, 7-9 of 0, 4, 8, ...


def test_watching_is_kept_over_a_break_and_changes_nothing(images, textures, tmp_path):
    def watch(model):
        assert not model.training
        return {"norm": float(sum(p.detach().square().sum() for p in model.parameters()))}

    def run(checkpoint=None, progress=None):
        profile = settings(steps=20, checkpoint_steps=5)
        return train(
            images, textures, profile, "pouta", 0, checkpoint=checkpoint, progress=progress,
            watch=watch,
        )  # fmt: skip

    def stop(step, steps, losses):
        raise KeyboardInterrupt

    whole = run()
    plain = train(images, textures, settings(steps=20, checkpoint_steps=5), "pouta", 0)
    assert [point["step"] for point in whole.watched] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert equal(weights(whole), weights(plain))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c.pt", stop)
    assert run(tmp_path / "c.pt").watched == whole.watched


def test_progress_is_told_at_the_end(images, textures):
    told = []
    train(images, textures, settings(steps=8), "base", 0, progress=lambda *a: told.append(a))
    step, steps, losses = told[-1]
    assert (step, steps) == (8, 8)
    assert set(losses) == set(training.LOSSES)


def test_averaged_weights_are_those_of_the_definition(images, textures, monkeypatch):
    seen, move = [], training._move_towards

    def watched(average, weights, share):
        seen.append((float(share), [tensor.clone() for tensor in weights]))
        move(average, weights, share)

    plain = train(images, textures, settings(), "pouta", 0, device="cpu")
    monkeypatch.setattr(training, "_move_towards", watched)
    profile = settings(average_share=0.25)
    averaged = train(images, textures, profile, "pouta", 0, device="cpu")
    assert averaged.history == plain.history
    last = zip(seen[-1][1], training._floats(plain.model), strict=True)
    assert all(torch.equal(*pair) for pair in last), "the training itself goes on as without"
    assert [share for share, _ in seen] == pytest.approx(
        [max(1 / 2, 10 / (10 + n)) for n in range(8)]
    )
    torch.manual_seed(0)
    expected = [t.double() for t in training._floats(build_model("pouta", profile))]
    for share, tensors in seen:
        expected = [(1 - share) * e + share * t for e, t in zip(expected, tensors, strict=True)]
    for tensor, wanted in zip(training._floats(averaged.model), expected, strict=True):
        torch.testing.assert_close(tensor.double(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["pouta", "vanilla"])
def test_casting_at_once_trains_as_autocast_does(images, textures, monkeypatch, method):
    def run():
        profile = settings(steps=4, precision="bf16", average_share=0.2)
        return train(images, textures, profile, method, 0, device="cpu")

    at_once = run()
    monkeypatch.setattr(training, "_cast_at_once", lambda model, compute: (model, [], []))
    by_autocast = run()
    assert equal(weights(at_once), weights(by_autocast))
    assert at_once.history == by_autocast.history


def test_steps_are_those_of_the_losses_as_they_are_written(images, textures):
    """Equations 1 and 5 to 8 term by term; the first steps in float32 differ by rounding alone."""

    def as_written(named, batch):
        pairs = {i: named[f"logits{i}"] for i in MSS_WEIGHTS} | {0: named["logits"]}
        both = {i: (focal_loss(p, batch.mask), l1_loss(p, batch.mask)) for i, p in pairs.items()}
        heads = {i: focal + l1 for i, (focal, l1) in both.items()}
        mss = sum(weight * heads[i] for i, weight in MSS_WEIGHTS.items())
        reconstruction = reconstruction_loss(named["I_r"], batch.original)
        total = reconstruction + heads[0] + mss
        return {"total": total, "reconstruction": reconstruction, "anomaly": heads[0], "mss": mss}

    profile = settings(steps=4, precision="fp32")
    ours = train(images, textures, profile, "pouta", 0, device="cpu")
    recipe = replace(PAPER, losses=as_written)
    written = train(images, textures, profile, "pouta", 0, device="cpu", recipe=recipe)
    for name in training.LOSSES:
        one, other = ours.history[name], written.history[name]
        assert one[0] == pytest.approx(other[0], rel=1e-6), name
        assert one == pytest.approx(other, rel=1e-3), name  # Adam raises what is near zero


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="a graph is recorded on a CUDA card alone"
)
def test_a_recorded_step_draws_and_does_what_the_step_does(images, textures, monkeypatch):
    profile = settings(precision="fp32")
    recorded = train(images, textures, profile, "pouta", 0, device="cuda")
    monkeypatch.setattr(training, "_records", lambda *_: False)
    plain = train(images, textures, profile, "pouta", 0, device="cuda")
    for name in training.LOSSES:
        assert recorded.history[name] == pytest.approx(plain.history[name], rel=0.02), name


def test_a_method_may_have_a_recipe_of_its_own(images, textures):
    """Without anomalies and at rate 0, nothing is to be found and no weight moves."""
    seen = []

    def plain(good, bank, generator, profile):
        batch = make_batch(good, bank, generator, profile)
        seen.append(len(bank))
        return batch._replace(image=batch.original, mask=torch.zeros_like(batch.mask))

    own = replace(PAPER, batch=plain, rate=lambda profile, step, steps: 0.0)
    trained = train(images, textures, settings(steps=3), "base", 0, device="cpu", recipe=own)
    assert seen == [len(textures)] * 3
    torch.manual_seed(0)
    fresh = build_model("base", settings(steps=3))
    for (name, new), old in zip(trained.model.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(new, old), name


def test_what_is_not_trained_in_steps_is_refused(images, textures):
    with pytest.raises(PoutaError, match="trained in steps, found 'patchcore'"):
        train(images, textures, settings(), "patchcore", 0, device="cpu")

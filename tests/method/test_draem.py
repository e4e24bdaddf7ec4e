"""DRAEM: its size, its synthesis and losses, its training, and anomalib's copy as an oracle."""

import colorsys
import math
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from safetensors.torch import load_file, save_file
from tiny import IMAGES, Stop, equal, settings, weights

from pouta_lib.ground.methods import METHODS
from pouta_lib.ground.profiles import SynthesisSettings, load_profile
from pouta_lib.method import draem_training
from pouta_lib.method.draem_training import (
    AUGMENTERS,
    augment_texture,
    draem_losses,
    draem_settings,
    draem_synthesize,
    hsv_to_rgb,
    num_steps,
    rgb_to_hsv,
)
from pouta_lib.method.losses import anomaly_loss, focal_loss, total_loss
from pouta_lib.method.models import build_model
from pouta_lib.method.training import fit
from pouta_lib.score.efficiency import count_parameters
from pouta_lib.study.peers import peers_python


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def originals():
    return torch.rand(400, 3, 32, 32, generator=generator(5)) * 0.5 + 0.5  # nowhere black


@pytest.fixture(scope="module")
def textures():
    return torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8, generator=generator(6))


# --- the network


def parameters_by_hand(base_r, base_d):
    """Sum over convolutions of 9 in out + out and, but for the last ones, 2 out of a norm."""

    def layers(pairs):
        return sum(9 * i * o + o + 2 * o for i, o in pairs)

    r, d = base_r, base_d
    encoder_r = [(3, r), (r, r), (r, 2 * r), (2 * r, 2 * r), (2 * r, 4 * r), (4 * r, 4 * r)]
    encoder_r += [(4 * r, 8 * r), (8 * r, 8 * r), (8 * r, 8 * r), (8 * r, 8 * r)]
    decoder_r = [(8 * r, 8 * r), (8 * r, 8 * r), (8 * r, 4 * r), (4 * r, 4 * r), (4 * r, 4 * r)]
    decoder_r += [(4 * r, 2 * r), (2 * r, 2 * r), (2 * r, 2 * r), (2 * r, r), (r, r), (r, r)]
    decoder_r += [(r, r)]
    encoder_d = [(6, d), (d, d), (d, 2 * d), (2 * d, 2 * d), (2 * d, 4 * d), (4 * d, 4 * d)]
    encoder_d += [(4 * d, 8 * d)] + 5 * [(8 * d, 8 * d)]
    decoder_d = [(8 * d, 8 * d), (16 * d, 8 * d), (8 * d, 8 * d)]
    decoder_d += [(8 * d, 4 * d), (12 * d, 4 * d), (4 * d, 4 * d)]
    decoder_d += [(4 * d, 2 * d), (6 * d, 2 * d), (2 * d, 2 * d)]
    decoder_d += [(2 * d, d), (3 * d, d), (d, d), (d, d), (2 * d, d), (d, d)]
    last = (9 * r * 3 + 3) + (9 * d * 2 + 2)
    return layers(encoder_r) + layers(decoder_r) + layers(encoder_d) + layers(decoder_d) + last


@pytest.mark.parametrize("width", [8, 16, 64])
def test_parameters_by_hand(width):
    assert count_parameters(
        build_model("draem", load_profile("paper", width=width))
    ) == parameters_by_hand(2 * width, width)


def test_size_is_the_published_one():
    assert parameters_by_hand(128, 64) / 1e6 == pytest.approx(97.42, abs=0.005)


def test_trace_and_map():
    model = build_model("draem", load_profile("paper", width=8)).eval()
    image = torch.rand(2, 3, 64, 64, generator=generator())
    with torch.no_grad():
        named, anomaly_map = model.trace(image), model(image)
    shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
    assert shapes == {"I_r": (2, 3, 64, 64), "logits": (2, 2, 64, 64), "M_p": (2, 64, 64)}
    assert torch.equal(anomaly_map, named["M_p"])
    assert 0 <= anomaly_map.min() and anomaly_map.max() <= 1


def test_every_weight_gets_a_gradient():
    model = build_model("draem", load_profile("paper", width=8)).train()
    image, mask = torch.rand(2, 3, 64, 64), (torch.rand(2, 64, 64) > 0.9).float()
    draem_losses(model.trace(image), image, mask)["total"].backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # a bias in front of batch normalisation cancels out: its gradient is zero but for rounding
    assert [name for name in without if not name.endswith(".0.bias")] == []


def test_segmentation_trains_the_reconstruction_too():
    model = build_model("draem", load_profile("paper", width=8)).train()
    focal_loss(model.trace(torch.rand(2, 3, 64, 64))["logits"], torch.ones(2, 64, 64)).backward()
    assert model.reconstructive.encoder[0][0][0].weight.grad.any()


@pytest.mark.parametrize("kind", ["group", "instance"])
def test_normalisation_is_a_setting(kind):
    model = build_model("draem", load_profile("paper", width=8, normalisation=kind))
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    assert count_parameters(model) == parameters_by_hand(16, 8)


# --- losses and settings


def test_losses_are_reconstruction_and_focal_alone():
    model = build_model("draem", load_profile("paper", width=8)).eval()
    image, mask = torch.rand(2, 3, 32, 32), (torch.rand(2, 32, 32) > 0.7).float()
    with torch.no_grad():
        named = model.trace(image)
        parts, ours = draem_losses(named, image, mask), total_loss(named, image, mask)
    assert parts["reconstruction"] == ours["reconstruction"]
    assert parts["anomaly"] == focal_loss(named["logits"], mask)
    assert parts["anomaly"] < anomaly_loss(named["logits"], mask)  # no L1
    assert parts["mss"] == 0
    assert parts["total"] == parts["reconstruction"] + parts["anomaly"]


def test_paper_gives_it_its_own_protocol():
    own = draem_settings(load_profile("paper"))
    assert (own.epochs, own.lr, own.batch_size) == (700, 1e-4, 8)
    assert (own.lr_milestones, own.lr_gamma) == ([0.8, 0.9], 0.2)


@pytest.mark.parametrize("name", ["smoke", "demo", "real-cpu"])
def test_fixed_steps_are_the_same_for_every_method(name):
    profile = load_profile(name)
    assert draem_settings(profile) == profile
    assert METHODS["draem"].steps == f"{num_steps.__module__}:num_steps"
    assert num_steps(profile, 200) == profile.steps


def test_few_shot_steps_are_the_same_for_every_method():
    paper = load_profile("paper")
    assert num_steps(paper, 8, shots=8) == paper.few_shot_steps
    assert num_steps(paper, 240) == 700 * 240 / 8


# --- augmenters, against other programs


def fixed(monkeypatch, *draws):
    """Every uniform draw is the next of `draws`, as a share of its range; the last one stays."""
    rest = list(draws)

    def draw(generator, shape, low=0.0, high=1.0):
        share = rest.pop(0) if len(rest) > 1 else rest[0]
        return torch.full(shape, low + share * (high - low))

    monkeypatch.setattr(draem_training, "uniform", draw)


@pytest.fixture(scope="module")
def photo():
    y, x = np.mgrid[0:40, 0:48]
    waves = [128 + 90 * np.sin(x / 5 + k) * np.cos(y / (4 + k)) + 5 * k for k in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def as_tensor(array):
    return torch.from_numpy(np.asarray(array)).permute(2, 0, 1)[None].float() / 255


def as_array(tensor):
    return (tensor[0].clamp(0, 1).permute(1, 2, 0) * 255).round().numpy().astype(int)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_sharpness_against_pillow(photo, monkeypatch, share):
    fixed(monkeypatch, share)
    ours = as_array(draem_training.sharpness(as_tensor(photo), None))
    theirs = ImageEnhance.Sharpness(Image.fromarray(photo)).enhance(2 * share)
    assert np.abs(ours - np.asarray(theirs)).max() <= 2


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_posterize_against_pillow(photo, monkeypatch, bits):
    fixed(monkeypatch, (bits - 1) / 8 + 0.01)
    ours = as_array(draem_training.posterize(as_tensor(photo), None))
    assert np.array_equal(ours, np.asarray(ImageOps.posterize(Image.fromarray(photo), bits)))


def test_solarize_against_pillow(photo, monkeypatch):
    fixed(monkeypatch, 0.5, 0.0)  # a threshold of 80 of 255; touched
    ours = as_array(draem_training.solarize(as_tensor(photo), None))
    assert np.array_equal(ours, np.asarray(ImageOps.solarize(Image.fromarray(photo), 80)))


def test_solarize_leaves_half_alone(photo):
    many = as_tensor(photo).expand(400, -1, -1, -1)
    touched = (draem_training.solarize(many, generator()) != many).flatten(1).any(dim=1)
    assert touched.float().mean() == pytest.approx(0.5, abs=0.08)


def test_invert_against_pillow(photo):
    ours = as_array(draem_training.invert(as_tensor(photo), None))
    assert np.array_equal(ours, np.asarray(ImageOps.invert(Image.fromarray(photo))))


@pytest.mark.parametrize("percent", [0, 5, 20])
def test_autocontrast_against_pillow(photo, monkeypatch, percent):
    fixed(monkeypatch, percent / 20)
    ours = as_array(draem_training.autocontrast(as_tensor(photo), None))
    theirs = np.asarray(ImageOps.autocontrast(Image.fromarray(photo), percent))
    assert np.abs(ours - theirs).max() <= 3


def test_autocontrast_leaves_an_even_image_alone():
    gray = torch.full((1, 3, 8, 8), 0.4)
    assert torch.equal(draem_training.autocontrast(gray, generator()), gray)


def test_equalize_against_pillow(photo):
    ours = as_array(draem_training.equalize(as_tensor(photo), None))
    theirs = np.asarray(ImageOps.equalize(Image.fromarray(photo)))
    assert np.abs(ours - theirs).max() <= 1


def test_gamma_by_hand(monkeypatch):
    fixed(monkeypatch, 1.0)
    quarter = torch.full((1, 3, 2, 2), 0.25)
    assert torch.allclose(draem_training.gamma_contrast(quarter, None), torch.tensor(0.0625))


def test_brightness_moves_gray_by_gain_and_offset_and_keeps_colour(monkeypatch):
    fixed(monkeypatch, 1.0)
    colour = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    changed = draem_training.brightness(torch.cat([colour, torch.full((1, 3, 1, 1), 0.5)]), None)
    assert changed[1].flatten().tolist() == pytest.approx(3 * [0.5 * 1.2 + 30 / 255])
    assert (changed[0] - colour[0]).std() == pytest.approx(0, abs=1e-6)


def test_hsv_against_the_standard_library():
    pixels = torch.rand(1, 3, 10, 10, generator=generator())
    pixels[0, :, 0, 0] = 0.3  # a gray
    pixels[0, :, 0, 1] = 0.0  # black
    ours = rgb_to_hsv(pixels)[0].flatten(1).T
    theirs = [colorsys.rgb_to_hsv(*p) for p in pixels[0].flatten(1).T.tolist()]
    assert torch.allclose(ours, torch.tensor(theirs), atol=1e-5)
    assert torch.allclose(hsv_to_rgb(rgb_to_hsv(pixels)), pixels, atol=1e-5)


def test_turning_by_nothing_changes_nothing_and_corners_come_in_black():
    image = torch.rand(1, 3, 32, 32, generator=generator()) * 0.5 + 0.5
    assert torch.allclose(draem_training.turn(image, torch.zeros(1)), image, atol=1e-5)
    turned = draem_training.turn(image, torch.full((1,), math.pi / 4))
    assert turned[0, :, 0, 0].max() == 0
    assert turned[0, :, 16, 16].min() >= 0.5


@pytest.mark.parametrize("augment", AUGMENTERS, ids=lambda f: f.__name__)
def test_each_augmenter_keeps_the_shape_and_images_apart(augment, textures):
    few = textures[:4].float() / 255
    alone = augment(few, generator(1))
    assert alone.shape == few.shape and alone.isfinite().all()
    other = few.clone()
    other[1:] = 0.5
    assert torch.allclose(augment(other, generator(1))[0], alone[0])  # the others do not matter


def test_three_different_augmenters_an_image(monkeypatch):
    def adder(k):  # leaves a trace of its own: 4^-k, at most three of which may add up
        return lambda image, generator: image + 4.0**-k / 2

    monkeypatch.setattr(draem_training, "AUGMENTERS", tuple(adder(k) for k in range(10)))
    black = torch.zeros(500, 3, 1, 1, dtype=torch.float64)
    sums = augment_texture(black, generator())[:, 0, 0, 0] * 2 * 4**9
    digits = torch.stack([(sums.round().long() // 4**k) % 4 for k in range(10)], dim=1)
    assert digits.max() == 1  # never the same one twice
    assert (digits.sum(dim=1) == 3).all()
    assert digits.double().mean(dim=0).numpy() == pytest.approx(0.3, abs=0.07)


# --- synthesis


def test_synthesis_is_a_function_of_the_seed(originals, textures):
    one, same, other = (draem_synthesize(originals[:8], textures, generator(s)) for s in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.image, other.image)


def test_half_carry_an_anomaly_and_nothing_else_changes(originals, textures):
    batch = draem_synthesize(originals, textures, generator())
    anomalous = batch.mask.flatten(1).any(dim=1)
    assert anomalous.float().mean() == pytest.approx(0.5, abs=0.08)
    outside = (batch.mask == 0).unsqueeze(1).expand_as(batch.image)
    assert torch.equal(batch.image[outside], batch.original[outside])
    assert torch.equal(batch.image[~outside], batch.augmented[~outside])  # the edge is hard
    assert 0 <= batch.image.min() and batch.image.max() <= 1
    assert set(batch.mask.unique().tolist()) == {0, 1}


def test_three_good_images_in_ten_are_turned(originals, textures):
    batch = draem_synthesize(originals, textures, generator())
    turned = (batch.original - originals).abs().flatten(1).amax(dim=1) > 1e-3
    assert turned.float().mean() == pytest.approx(0.3, abs=0.07)


def test_opacity_is_uniform_up_to_its_most(originals, textures, monkeypatch):
    monkeypatch.setattr(draem_training, "augment_texture", lambda t, g: torch.zeros_like(t))
    batch = draem_synthesize(originals, textures, generator(), SynthesisSettings(max_opacity=0.8))
    middle = (slice(None), 0, 16, 16)  # no corner, wherever it was turned
    opacity = batch.augmented[middle] / batch.original[middle]
    assert opacity.max() <= 0.8
    assert opacity.mean() == pytest.approx(0.4, abs=0.04)


# --- training


def test_training_reduces_its_loss(textures):
    profile = settings(steps=90, lr=0.002)
    history = fit(IMAGES[:4], textures.numpy(), profile, "draem", 0).history
    assert np.mean(history["total"][-10:]) < 0.8 * np.mean(history["total"][:5])
    assert set(history["mss"]) == {0.0}


def test_seeds_differ_and_repeat(textures):
    runs = [fit(IMAGES, textures.numpy(), settings(), "draem", s) for s in (0, 0, 1)]
    assert equal(weights(runs[0]), weights(runs[1]))
    assert not equal(weights(runs[0]), weights(runs[2]))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_interrupted_run_ends_with_the_same_weights(textures, tmp_path, precision):
    profile = settings(precision=precision, steps=13, checkpoint_steps=4)

    def run(**more):
        return fit(IMAGES, textures.numpy(), profile, "draem", 0, device="cpu", **more)

    def stop(step, steps, losses):
        raise Stop

    with pytest.raises(Stop):  # at step 10, after the checkpoint of step 8
        run(checkpoint=tmp_path / "c.pt", progress=stop)
    assert equal(weights(run()), weights(run(checkpoint=tmp_path / "c.pt")))


# --- the oracle: anomalib's copy of the authors' network

THEIRS = """
import sys
import torch
from anomalib.models.image.draem.torch_model import (
    DiscriminativeSubNetwork,
    DraemModel,
    ReconstructiveSubNetwork,
)
from safetensors.torch import load_file, save_file

def count(module):
    return torch.tensor(sum(p.numel() for p in module.parameters()))

given = load_file(sys.argv[1])
width = int(sys.argv[3])
image = given.pop("image")
rebuild = ReconstructiveSubNetwork(base_width=2 * width)
segment = DiscriminativeSubNetwork(in_channels=6, out_channels=2, base_width=width)
both = torch.nn.ModuleList([rebuild, segment]).eval()
ours = [given[f"{i:04d}"] for i in range(len(given))]
theirs = both.state_dict()
assert [t.shape for t in ours] == [t.shape for t in theirs.values()]
both.load_state_dict(dict(zip(theirs, ours)))
with torch.no_grad():
    rebuilt = rebuild(image)
    logits = segment(torch.cat([image, rebuilt], dim=1))
with torch.device("meta"):
    full_size = DraemModel()
counts = {"count": count(both), "full_size": count(full_size)}
save_file({"I_r": rebuilt, "logits": logits} | counts, sys.argv[2])
"""


@pytest.mark.skipif(peers_python() is None, reason="no anomalib: tools/peers_env.py installs it")
def test_network_equals_anomalibs(tmp_path):
    width = 16
    torch.manual_seed(0)
    model = build_model("draem", load_profile("paper", width=width)).train()
    image = torch.rand(2, 3, 64, 64, generator=generator())
    with torch.no_grad():
        model(torch.rand(4, 3, 64, 64, generator=generator(1)))  # statistics of some batch
        named = model.eval().trace(image)
    given = {f"{i:04d}": t.contiguous() for i, t in enumerate(model.state_dict().values())}
    files = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    save_file(given | {"image": image}, files[0])
    subprocess.run([peers_python(), "-W", "ignore", "-c", THEIRS, *files, str(width)], check=True)
    theirs = load_file(files[1])
    assert count_parameters(model) == int(theirs["count"])
    assert parameters_by_hand(128, 64) == int(theirs["full_size"])
    assert named["logits"].abs().max() > 0.01  # not alike because both are nothing
    torch.testing.assert_close(named["I_r"], theirs["I_r"], rtol=0, atol=1e-5)
    torch.testing.assert_close(named["logits"], theirs["logits"], rtol=0, atol=1e-5)

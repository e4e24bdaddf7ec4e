"""POUTA done otherwise: where gradients go, which map is the answer, what is seen and made."""

import numpy as np
import pytest
import torch

from pouta_lib.ground.methods import find_method, resolve
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.losses import reconstruction_loss, total_loss
from pouta_lib.method.models import build_model
from pouta_lib.method.models.questions import losses_with_class_weights, losses_without_prediction
from pouta_lib.method.seamless import clone_seamlessly
from pouta_lib.method.synthesis import SyntheticBatch
from pouta_lib.method.training import PAPER, train


@pytest.fixture
def batch():
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64)
    mask = (torch.rand(2, 64, 64) > 0.9).float()
    return SyntheticBatch(image, mask, image, image, mask)


def small(method):
    torch.manual_seed(1)
    return build_model(method, load_profile("smoke")).train()


def gradients(network):
    return {name: p.grad for name, p in network.named_parameters()}


def test_trained_apart_repair_learns_from_its_own_loss_alone(batch):
    joint, apart, repair = small("pouta"), small("pouta-apart"), small("pouta").reconstructive
    for model in (joint, apart):
        total_loss(model.trace(batch.image), batch.original, batch.mask)["total"].backward()
    reconstruction_loss(repair(batch.image)["I_r"], batch.original).backward()
    expected = gradients(repair)
    for name, gradient in gradients(apart.reconstructive).items():
        assert torch.allclose(gradient, expected[name], atol=1e-6), name
    differing = [
        name
        for name, gradient in gradients(joint.reconstructive).items()
        if not torch.allclose(gradient, expected[name], atol=1e-6)
    ]
    assert len(differing) > len(expected) / 2
    for name, gradient in gradients(joint.discriminative).items():  # which learns as ever
        assert torch.allclose(gradients(apart.discriminative)[name], gradient), name


def test_mss_alone_leaves_the_common_head_as_it_was_and_answers_with_the_finest(batch):
    model = small("pouta-mss-alone")
    losses = losses_without_prediction(model.trace(batch.image), batch)
    parts = losses["reconstruction"] + losses["mss"]
    assert losses["total"].item() == parts.item() != (parts + losses["anomaly"]).item()
    losses["total"].backward()
    assert all(p.grad is None for p in model.discriminative.head.parameters())
    assert all(p.grad is not None for p in model.discriminative.mss.parameters())
    model.eval()
    with torch.no_grad():
        named = model.trace(batch.image)
        model.discriminative.head = None  # which a map has no need of
        assert torch.equal(model(batch.image), named["M_p1"])
    assert torch.equal(named["M_p"], named["M_p1"])


def test_class_weights_count_an_anomalous_pixel_a_third_as_much_in_every_head(batch):
    named = small("pouta-weighted").trace(batch.image)
    mask = batch.mask > 0.5

    def expected(logits):
        p_t = logits.softmax(1).gather(1, mask[:, None].long())[:, 0]
        focal = -((1 - p_t) ** 2) * p_t.log()
        return (torch.where(mask, 0.25, 0.75) * focal + 1 - p_t).mean()

    losses = losses_with_class_weights(named, batch)
    assert torch.allclose(losses["anomaly"], expected(named["logits"]), atol=1e-6)
    weights = {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1}
    mss = sum(weight * expected(named[f"logits{i}"]) for i, weight in weights.items())
    assert torch.allclose(losses["mss"], mss, atol=1e-6)
    plain = total_loss(named, batch.original, batch.mask)
    assert torch.equal(losses["reconstruction"], plain["reconstruction"])
    assert losses["anomaly"] < plain["anomaly"]


def shapes(method, image):
    with torch.no_grad():
        named = small(method).eval().trace(image)
    return {name: tuple(tensor.shape[1:]) for name, tensor in named.items()}


def test_wide_below_has_twice_the_channels_in_its_two_deepest_levels(batch):
    plain, wide = shapes("pouta", batch.image), shapes("pouta-wide-below", batch.image)
    assert plain.keys() == wide.keys()
    of_deep = {f"{of}{i}" for of in ("F_E", "F_D", "F_C", "F'_C", "W_cn") for i in (3, 4)} | {"F_M"}
    for name, (channels, *side) in plain.items():
        assert wide[name] == (channels * (2 if name in of_deep else 1), *side), name


def test_three_levels_are_poutas_upper_three_over_a_mapping_at_an_eighth(batch):
    plain, short = shapes("pouta", batch.image), shapes("pouta-three-levels", batch.image)
    lost = {f"{of}4" for of in ("F_E", "F_D", "F_C", "logits", "M_p")}
    assert plain.keys() - short.keys() == lost | {"F'_C3", "W_sp3", "W_cn3"}
    assert short.pop("F_M") == plain["F_E3"][:1] + plain["F_E4"][1:] != plain["F_M"]
    assert all(plain[name] == shape for name, shape in short.items())
    named = small("pouta-three-levels").trace(batch.image)
    losses = total_loss(named, batch.original, batch.mask)
    losses["total"].backward()
    assert losses["mss"] > 0


def test_slow_statistics_go_a_hundredth_of_the_way_where_poutas_go_a_tenth(batch):
    moved = []
    for model in (small("pouta"), small("pouta-slow-statistics")):
        with torch.no_grad():
            model.trace(batch.image)
        means = {n: b for n, b in model.named_buffers() if n.endswith("running_mean")}
        moved.append(means)  # from 0, where they start
    assert moved[0]
    for name, mean in moved[0].items():
        assert torch.allclose(moved[1][name], mean / 10, atol=1e-6), name


def test_frozen_statistics_stay_through_the_last_fifth_in_which_weights_go_on():
    images, textures = (
        np.random.default_rng(seed).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
        for seed in (0, 1)
    )

    def parts_along(method):
        """Weights and statistics at each look: after every one of ten steps."""
        looks = []

        def look(model):
            state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            looks.append(state)
            return {}

        profile = load_profile("smoke", size_px=32, steps=10, precision="fp32")
        train(images, textures, profile, method, 0, device="cpu", watch=look)
        return looks

    plain, frozen = parts_along("pouta"), parts_along("pouta-frozen")
    statistics = {name for name in plain[0] if name.endswith(("running_mean", "running_var"))}
    weights = {name for name in plain[0] if name.endswith(".weight")}
    for step in range(8):
        assert all(torch.equal(plain[step][n], frozen[step][n]) for n in plain[0]), step
    for step in (8, 9):
        for name in statistics:
            assert torch.equal(frozen[step][name], frozen[7][name]), name
        assert any(not torch.equal(plain[step][n], plain[7][n]) for n in statistics)
        assert any(not torch.equal(frozen[step][n], frozen[step - 1][n]) for n in weights)


class TestSeamless:
    """Gradients of one image in another."""

    @pytest.fixture
    def pair(self):
        torch.manual_seed(2)
        mask = torch.zeros(2, 16, 16)
        mask[0, 4:9, 5:12] = 1
        mask[1, 10:, 12:] = 1  # as far as the border
        return torch.rand(2, 3, 16, 16) / 2 + 0.2, torch.rand(2, 3, 16, 16) / 2 + 0.2, mask

    def test_no_pixel_is_changed_outside(self, pair):
        original, augmented, mask = pair
        image = clone_seamlessly(0, original, augmented, mask)
        outside = (mask == 0).unsqueeze(1).expand_as(image)
        assert torch.equal(image[outside], original[outside])
        assert not torch.equal(image, original)

    def test_what_differs_by_a_shade_alone_vanishes(self, pair):
        original, _, mask = pair
        image = clone_seamlessly(0, original, original + 0.2, mask)
        assert torch.allclose(image, original, atol=1e-6)

    def test_what_is_added_inside_is_harmonic(self, pair):
        original, augmented, mask = pair
        added = clone_seamlessly(0, original, augmented, mask) - augmented
        kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]).expand(3, 1, 3, 3)
        curvature = torch.nn.functional.conv2d(added[:1], kernel, groups=3)
        inside = mask[:1, None, 1:-1, 1:-1].expand_as(curvature) > 0
        assert curvature[inside].abs().max() < 1e-5 < added[:1, :, 4:9, 5:12].abs().max()

    def test_where_all_is_anomalous_it_is_the_augmented(self, pair):
        original, augmented, _ = pair
        assert torch.equal(
            clone_seamlessly(0, original, augmented, torch.ones(2, 16, 16)), augmented
        )

    def test_the_recipe_clones_the_anomalies_that_are_pasted_elsewhere(self):
        recipe = resolve(find_method("pouta-seamless").recipe)
        changes = {"anomalous_share": 1.0, "structural_share": 0.5, "noise_range": 0.0}
        profile = load_profile("smoke", **changes)
        good = torch.rand(4, 3, 32, 32)
        textures = (torch.rand(3, 3, 32, 32) * 255).byte()
        pasted, cloned = (
            of.batch(good, textures, torch.Generator().manual_seed(5), profile)
            for of in (PAPER, recipe)
        )
        for name in ("original", "augmented", "field"):
            assert torch.equal(getattr(pasted, name), getattr(cloned, name)), name
        region = (cloned.image != cloned.original).any(dim=1)
        assert (region >= (cloned.mask > 0)).all()
        assert 0 < (pasted.image != cloned.image).any(dim=1).float().mean() < 1
        assert recipe.losses is PAPER.losses
        assert not recipe.recordable

"""Models: the paper's sizes, the equations written out by hand, the names of the trace."""

import pytest
import torch
from torch.nn import functional as F

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.methods import ABLATED, METHODS
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.models import build_model
from pouta_lib.method.models.discriminative import AnomalyHead, FeatureContrast, SemanticGuidance
from pouta_lib.method.models.reconstructive import level_channels
from pouta_lib.score.efficiency import count_multiply_adds, count_parameters

TABLE_VI = {  # parameters (M), multiply-adds (G), tolerance
    "pouta": (15.02, 35.37, 0.005),
    "vanilla": (28.68, 39.38, 0.015),
}


@pytest.mark.parametrize("method", TABLE_VI)
def test_cost_meets_table_6(method):
    parameters, multiply_adds, tolerance = TABLE_VI[method]
    model = build_model(method, load_profile("paper"))
    assert count_parameters(model) / 1e6 == pytest.approx(parameters, rel=tolerance)
    assert count_multiply_adds(model, 224) / 1e9 == pytest.approx(multiply_adds, rel=tolerance)


def test_normalisation_is_an_option_that_leaves_the_cost_where_it_is():
    plain = build_model("pouta", load_profile("paper"))
    normed = build_model("pouta", load_profile("paper", norm=True))
    channels = 64 + 128 + 256 + 512
    added = 2 * (3 * channels + 64 + 128 + 256)  # scale and shift: three in each FCM, one in HSG
    assert count_parameters(normed) - count_parameters(plain) == added
    assert count_multiply_adds(normed) == count_multiply_adds(plain)


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


ALONE = [name for name, method in METHODS.items() if method.trained and not method.members]


@pytest.mark.parametrize("method", ALONE)
def test_the_coarsest_level_is_where_its_entry_says(method, image):
    sides, model = [], build_model(method, load_profile("paper", width=8)).eval()
    for block in model.modules():
        if isinstance(block, torch.nn.BatchNorm2d):
            block.register_forward_hook(lambda _, given, __: sides.append(given[0].shape[-1]))
    model(image)
    assert min(sides) == 64 // 2 ** METHODS[method].halvings


def small(method):
    torch.manual_seed(0)
    return build_model(method, load_profile("paper", width=8)).eval()


def expected_shapes(method):
    c, side = level_channels(8), {i: 64 // 2 ** (i - 1) for i in (1, 2, 3, 4)}
    shapes = {"F_M": (2, 64, 4, 4), "I_r": (2, 3, 64, 64), "M_p": (2, 64, 64)}
    shapes["logits"] = (2, 2, 64, 64)
    for i in (1, 2, 3, 4):
        level = (2, c[i], side[i], side[i])
        shapes |= {f"F_E{i}": level, f"F_D{i}": level}
        if method != "vanilla":
            shapes[f"F_C{i}"] = level
        if method in ("base+hsg", "pouta") and i < 4:
            shapes[f"F'_C{i}"] = level
            shapes |= {f"W_sp{i}": (2, 1, side[i], side[i]), f"W_cn{i}": (2, c[i], 1, 1)}
        if method in ("base+mss", "pouta"):
            shapes |= {f"M_p{i}": (2, 64, 64), f"logits{i}": (2, 2, 64, 64)}
    return shapes


@pytest.mark.parametrize("method", ABLATED)
def test_trace_has_every_name_with_its_shape(method, image):
    with torch.no_grad():
        named = small(method).trace(image)
    assert {name: tuple(t.shape) for name, t in named.items()} == expected_shapes(method)


@pytest.mark.parametrize("method", ABLATED)
def test_inference_equals_trace(method, image):
    model = small(method)
    with torch.no_grad():
        assert torch.equal(model(image), model.trace(image)["M_p"])


@pytest.mark.parametrize("method", ["base", "base+hsg", "base+mss", "pouta"])
def test_inference_computes_neither_the_image_nor_the_mss_heads(method, image):
    model, called = small(method), []
    unneeded = [model.reconstructive.to_image, *model.discriminative.mss.values()]
    for module in unneeded:
        module.register_forward_hook(lambda *_: called.append(1))
    with torch.no_grad():
        model(image)
        assert called == []
        model.trace(image)
    assert len(called) == len(unneeded)


@pytest.mark.parametrize("method", ABLATED)
def test_every_weight_gets_a_gradient(method, image):
    from pouta_lib.method.losses import total_loss

    model = small(method).train()
    mask = (torch.rand(2, 64, 64) > 0.9).float()
    total_loss(model.trace(image), image, mask)["total"].backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # a bias in front of batch normalisation cancels out: its gradient is zero but for rounding
    assert [name for name in without if not name.endswith(".0.bias")] == []


def test_fcm_by_hand():
    torch.manual_seed(0)
    fcm = FeatureContrast(4)
    e, d = torch.randn(2, 2, 4, 5, 5)

    def conv1(layer, x):  # a 1 x 1 convolution is a matrix at each pixel
        weight, bias = layer[0].weight[:, :, 0, 0], layer[0].bias
        return torch.relu(torch.einsum("oc,bchw->bohw", weight, x) + bias.view(1, -1, 1, 1))

    pair = torch.cat([conv1(fcm.of_encoder, e), conv1(fcm.of_decoder, d)], dim=1)
    torch.testing.assert_close(fcm(e, d), conv1(fcm.contrast, pair))


@pytest.mark.parametrize("training", [True, False])
def test_hsg_by_hand(training):
    torch.manual_seed(0)
    hsg = SemanticGuidance(8, 4).train(training)
    contrast, deeper = torch.randn(2, 4, 6, 6), torch.randn(2, 8, 3, 3)
    raised = F.interpolate(deeper, size=(6, 6), mode="bilinear", align_corners=False)
    g = torch.relu(F.conv2d(raised, hsg.guide[0].weight, hsg.guide[0].bias, padding=1))
    w_sp = 1 / (1 + torch.exp(-F.conv2d(g, hsg.spatial.weight, hsg.spatial.bias)))
    pooled = g.sum(dim=(2, 3)) / 36
    w_cn = 1 / (1 + torch.exp(-(pooled @ hsg.channel.weight[:, :, 0, 0].T + hsg.channel.bias)))
    refined, spatial, channel = hsg(contrast, deeper)
    torch.testing.assert_close(spatial, w_sp)
    torch.testing.assert_close(channel[:, :, 0, 0], w_cn)
    torch.testing.assert_close(refined, w_sp * contrast * w_cn[:, :, None, None])


def test_mss_by_hand(image):
    model = small("pouta")
    with torch.no_grad():
        named = model.trace(image)
        for i, name in ((1, "F'_C1"), (2, "F'_C2"), (3, "F'_C3"), (4, "F_C4")):
            head = model.discriminative.mss[str(i)]
            raised = F.interpolate(named[name], size=(64, 64), mode="bilinear", align_corners=False)
            two = F.conv2d(raised, head.weight, head.bias)  # up-sample, 1 x 1 convolution, softmax
            torch.testing.assert_close(named[f"M_p{i}"], two.softmax(1)[:, 1])


def test_guidance_runs_from_deep_to_shallow(image):
    model = small("pouta")
    with torch.no_grad():
        named = model.trace(image)
        for i, below in ((3, "F_C4"), (2, "F'_C3"), (1, "F'_C2")):
            again, _, _ = model.discriminative.hsg[str(i)](named[f"F_C{i}"], named[below])
            torch.testing.assert_close(named[f"F'_C{i}"], again)


def test_head_equals_upsample_concatenate_convolve():
    torch.manual_seed(0)
    channels = level_channels(8)
    head = AnomalyHead(channels)
    levels = {
        i: torch.randn(2, channels[i], 64 // 2 ** (i - 1), 64 // 2 ** (i - 1)) for i in channels
    }
    stacked = torch.cat(
        [
            F.interpolate(levels[i], size=(64, 64), mode="bilinear", align_corners=False)
            for i in channels
        ],
        dim=1,
    )
    weight = torch.cat([head.of_level[str(i)].weight for i in channels], dim=1)
    whole = F.conv2d(stacked, weight, head.of_level["1"].bias)
    torch.testing.assert_close(head(levels), whole, rtol=1e-5, atol=1e-5)


def test_an_unknown_method_lists_the_valid_ones():
    with pytest.raises(PoutaError, match=r"'base\+hgs'.*\n.*\n.*did you mean 'base\+hsg'"):
        build_model("base+hgs", load_profile("paper"))

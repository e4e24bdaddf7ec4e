"""What a notebook writes out in full is what the library does."""

import ast
import math
import re
from itertools import pairwise

import nbformat
import numpy as np
import pytest
import torch

from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.losses import total_loss
from pouta_lib.method.models import build_model
from pouta_lib.method.models.patchcore import greedy_coreset, patch_features
from pouta_lib.method.models.reconstructive import ReconstructiveNetwork
from pouta_lib.method.perlin import draw_lattice, perlin_field
from pouta_lib.report.architecture import draw_architecture, layer_shapes
from pouta_lib.score.metrics import image_metrics


def definitions(repository, name):
    """What a notebook imports and defines, without running anything else of it."""
    path = repository / "notebooks" / f"{name}.ipynb"
    kept, namespace = [], {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            kept += [node for node in ast.parse(cell.source).body if defines(node)]
    exec(compile(ast.Module(kept, type_ignores=[]), str(path), "exec"), namespace)
    return namespace


def defines(node):
    """Whether a statement is an import, a definition, or puts a function into a class."""
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], ast.Attribute)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


def same_weights(ours, theirs):
    """Gives `ours` the weights of `theirs`, both defined in the same order."""
    values = list(theirs.state_dict().values())
    names = list(ours.state_dict())
    assert len(names) == len(values)
    ours.load_state_dict(dict(zip(names, values, strict=True)))
    return ours.eval(), theirs.eval()


def test_reconstruction(repository):
    taught = definitions(repository, "03_reconstruction")
    torch.manual_seed(0)
    ours, theirs = same_weights(taught["Repair"](8), ReconstructiveNetwork(8))
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = ours(image), theirs(image)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name


def test_patchcore(repository):
    taught = definitions(repository, "07_patchcore")
    levels = [torch.rand(2, 4, 8, 8), torch.rand(2, 6, 4, 4)]
    assert torch.allclose(taught["patch_features"](levels), patch_features(levels))
    points = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    chosen = greedy_coreset(points, 9, torch.Generator().manual_seed(2))
    first = torch.cat([points[chosen[:1]], points])  # the notebook starts with the first point
    again = taught["farthest_points"](first, 9)
    assert torch.equal(first[again], points[chosen])


@pytest.mark.parametrize("method", ["vanilla", "pouta"])
def test_figure_4_shows_the_shapes_of_a_real_pass(method):
    shapes = layer_shapes(method, 8, 64)
    model = build_model(method, load_profile("paper", width=8)).eval()
    with torch.no_grad():
        named = model.trace(torch.rand(1, 3, 64, 64))
    for name, tensor in named.items():
        assert shapes[name] == tuple(tensor.shape[1:]), name
    levels = {"U_E1": (6, 64, 64), "U_E6": (48, 2, 2), "U_D5": (48, 4, 4), "U_D1": (6, 64, 64)}
    assert set(levels) <= set(shapes) if method == "vanilla" else not set(levels) & set(shapes)
    assert all(shapes[name] == shape for name, shape in levels.items() if name in shapes)
    figure = draw_architecture(8, 64)
    drawn = {text.get_text() for ax in figure.axes for text in ax.texts}
    for name in ("F_E3", "F_M", "F_D2", "I_r" if method == "vanilla" else "F_C4"):
        assert " × ".join(map(str, shapes[name])) in drawn, name


def test_discrimination(repository):
    taught = definitions(repository, "04_discrimination")
    torch.manual_seed(1)
    theirs = build_model("pouta", load_profile("paper", width=8)).eval()
    ours = taught["Finder"](8).eval()
    copy_discriminative(ours, theirs.discriminative, 8)
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        named = theirs.trace(image)
        found = ours(named)
        refined, where, what = ours.hsg["3"](
            ours.fcm["3"](named["F_E3"], named["F_D3"]), named["F_C4"]
        )
    for name in ("M_p", "M_p1", "M_p2", "M_p3", "M_p4"):
        assert torch.allclose(found[name], named[name], atol=1e-5), name
    for tensor, name in ((refined, "F'_C3"), (where, "W_sp3"), (what, "W_cn3")):
        assert torch.allclose(tensor, named[name], atol=1e-6), name
    mask = (torch.rand(2, 64, 64) > 0.9).float()
    expected = total_loss(named, image, mask)["total"]
    assert float(taught["total"](named, found, image, mask)) == pytest.approx(
        float(expected), rel=1e-4
    )


def copy_discriminative(ours, theirs, width):
    """The library's weights into the notebook's network; its head is split by levels there."""
    with torch.no_grad():
        for i in ("1", "2", "3", "4"):
            same_weights(ours.fcm[i], theirs.fcm[i])
            same_weights(ours.mss[i], theirs.mss[i])
            if i in ours.hsg:
                same_weights(ours.hsg[i], theirs.hsg[i])
        parts = [theirs.head.of_level[i].weight for i in ("1", "2", "3", "4")]
        ours.head.weight.copy_(torch.cat(parts, dim=1))
        ours.head.bias.copy_(theirs.head.of_level["1"].bias)


def test_perlin_noise(repository):
    """The notebook's loop over corners, fed with the angles that the library draws."""
    perlin = definitions(repository, "02_synthetic_anomalies")["perlin"]
    generator = torch.Generator().manual_seed(5)
    powers = torch.randint(0, 6, (2, 3), generator=generator)
    angle = 2 * math.pi * torch.rand((3, 33, 33), generator=generator)
    expected = perlin_field(64, *draw_lattice(3, torch.Generator().manual_seed(5)))
    for k in range(3):
        rows, columns = (2 ** powers[:, k]).tolist()
        found = perlin(angle[k, : rows + 1, : columns + 1], 64)
        assert torch.allclose(found, expected[k], atol=1e-4)


def test_metrics_by_hand(repository):
    taught = definitions(repository, "01_data_and_metrics")
    generator = np.random.default_rng(0)
    truth = generator.random((6, 7)) > 0.7
    values = generator.integers(0, 9, (6, 7)) / 10  # with ties
    expected = image_metrics(truth.ravel(), values.ravel())
    found = {
        "image_auroc": taught["auroc"](truth, values),
        "image_ap": taught["average_precision"](truth, values),
        "image_f1max": taught["best_f1"](truth, values),
    }
    assert found == pytest.approx(expected)


def test_the_course_can_be_walked_from_link_to_link(repository):
    """Each notebook's first cell leads on to the one that follows it."""
    walk = sorted((repository / "notebooks").glob("*.ipynb"))
    for path, following in pairwise(walk):
        opening = nbformat.read(path, as_version=4).cells[0].source
        assert f"]({following.name})" in opening.split("**Next**")[-1], path.name


def test_solutions_are_linked(repository):
    for path in (repository / "notebooks" / "solutions").glob("*.ipynb"):
        exercises = repository / "notebooks" / path.name.replace("_solutions", "")
        last = nbformat.read(exercises, as_version=4).cells[-1].source
        assert f"](solutions/{path.name})" in last, exercises.name


def test_a_difference_in_place_of_fcm_did_what_its_solution_says(committed):
    """Ahead in the committed run, and not by channels that correspond."""
    copy = committed / "results" / "demo" / "notebooks" / "04_discrimination_solutions.ipynb"
    cells = nbformat.read(copy, as_version=4).cells
    printed = "".join(of.get("text", "") for c in cells for of in c.get("outputs", []))
    fcm, difference = (
        ast.literal_eval(re.search(rf"(?m)^{name} ({{.*}})$", printed)[1])
        for name in ("FCM", "difference")
    )
    assert all(difference[metric] > fcm[metric] for metric in fcm)
    distances = re.findall(r"level \d: same number ([\d.]+), the next ([\d.]+)", printed)
    assert len(distances) == 4
    assert all(float(same) > 0.95 * float(following) for same, following in distances)

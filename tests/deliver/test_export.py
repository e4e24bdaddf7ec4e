"""A detector is carried away: the file says the same as the library, without the library."""

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from pouta_lib import cli
from pouta_lib.data import load_category
from pouta_lib.data.mini import generate_mini
from pouta_lib.deliver import export
from pouta_lib.deliver.export import TOLERANCE, Form, export_detector, open_exported
from pouta_lib.detector import Detector, load_detector, predict_folder
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.methods import CANDIDATES, COMPARED
from pouta_lib.ground.outputs import MANIFEST
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import Compute
from pouta_lib.method.models import build_model
from pouta_lib.method.training import fit
from pouta_lib.score.evaluation import MapAndScore

PLAIN = Compute(torch.device("cpu"), "fp32")


def installed(*names):
    """Skips, with the package's name, where one of these is absent."""
    for name in names:
        pytest.importorskip(name, reason=f"{name} is in the extra `export`")


@pytest.fixture(scope="module")
def fasteners(tmp_path_factory):
    """A category of the mini dataset, at the smoke profile's size."""
    root = tmp_path_factory.mktemp("mini")
    generate_mini(root, share=0.15, workers=1)  # nine good ones: a pair needs eight
    return load_category("mini-mvtec", "nut", 64, root=root)


@pytest.fixture(scope="module")
def trained(fasteners):
    """A detector of each method: POUTA after 20 steps, PatchCore, others with random weights."""
    made = {}

    def of(method, **changed):
        key = method, *changed
        if key not in made:
            profile = load_profile("smoke", precision="fp32", **changed)
            model = build_model(method, profile).eval()
            if method in CANDIDATES:
                images = fasteners.train
                model = fit(images, images, profile, method, 0, device="cpu").model
            else:
                torch.manual_seed(0)
                for weights in filter(lambda p: p.ndim > 1, model.parameters()):
                    torch.nn.init.kaiming_normal_(weights)
            made[key] = Detector(model, method, profile, 0.25, "by hand", (0.0, 1.0), PLAIN)
        return made[key]

    return of


def as_pixels(images):
    return np.ascontiguousarray(np.moveaxis(images, 1, -1))


def largest(ours, theirs):
    return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())


AS_SET = [(method, {}) for method in dict.fromkeys(COMPARED + CANDIDATES)]
STANDARDISING = [(method, {"standardise": True}) for method in ("pouta", "vanilla", "draem")]


@pytest.mark.parametrize(("method", "changed"), AS_SET + STANDARDISING)
def test_every_method_says_the_same_in_onnx(method, changed, fasteners, trained, tmp_path):
    installed("onnx", "onnxruntime")
    detector = trained(method, **changed)
    path, differs_by = export_detector(detector, tmp_path / "deployed")
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "deployed.json",
        "detector.onnx",
        MANIFEST,
    ]
    maps, scores = detector.look_at(fasteners.test)
    bound = TOLERANCE["fp32"] * max(1.0, maps.max())
    for count in (1, len(maps)):
        found = open_exported(path)(as_pixels(fasteners.test[:count]))
        assert [x.shape for x in found] == [(count, 64, 64), (count,)]
        assert largest(maps[:count], found[0]) <= bound and maps.std() > 0.001
        assert largest(scores[:count], found[1]) <= bound
    assert max(differs_by.values()) <= bound


def test_the_settings_are_in_the_file_and_beside_it(trained, tmp_path):
    installed("onnx", "onnxruntime")
    import onnxruntime

    path, differs_by = export_detector(trained("pouta"), tmp_path / "deployed")
    beside = json.loads((path.parent / "deployed.json").read_text("utf-8"))
    session = onnxruntime.InferenceSession(path)
    inside = json.loads(session.get_modelmeta().custom_metadata_map["pouta"])
    assert beside == inside | {"differs_by": differs_by}
    assert (beside["method"], beside["threshold"], beside["size_px"]) == ("pouta", 0.25, 64)
    assert beside["image"]["shape"] == ["batch", 64, 64, 3] == session.get_inputs()[0].shape
    assert beside["map"] == {"shape": ["batch", 64, 64], "shown_between": [0.0, 1.0]}
    assert beside["profile"] == trained("pouta").profile.to_dict()


def test_floats_a_fixed_batch_and_half_precision(fasteners, trained, tmp_path):
    installed("onnx", "onnxruntime")
    detector, images = trained("pouta"), fasteners.test[:2]
    maps, scores = detector.look_at(images)
    sizes = []
    for half in (False, True):
        form = Form(batch=2, half=half, floats=True)
        path, _ = export_detector(detector, tmp_path / "deployed", form)
        found = open_exported(path)(np.float32(images / 255))
        assert [x.dtype for x in found] == [np.float32, np.float32]
        assert largest(maps, found[0]) <= TOLERANCE[form.precision]
        assert largest(scores, found[1]) <= TOLERANCE[form.precision]
        sizes.append(path.stat().st_size)
        with pytest.raises(Exception, match="Got: 1 Expected: 2"):
            open_exported(path)(np.float32(images[:1] / 255))
        with pytest.raises(Exception, match="Got: 32 Expected: 64"):
            open_exported(path)(np.float32(images[..., :32] / 255))
    assert sizes[1] < 0.6 * sizes[0]
    again, _ = detector.look_at(images)
    assert np.array_equal(again, maps), "the detector itself stays what it was"


@pytest.mark.parametrize(
    ("method", "half"),
    [("pouta", False), ("pouta", True), ("patchcore", False), ("pouta+patchcore", False)],
)
def test_openvino_says_the_same(method, half, fasteners, trained, tmp_path):
    installed("openvino", "onnx")
    import openvino

    form = Form(format="openvino", half=half)
    path, _ = export_detector(trained(method), tmp_path / "deployed", form)
    names = sorted(p.name for p in path.parent.iterdir())
    assert names == ["deployed.json", "detector.bin", "detector.xml", MANIFEST]
    maps, scores = trained(method).look_at(fasteners.test)
    found = open_exported(path)(as_pixels(fasteners.test))
    bound = TOLERANCE[form.precision] * max(1.0, maps.max())
    assert largest(maps, found[0]) <= bound and largest(scores, found[1]) <= bound
    with pytest.raises(Exception, match="set the input tensor"):
        open_exported(path)(as_pixels(fasteners.test[..., :32, :32]))
    inside = openvino.Core().read_model(path).get_rt_info(["pouta"]).astype(str)
    assert json.loads(inside)["threshold"] == 0.25


def test_the_guides_example_says_what_predict_says(trained, tmp_path, repository):
    """The lines of docs/DEPLOYED.md, from the guide itself; three packages serve them."""
    installed("onnx", "onnxruntime")
    photos = tmp_path / "photos"
    photos.mkdir()
    generator = np.random.default_rng(0)
    for name, size in (("a.png", (90, 120)), ("b.jpg", (64, 64))):
        Image.fromarray(generator.integers(0, 256, (*size, 3), np.uint8)).save(photos / name)
    deep = generator.integers(0, 4096, (70, 80)).astype(np.uint16)
    Image.fromarray(deep).save(photos / "c.png")
    Image.new("RGB", (90, 120)).save(photos / "covered.png")
    black = trained("pouta").look_at(np.zeros((1, 3, 64, 64), np.uint8))[1][0]
    detector = dataclasses.replace(
        trained("pouta"), bits=12, contrast=20.0, threshold=float(black) + 0.001
    )
    folder, target = detector.save(tmp_path / "detector"), tmp_path / "deployed"
    assert cli.main(["export", str(folder), "--output", str(target)]) == 0
    guide = (repository / "docs" / "DEPLOYED.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert len([line for line in example.splitlines() if line]) == 17
    files = sorted(photos.iterdir())
    ends = "\nassert not {'torch', 'pouta_lib'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", example + ends, *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [line.rsplit(" ", 2) for line in done.stdout.splitlines()]
    assert [name for name, *_ in told] == [str(path) for path in files]
    table, _ = predict_folder(detector, photos, tmp_path / "answer")
    verdicts = table["verdict"].replace("not read", "blank").tolist()
    assert [verdict for *_, verdict in told] == verdicts
    assert verdicts[-1] == "blank" and "blank" not in verdicts[:-1]
    scores = [float(score) for _, score, _ in told]
    assert scores[:-1] == pytest.approx(table["score"].tolist()[:-1], abs=1e-4)


def test_the_command_says_what_it_wrote(trained, tmp_path, capsys):
    installed("onnx", "onnxruntime")
    detector = trained("pouta")
    folder = detector.save(tmp_path / "detector")
    arguments = ["export", str(folder), "--output", str(tmp_path / "deployed"), "--half"]
    assert cli.main(arguments) == 0
    told = capsys.readouterr().out
    assert "detector.onnx" in told and "fp16" in told and "differs from this library" in told
    assert load_detector(folder).threshold == 0.25


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (Form(format="onx"), r"a format out of \['onnx', 'openvino'\], found 'onx'"),
        (Form(batch=0), "a batch of 1 to 256, found 0"),
        (Form(batch=10**30), "a batch of 1 to 256, found 10"),
    ],
)
def test_a_form_that_there_is_not_is_refused(form, expected, trained, tmp_path):
    with pytest.raises(PoutaError, match=expected):
        export_detector(trained("pouta"), tmp_path / "deployed", form)


def test_distances_in_half_precision_are_refused(trained, tmp_path):
    with pytest.raises(PoutaError, match=r"half precision, found patchcore.*float32"):
        export_detector(trained("patchcore"), tmp_path / "deployed", Form(half=True))


def test_other_peoples_files_are_left_alone(trained, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "deployed.json").touch()
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(PoutaError, match="or an earlier export, found other files"):
        export_detector(trained("pouta"), tmp_path / "photos")
    with pytest.raises(PoutaError, match="found a file"):
        export_detector(trained("pouta"), tmp_path / "photos" / "a.png")
    assert sorted(p.name for p in (tmp_path / "photos").iterdir()) == ["a.png", "deployed.json"]


def test_without_the_extra_it_says_how_to_get_it(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(PoutaError, match=r"the package onnx.*\n.*\n.*pouta-lib\[export\]"):
        export_detector(trained("pouta"), tmp_path / "deployed")


class Untraceable(torch.nn.Module):
    """A network that no exporter knows."""

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, image):
        return self.one * torch.linalg.svd(image)[1].mean(dim=(1, 2))[:, None, None] + image[:, 0]


def test_what_torch_cannot_write_down_is_told(trained, tmp_path):
    installed("onnx", "onnxruntime")
    detector = dataclasses.replace(trained("pouta"), model=Untraceable())
    with pytest.raises(PoutaError, match=r"ONNX has, found one that torch cannot.*svd"):
        export_detector(detector, tmp_path / "deployed")
    assert not (tmp_path / "deployed").exists()


def test_a_file_that_says_something_else_is_not_kept(trained, tmp_path, monkeypatch):
    installed("onnx", "onnxruntime")
    of_another = build_model("pouta", load_profile("smoke")).eval()

    monkeypatch.setattr(
        export, "resolve", lambda name: lambda model, profile: MapAndScore(of_another, profile)
    )
    with pytest.raises(PoutaError, match=r"a map within 0.0001 of the library's, found 0\."):
        export_detector(trained("pouta"), tmp_path / "deployed")
    assert not (tmp_path / "deployed").exists()

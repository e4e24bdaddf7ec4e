"""The registry of methods: what it holds, and that one entry and one module are all it takes."""

import ast
import json
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import REPOSITORY
from pouta_lib.detector import Detector, choose_scale, load_detector, save_detector
from pouta_lib.ground import methods
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.methods import ABLATED, COMPARED, METHODS, Method, find_method, resolve
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.models import build_model
from pouta_lib.method.training import Recipe, fit
from pouta_lib.report.table_files import write_tables
from pouta_lib.score.evaluation import evaluate
from pouta_lib.study.execution import execute_run
from pouta_lib.study.records import find_records, read_record
from pouta_lib.study.run import load_run_data, open_run, prepare_run, save_run


def test_the_order_of_the_tables():
    assert COMPARED == ("pouta", "vanilla", "draem", "patchcore")
    assert ABLATED == ("vanilla", "base", "base+hsg", "base+mss", "pouta")
    ticks = [tuple(METHODS[name].modules) for name in ABLATED]
    yes, no = True, False
    assert ticks == [(no, no, no), (yes, no, no), (yes, yes, no), (yes, no, yes), (yes, yes, yes)]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_entry_names_what_is_there(method):
    for name in (method.build, method.fit, method.detect, method.deployed, method.steps):
        assert name is None or callable(resolve(name))
    assert isinstance(resolve(method.recipe), Recipe)
    assert (REPOSITORY / "notebooks" / f"{method.notebook}.ipynb").is_file()
    torch.manual_seed(0)
    model = build_model(method.id, load_profile("smoke"))
    assert hasattr(model, "reconstructive") == method.rebuilds


def test_an_unknown_method_is_refused_with_a_hint():
    with pytest.raises(PoutaError, match=r"a method out of \['pouta'.*\n.*\n.*mean 'patchcore'"):
        find_method("patchcor")
    with pytest.raises(PoutaError, match="choose one of these"):
        find_method("x")


def test_neither_the_registry_nor_the_tables_import_torch():
    program = "import sys, pouta_lib.ground.methods; print({'torch', 'numpy'} & set(sys.modules)); "
    program += "import pouta_lib.report.table_files; print({'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\nset()\n"


def names_in(source: str) -> list[str]:
    """The ids of PatchCore that a source compares with or branches on, and its class's name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            found += [n.value for n in sides if isinstance(n, ast.Constant)]
            listed = [
                n
                for side in sides
                if isinstance(side, ast.Tuple | ast.List | ast.Set)
                for n in side.elts
            ]
            found += [n.value for n in listed if getattr(n, "value", "") in METHODS]
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            found.append(ast.unparse(node.args[1]))
    return [name for name in found if name in ("patchcore", "PatchCore")]


def test_no_other_module_asks_whether_it_is_patchcore():
    assert names_in('x = key.variant == "patchcore"') == ["patchcore"]
    assert names_in('x = key.variant in ("patchcore", "x")') == ["patchcore"]
    assert names_in("isinstance(model, PatchCore)") == ["PatchCore"]
    sources = {
        path: path.read_text(encoding="utf-8")
        for folder in ("pouta_lib", "tools", "benchmarks")
        for path in (REPOSITORY / folder).rglob("*.py")
        if path.name != "peers_worker.py"  # knows anomalib's methods, not ours
    }
    for path in (REPOSITORY / "notebooks").rglob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        sources[path] = "\n".join(code)
    assert {path.name: names_in(text) for path, text in sources.items() if names_in(text)} == {}


def test_the_library_names_none_but_the_papers_own():
    for path in (REPOSITORY / "pouta_lib").rglob("*.py"):
        if path.name not in ("methods.py", "peers.py"):  # peers.py knows anomalib's
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            named = {node.value for node in nodes if isinstance(node, ast.Constant)} & set(METHODS)
            assert named <= set(ABLATED), path


class Bright(torch.nn.Module):
    """A toy method: what differs from the mean of the good images is anomalous."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, image):
        return (image.mean(dim=1) - self.mean).abs()


def fit_bright(images, textures, profile, method, seed, **_):
    from pouta_lib.method.device import compute_of
    from pouta_lib.method.history import HISTORY
    from pouta_lib.method.training import Trained

    model = build_model(method, profile)
    model.mean += float(images.mean() / 255)
    history = {name: [] for name in HISTORY}
    return Trained(model.eval(), history, 0, 0.0, compute_of(method, profile, "cpu"), [])


@pytest.fixture
def bright(monkeypatch):
    """The toy method, registered by its entry and its module."""
    module = types.ModuleType("bright")
    module.build, module.fit = lambda method, profile: Bright(), fit_bright
    monkeypatch.setitem(sys.modules, "bright", module)
    plain = {"steps": None, "rebuilds": False, "bounded": False, "compared": True}
    entry = Method(id="bright", title="Bright", build="bright:build", fit="bright:fit", **plain)
    monkeypatch.setitem(METHODS, "bright", entry)
    monkeypatch.setattr("pouta_lib.report.tables.COMPARED", (*COMPARED, "bright"))
    return entry


def test_a_new_method_goes_from_parameters_to_a_table_and_a_detector(bolt, bright, tmp_path):
    run = prepare_run("smoke", "mvtec", "bolt", "bright")
    category, support, textures = load_run_data(run)
    trained = fit(category.train[support], textures, run.profile, "bright", 0)
    found = evaluate(trained.model, category, run.profile, trained.compute, "bright")
    assert found.reconstructions is None
    save_run(run, category, support, trained, found)
    (record,) = find_records("smoke")
    assert (record.backbone, record.selection) == (None, "no training")
    _, model, compute = open_run(record)
    again = evaluate(model, category, run.profile, compute, "bright")
    assert np.array_equal(again.scores, found.scores)
    (table,) = write_tables("smoke")
    assert "## Bright, measured" in table.with_suffix(".md").read_text()
    scale = choose_scale(found.maps, "bright")
    folder = save_detector(
        Detector(model, "bright", run.profile, 0.1, "by hand", scale, compute), tmp_path / "d"
    )
    maps, _ = load_detector(folder).look_at(category.test)
    assert np.array_equal(maps, found.maps)


def test_a_method_is_refused_by_another_methods_notebook(bolt):
    with pytest.raises(PoutaError, match=r"found 'patchcore'\n.*05_train_category\n.*open 07_"):
        methods.require_notebook("patchcore", "05_train_category")
    with pytest.raises(PoutaError, match=r"\['patchcore'\], found 'base'\n.*\n.*05_train_categ"):
        methods.require_notebook("base", "07_patchcore")


@pytest.mark.parametrize("name", ["patchcore", "pouta+patchcore"])
def test_what_remembers_runs_by_its_notebook_and_is_opened_again(bolt, name):
    for k in range(5):  # a pair needs eight in all
        noise = np.random.default_rng(k).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(bolt / "mvtec" / "bolt" / "train" / "good" / f"more{k}.png")
    folder = execute_run(profile="smoke", dataset="mvtec", category="bolt", variant=name)
    record = read_record(folder)
    assert record.backbone == "efficientnet_lite0"
    category, model, compute = open_run(record)
    memory = model if name == "patchcore" else model.memory
    assert len(memory.memory) > 0 and compute.precision == record.precision
    found = evaluate(model, category, load_profile("smoke"), compute, name)
    assert found.metrics == pytest.approx(record.metrics)
    assert (found.reconstructions is not None) == METHODS[name].rebuilds

"""Wrong profiles, settings, plans, names, records, weights and checkpoints; locks that are held."""

import argparse
import errno
import json
import os
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import fake_run
from trees import mvtec_tree
from wrong import wrong

from pouta_lib.cli import _of_the_system
from pouta_lib.commands.detector import _app
from pouta_lib.ground.locks import only_one
from pouta_lib.ground.profiles import load_profile, parse_overrides
from pouta_lib.method.device import choose_compute, within_memory
from pouta_lib.method.history import LOSSES
from pouta_lib.method.models import build_model
from pouta_lib.method.training import train
from pouta_lib.method.warm_start import start_warm
from pouta_lib.method.weights import load_weights, save_weights
from pouta_lib.report.table_files import explain_cell, write_tables
from pouta_lib.study.batch import run_study
from pouta_lib.study.cluster import cluster_options
from pouta_lib.study.execution import execute_notebook
from pouta_lib.study.judgements import judgement_of, judgement_path
from pouta_lib.study.records import RunKey, find_records, load_arrays, read_record
from pouta_lib.study.run import Run, prepare_run

PROFILES, SETTINGS, RUNS = (
    "Profiles and their studies",
    "Settings (`--set`)",
    "Runs and their names",
)
KEPT, MACHINE = "Records, weights, maps and checkpoints", "The machine"
JUDGED = "Judgements"


def profile(words: str, text: str) -> None:
    """A file of this text in configs/, whose study is planned."""

    @wrong(PROFILES, words)
    def _(root: Path) -> None:
        smoke = Path("configs/smoke.yaml")
        smoke = (Path(__file__).parents[1] / smoke).read_text(encoding="utf-8")
        (root / "configs").mkdir()
        written = text.replace("SETTINGS", smoke.partition("study:")[0])
        (root / "configs" / "mine.yaml").write_text(written, encoding="utf-8")
        mvtec_tree(root)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("POUTA_HOME", str(root))
            patch.setenv("POUTA_DATA", str(root))
            run_study("mine", [], [], cores=1, dry_run=True)


GROUP = "SETTINGS\nstudy: [{dataset: mvtec, categories: [bolt], "
profile("an empty file", "")
profile("a file that is not YAML", "settings: [1")
profile("a file that asks for a Python object", "settings: !!python/object/apply:os.system [true]")
profile(
    "a file that repeats parts of itself (an alias bomb)", "settings: &a {lr: 1}\nstudy: [*a, *a]"
)
profile("a list in place of settings", "- settings")
profile("a setting's name that YAML reads as something else", "SETTINGS\n  on: 1")
profile("a date in place of a name in a list", "SETTINGS\nstudy: [{2026-01-01: 1}]")
profile("a setting is missing", "settings: {lr: 0.001}")
profile("`variants: pouta`", GROUP + "variants: pouta, shots: [null], seeds: [0]}]")
profile("an unknown method", GROUP + "variants: [puota], shots: [null], seeds: [0]}]")
profile("`shots: null`", GROUP + "variants: [pouta], shots: null, seeds: [0]}]")
profile("`seeds: 0`", GROUP + "variants: [pouta], shots: [null], seeds: 0}]")
profile("a seed of 2^64", GROUP + f"variants: [pouta], shots: [null], seeds: [{2**64}]}}]")
profile(
    "a category that is not there",
    GROUP.replace("bolt", "nail") + "variants: [pouta], shots: [null], seeds: [0]}]",
)
profile(
    "more shots than there are images",
    GROUP + "variants: [pouta], shots: [2, null, 8], seeds: [0]}]",
)


@wrong(PROFILES, "`--profile ../configs/smoke`")
def _(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POUTA_HOME", str(root))
        (root / "configs").mkdir()
        (root / "configs" / "mine.yaml").touch()
        load_profile("../configs/mine")


def setting(word: str) -> None:
    """This word after --set."""
    wrong(SETTINGS, f"`{word}`")(lambda root: str(load_profile("smoke", **parse_overrides([word]))))


for word in ("lr", "stepz=5", "lr=fast", "lr=[", "size_px=100", "width=400000000", "steps=0"):
    setting(word)
for word in ("steps=1000000000000", "max_train=0", "max_textures=-1", "lr_gamma=-1", "epochs=5"):
    setting(word)


@wrong(SETTINGS, "`warm_start=true` with another method")
def _(root: Path) -> None:
    prepare_run("smoke", variant="vanilla", overrides={"warm_start": True})


@wrong(SETTINGS, "32 px and one image a step, where a network halves them five times")
def _(root: Path) -> None:
    prepare_run("smoke", variant="draem", overrides={"size_px": 32, "batch_size": 1})


@wrong(SETTINGS, "`warm_start=true` before its weights were made")
def _(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POUTA_RESULTS", str(root))
        start_warm(build_model("pouta", load_profile("smoke", width=8)))


def run(words: str, dataset: str, category: str, **others: int) -> None:
    """These parameters of `pouta run`."""

    @wrong(RUNS, words)
    def _(root: Path) -> None:
        mvtec_tree(root)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("POUTA_DATA", str(root))
            prepare_run("smoke", dataset, category, **others)


run("a category that is not there", "mvtec", "nail")
run("a name that leads to another folder", "../mvtec", "bolt")
run("a name with a line break", "mvtec", "bo\nlt")
run("a name that begins with a dash", "-mvtec", "bolt")
run("a name that is a device on Windows", "mvtec", "aux")
run("a name that ends in a dot, which Windows drops", "mvtec.", "bolt")
run("a seed of 2^64", "mvtec", "bolt", seed=2**64)
run("0 shots", "mvtec", "bolt", shots=0)


@wrong(RUNS, "a planned run that is missing, in `pouta tables`")
def _(root: Path) -> None:
    fake_run(root, "mini-mvtec", "nut")
    nut = RunKey("demo", "mini-mvtec", "nut")
    write_tables("demo", [nut, replace(nut, category="cap")], root)


def kept(words: str, name: str, change: Callable[[bytes], bytes]) -> None:
    """A run with this file changed, read."""

    @wrong(KEPT, words)
    def _(root: Path) -> None:
        path = fake_run(root, "mini-mvtec", "nut") / name
        path.write_bytes(change(path.read_bytes()))
        record = read_record(path.parent)
        load_weights(torch.nn.Conv2d(3, 2, 1), path.parent, record.weights)
        load_arrays(path.parent)


def noted(**changes: object) -> Callable[[bytes], bytes]:
    return lambda text: json.dumps(json.loads(text) | changes).encode()


def flipped(content: bytes) -> bytes:
    return content[:-2] + bytes([content[-2] ^ 4]) + content[-1:]


WEIGHTS = "model.safetensors"
kept("an empty record", "record.json", lambda text: b"")
kept("a record that is cut off", "record.json", lambda text: text[:20])
kept("a record of a later version", "record.json", noted(schema_version=99))
kept("a record with a text in place of a number", "record.json", noted(steps="400"))
kept("a record of a method that is unknown", "record.json", lambda t: t.replace(b"pouta", b"putao"))
kept("a record with a backbone that is unknown", "record.json", noted(backbone="resnet19"))
kept("an empty file of weights", WEIGHTS, lambda content: b"")
kept("weights that are cut off", WEIGHTS, lambda content: content[:-9])
kept("weights with one bit changed", WEIGHTS, flipped)
kept("weights of another run", "record.json", noted(weights="0" * 64))
kept("an empty file of maps", "maps.npz", lambda content: b"")
kept("maps that are cut off", "maps.npz", lambda content: content[:99])
kept("maps with one bit changed", "maps.npz", lambda c: c[:70] + bytes([c[70] ^ 4]) + c[71:])
kept("maps of another run", "record.json", noted(arrays="0" * 64))


@wrong(KEPT, "a run's folder copied to another name")
def _(root: Path) -> None:
    nut = fake_run(root, "mini-mvtec", "nut")
    shutil.copytree(nut, nut.with_name("seed1"))
    find_records("demo", root)


@wrong(KEPT, "a study's folder renamed")
def _(root: Path) -> None:
    fake_run(root, "mini-mvtec", "nut")
    (root / "demo").rename(root / "demo-last-week")
    find_records("demo-last-week", root)


@wrong(KEPT, "weights with NaN in them")
def _(root: Path) -> None:
    model = torch.nn.Conv2d(3, 2, 1)
    torch.nn.init.constant_(model.bias, float("nan"))
    save_weights(model, root)
    load_weights(model, root)


@wrong(KEPT, "no weights, as in a fresh clone")
def _(root: Path) -> None:
    load_weights(torch.nn.Conv2d(3, 2, 1), root)


def checkpoint(words: str, change: Callable[[dict], object] | int) -> None:
    """A checkpoint, changed or with so many bytes, that a training shall go on from."""

    @wrong(KEPT, words)
    def _(root: Path) -> None:
        images = np.zeros((2, 3, 32, 32), np.uint8)
        small = load_profile("smoke", size_px=32, width=4, steps=1)
        path = root / "checkpoint.pt"
        train(images, images, small, "base", 0, device="cpu", checkpoint=path)
        if isinstance(change, int):
            path.write_bytes(path.read_bytes()[:change])
        else:
            content = torch.load(path, weights_only=True)
            change(content)
            torch.save(content, path)
        train(images, images, small, "base", 0, device="cpu", checkpoint=path)


checkpoint("an empty checkpoint", 0)
checkpoint("a checkpoint that is cut off", -99)
checkpoint("a checkpoint of another run", lambda c: c["identity"].update(seed=7))
checkpoint("a checkpoint of other code", lambda c: c["identity"].update(sources="0123"))
checkpoint("a checkpoint without its optimiser", lambda c: c.pop("optimizer"))
checkpoint("a checkpoint beyond the last step", lambda c: c.update(step=9))


def provenance(words: str, text: str) -> None:
    """What stands beside a table that `pouta why` is asked about."""

    @wrong(KEPT, words)
    def _(root: Path) -> None:
        (root / "table_1_mvtec.provenance.json").write_text(text)
        explain_cell(root / "table_1_mvtec.csv", "chip", "pouta pixel_ap")


provenance("an empty file of a table's provenance", "")
provenance("a table's provenance that is cut off", '{"chip|pouta|all|pixel_ap": [')
provenance("a table's provenance that is a list", "[1]")


provenance(
    "a table's provenance with a cell whose metric is unknown",
    '{"chip|pouta|all|pixel_app": ["x"]}',
)


@wrong(KEPT, "a folder in place of a table, in `pouta why`")
def _(root: Path) -> None:
    explain_cell(Path(), "chip", "pouta pixel_ap")


@wrong(KEPT, "a file to execute that is no notebook")
def _(root: Path) -> None:
    (root / "notes.ipynb").write_text("no notebook")
    execute_notebook(root / "notes.ipynb", root / "made.ipynb", {})


def judgement(words: str, change: Callable[[bytes], bytes], seed: int = 0) -> None:
    """A judgement with its record changed, or put where that of another seed belongs."""

    @wrong(JUDGED, words)
    def _(root: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("POUTA_RESULTS", str(root))
            run = Run(RunKey(LABEL, "mvtec", "transistor", seed=seed), load_profile("real-cpu"))
            path = judgement_path(run.key)
            path.parent.mkdir(parents=True)
            kept = f"results/real/{LABEL}/judged/mvtec/transistor/pouta/seed0.json"
            path.write_bytes(change((Path(__file__).parents[1] / kept).read_bytes()))
            judgement_of(run)


LABEL = "real-cpu~standardise=false~steps=1680~width=32"
judgement("an empty judgement", lambda text: b"")
judgement("a judgement that is cut off", lambda text: text[:99])
judgement("a judgement with a text in place of a number", noted(threshold="0.5"))
judgement("a judgement of another seed", lambda text: text, seed=1)
judgement("a judgement that was made with other settings", lambda text: text)


@wrong(MACHINE, "a second `pouta study` beside a running one")
def _(root: Path) -> None:
    with only_one(root / ".lock", "study smoke"), only_one(root / ".lock", "study smoke"):
        pass


def cluster(words: str, text: str | None) -> None:
    """A folder after --cluster with a config.yaml of this text, or without one."""

    @wrong(MACHINE, words)
    def _(root: Path) -> None:
        if text is not None:
            (root / "config.yaml").write_text(text, encoding="utf-8")
        cluster_options(root, root / "results")


cluster("`--cluster` with a folder that is no Snakemake profile", None)
cluster("an empty Snakemake profile", "")
cluster("a Snakemake profile that names no executor", "jobs: 4")
cluster("an executor whose plugin is not installed", "executor: none-such")


@wrong(MACHINE, "`--cores 0`")
def _(root: Path) -> None:
    run_study("smoke", [], [], cores=0)


@wrong(MACHINE, "`--cluster configs/slurm` on a machine without Slurm")
def _(root: Path) -> None:
    (root / "config.yaml").write_text("executor: slurm", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pouta_lib.study.cluster.find_spec", lambda name: name)
        patch.setenv("PATH", str(root))
        cluster_options(root, root / "results")


@wrong(MACHINE, "a device that is not there")
def _(root: Path) -> None:
    choose_compute("tpu")


@wrong(MACHINE, "more memory than the device has")
def _(root: Path) -> None:
    with within_memory(load_profile("smoke")):
        raise MemoryError


@wrong(MACHINE, "a loss that is not finite")
def _(root: Path) -> None:
    images = np.zeros((2, 3, 32, 32), np.uint8)
    small = load_profile("smoke", size_px=32, width=4, steps=1)
    with pytest.MonkeyPatch.context() as patch:
        nothing = {name: torch.tensor(float("nan"), requires_grad=True) for name in LOSSES}
        patch.setattr("pouta_lib.method.training.total_loss", lambda *_: nothing)
        train(images, images, small, "base", 0, device="cpu", checkpoint=root / "checkpoint.pt")


@wrong(MACHINE, "a port for the app that is taken")
def _(root: Path) -> None:
    def taken(port: int, *, show: bool) -> None:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    with pytest.MonkeyPatch.context() as patch:
        app = types.SimpleNamespace(serve=taken)
        patch.setitem(sys.modules, "pouta_lib.deliver.app", app)
        _app(argparse.Namespace(port=5006, no_browser=True))


@wrong(MACHINE, "a full disk")
def _(root: Path) -> None:
    raise _of_the_system(OSError(28, os.strerror(28), str(root / "x")))


@wrong(MACHINE, "too little memory, whatever the command")
def _(root: Path) -> None:
    raise _of_the_system(MemoryError())


@wrong(MACHINE, "a disk that may not be written to")
def _(root: Path) -> None:
    raise _of_the_system(PermissionError(30, os.strerror(30), str(root / "x")))

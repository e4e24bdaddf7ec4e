"""The list of jobs for a borrowed GPU, run here on the CPU with hardly a package installed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from trees import mvtec_tree, photo, save

from conftest import REPOSITORY
from pouta_lib.cli import main
from pouta_lib.study.records import find_records

SCRIPT = REPOSITORY / "tools" / "gpu_jobs.py"
pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="without its variables, PATH among them, Windows loads no torch"
)
# what a CUDA image need not have
ABSENT = "IPython annotated_types fastjsonschema ipywidgets matplotlib nbformat papermill pydantic"
ABSENT += " pydantic_core seaborn skimage snakemake tabulate tqdm yaml"


@pytest.fixture
def bare(tmp_path):
    """Runs the script where none of `ABSENT` can be imported."""
    block = f"import sys; sys.modules.update(dict.fromkeys({ABSENT.split()}))\n"
    start = f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", "POUTA_RESULTS": str(tmp_path / "results")}

    def run(*words: str, data) -> subprocess.CompletedProcess:
        program = f"{block}sys.argv[1:] = {list(map(str, words))!r}\n{start}"
        return subprocess.run(
            [sys.executable, "-c", program],
            env=environment | {"POUTA_DATA": str(data)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """Three good training images of a category, five test images, and two textures."""
    root = tmp_path / "data"
    mvtec_tree(root)
    for k in range(2):
        save(root / "dtd" / "images" / "banded" / f"{k}.png", photo(k))
    monkeypatch.setenv("POUTA_DATA", str(root))
    return root


def test_a_list_is_run_within_its_budget(bare, data_folder, tmp_path, capsys):
    words = ["mvtec/bolt", "mvtec/bolt/base/k2/seed1", "mvtec/nothere"]
    settings = ["--set", "textures=dtd", "--set", "steps=4", "--set", "few_shot_steps=4"]
    made = subprocess.run(
        [sys.executable, SCRIPT, "plan", "--profile", "smoke", *settings, *words],
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "list.json").write_text(made.stdout)
    keep = tmp_path / "out"
    done = bare("run", tmp_path / "list.json", "--budget", "1e6", "--keep", keep, data=data_folder)
    log = json.loads((keep / "log.json").read_text())
    assert done.returncode == 1, "the last job has no data"
    assert [sorted({"failed", "left_out"} & set(entry)) for entry in log] == [[], [], ["failed"]]
    assert "a category out of" in log[2]["failed"]
    label = "smoke~few_shot_steps=4~steps=4~textures=dtd"
    records = find_records(label, keep)  # checks them
    assert [(r.run.variant, r.run.shots) for r in records] == [
        ("base", 2),
        ("pouta", None),
    ]
    for record, entry in zip(records[::-1], log, strict=False):
        assert record.metrics["image_auroc"] == entry["image_auroc"]
        with np.load(record.path / "small.npz") as arrays:
            assert arrays["maps"].shape == (record.data.num_test, 56, 56)
    assert not list(keep.rglob("*.safetensors")), "weights are too large to bring home"
    words = ["tables", "--profile", "smoke", *settings, "--results", str(keep)]
    assert main(words) == 0
    assert "table_1_mvtec.csv" in capsys.readouterr().out
    # nothing is started that cannot end in time, and nothing is made twice
    again = bare("run", tmp_path / "list.json", "--budget", "0", "--keep", keep, data=data_folder)
    assert again.returncode == 1
    log = json.loads((keep / "log.json").read_text())
    assert [entry.get("left_out") for entry in log[:2]] == ["there already"] * 2


def test_a_job_that_is_too_long_is_left_out(bare, data_folder, tmp_path):
    words = ["plan", "--profile", "smoke", "--set", "textures=dtd", "mvtec/bolt"]
    made = subprocess.run(
        [sys.executable, SCRIPT, *words], capture_output=True, text=True, check=True
    )
    (tmp_path / "list.json").write_text(made.stdout)
    keep = tmp_path / "out"
    done = bare("run", tmp_path / "list.json", "--budget", "0", "--keep", keep, data=data_folder)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((keep / "log.json").read_text())
    assert "s of training in" in entry["left_out"]
    assert not list(keep.rglob("record.json"))

"""What a batch asks of a cluster, with stand-ins for Slurm's commands: see also tests/slurm."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from trees import mvtec_tree

from conftest import REPOSITORY
from pouta_lib.ground.errors import PoutaError
from pouta_lib.study import cluster
from pouta_lib.study.cluster import cluster_options, job_prefix, own_queue

STUDY = Path("/results/smoke")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A queue, a file of lines, that squeue shows and scancel empties."""
    queue = tmp_path / "queue"
    programs = {
        "sbatch": "exit 0",
        "squeue": f"cat '{queue}'",
        "scancel": f"for job; do sed -i \"/^$job /d\" '{queue}'; done",
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(cluster, "find_spec", lambda name: name)
    return queue


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")
def test_a_batch_leaves_no_job_of_its_own_and_takes_no_other_away(slurm):
    mine, others = f"{job_prefix(STUDY)}_run", f"{job_prefix(Path('/results/demo'))}_run"
    slurm.write_text(f"7 {mine}\n8 {others}\n9 a job of {mine}\n70 {mine}\n")
    with own_queue(STUDY):
        assert slurm.read_text() == f"8 {others}\n9 a job of {mine}\n"
        slurm.write_text(f"8 {others}\n71 {mine}\n")
    assert slurm.read_text() == f"8 {others}\n"


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")
def test_jobs_that_do_not_end_are_told(slurm, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0)
    (slurm.parent / "scancel").write_text("#!/bin/sh\n")
    slurm.write_text(f"7 {job_prefix(STUDY)}_run\n")
    told = "no job of an earlier batch, found 1 in the queue"
    with pytest.raises(PoutaError, match=told), own_queue(STUDY):
        pytest.fail("a batch beside another's jobs")


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")
def test_a_controller_that_does_not_answer_is_no_empty_queue(slurm):
    (slurm.parent / "squeue").write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    with pytest.raises(PoutaError, match="found no controller"), own_queue(STUDY):
        pytest.fail("a batch beside another's jobs")


def test_the_profile_of_slurm_is_named_to_snakemake(slurm):
    folder = REPOSITORY / "configs" / "slurm"
    options = cluster_options(folder, STUDY)
    assert options[:2] == ["--workflow-profile", str(folder)]
    assert options[2:] == ["--slurm-jobname-prefix", job_prefix(STUDY)]
    assert job_prefix(STUDY).replace("_", "").isalnum()
    rules = yaml.safe_load((folder / "config.yaml").read_text())["set-resources"]
    snakefile = (REPOSITORY / "Snakefile").read_text(encoding="utf-8")
    assert [rule for rule in rules if f"\nrule {rule}:\n" not in snakefile] == []


def test_what_the_guide_says_of_other_sites_is_what_jobs_are_given(tmp_path, monkeypatch):
    """No executor: its plugin is an extra. What jobs are given is Snakemake's own to say."""
    guide = (REPOSITORY / "docs" / "SCALING.md").read_text(encoding="utf-8")
    site, without_gpus = re.findall(r"^```\n((?:default|set)-resources:.*?)```", guide, re.M | re.S)
    ours = yaml.safe_load((REPOSITORY / "configs" / "slurm" / "config.yaml").read_text("utf-8"))
    del ours["executor"]
    assert yaml.safe_load(without_gpus)["set-resources"].keys() == ours["set-resources"].keys()
    ours |= yaml.safe_load(without_gpus)
    for name, profile in (("site", yaml.safe_load(site)), ("slurm", ours)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    mvtec_tree(tmp_path / "data")
    monkeypatch.setenv("POUTA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SNAKEMAKE_PROFILE", str(tmp_path / "site"))
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    words += ["--directory", str(tmp_path), "--dry-run", "--cores", "1"]
    words += ["--workflow-profile", str(tmp_path / "slurm")]
    words += ["--config", "profile=smoke", 'categories=["mvtec"]']
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    told = subprocess.run(words, check=True, **pipes).stdout
    jobs = re.findall(r"^rule (\w+):$.*?^    resources: (.*?)$", told, re.M | re.S)
    asked = {rule: dict(re.findall(r"(\w+)=([^,]+)", words)) for rule, words in jobs}
    assert {(j["slurm_account"], j["slurm_partition"]) for j in asked.values()} == {
        ("vision", "gpu")
    }
    train = asked["train"]
    assert (train["gpu"], train["runtime"], train["mem_mb"]) == ("0", "240", "16000")
    assert "gpu" not in asked["study"]

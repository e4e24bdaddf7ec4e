"""What a study is made of: its runs, the notebooks they feed, and what is said when some lack."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from fakes import fake_run
from trees import mvtec_tree

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.methods import ABLATED, ASKED
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import Compute
from pouta_lib.study import plan
from pouta_lib.study.plan import (
    planned_runs,
    planned_study,
    read_plan,
    read_questions,
    seconds_per_step,
    study_notebooks,
)
from pouta_lib.study.records import RunKey
from pouta_lib.study.run import prepare_run


def keys(category="nut", variants=("pouta",), shots=(None,), seeds=(0,)):
    return [
        RunKey("demo", "mini-mvtec", category, variant, k, seed)
        for variant in variants
        for k in shots
        for seed in seeds
    ]


def test_pouta_alone_feeds_the_benchmarks_only():
    assert study_notebooks(keys()) == {"10_benchmarks": keys()}


def test_few_shot_runs_stand_beside_the_full_run_of_their_seed():
    plan = [*keys(shots=(2, 4, None)), *keys(seeds=(1,)), *keys("cap")]
    plan += keys(variants=("patchcore",), shots=(2, None))  # Table IV is POUTA's
    assert study_notebooks(plan)["11_few_shot"] == keys(shots=(2, 4, None))


def test_the_ablation_needs_all_five_of_a_seed():
    plan = [*keys(variants=ABLATED), *keys(variants=ABLATED[:4], seeds=(1,))]
    notebooks = study_notebooks(plan)
    assert set(notebooks["12_ablation"]) == set(keys(variants=ABLATED))
    assert set(notebooks["14_gradcam"]) == set(keys(variants=("pouta", "vanilla")))
    assert {key.variant for key in notebooks["16_how_sure"]} == set(ABLATED[:4])
    assert "12_ablation" not in study_notebooks(plan[:-5])


def test_plan_of_named_categories(bolt):
    mvtec_tree(bolt, "surface", "tile")
    mvtec_tree(bolt, "surface", "plate")
    assert planned_runs("demo", ["mvtec/bolt", "surface"]) == [
        RunKey("demo", "mvtec", "bolt"),
        RunKey("demo", "surface", "plate"),
        RunKey("demo", "surface", "tile"),
    ]


@pytest.mark.parametrize(("profile", "others"), [("smoke", set()), ("demo", {"18_open_questions"})])
def test_the_embedded_studies_feed_every_notebook(profile, others, repository):
    made = {path.stem for path in (repository / "notebooks").glob("1[0-9]_*.ipynb")}
    made -= {"17_how_settings_were_chosen"}  # of judgements, not of runs
    assert set(study_notebooks(planned_runs(profile))) == made - others | {"03_reconstruction"}


def test_the_open_questions_are_read_without_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path))
    monkeypatch.delenv("POUTA_PROFILE")
    with pytest.raises(PoutaError, match="'pouta-apart'.*\n.*\n.*--profile questions"):
        read_questions()
    for method in ("pouta", *ASKED, "draem"):
        fake_run(tmp_path / "real", "mvtec", "bolt", method, label="questions")
    settings, records = read_questions()
    assert settings.label == "questions"
    assert {record.run.variant for record in records} == {"pouta", *ASKED, "draem"}


def test_a_study_is_planned_and_followed_without_torch():
    program = "import sys, pouta_lib.study.batch, pouta_lib.study.execution\n"
    program += "print({'torch', 'torchvision', 'pydantic', 'pandas'} & set(sys.modules))"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_missing_run_and_a_missing_kind_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path))
    with pytest.raises(PoutaError, match=r"a record for each run.*\n.*\n.*pouta run --profile"):
        read_plan("12_ablation", "demo")
    with pytest.raises(PoutaError, match=r"runs that notebook 12_ablation shows.*\n.*\n.*10_bench"):
        read_plan("12_ablation", "demo", ["mini-mvtec/nut"])


@pytest.mark.parametrize("name", ["../x", "-v", "two\nlines", "..", "nul\0", "back\\slash"])
def test_names_that_lead_elsewhere_are_refused(name, bolt):
    for word in (name, f"mvtec/{name}"):
        with pytest.raises(PoutaError) as refused:
            planned_runs("demo", [word])
        assert str(refused.value).count("\n") == 2
    with pytest.raises(PoutaError, match="a dataset named as a folder is"):
        prepare_run("demo", name, "bolt")


def test_what_a_plan_names_is_known(bolt, monkeypatch, repository, tmp_path):
    (tmp_path / "configs").mkdir()
    monkeypatch.setenv("POUTA_HOME", str(tmp_path))
    text = (repository / "configs" / "smoke.yaml").read_text().partition("study:")[0]
    group = {"dataset": "mvtec", "categories": ["bolt"], "variants": ["pouta"], "shots": [None]}
    for change, message in (
        ({"variants": ["puota"]}, "did you mean 'pouta'?"),
        ({"variants": "pouta"}, "0.variants to be a valid array, found 'pouta' (str)"),
        ({"shots": None}, "0.shots to be a valid array, found None"),
        ({"shots": [0]}, "0.shots.0 to be above 0"),
        ({"seeds": 0}, "0.seeds to be a valid array, found 0 (int)"),
        ({"seeds": [-1]}, "0.seeds.0 to be in [0, "),
        ({"seeds": [2**64]}, "0.seeds.0 to be in [0, "),
    ):
        study = yaml.safe_dump({"study": [group | {"seeds": [0]} | change]})
        (tmp_path / "configs" / "mine.yaml").write_text(text + study)
        with pytest.raises(PoutaError) as refused:
            planned_runs("mine")
        assert message in str(refused.value), change


def test_changed_settings_are_a_study_of_runs_and_what_shows_them():
    plan = planned_study(load_profile("smoke"), [])
    names = {path.stem: reads for path, reads in plan.notebooks.items()}
    assert names["17_how_settings_were_chosen"] == list(plan.judgements) != []
    assert {path.stem for path in names["18_open_questions"]} >= {"12_ablation", "record", "seed0"}
    changed = planned_study(load_profile("smoke", steps=3), [])
    assert (len(changed.runs), changed.judgements) == (len(plan.runs), {})
    assert {path.stem[:2] for path in plan.notebooks} - {p.stem[:2] for p in changed.notebooks} == {
        "17",
        "18",
    }


@pytest.mark.parametrize(("a_step", "counts"), [(0.25, [1, 1, 8]), (3.0, [1, 1])])
def test_the_first_step_of_all_is_not_what_a_step_takes(monkeypatch, a_step, counts):
    """It loads libraries: here for five seconds more. A slow step is measured once.

    What the steps took of a card is given back: a batch would hold it while its runs need it.
    """
    asked = []

    def slow_at_first(images, textures, profile, method, seed, progress):
        asked.append(profile.steps)
        progress(profile.steps, profile.steps, {})
        seconds = a_step * profile.steps + 5 * (len(asked) == 1)
        return SimpleNamespace(seconds=seconds, compute=Compute(torch.device("cpu"), "fp32"))

    monkeypatch.setattr("pouta_lib.method.training.fit", slow_at_first)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: asked.append("given back"))
    assert seconds_per_step(load_profile("paper"), "draem") == pytest.approx(a_step)
    assert asked == [*counts, "given back"]


def test_a_cards_recording_of_its_step_is_not_what_a_step_takes(monkeypatch):
    """It is done among the first ten: here for five seconds, in the fourth."""
    now = [0.0]

    def recording(images, textures, profile, method, seed, progress):
        begun = now[0]
        for step in range(1, profile.steps + 1):
            now[0] += 0.05 + 5 * (step == 4)
            if step % 10 == 0 or step == profile.steps:
                progress(step, profile.steps, {})
        compute = Compute(torch.device("cuda"), "bf16")
        return SimpleNamespace(seconds=now[0] - begun, compute=compute)

    monkeypatch.setattr("pouta_lib.method.training.fit", recording)
    monkeypatch.setattr(plan, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert seconds_per_step(load_profile("paper")) == pytest.approx(0.05)

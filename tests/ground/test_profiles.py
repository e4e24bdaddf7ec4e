"""Profiles: the paper's values, and every way to get one wrong."""

import dataclasses

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wrong import found_or_refused

from conftest import REPOSITORY
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import (
    SETTINGS,
    Profile,
    load_profile,
    parse_overrides,
    profile_names,
)
from pouta_lib.ground.validation import checked
from pouta_lib.study.choices import JudgementGroup, RunGroup, read_choices
from pouta_lib.study.plan import planned_runs

SMOKE = yaml.safe_load((REPOSITORY / "configs" / "smoke.yaml").read_text(encoding="utf-8"))


def test_all_profiles_load():
    assert set(profile_names()) >= {"smoke", "demo", "evening", "real-cpu", "quick", "paper"}
    for name in profile_names():
        assert load_profile(name).name == name


@pytest.mark.parametrize(("longer", "like"), [("evening", "demo"), ("real-cpu", "questions")])
def test_two_profiles_differ_in_their_steps_alone(longer, like):
    assert [name for name in profile_names() if load_profile(name).standardise] == ["real-cpu"]
    plain = {"standardise": False}
    own, other = (load_profile(name, **plain).to_dict() for name in (longer, like))
    differing = {name for name in own if own[name] != other[name]} - {"overrides"}
    assert {"name", "steps"} <= differing <= {"name", "steps", "few_shot_steps"}
    assert own["steps"] > other["steps"]


def test_the_evening_runs_what_the_demo_runs_without_draem():
    evening, demo = (
        {dataclasses.replace(key, label="") for key in planned_runs(name)}
        for name in ("evening", "demo")
    )
    assert evening == {key for key in demo if key.variant != "draem"}


def test_paper_profile_is_the_paper():
    p = load_profile("paper")
    assert (p.size_px, p.width, p.batch_size, p.epochs, p.steps) == (224, 64, 8, 600, None)
    assert (p.lr, p.lr_milestones, p.lr_gamma) == (0.0002, [0.8, 0.9], 0.2)  # epochs 480, 540
    assert (p.textures, p.max_train, p.max_test) == ("dtd", None, None)
    assert p.score_window_px == 21


@pytest.mark.parametrize("size", [32, 64, 96, 128, 224, 448])
def test_score_window_is_odd_and_scales(size):
    window = load_profile("paper", size_px=size).score_window_px
    assert window % 2 == 1
    assert abs(window - 21 * size / 224) <= 1


def test_environment_names_the_default(monkeypatch):
    monkeypatch.setenv("POUTA_PROFILE", "paper")
    assert load_profile("").name == "paper"
    assert load_profile("demo").name == "demo"
    monkeypatch.delenv("POUTA_PROFILE")
    assert load_profile().name == "demo"


def test_overridden_results_have_a_label_of_their_own():
    assert load_profile("demo").label == "demo"
    changed = load_profile("demo", steps=50, lr=0.001)
    assert changed.label == "demo~lr=0.001~steps=50"
    same = load_profile("demo", steps=load_profile("demo").steps)
    assert same.label == "demo"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"nonsense": 3}, "expected a setting out of"),
        ({"lr": "1e-4"}, "expected lr to be a valid number, found '1e-4' (str)"),
        ({"steps": 2.5}, "expected steps to be a valid integer, or null, found 2.5"),
        ({"compile": 1}, "expected compile to be a valid boolean"),
        ({"textures": "photos"}, "'dtd'"),
        ({"size_px": 100}, "multiple of 32, found 100"),
        ({"width": 6}, "width to be at most 4096 and a multiple of 4"),
        ({"epochs": 5}, "exactly one of steps and epochs"),
        ({"steps": 0}, "steps to be in [1, "),
        ({"lr": 0.0}, "lr to be above 0"),
        ({"lr_milestones": [0.9, 0.8]}, "rising shares"),
        ({"anomalous_share": 1.5}, "anomalous_share to be in [0, 1]"),
    ],
)
def test_wrong_settings_are_named(overrides, message):
    with pytest.raises(PoutaError) as error:
        load_profile("demo", **overrides)
    assert message in str(error.value)


def test_unknown_profile_lists_the_valid_ones():
    with pytest.raises(PoutaError, match=r"demo.*paper.*found 'papre'"):
        load_profile("papre")


def test_overrides_from_the_command_line():
    words = ["lr=1e-4", "steps=50", "compile=true", "epochs=null", "textures=dtd"]
    assert parse_overrides(words) == {
        "lr": 1e-4, "steps": 50, "compile": True, "epochs": None, "textures": "dtd",
    }  # fmt: skip
    with pytest.raises(PoutaError, match="expected field=value, found 'lr'"):
        parse_overrides(["lr"])


@pytest.mark.parametrize("name", ["../configs/smoke", "./smoke", "smoke.yaml", "configs/smoke"])
def test_a_profile_is_named_not_pointed_at(name):
    with pytest.raises(PoutaError, match="a profile out of"):
        load_profile(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("settings: [1", "expected YAML of plain values"),
        ("settings: !!python/object/apply:os.system [true]", "expected YAML of plain values"),
        ("settings: &a {lr: 1}\nstudy: [*a, *a]", "expected YAML without aliases, found one"),
        ("settings:\n\t- 1", "expected YAML of plain values"),
        ("[" * 5000, "expected YAML of plain values"),
        ("just words", "expected settings, each a name and a value, found str"),
        ("- settings", "expected settings, each a name and a value, found list"),
        ("settings: words", "expected settings, each a name and a value"),
        (b"settings: \xff\xfe", "expected YAML in UTF-8"),
        ("", "expected settings, each a name and a value, found NoneType"),
    ],
)
def test_a_profile_that_is_none_is_named(text, message, tmp_path, monkeypatch):
    monkeypatch.setenv("POUTA_HOME", str(tmp_path))
    path = tmp_path / "configs" / "mine.yaml"
    path.parent.mkdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PoutaError) as refused:
        load_profile("mine")
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "override",
    [
        {"max_train": 0},
        {"max_test": -1},
        {"max_textures": 0},
        {"lr_gamma": -0.5},
        {"lr_gamma": float("nan")},
        {"steps": 10**12},
        {"size_px": 32 * 10**6},
        {"width": 4 * 10**9},
        {"batch_size": 10**9},
    ],
)
def test_values_that_no_training_can_take_are_refused(override):
    (name,) = override
    with pytest.raises(PoutaError, match=f"expected {name} to be "):
        load_profile("demo", **override)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
PLAIN |= st.dates() | st.binary(max_size=3)  # YAML has them as well
WORDS = [*SETTINGS, "name", "overrides", "dataset", "categories", "variants", "shots", "seeds"]
NAMES = st.sampled_from([*WORDS, "settings", "watch"]) | PLAIN
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(
    st.dictionaries(NAMES, VALUES, max_size=2),
    st.sets(st.sampled_from(SETTINGS), max_size=1),
    st.dictionaries(st.sampled_from(["study", "judge", "settings"]) | NAMES, VALUES, max_size=2),
)
@example({5: None}, set(), {})
@example({True: None}, set(), {})
@example({}, set(), {"study": [{b"x": 1}]})
@example({}, set(), {"judge": {"settings": [{"\ud800": float("nan")}]}})
@example({"steps": 9, "lr": 1}, set(), {"study": []})
def test_any_mapping_is_a_profile_that_can_be_written_down_or_is_refused(
    tmp_path_factory, changed, gone, parts
):
    kept = {name: value for name, value in SMOKE["settings"].items() if name not in gone}
    home = tmp_path_factory.mktemp("home")
    (home / "configs").mkdir()
    text = yaml.safe_dump({"settings": kept | changed} | parts)
    (home / "configs" / "mine.yaml").write_text(text, encoding="utf-8")
    reads = [
        lambda: load_profile("mine"),
        lambda: read_choices(list[RunGroup], "mine", "study"),
        lambda: read_choices(list[JudgementGroup], "mine", "judge"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POUTA_HOME", str(home))
        for read in reads:
            found = found_or_refused(read)
            if isinstance(found, Profile):
                assert checked(Profile, found.to_dict(), "a record") == found
                written = yaml.safe_dump({"settings": {k: getattr(found, k) for k in SETTINGS}})
                (home / "configs" / "again.yaml").write_text(written, encoding="utf-8")
                assert dataclasses.replace(load_profile("again"), name="mine") == found

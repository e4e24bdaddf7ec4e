"""What a profile is called is read back as it was, whatever was changed in it."""

import dataclasses
import json
import re
import typing
import warnings
from pathlib import PureWindowsPath

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pouta_lib.ground import labels
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.labels import (
    OF_WINDOWS,
    check_name,
    command_line,
    folder_name,
    make_label,
    parse_label,
    setting_words,
)
from pouta_lib.ground.profiles import SETTINGS, Profile, load_profile, parse_overrides
from pouta_lib.study.records import RunKey

WINDOWS = re.compile(r'[<>:"/\\|?*\x00-\x1f]|[ .]$')  # what its file systems refuse
TYPES = typing.get_type_hints(Profile)


def values(kind) -> list:
    """Some values of a type, awkward ones among them; of a Literal all."""
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return [[], [0.5], [1e-05, 0.9], [0.1, 0.2, 0.3]]
    if typing.get_args(kind):
        return [value for option in typing.get_args(kind) for value in values(option)]
    chosen = {int: [0, 3, -1], float: [0.0, 1e-05, 0.1 + 0.2, 1e22], bool: [True, False]}
    return [None] if kind is type(None) else chosen[kind]


EVERY = [(name, value) for name in SETTINGS for value in values(TYPES[name])]


@pytest.mark.parametrize(("name", "value"), EVERY)
def test_every_setting_is_read_back(name, value):
    changed = {name: value, "width": 32} if name != "width" else {name: value}
    label = make_label("demo", changed)
    assert parse_label(label) == ("demo", changed)
    read = parse_overrides(setting_words(changed))
    assert read == changed
    assert [type(v) for v in read.values()] == [type(read[k]) for k in changed]
    folder = folder_name(label)
    assert not WINDOWS.search(folder)
    assert len(folder) < 120


@pytest.mark.parametrize(
    ("windows", "told"),
    [
        (False, "pouta notebook '/Jane Doe/10.ipynb' copy --set 'lr_milestones=[0.5,0.9]' ''"),
        (True, 'pouta notebook "C:/Jane Doe/10.ipynb" copy --set "lr_milestones=[0.5,0.9]" ""'),
    ],
)
def test_a_command_is_quoted_as_the_systems_shell_wants_it(monkeypatch, windows, told):
    """cmd.exe takes ' for a letter: half a path would be a file's name."""
    monkeypatch.setattr(labels, "WINDOWS", windows)
    path = "C:/Jane Doe/10.ipynb" if windows else "/Jane Doe/10.ipynb"
    words = ["pouta", "notebook", path, "copy", "--set", "lr_milestones=[0.5,0.9]", ""]
    assert command_line(words) == told
    key = RunKey("demo", "my parts", "nut")
    quoted = '"my parts"' if windows else "'my parts'"
    assert f" --dataset {quoted} " in key.command()


DEVICES = ["CON", "prn", "Aux", "nul", "COM1", "lpt9", "com¹", "CONIN$", "nul.txt", "con .a.b"]


def test_names_of_devices_are_those_of_windows():
    """As Python knows them for Windows, on any system."""
    plain = ["common", "con1", "com", "com10", "lpt", "nulls", "a.con", "auxiliary", "nut", "con-x"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        known = [PureWindowsPath(name).is_reserved() for name in [*DEVICES, *plain]]
    found = [OF_WINDOWS.fullmatch(name) is not None for name in [*DEVICES, *plain]]
    assert found == known == [True] * len(DEVICES) + [False] * len(plain)


@pytest.mark.parametrize("name", [*DEVICES, "bolt.", "bolt ", "..."])
def test_names_that_windows_takes_for_others_are_refused(name):
    with pytest.raises(PoutaError, match="on every system, found"):
        check_name(name, "a category")


@pytest.mark.parametrize("name", ["C:bolt", "bolt:hidden"])
def test_a_colon_leads_elsewhere_on_windows_alone(name, monkeypatch):
    monkeypatch.setattr(labels, "WINDOWS", False)
    assert check_name(name, "a category") == name
    monkeypatch.setattr(labels, "WINDOWS", True)
    with pytest.raises(PoutaError, match="named as a folder is"):
        check_name(name, "a category")


def test_folders_of_different_labels_differ():
    labels = {make_label("demo", {name: value}) for name, value in EVERY}
    assert len({folder_name(label).lower() for label in labels}) == len(labels)
    near = ["[0.5,0.9]", "[0.50,9]", "[0.5-0.9]", "0.5-0.9"]
    assert len({folder_name(f"demo~lr_milestones={text}") for text in near}) == 4


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
CHANGES = st.dictionaries(
    st.sampled_from(SETTINGS),
    PLAIN | st.lists(PLAIN, max_size=9) | st.sampled_from(["dtd", "fp32"]),
)


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(CHANGES, CHANGES)
def test_any_changes_are_read_back_and_have_a_folder_of_their_own(changes, others):
    label = make_label("demo", changes)
    assert parse_label(label) == ("demo", changes)
    assert parse_overrides(setting_words(changes)) == changes
    folder = folder_name(label)
    assert not WINDOWS.search(folder)
    assert len(folder) < 200
    assume(changes != others)
    assert folder.casefold() != folder_name(make_label("demo", others)).casefold()


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(SETTINGS) | st.text(), st.text()), max_size=3))
@example([("name", "demo")])
@example([("lr", "NaN")])
@example([("lr", "1e999")])
@example([("steps", "9" * 5000)])
@example([("lr_milestones", "[" * 1200)])
@example([("lr_milestones", "[" * 900 + "]" * 900)])
@example([("textures", "{a: &b [*b]}")])
@example([("steps", "!!python/name:os.system")])
@example([("steps", "0x10")])
@example([("steps", "2026-01-01")])
@example([("\ud800", "\ud800")])
def test_any_words_after_set_are_settings_or_are_refused(words):
    """Never another error, and never a profile whose label does not lead back to it."""
    try:
        profile = load_profile("smoke", **parse_overrides([f"{key}={text}" for key, text in words]))
    except PoutaError:
        return
    name, changes = parse_label(profile.label)
    assert load_profile(name, **changes) == profile


def test_the_folders_of_committed_results_are_their_labels():
    for label in ("demo", "real-cpu~structural_share=0.0", "demo~lr=0.001~steps=50"):
        assert folder_name(label) == label


def test_many_overrides_make_no_long_folder():
    changed = dict(EVERY)
    assert len(folder_name(make_label("demo", changed))) < 120


def test_a_profile_survives_json():
    profile = load_profile("demo", lr_milestones=[0.5, 0.9], max_train=None, epochs=3, steps=None)
    assert profile.overrides == {"lr_milestones": [0.5, 0.9], "epochs": 3, "steps": None}
    assert Profile(**json.loads(json.dumps(profile.to_dict()))) == profile
    assert next(iter(profile.to_dict())) == "name"
    assert set(profile.to_dict()) == {field.name for field in dataclasses.fields(Profile)}

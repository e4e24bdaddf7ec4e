"""What a profile is called is read back as it was, whatever was changed in it."""

import dataclasses
import json
import re
import typing

import pytest

from pouta_lib.ground.labels import folder_name, make_label, parse_label, setting_words
from pouta_lib.ground.profiles import SETTINGS, Profile, load_profile, parse_overrides

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


def test_folders_of_different_labels_differ():
    labels = {make_label("demo", {name: value}) for name, value in EVERY}
    assert len({folder_name(label).lower() for label in labels}) == len(labels)
    near = ["[0.5,0.9]", "[0.50,9]", "[0.5-0.9]", "0.5-0.9"]
    assert len({folder_name(f"demo~lr_milestones={text}") for text in near}) == 4


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

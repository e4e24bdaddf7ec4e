"""Run parameters: what they mean, and every way to get one wrong."""

import numpy as np
import pytest
from trees import photo, save

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.locks import only_one
from pouta_lib.method.training import train
from pouta_lib.score.evaluation import evaluate
from pouta_lib.study import records
from pouta_lib.study.judge import judge
from pouta_lib.study.records import RunKey, load_arrays, lock_path, read_record
from pouta_lib.study.run import (
    check_parameters,
    load_run_data,
    prepare_run,
    run_of,
    save_run,
    support_indices,
)


def test_a_run_from_its_parameters(bolt):
    run = prepare_run("smoke", "mvtec", "", "base+mss", 2, 5, {"steps": 3})
    assert run.key == RunKey("smoke~steps=3", "mvtec", "bolt", "base+mss", 2, 5)
    assert run.profile.steps == 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"seed": "0"}, "expected seed to be a valid integer, found '0' (str)"),
        ({"seed": True}, "found True (bool)"),
        ({"shots": 2.0}, "expected shots to be a valid integer, or null, found 2.0"),
        ({"shots": 0}, "expected shots to be above 0, or null, found 0"),
        ({"variant": "Pouta"}, "expected a method out of ['pouta', 'vanilla'"),
        ({"category": "stra\udcdfe"}, "expected a category named as a folder is"),
        ({"category": "nail"}, "expected a category out of ['bolt'], found 'nail'"),
        ({"dataset": "mvtek"}, "expected a dataset out of"),
        ({"profile": "dmeo"}, "expected a profile out of"),
        ({"overrides": {"stepz": 1}}, "did you mean 'steps'"),
        ({"overrides": "steps=1"}, "expected overrides to be an object, found 'steps=1'"),
    ],
)
def test_wrong_parameters_are_named(bolt, parameters, message):
    with pytest.raises(PoutaError) as error:
        prepare_run(**({"dataset": "mvtec", "category": "bolt"} | parameters))
    assert message in str(error.value)


def test_a_record_names_the_code_that_its_run_began_with(bolt, monkeypatch):
    """A training takes hours, and the checkout it was started from may be another by then."""
    save(bolt / "mvtec" / "bolt" / "train" / "good" / "one_more.png", photo(9))
    monkeypatch.setattr(records, "commit", lambda: ("of then", False))
    run = prepare_run("smoke", "mvtec", "bolt", overrides={"size_px": 32, "steps": 2})
    monkeypatch.setattr(records, "commit", lambda: ("of now", True))
    data, support, textures = load_run_data(run)
    trained = train(data.train[support], textures, run.profile, "pouta", 0, device="cpu")
    found = evaluate(trained.model, data, run.profile, trained.compute, "pouta")
    record = read_record(save_run(run, data, support, trained, found))
    judgement = judge(run)
    assert [(r.commit, r.dirty) for r in (record, judgement)] == [("of then", False)] * 2
    assert run_of(record) == run


def test_maps_are_kept_as_far_as_half_precision_goes(bolt):
    """What is shown of them later is stretched from the lowest to the highest: no infinity."""
    run = prepare_run("smoke", "mvtec", "bolt", overrides={"size_px": 32, "steps": 1})
    data, support, textures = load_run_data(run)
    trained = train(data.train[support], textures, run.profile, "pouta", 0, device="cpu")
    found = evaluate(trained.model, data, run.profile, trained.compute, "pouta")
    found.maps[0, 0, 0] = 1e6
    kept = load_arrays(save_run(run, data, support, trained, found))["maps"]
    assert kept[0, 0, 0] == 65504 and kept.dtype == np.float16
    assert np.array_equal(kept[0, 1:], found.maps[0, 1:].astype(np.float16))


def test_a_checkpoint_outlives_a_run_whose_executed_copy_is_not_yet_there(bolt):
    """Else the same command would train from the start; a notebook run by hand leaves nothing."""
    run = prepare_run("smoke", "mvtec", "bolt", overrides={"size_px": 32, "steps": 1})
    data, support, textures = load_run_data(run)
    trained = train(
        data.train[support], textures, run.profile, "pouta", 0,
        device="cpu", checkpoint=run.checkpoint,
    )  # fmt: skip
    found = evaluate(trained.model, data, run.profile, trained.compute, "pouta")
    with only_one(lock_path(run.key), "the batch"):
        save_run(run, data, support, trained, found)
        assert run.checkpoint.is_file()
    folder = save_run(run, data, support, trained, found)
    assert list(folder.parent.iterdir()) == [folder]


def test_an_unknown_notebook_parameter_is_refused():
    good = ['# Parameters\nprofile = ""\nseed = 0', "x = 3", "# Parameters\nseed = 4\n"]
    check_parameters(cells=good)
    with pytest.raises(PoutaError, match=r"parameters out of \['profile'.*found \['sede'\]"):
        check_parameters(cells=[*good, "# Parameters\nsede = 4\n"])


def test_support_sets_are_nested_and_follow_the_seed():
    sets = [set(support_indices(50, k, seed=1)) for k in (2, 4, 8)]
    assert [len(s) for s in sets] == [2, 4, 8]
    assert sets[0] < sets[1] < sets[2]
    assert sets[2] != set(support_indices(50, 8, seed=2))
    assert support_indices(5, None, 0).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(PoutaError, match="expected at most 5 shots, found 8"):
        support_indices(5, 8, 0)

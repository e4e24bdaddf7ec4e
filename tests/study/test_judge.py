"""Judging settings without a single defective image, against models whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from trees import photo, save

from pouta_lib.cli import main
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.labels import folder_name
from pouta_lib.ground.paths import data_root
from pouta_lib.ground.profiles import config_path
from pouta_lib.study.changes import HARMLESS
from pouta_lib.study.damages import DAMAGES
from pouta_lib.study.judge import GRID, alarms, compare, hold_out, judge
from pouta_lib.study.judgements import (
    STRENGTHS,
    find_judgements,
    judgement_of,
    judgement_path,
    planned_judgements,
    read_judgement,
    study_judgements,
)
from pouta_lib.study.run import prepare_run


@pytest.fixture(scope="module")
def drawn():
    """Where the mini datasets of all tests are."""
    return data_root()


@pytest.fixture
def good_parts(tmp_path, monkeypatch):
    """A category of eight good images; its test images cannot be read."""
    for k in range(8):
        save(tmp_path / "mvtec" / "bolt" / "train" / "good" / f"{k}.png", photo(k, 40, 40))
    for name in ("test/good", "test/bent", "ground_truth/bent"):
        (tmp_path / "mvtec" / "bolt" / name).mkdir(parents=True)
    for name in ("test/good/0.png", "test/bent/0.png", "ground_truth/bent/0_mask.png"):
        (tmp_path / "mvtec" / "bolt" / name).write_text("no image")
    monkeypatch.setenv("POUTA_DATA", str(tmp_path))
    monkeypatch.setenv("POUTA_RESULTS", str(tmp_path / "results"))
    return tmp_path


@pytest.fixture
def held_out():
    """Ten gray images with a square, all alike, and their damaged copies."""
    whole = np.full((10, 3, 64, 64), 120, np.uint8)
    whole[:, :, 20:40, 20:40] = 160
    return hold_out(whole)


def parts(**settings):
    return prepare_run("smoke", "mvtec", "bolt", overrides={"steps": 2} | settings)


def test_damage_that_cannot_be_seen_is_left_out(held_out):
    assert held_out.damaged.shape[1:] == (3, 64, 64)
    assert 30 < len(held_out.damaged) < 50, "on a flat ground a piece moved may change nothing"
    whole = held_out.whole[held_out.image_of]
    assert ((held_out.damaged != whole).any(axis=1) & held_out.masks).any(axis=(1, 2)).all()
    assert set(held_out.damage_of) == set(range(len(DAMAGES)))


def test_images_on_which_no_damage_can_be_seen_are_refused(monkeypatch):
    same = [lambda image, rng: (image - 9, np.ones(image.shape[1:]))]  # black stays black
    monkeypatch.setattr("pouta_lib.study.damages.DAMAGES", same)
    monkeypatch.setattr("pouta_lib.study.judge.DAMAGES", same)
    with pytest.raises(PoutaError, match=r"damages that can be seen, found none on 3\n"):
        hold_out(np.zeros((3, 3, 64, 64), np.uint8))


def test_a_model_that_sees_every_difference_is_sure_until_the_light_changes(held_out):
    """An oracle: the difference to the one good image, which the light changes everywhere."""

    def look(images):
        maps = np.abs(images.astype(float) - held_out.whole[:1]).max(axis=1)
        return maps[:, ::GRID, ::GRID], maps.mean(axis=(1, 2))

    found = compare(look, held_out)
    assert found["unchanged"]["all"].image_auroc == 1
    assert found["unchanged"]["all"].pixel_auroc > 0.97
    assert found["changed"]["all"].image_auroc < 0.8
    both = found["both"]["all"].image_auroc
    assert found["changed"]["all"].image_auroc < both < 1
    for by_damage in found.values():
        assert set(by_damage) == {"all", *(draw.__name__ for draw in DAMAGES)}
    told = alarms(look, held_out)
    assert told["threshold"] == 0
    assert told["false_alarms"]["unchanged"] == 0 and told["detections"]["unchanged"] == 1
    assert set(told["false_alarms"]["changed"]) == {change.__name__ for change in HARMLESS}
    assert told["false_alarms"]["changed"]["darker"] == [1, 1, 1]


def test_a_model_that_sees_nothing_raises_no_alarm(held_out):
    def look(images):
        return np.zeros((len(images), 32, 32), np.float32), np.zeros(len(images))

    for found in compare(look, held_out, each=False).values():
        assert list(found) == ["all"] and found["all"].image_auroc == 0.5
    told = alarms(look, held_out)
    for shares in (told["false_alarms"], told["detections"]):
        assert set(sum(shares["changed"].values(), [shares["unchanged"]])) == {0}


def test_a_judgement_is_a_record(good_parts):
    run = parts()
    judgement = judge(run, watch=True)
    path = judgement_path(run.key)
    expected = "results/smoke~steps=2/judged/mvtec/bolt/pouta/seed0.json"
    assert path == (good_parts / expected).resolve()
    assert read_judgement(path) == judgement == judgement_of(run)
    assert judgement.label == "smoke~steps=2" and judgement.profile.steps == 2
    assert judgement.data.num_train == 6 and judgement.data.num_whole == 2
    assert judgement.strengths == list(STRENGTHS)
    assert [m.step for m in judgement.watched] == [1, 2]
    last, all_ = judgement.watched[-1], judgement.both["all"]
    assert last.image_auroc_both == all_.image_auroc
    assert last.pixel_ap_unchanged == judgement.unchanged["all"].pixel_ap
    assert [p.name for p in path.parent.iterdir()] == ["seed0.json"], "no checkpoint is left"


def test_judging_again_gives_the_same(good_parts):
    run = parts()
    first, again = judge(run), judge(run)
    assert replace(again, seconds=first.seconds) == first
    assert first.watched is None


def test_overridden_settings_are_found_beside_the_profile(good_parts):
    for run in (parts(), parts(light_share=0.5)):
        judge(run)
    labels = [judgement.label for judgement in find_judgements("smoke")]
    assert labels == [run.key.label for run in (parts(light_share=0.5), parts())]
    assert find_judgements("smo") == []


def test_copies_among_the_held_out_are_told_of(good_parts, capsys):
    good = good_parts / "mvtec" / "bolt" / "train" / "good"
    (good / "7.png").write_bytes((good / "0.png").read_bytes())
    judge(parts())
    said = "note: 1 of 2 held-out images are copies of training images: they are judged too well"
    assert said in capsys.readouterr().err


def test_what_is_odd_about_the_images_is_told_once(good_parts, capsys):
    good = good_parts / "mvtec" / "bolt" / "train" / "good"
    save(good / "7.png", np.full((40, 40), 4095, np.uint16))
    (good / "8.gif").write_bytes(b"GIF89a")
    judge(parts())
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert [line.split(": ", 2)[2].split(":")[0] for line in told] == [
        "1 file (.gif) of a picture format that is not read, first good/8.gif",
        "images of 12 bits in files of 16",
        "7 of 8 images have 8 bits, whose white is taken for that of the others",
    ]


def test_the_command_makes_the_record_once(good_parts, capsys):
    words = parts().key.command("judge").split()[1:]
    assert words[0] == "judge"
    assert main(words) == 0
    first = capsys.readouterr().out
    path = judgement_path(parts().key)
    assert f"judged: {path}" in first
    auroc = 100 * read_judgement(path).unchanged["all"].image_auroc
    (line,) = (line for line in first.splitlines() if line.split()[:1] == ["all"])
    assert float(line.split()[1]) == pytest.approx(auroc, abs=0.06)
    written = path.stat().st_mtime_ns
    assert main(words) == 0
    second = capsys.readouterr().out
    assert "judged already" in second and path.stat().st_mtime_ns == written
    assert second.splitlines()[1:] == first.splitlines()[1:]
    save(good_parts / "mvtec" / "bolt" / "train" / "good" / "3.png", photo(99, 40, 40))
    assert main(words) == 0
    assert "note: that was of other images than those that are there" in capsys.readouterr().out
    assert main([*words, "--again"]) == 0
    assert path.stat().st_mtime_ns > written
    assert main(words) == 0 and "note: that" not in capsys.readouterr().out


def test_a_record_of_other_settings_or_a_broken_one_is_refused(good_parts, capsys):
    run = parts()
    judge(run)
    path = judgement_path(run.key)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"width": 8', '"width": 16'), encoding="utf-8")
    with pytest.raises(PoutaError, match="width=16 in place of 8"):
        judgement_of(run)
    path.write_text(text.replace('"threshold"', '"edge"'), encoding="utf-8")
    with pytest.raises(PoutaError, match=r"found 'edge'\n.*\n.*--again"):
        read_judgement(path)
    path.write_text(text, encoding="utf-8")
    path = path.rename(path.with_name("seed1.json"))
    with pytest.raises(PoutaError, match=r"that of smoke~steps=2/judged/mvtec/bolt/pouta/seed0"):
        find_judgements("smoke")
    path.write_text(text[:100], encoding="utf-8")
    with pytest.raises(PoutaError, match=r"a judgement in JSON, found .*\n.*\n.*--again"):
        read_judgement(path)
    path.unlink()
    with pytest.raises(PoutaError, match="pouta judge"):
        read_judgement(path)
    assert judgement_of(run) is None


@pytest.mark.parametrize("method", ["vanilla", "patchcore"])
def test_any_method_is_judged(good_parts, method, capsys):
    words = ["judge", "--profile", "smoke", "--dataset", "mvtec", "--category", "bolt"]
    words += ["--set", "steps=2", "--set", "max_train=null", "--method", method]
    assert main(words) == 0
    assert f"mvtec/bolt/{method}/seed0.json" in capsys.readouterr().out


def test_a_judgement_that_was_not_watched_says_so(good_parts, capsys):
    words = ["judge", "--profile", "smoke", "--dataset", "mvtec", "--category", "bolt"]
    words += ["--set", "steps=2", "--set", "max_train=null"]
    said = "note: its training was not watched (--again --watch makes it anew)"
    for more, told in ([], False), (["--watch"], True), (["--again", "--watch"], False):
        assert main([*words, *more]) == 0
        assert (said in capsys.readouterr().out) == told
    assert main([*words, "--watch"]) == 0
    assert said not in capsys.readouterr().out, "it is there now"


def test_too_few_images_to_hold_any_out(good_parts):
    for k in range(3, 8):
        (good_parts / "mvtec" / "bolt" / "train" / "good" / f"{k}.png").unlink()
    with pytest.raises(PoutaError, match="at least 4 images, found 3"):
        judge(parts())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"categories": ["nuts"]},
            r"out of \['cap'.*'nuts'\n.*toy.yaml, judge, dataset mini-mvtec\n.*'nut'",
        ),
        ({"variants": ["poutta"]}, r"a method out of .*, found 'poutta'\n.*\n.*'pouta'"),
        ({"seeds": [-1]}, r"0.seeds.0 to be in \[0, "),
        ({"shots": [2]}, r"out of \['dataset', .*'watch'\] in 0, found 'shots'\n.*toy.yaml, judge"),
        ({"settings": [{"stepz": 2}]}, "found 'stepz'"),
    ],
)
def test_a_wrong_plan_of_judgements_is_refused(drawn, tmp_path, monkeypatch, changed, message):
    settings = yaml.safe_load(config_path("smoke").read_text(encoding="utf-8"))["settings"]
    group = {"dataset": "mini-mvtec", "categories": ["nut"], "variants": ["pouta"], "seeds": [0]}
    group |= {"settings": [{}], "watch": False} | changed
    (tmp_path / "configs").mkdir()
    text = yaml.safe_dump({"settings": settings, "judge": [group]})
    (tmp_path / "configs" / "toy.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("POUTA_HOME", str(tmp_path))
    monkeypatch.setenv("POUTA_DATA", str(drawn))
    with pytest.raises(PoutaError, match=message):
        planned_judgements("toy")


def test_the_committed_judgements_are_read(committed):
    paths = [*(committed / "results").glob("*/*/judged/*/*/*/seed*.json")]
    assert len(paths) >= 4
    for path in paths:
        judgement = read_judgement(path)
        assert judgement.label == judgement.profile.label
        assert folder_name(judgement.label) == path.parts[-6]


def test_committed_judgements_are_shown_without_the_data(committed, tmp_path, monkeypatch):
    monkeypatch.setenv("POUTA_DATA", str(tmp_path))
    monkeypatch.setenv("POUTA_RESULTS", str(committed / "results"))
    assert len(study_judgements("questions")) >= 8


def test_a_study_plans_judgements_and_names_what_is_missing(drawn, good_parts, monkeypatch):
    monkeypatch.setenv("POUTA_DATA", str(drawn))
    planned = planned_judgements("smoke")
    own, light = planned
    assert own.is_relative_to(good_parts / "results" / "smoke" / "judged" / "mini-mvtec" / "nut")
    assert planned[own].startswith("pouta judge --profile smoke ")
    assert planned[light].endswith("--set light_share=0.5 --watch")
    with pytest.raises(PoutaError, match=r"2 missing\n.*\n.*pouta judge --profile smoke --dataset"):
        study_judgements("smoke")
    with pytest.raises(PoutaError, match="to do: pouta judge --profile demo"):
        study_judgements("demo")
    monkeypatch.setattr("pouta_lib.study.judgements.planned_judgements", lambda profile: {})
    monkeypatch.setenv("POUTA_DATA", str(good_parts))
    judge(parts())
    assert [j.label for j in study_judgements("smoke")] == ["smoke~steps=2"]
    (good_parts / "results" / "smoke~steps=2").rename(good_parts / "aside")
    (good_parts / "results" / "real").mkdir()
    (good_parts / "aside").rename(good_parts / "results" / "real" / "smoke~steps=2")
    assert [j.label for j in study_judgements("smoke")] == ["smoke~steps=2"], "of photographs"

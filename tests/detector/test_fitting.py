"""From photographs to a detector: what is tried, what is chosen, where the threshold comes from."""

import dataclasses
import errno
import json
import os
import platform
import shutil
import sys
import time
import types
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from trees import claiming, photo, save

from pouta_lib import fit
from pouta_lib.cli import main
from pouta_lib.data.blank import contrast_of, told_of_blank
from pouta_lib.detector import candidates, fitting, load_detector, material, read_photos
from pouta_lib.detector.folds import deal, hardly_differ, parts_of
from pouta_lib.detector.photos import good_photos
from pouta_lib.detector.telling import fitted_table, promise, told, why, with_threshold
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.locks import only_one
from pouta_lib.ground.methods import METHODS, Method
from pouta_lib.ground.outputs import MANIFEST
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import compute_of
from pouta_lib.method.history import HISTORY
from pouta_lib.method.models import build_model, pair
from pouta_lib.method.training import Trained


class Toy(nn.Module):
    """The difference to the mean of the good images, as sharp as it was made."""

    def __init__(self, method, profile):
        super().__init__()
        size = profile.size_px
        self.register_buffer("mean", torch.zeros(3, size, size))
        self.blind = method.id == "dull"

    def forward(self, image):
        found = (image - self.mean).abs().mean(dim=1)
        return found / 100 + image[:, 0] if self.blind else found + 1e-6


@pytest.fixture(autouse=True)
def few_damages(monkeypatch):
    """Two held-out photographs are damaged: enough to see how a fit goes."""
    monkeypatch.setattr(material, "MOST_DAMAGED", 2)


@pytest.fixture
def toys(monkeypatch):
    """A keen method and a dull one, neither trained; the calls that made them."""
    calls = []

    def fit_toy(images, textures, profile, method, seed, **_):
        calls.append((method, len(images)))
        model = build_model(method, profile)
        model.mean += torch.from_numpy(images).float().mean(dim=0) / 255
        history = {name: [] for name in HISTORY}
        return Trained(model.eval(), history, 0, 0.0, compute_of(method, profile, "cpu"), [])

    module = types.ModuleType("toys")
    module.build, module.fit = Toy, fit_toy
    monkeypatch.setitem(sys.modules, "toys", module)
    plain = {"steps": None, "rebuilds": False, "bounded": False, "candidate": True}
    for name in ("dull", "keen"):
        entry = Method(id=name, title=name.title(), build="toys:build", fit="toys:fit", **plain)
        monkeypatch.setitem(METHODS, name, entry)
    monkeypatch.setattr(candidates, "CANDIDATES", ("pouta", "dull", "keen"))
    return calls


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twenty photographs of a square, nearly alike."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "good").mkdir()
    for k in range(20):
        picture = np.random.default_rng(k).normal(120, 2, (64, 64, 3))
        picture[20:44, 20:44] += 60
        picture = picture.clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / "good" / f"{k:02}.png")
    return folder


def test_the_keener_method_is_chosen_and_no_image_is_wasted(
    photos, toys, tmp_path, monkeypatch, capsys
):
    """Where there is no time to train, the table says so; the threshold comes from all images."""
    monkeypatch.setattr(candidates, "FOR_TRAINING", 1e-9)
    words = ["fit", str(photos), "--output", str(tmp_path / "d")]
    assert main([*words, "--false-alarms", "0.1"]) == 0
    out = capsys.readouterr().out
    detector = load_detector(tmp_path / "d")
    fitted = detector.fitted
    assert detector.method == fitted.method == "keen"
    assert {one.method: bool(one.why_not) for one in fitted.tried} == {
        "dull": False, "keen": False, "pouta": True
    }  # fmt: skip
    keen, dull = (next(o for o in fitted.tried if o.method == name) for name in ("keen", "dull"))
    assert keen.told_apart > dull.told_apart
    assert toys[-1] == ("keen", 20), "made from all"
    assert [call for call in toys if call[0] == "keen"][:-1] == [("keen", 15)] * 4
    assert fitted.num_held_out == fitted.num_photos == 20
    assert "1 of 20 held-out good photographs lie above it" in detector.how
    (k, n) = map(sum, zip(*fitted.found.values()))
    assert f"It finds {k} of {n} damages" in out and k > n / 2
    assert "Keen at 64 px tells" in out and "minutes left for" in out
    assert len(fitted_table(fitted)) == 3
    moved = with_threshold(detector, sorted(fitted.good)[-5])
    assert "4 of 20 held-out good photographs lie above it" in moved.how
    (more, of) = map(sum, zip(*moved.fitted.found.values()))
    assert (of, detector.threshold) == (n, with_threshold(moved, detector.threshold).threshold)
    assert more >= k and moved.fitted.changed_alarms[0] >= fitted.changed_alarms[0]
    assert with_threshold(moved, detector.threshold).fitted == fitted
    assert not (tmp_path / "d.partial").exists()


def test_an_earlier_detector_and_the_photographs_are_safe(photos, toys, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    for output in (photos, photos / "good" / "d", tmp_path / "mine"):
        assert main(["fit", str(photos), "--output", str(output), "--method", "keen"]) == 2
        assert "name another folder" in capsys.readouterr().err
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "good").symlink_to(photos / "good")
    output = str(photos / "good" / "d")
    assert main(["fit", str(tmp_path / "linked"), "--output", output, "--method", "keen"]) == 2
    assert toys == [], "it is said before the work"
    words = ["fit", str(photos), "--output", str(tmp_path / "d"), "--method", "keen"]
    assert main(words) == 0
    assert main(words) == 2
    assert "an earlier detector" in capsys.readouterr().err
    assert main([*words, "--replace"]) == 0


def test_one_fit_at_a_time_makes_a_detector(photos, toys, tmp_path, capsys):
    """The second is told at its beginning, not at its end; and nothing is left of it."""
    words = ["fit", str(photos), "--output", str(tmp_path / "d"), "--method", "keen"]
    with only_one(tmp_path / "d" / ".fit.lock", "the first"):
        assert main(words) == 2
        assert toys == []
        said = capsys.readouterr().err
        assert "expected one process at a time for the fit that makes d, found" in said
        assert f"found process {os.getpid()} on {platform.node()}" in said and "to do: wait" in said
    with pytest.raises(PoutaError, match="expected image files"):
        fit(tmp_path / "d", output=tmp_path / "other", tell=str)
    assert main(words) == 0
    assert {path.name for path in (tmp_path / "d").iterdir()} == {
        "detector.json", "model.safetensors", MANIFEST
    }  # fmt: skip
    with pytest.raises(PoutaError, match="earlier detector"):
        fit(photos, method="keen", output=tmp_path / "d", tell=str)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_stopped_fit_goes_on_where_it_was(photos, toys, tmp_path, monkeypatch):
    kept, made = material.Work.keep, []

    def stop_at(self, kind, name, shape, make, **more):
        made.append((kind, name))
        if name == "fold2" and len(made) < 9:
            raise KeyboardInterrupt
        return kept(self, kind, name, shape, make, **more)

    monkeypatch.setattr(material.Work, "keep", stop_at)
    monkeypatch.setattr(candidates, "CANDIDATES", ("dull", "keen"))
    with pytest.raises(KeyboardInterrupt):
        fit(photos, partial=tmp_path / "partial", tell=str)
    first = len(toys)
    made += [("", "")] * 9
    told = []
    detector = fit(photos, partial=tmp_path / "partial", tell=told.append)
    assert len(toys) - first == 3, "two folds, and all"
    assert any("this fit goes on from what an earlier one left in" in line for line in told)
    assert not (tmp_path / "partial").exists()
    again = fit(photos, tell=str)
    assert again.threshold == detector.threshold and again.fitted.found == detector.fitted.found


def test_work_whose_detector_cannot_be_saved_is_kept(photos, toys, tmp_path, monkeypatch, capsys):
    """A disk that is full at the end does not cost the hours before it."""
    words = ["fit", str(photos), "--output", str(tmp_path / "d"), "--method", "keen"]
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")
        patch.setattr("pouta_lib.detector.saved.save_weights", Mock(side_effect=full))
        assert main(words) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert (tmp_path / "d.partial").is_dir() and not (tmp_path / "d").exists()
    toys.clear()
    assert main(words) == 0
    assert toys == [("keen", 20)], "what is not kept alone is made again"
    assert load_detector(tmp_path / "d").method == "keen"
    assert not (tmp_path / "d.partial").exists()


def test_work_that_memory_was_lacking_for_is_kept(photos, toys, tmp_path, monkeypatch):
    """Another program may have had it: the same command goes on, and makes no fold again."""
    toy, wish = sys.modules["toys"].fit, {"partial": tmp_path / "partial", "tell": str}

    def lacks_it(images, *arguments, **more):
        if len(images) == 20:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return toy(images, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["toys"], "fit", lacks_it)
        with pytest.raises(PoutaError, match="to fit, found DefaultCPUAllocator"):
            fit(photos, method="keen", **wish)
    assert toys == [("keen", 15)] * 4
    assert fit(photos, method="keen", **wish).method == "keen"
    assert toys[4:] == [("keen", 20)]
    assert not (tmp_path / "partial").exists()
    monkeypatch.setattr(candidates, "CANDIDATES", ("dull", "keen"))
    monkeypatch.setattr(sys.modules["toys"], "fit", Mock(side_effect=MemoryError))
    with pytest.raises(PoutaError, match="a method that can be made, found none"):
        fit(photos, **wish)
    assert (tmp_path / "partial").is_dir()


def test_half_done_work_that_is_damaged_is_made_anew(photos, toys, tmp_path, monkeypatch):
    entry = dataclasses.replace(
        METHODS["pouta+patchcore"], id="both", title="Both", members=("keen", "dull")
    )
    monkeypatch.setitem(METHODS, "both", entry)
    whole = fit(photos, method="both", tell=str)
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "_from_all", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fit(photos, method="both", partial=tmp_path / "partial", tell=str)
    (weights,) = tmp_path.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    (judged,) = tmp_path.rglob("keen_*/judged.json")
    judged.write_text(judged.read_text("utf-8")[:99], encoding="utf-8")
    told = []
    again = fit(photos, method="both", partial=tmp_path / "partial", tell=told.append)
    assert any(f"made anew: {judged}: expected half-done work in JSON" in line for line in told)
    again_made = f"made anew: {weights.parent}: expected saved weights, found a damaged file"
    assert again_made in " ".join(told)
    assert again.threshold == whole.threshold and again.fitted.found == whole.fitted.found
    assert not (tmp_path / "partial").exists()


def signed(path, values):
    """Half-done work that says of itself what it ought to."""
    return json.dumps({"digest": material._digest(path, values), "made": values}).encode()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path, own: b"", "half-done work in JSON"),
        (lambda path, own: json.dumps(own).encode()[:40], "half-done work in JSON"),
        (lambda path, own: b"\xff\xfe" + bytes(9), "half-done work in JSON"),
        (lambda path, own: b"[" * 99_999, "half-done work in JSON"),
        (lambda path, own: b"[3, 4]", "by its digest, found other"),
        (lambda path, own: json.dumps(own["made"]).encode(), "by its digest, found other"),
        (lambda path, own: json.dumps(own).replace("300", "900").encode(), "found other"),
        (
            lambda path, own: signed(path.parents[1] / "draem_64px" / path.name, own["made"]),
            "other",
        ),
        (lambda path, own: signed(path, {"steps": "300", "each": 0.5}), "steps to be a valid int"),
        (lambda path, own: signed(path, {"steps": 300}), "expected each, found none"),
        (lambda path, own: signed(path, {"steps": 300, "each": 0.5, "rate": 1}), "a name out of"),
        (lambda path, own: signed(path, {"steps": 300, "each": 0.0}), "above 0"),
    ],
)
def test_a_note_that_is_damaged_or_of_another_is_told_of_and_made_anew(tmp_path, damage, said):
    told, made = [], []
    folder = tmp_path / "0123456789abcdef"
    names = ("images", "bits", "darkest", "shapes", "parts", "folds", "held", "seed")
    unused = dict.fromkeys(names)
    work = material.Work(**unused, folder=folder, tell=told.append)
    right = candidates.Pace(steps=300, each=0.5)

    def ask():
        return work.keep("pouta_64px", "steps", candidates.Pace, lambda: made.append(1) or right)

    assert ask() == ask() == right and made == [1] and told == []
    (path,) = tmp_path.rglob("steps.json")
    path.write_bytes(damage(path, json.loads(path.read_text("utf-8"))))
    assert ask() == right and made == [1, 1]
    assert len(told) == 1 and told[0].startswith(f"made anew: {path}: expected") and said in told[0]
    assert ask() == right and made == [1, 1], "whole again"


@pytest.mark.parametrize("damage", ["cut off", "another's", "none"])
def test_a_checkpoint_that_is_of_no_use_changes_nothing(photos, tmp_path, monkeypatch, damage):
    """Least of all, silently, what is chosen: the network is trained from the start."""
    monkeypatch.setattr(candidates, "CANDIDATES", ("pouta",))
    monkeypatch.setattr(candidates, "seconds_per_step", lambda profile, method, threads: 1e-3)
    wish = {"overrides": {"steps": 3, "checkpoint_steps": 2}, "partial": tmp_path / "partial"}
    with monkeypatch.context() as patch:
        patch.setattr(candidates, "held_out_scores", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fit(photos, tell=str, **wish)
    (checkpoint,) = tmp_path.rglob("checkpoint.pt")
    if damage == "cut off":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-999])
    elif damage == "another's":
        kept = torch.load(checkpoint, weights_only=True)
        torch.save(kept | {"identity": kept["identity"] | {"seed": 7}}, checkpoint)
    told = []
    detector = fit(photos, tell=told.append, **wish)
    said = [line for line in told if line.startswith(f"trained from the start: {checkpoint}: exp")]
    assert len(said) == (damage != "none")
    whole = fit(photos, tell=str, overrides=wish["overrides"])
    assert detector.method == "pouta" and detector.threshold == whole.threshold
    assert detector.fitted.found == whole.fitted.found


@pytest.mark.parametrize("method", ["draem", "patchcore", "pouta+patchcore"])
def test_detectors_trained_and_remembered_are_made_and_carried_away(photos, tmp_path, method):
    detector = fit(photos, method=method, overrides={"steps": 40}, tell=str)
    loaded = load_detector(detector.save(tmp_path / "d"))
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8)
    images = np.repeat(np.repeat(images, 4, 2), 4, 3)[..., : loaded.profile.size_px, :]
    images = np.ascontiguousarray(images[..., : loaded.profile.size_px])
    for own, other in zip(detector.look_at(images), loaded.look_at(images), strict=True):
        assert np.array_equal(own, other)
    assert loaded.fitted == detector.fitted and loaded.fitted.method == method
    trained = METHODS[method].trained
    assert loaded.fitted.num_held_out == (5 if trained else 20)
    assert ("a quarter kept back" in loaded.how) == trained
    sizes = [one.size_px for one in loaded.fitted.tried if one.method == method]
    assert sizes == ([64] if trained else [224, 64])
    parts = [one.method for one in loaded.fitted.tried if one.method != method]
    assert sorted(parts) == sorted(METHODS[method].members), "at the profile's size alone"
    apart = [one.told_apart for one in loaded.fitted.tried if one.method == method]
    assert loaded.profile.size_px == loaded.fitted.size_px == sizes[np.argmax(apart)]
    assert (fitted_table(loaded.fitted)[""] == "chosen").sum() == 1
    assert "damages drawn on photographs" in told(loaded)


def test_a_pair_costs_no_fit_of_its_own(photos, toys, tmp_path, monkeypatch):
    """It is joined from what was tried, from the same quarter held out, and keeps that back."""
    entry = dataclasses.replace(
        METHODS["pouta+patchcore"], id="both", title="Both", members=("keen", "dull")
    )
    monkeypatch.setitem(METHODS, "both", entry)
    monkeypatch.setattr(candidates, "CANDIDATES", ("dull", "both", "keen"))
    joined = []
    join = lambda *of: joined.append(pair.join(*of)) or joined[-1]  # noqa: E731
    monkeypatch.setattr(candidates, "join", join)
    said = []
    detector = fit(photos, tell=said.append)
    assert [call for call in toys if call[1] == 15][:2] == [("dull", 15), ("keen", 15)]
    assert len(joined) == 1 and [t.method for t in detector.fitted.tried] == [
        "dull", "keen", "both"
    ]  # fmt: skip
    made = len(toys)
    detector = fit(photos, method="both", tell=said.append)
    assert toys[made:] == [("keen", 15), ("dull", 15), ("dull", 20)], "what remembers, from all"
    assert detector.method == "both" and detector.fitted.num_held_out == 5
    assert "a quarter kept back from training, and scored before it was rem" in detector.how
    assert detector.model.memory.mean.mean() > 0
    loaded = load_detector(detector.save(tmp_path / "d"))
    assert torch.equal(loaded.model.units, joined[-1].units) and (joined[-1].units > 0).all()


@pytest.mark.parametrize(
    ("single", "joined", "chosen"),
    [(0.90, 0.92, "both"), (0.94, 0.90, "both"), (0.96, 0.90, "keen"), (0.96, None, "keen")],
)
def test_a_pair_is_kept_unless_a_single_method_is_far_ahead(toys, single, joined, chosen):
    def judged(method, told_apart, **more):
        result = types.SimpleNamespace(told_apart=told_apart, found={}, alarms=(0, 0))
        result = None if told_apart is None else result
        return candidates.Candidate(method, load_profile("smoke"), result=result, **more)

    keen, dull = judged("keen", single), judged("dull", 0.5)
    pairs = judged("pouta+patchcore", joined, members=(dull, keen))
    work = types.SimpleNamespace(tell=str)
    best = fitting._best([keen, dull, pairs], work)
    assert best is (pairs if chosen == "both" else keen)
    if best is pairs:
        said = why(best.tried(), [one.tried() for one in (keen, dull, pairs)])
        assert ("a little ahead is Keen" in said) == (single > joined) and "safer" in said


def test_a_pair_whose_member_had_no_time_says_so(photos, monkeypatch):
    monkeypatch.setattr(candidates, "FOR_TRAINING", 1e-9)
    said = []
    detector = fit(photos, tell=said.append)
    why_not = {one.method: one.why_not for one in detector.fitted.tried if one.why_not}
    assert set(why_not) == {"pouta", "pouta+patchcore"}
    assert f"POUTA at 64 px: {why_not['pouta']}" in said, "told when it happens as well"
    assert why_not["pouta+patchcore"] == "not made: expected POUTA at 64 px, found none"


def test_twelve_bits_are_remembered(toys, tmp_path):
    """A dark photograph is read with the depth of those that the detector was made from."""
    (tmp_path / "good").mkdir()
    values = np.random.default_rng(0).integers(0, 4096, (12, 32, 32)).astype(np.uint16)
    values[:, 0, 0] = 4095
    values[0] //= 16  # of 8 bits, in a file of 16
    values[3] //= 2
    for k, value in enumerate(values):
        Image.fromarray(value).save(tmp_path / "good" / f"{k}.png")
    told = []
    detector = fit(tmp_path / "good", method="keen", tell=told.append)
    loaded = load_detector(detector.save(tmp_path / "d"))
    assert (loaded.bits, loaded.darkest) == (12, 2047)
    assert "note: images of 12 bits in files of 16: 4095 is read as white" in told
    assert any(line.startswith("left out: expected values up to 256 or more") for line in told)


def test_the_depth_of_others_is_not_guessed_from_eight_bits(photos, toys):
    assert fit(photos, method="keen", tell=str).darkest == 0


def test_the_shapes_of_the_photographs_are_remembered(photos, toys, tmp_path):
    shutil.copytree(photos / "good", tmp_path / "good")
    save(tmp_path / "good" / "wide.jpg", photo(1, width=150, height=100))
    loaded = load_detector(fit(tmp_path / "good", method="keen", tell=str).save(tmp_path / "d"))
    assert loaded.shapes == (1.0, 1.5)


def test_a_photograph_that_claims_too_many_pixels_ends_no_fit(photos, toys, tmp_path):
    folder, told = tmp_path / "photos", []
    shutil.copytree(photos / "good", folder)
    (folder / "huge.png").write_bytes(claiming(30_000, 30_000))
    assert fit(folder, method="keen", tell=told.append).fitted.num_photos == 20
    assert sum("huge.png" in line and "at most 178 megapixels" in line for line in told) == 1


def test_too_few_photographs_and_strange_wishes(photos, toys, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for k in range(7):
        Image.new("RGB", (8, 8)).save(few / f"{k}.png")
    with pytest.raises(PoutaError, match="at least 8 photographs of good parts, found 7"):
        fit(few, tell=str)
    for k in range(7, 20):
        Image.new("RGB", (8, 8)).save(few / f"{k}.png")
    with pytest.raises(PoutaError, match="found 20, 1 different ones"):
        fit(few, tell=str)
    wishes = [{"minutes": value} for value in (0.0, float("inf"), float("nan"), 1e300)]
    wishes += [{"false_alarm_rate": 1.0}, {"method": "keener"}, {"seed": -1}, {"seed": 1 << 64}]
    for wish in wishes:
        with pytest.raises(PoutaError):
            fit(photos, tell=str, **wish)
    assert toys == []


def test_half_done_work_that_cannot_be_kept_is_told_of(photos, toys, tmp_path):
    """Where only the detector's own folder may be written to, a fit goes on all the same."""
    (tmp_path / "file").touch()
    told = []
    fit(photos, method="keen", partial=tmp_path / "file" / "partial", tell=told.append)
    assert any(line.startswith("stopped, this fit will not go on") for line in told)


def test_a_method_that_sees_nothing_is_refused(photos, toys, monkeypatch, tmp_path):
    monkeypatch.setattr(Toy, "forward", lambda self, image: torch.full_like(image[:, 0], 0.5))
    more = r"finite scores that differ, found .* for 5\n.*Keen\n.*photograph more parts"
    with pytest.raises(PoutaError, match=more):
        fit(photos, method="keen", partial=tmp_path / "partial", tell=str)
    monkeypatch.setattr(candidates, "CANDIDATES", ("dull", "keen"))
    said = r"a method that can be made, found none\n.*Dull: .*Keen: .*\n.*to do: photograph more"
    with pytest.raises(PoutaError, match=said):
        fit(photos, partial=tmp_path / "partial", tell=str)
    assert not (tmp_path / "partial").exists(), "the same again would end the same"


def test_what_another_fit_left_is_kept_and_told_of(photos, toys, tmp_path):
    told = []
    other = tmp_path / "partial" / "another"
    other.mkdir(parents=True)
    fit(photos, method="keen", partial=tmp_path / "partial", tell=told.append)
    assert list(other.parent.iterdir()) == [other]
    assert f"what another fit began stays in {other.parent}" in told[-1]


def test_copies_of_a_photograph_count_once(photos, toys, tmp_path):
    """Twenty photographs, and six times one of them: a threshold as from the twenty."""
    told, folder = [], tmp_path / "photos"
    shutil.copytree(photos / "good", folder)
    for k in range(6):
        shutil.copy(folder / "07.png", folder / f"07_{k}.png")
    detector = fit(folder, method="keen", tell=told.append)
    assert "left out: 6 copies of other photographs, first photos/07_0.png" in told
    assert detector.fitted.num_photos == 20
    assert detector.threshold == fit(photos, method="keen", tell=str).threshold


def test_photographs_alike_at_the_size_of_the_method_are_no_matter_of_training(tmp_path):
    """They differ at 224 px by a line that is lost at 32."""
    picture = np.full((448, 448), 120, np.uint8)
    picture[100:300, 100:300] = 200
    for k in range(12):
        lined = picture.copy()
        lined[20 * k] += 4
        Image.fromarray(lined).save(tmp_path / f"{k:02}.png")
    wish = {"method": "patchcore", "overrides": {"size_px": 32}}
    with pytest.raises(PoutaError, match=r"that are alike at 32 px\n.*PatchCore\n.*other parts"):
        fit(tmp_path, tell=str, **wish)


@pytest.mark.parametrize("count", [1, 7, 8, 30, 213])
def test_photographs_are_dealt_out_evenly_and_neighbours_stay_together(count):
    folds = deal(np.arange(count))
    assert len(folds) == count
    if count >= 8:
        sizes = np.bincount(folds, minlength=4)
        assert sizes.min() > 0 and sizes.max() - sizes.min() <= 5
    assert (np.diff(folds) != 0).sum() < 20


def test_exposures_of_one_part_are_held_out_together():
    """Wherever they stand in the folder; another brightness does not make it another part."""
    rng = np.random.default_rng(0)
    shown = rng.normal(120, 30, (12, 3, 48, 48))
    seen = np.concatenate(
        [shown, 0.6 * shown[:4] + 30, shown[2:4] + rng.normal(0, 4, (2, 3, 48, 48))]
    )
    parts = parts_of(seen.clip(0, 255).astype(np.uint8))
    assert len(set(parts)) == 12
    assert (
        parts[12:16].tolist() == parts[:4].tolist() and parts[16:].tolist() == parts[2:4].tolist()
    )
    folds = deal(parts)
    assert all(len(set(folds[parts == part])) == 1 for part in parts)
    assert set(folds) == {0, 1, 2, 3}
    kinds = np.repeat(rng.normal(120, 40, (2, 3, 48, 48)), 10, axis=0)
    kinds += rng.normal(0, 9, (20, 3, 48, 48))
    assert len(set(parts_of(kinds.clip(0, 255).astype(np.uint8)))) == 20, "two kinds, not two parts"
    again = np.kron(rng.normal(120, 40, (1, 3, 8, 8)), np.ones((6, 6)))
    again = again + rng.normal(0, 0.5, (12, 3, 48, 48))
    assert [hardly_differ(a.clip(0, 255).astype(np.uint8)) for a in (again, shown)] == [True, False]
    flat = parts_of(np.full((8, 3, 48, 48), 90, np.uint8))
    assert len(set(flat)) == 8, "alike, but nothing says that they are nearer than others are"


def shots_of_few_parts(parts, shots):
    """Each part again and again, in another light, with a little noise: ``(N, 3, 48, 48)``."""
    rng = np.random.default_rng(0)
    shown = np.kron(rng.uniform(10, 240, (parts, 3, 8, 8)), np.ones((6, 6)))
    seen = np.repeat(shown, shots, axis=0) * rng.uniform(0.8, 1, (parts * shots, 1, 1, 1))
    return (seen + rng.normal(0, 0.5, seen.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("parts", "shots"), [(2, 12), (3, 8), (6, 8), (12, 2)])
def test_a_part_that_was_taken_again_and_again_is_one_part(parts, shots):
    """However large its share of all photographs is."""
    found = parts_of(shots_of_few_parts(parts, shots))
    assert found.tolist() == np.repeat(np.arange(parts), shots).tolist()


def test_photographs_that_show_nothing_are_named(photos, toys, tmp_path):
    """Through a covered lens, and overexposed; a dark part is one all the same."""
    rng, told, folder = np.random.default_rng(0), [], tmp_path / "photos"
    shutil.copytree(photos / "good", folder)
    seen = np.asarray(Image.open(folder / "00.png"))
    save(folder / "dark.png", (seen * 0.3).astype(np.uint8))
    assert told_of_blank(contrasts_of(folder)) == []
    save(folder / "cap_1.png", rng.integers(0, 4, (64, 64, 3), np.uint8))
    save(folder / "cap_2.png", np.zeros((64, 64, 3), np.uint8))
    save(folder / "sun.png", np.full((64, 64, 3), 255, np.uint8))
    fit(folder, method="keen", tell=told.append)
    (said,) = [line for line in told if "next to nothing" in line]
    assert said.startswith("note: 3 of 24 photographs show next to nothing")
    assert ": photos/cap_1.png, photos/cap_2.png, photos/sun.png: look at them, and remove" in said
    for path in folder.iterdir():
        if path.name != "cap_2.png":
            save(path, rng.integers(0, 4, (64, 64, 3), np.uint8))
    assert told_of_blank(contrasts_of(folder))[0].startswith("24 of 24 photographs show")


def contrasts_of(folder):
    files, images, _ = read_photos(folder, 224)
    return dict(zip(files, map(contrast_of, images), strict=True))


@pytest.mark.parametrize("category", ["surface/magnetic_tile", "mvtec/leather_mini"])
def test_honest_photographs_show_something(repository, category):
    """In many exposures, and of hardly any contrast."""
    root = repository / "../shared/data"
    if not root.is_dir():
        pytest.skip("needs photographs")
    assert told_of_blank(contrasts_of(root / category)) == []


def test_three_parts_make_three_folds(toys, tmp_path):
    for k, picture in enumerate(shots_of_few_parts(3, 4)):
        save(tmp_path / "photos" / f"{k:02}.png", np.moveaxis(picture, 0, -1))
    told = []
    detector = fit(tmp_path / "photos", method="keen", tell=told.append)
    assert "they show 3 parts, as far as that can be told; one part, one fold" in told
    assert toys == [("keen", 8)] * 3 + [("keen", 12)]
    assert len(detector.fitted.good) == 12
    assert "of 12 held-out good photographs lie above it, which show 3 parts" in detector.how
    assert "and it stands for 25 %" in detector.how


@pytest.mark.parametrize(
    ("found", "alarms", "warned"), [(3, 9, True), (9, 9, True), (12, 9, False)]
)
def test_a_detector_that_is_of_no_use_is_called_so(photos, toys, found, alarms, warned):
    """It finds no larger share of the damages than it refuses of good ones in another light."""
    detector = fit(photos, method="keen", tell=str)
    counts = {"found": {"scratch": (found, 30)}, "changed_alarms": (alarms, 30)}
    poor = dataclasses.replace(detector, fitted=dataclasses.replace(detector.fitted, **counts))
    said = "Do not rely on it: at this threshold it refuses such good ones no less often than dam"
    assert (said in told(poor)) == warned


def test_what_a_threshold_promises():
    scores = np.arange(1, 40.0)  # the 38th of 39 for 5 %: one above
    said = promise(scores, 38.0, 0.05)
    assert said.startswith("1 of 39 held-out good photographs lie above it; expect")
    draws = np.random.default_rng(0).random((4000, 39))
    shares = 100 * (1 - np.sort(draws, axis=1)[:, 37])
    low, high = map(float, said.split("expect ")[1].split(" %")[0].split(" to "))
    assert np.quantile(shares, [0.05, 0.95]) == pytest.approx([low, high], abs=0.5)
    few = promise(scores, 38.0, 0.05, 20)
    assert "which show 20 parts" in few
    assert float(few.split(" to ")[1].split(" %")[0]) > high
    said = promise(np.arange(7.0), 6.0, 0.05)
    assert "too few for 5 %, and it stands for 12.5 % (19 would do)" in said
    said = promise(np.arange(20.0), 19.0, 0.05, 18)
    assert "too few for 5 %, and it stands for 5.26 % (19 would do)" in said


def test_the_note_is_plain(photos, toys, tmp_path):
    fit(photos, method="keen", tell=str).save(tmp_path / "d")
    note = json.loads((tmp_path / "d" / "detector.json").read_text("utf-8"))
    assert note["fitted"]["false_alarm_rate"] == 0.05


def test_what_is_not_taken_for_a_good_photograph_is_told_of(photos, toys, tmp_path):
    folder, said = tmp_path / "photos", []
    shutil.copytree(photos, folder)
    whole = (folder / "good" / "00.png").read_bytes()
    for name in ("loose.png", "phone.HEIC", "good/00_label.png"):
        (folder / name).write_bytes(whole)
    fit(folder, method="keen", tell=said.append)
    assert (
        "left out: 1 file named as the mask of an image beside it, first good/00_label.png" in said
    )
    assert any("left out: 1 file in no folder of a kind, first photos/loose.png" in x for x in said)
    assert any("left out: 1 file (.heic) of a picture format" in x for x in said)


def test_photographs_beside_an_empty_folder_of_good_ones_are_named(tmp_path):
    (tmp_path / "good").mkdir()
    for k in range(10):
        save(tmp_path / f"{k}.png", photo(k))
    with pytest.raises(
        PoutaError, match=r"found none; 10 files in no folder of a kind, first .*0.p"
    ):
        good_photos(tmp_path)


def test_photographs_of_several_shapes_are_told_of(toys, tmp_path):
    for k in range(15):
        save(tmp_path / f"{k:02}.png", photo(k, 40 if k < 5 else 30, 30))
    said = []
    fit(tmp_path, method="keen", tell=said.append)
    (told,) = [line for line in said if "width : height" in line]
    assert told.startswith(
        "note: 5 of 15 photographs have a width : height of 1.33, others have 1.00: each"
    )
    for k in range(5):
        save(tmp_path / f"{k:02}.png", photo(k, 31, 30))
    said.clear()
    fit(tmp_path, method="keen", tell=said.append)
    assert not any("width : height" in line for line in said)


@pytest.mark.parametrize("good", ["good", "train/good"])
def test_folders_beside_the_good_ones_are_told_of(tmp_path, good):
    """But for those of a test set, whose place that is."""
    for k, name in enumerate((good, "test/bent", "ground_truth/bent", "bad", "train/worse")):
        save(tmp_path / "bolt" / name / f"{k}.png", photo(k))
    (found,) = good_photos(tmp_path / "bolt").left_out
    assert found.startswith("2 files (bolt/bad, train/worse) in folders that are not read")


def test_a_warm_start_is_for_pouta_alone(photos, toys):
    warm = {"warm_start": True}
    with pytest.raises(PoutaError, match="a method out of.*'pouta'"):
        fit(photos, method="keen", overrides=warm)
    settings = load_profile("smoke", **warm)
    (own,), (other,) = (candidates._sizes(settings, name, warm) for name in ("pouta", "keen"))
    assert own.warm_start and not other.warm_start


@pytest.mark.parametrize(
    ("share", "left", "steps"),
    [(300, 900, 300), (100, 900, 200), (100, 190, None), (9999, 9999, 400)],
)
def test_a_network_gets_its_share_of_the_time_or_what_is_worth_it(monkeypatch, share, left, steps):
    """A step takes a second, and fewer than 200 are not worth it."""

    monkeypatch.setattr(candidates, "seconds_per_step", lambda profile, method, threads: 1.0)
    keep = lambda kind, name, shape, make: make()  # noqa: E731
    work = types.SimpleNamespace(images={64: np.empty((4, 3, 64, 64))}, seed=0, keep=keep)
    one = candidates.Candidate("pouta", load_profile("smoke", steps=400, size_px=64))
    if steps is None:
        with pytest.raises(PoutaError, match=r"4.0 minutes left for 200 steps of POUTA, found 3.7"):
            candidates._allot(one, work, share, left)
    else:
        candidates._allot(one, work, share, left)
        assert one.profile.steps == steps
        seconds = left if steps > share else share
        assert one.until == pytest.approx(time.monotonic() + seconds, abs=60)


def test_a_fit_whose_machine_becomes_slow_keeps_to_its_minutes(photos, monkeypatch):
    """Steps are timed at a millionth of what they take: the training is shortened, and told of."""
    monkeypatch.setattr(candidates, "seconds_per_step", lambda profile, method, threads: 1e-6)
    overrides = {"steps": 100_000, "checkpoint_steps": 5}
    detector = fit(photos, method="pouta", overrides=overrides, minutes=0.1, tell=str)
    (tried,) = detector.fitted.tried
    assert tried.seconds < 60, "a hundred thousand steps take hours"
    assert 0 < tried.steps == detector.profile.steps < 10_000

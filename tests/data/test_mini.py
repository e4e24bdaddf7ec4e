"""The mini datasets: true layouts, exact masks, the same bytes for a seed."""

import csv
import dataclasses
import hashlib
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from scipy import ndimage

from pouta_lib.data import list_categories, load_category, mini
from pouta_lib.data.mini import MINI_KINDS, SCENES, ensure_mini, generate_mini, write
from pouta_lib.data.mini.draw import make_grid
from pouta_lib.data.mini.plan import label_ellipse, picture

SHARE = 0.1


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("mini")
    generate_mini(root, share=SHARE, workers=1)
    return root


def digests(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def test_enough_kinds():
    kinds = [MINI_KINDS[c] for c in (s.category for s in SCENES if s.dataset == "mini-mvtec")]
    assert kinds.count("texture") >= 3
    assert kinds.count("object") >= 3
    assert all(len(s.defects) >= 2 for s in SCENES if s.dataset == "mini-mvtec")
    for dataset in ("mini-visa", "mini-dagm"):
        assert sum(s.dataset == dataset for s in SCENES) == 2


@pytest.mark.parametrize("scene", SCENES, ids=lambda s: s.category)
def test_every_category_is_read_by_its_true_reader(drawn, scene):
    c = load_category(scene.dataset, scene.category, 64, root=drawn)
    assert scene.category in list_categories(scene.dataset, drawn)
    assert c.kind == scene.kind
    assert len(c.train) == 6  # a tenth of 60; DAGM's defective ones in Train are left out
    assert (c.masks.any(axis=(1, 2)) == c.labels).all()
    assert c.mask_kind == ("coarse" if scene.dataset == "mini-dagm" else "exact")
    if scene.dataset == "mini-mvtec":
        assert set(c.defects) == {"good", *scene.defects}


def test_visa_masks_hold_class_numbers(drawn):
    base = drawn / "mini-visa"
    with (base / "split_csv" / "1cls.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["mask"]]
    values = {int(np.asarray(Image.open(base / row["mask"])).max()) for row in rows}
    assert values == {1, 2, 3}


def test_dagm_has_defects_in_train(drawn):
    text = (drawn / "mini-dagm/Class1/Train/Label/Labels.txt").read_text()
    assert "_label.PNG" in text
    assert text.startswith("1\n1\t")


def test_two_workers_draw_the_same_bytes(drawn, tmp_path):
    generate_mini(tmp_path, share=SHARE, workers=2)
    assert digests(tmp_path) == digests(drawn)


def test_dagm_counts_its_images_from_one(drawn):
    base = drawn / "mini-dagm" / "Class2" / "Test"
    lines = (base / "Label" / "Labels.txt").read_text().splitlines()[1:]
    assert sorted(p.name for p in base.glob("*.PNG")) == [line.split("\t")[2] for line in lines]
    for line in lines:
        number, wrong, file, zero, label = line.split("\t")
        assert file == f"{int(number):04}.PNG"
        assert zero == "0"
        assert label == (f"{int(number):04}_label.PNG" if wrong == "1" else "0")
        assert Image.open(base / file).mode == "L"


def test_seeds_differ():
    scene = SCENES[0]
    one, same, other = (picture(scene, "train", None, 0, seed)[0] for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize(
    ("scene", "defect"),
    [(s, d) for s in SCENES for d in s.defects],
    ids=lambda value: getattr(value, "category", value),
)
def test_the_mask_is_where_the_picture_differs(scene, defect):
    """The same piece, whole and broken, in the same light: equal outside the mask, not inside."""
    for index in range(2):
        broken, mask = picture(scene, "test", defect, index)
        sound = dataclasses.replace(
            scene, draw=lambda rng, hurt, which, grid: scene.draw(rng, hurt, None, grid)
        )
        whole, _ = picture(sound, "test", defect, index)
        change = np.abs(broken.astype(float) - whole)
        change = change.max(axis=-1) if change.ndim == 3 else change
        outside = ~ndimage.binary_dilation(mask, iterations=3)
        assert broken.dtype == np.uint8
        assert mask.dtype == bool
        assert mask.shape == broken.shape[:2]
        assert 0.001 < mask.mean() < 0.09
        assert change[outside].max() < 30  # of 255: no plain change, not even a speck
        assert np.percentile(change[outside], 99) < 6  # the rest is nearly untouched
        assert change[mask].mean() > 6 * (change[outside].mean() + 1)


def test_coarse_labels_cover_the_defect():
    for scene in SCENES[-2:]:
        for index in range(4):
            _, exact = picture(scene, "Test", "defect", index)
            coarse = label_ellipse(scene, "Test", index)
            assert (exact & coarse).sum() > 0.9 * exact.sum()
            assert coarse.sum() > exact.sum()


def test_good_pieces_vary():
    """No two alike: the mean of the others is far from each by more than grain."""
    for scene in SCENES:
        stack = np.stack([picture(scene, "train", None, k)[0] for k in range(5)]).astype(float)
        for k in range(5):
            others = np.delete(stack, k, axis=0).mean(axis=0)
            assert np.abs(stack[k] - others).mean() > 5, scene.category


def test_present_datasets_are_left_alone_and_old_ones_drawn_again(drawn, monkeypatch):
    def unexpected(*_, **__):
        raise AssertionError("drew again")

    with monkeypatch.context() as patch:
        patch.setattr(mini, "generate_mini", unexpected)
        ensure_mini(drawn)
        (drawn / "mini-visa" / "VERSION").write_text("0\n")
        with pytest.raises(AssertionError, match="drew again"):
            ensure_mini(drawn)
    generate_mini(drawn, share=SHARE, workers=1)
    ensure_mini(drawn)


def test_another_seed_or_share_replaces_what_is_there(tmp_path):
    generate_mini(tmp_path, share=0.02, workers=1)
    before = digests(tmp_path / "mini-mvtec" / "nut" / "train")
    generate_mini(tmp_path, seed=1, share=0.02, workers=1)
    assert digests(tmp_path / "mini-mvtec" / "nut" / "train") != before


def test_an_older_version_makes_room(tmp_path):
    old = tmp_path / "mini-dagm"
    (old / "Class9").mkdir(parents=True)
    (old / "VERSION").write_text("0\n")
    generate_mini(tmp_path, share=0.02, workers=1)
    assert list_categories("mini-dagm", tmp_path) == ["Class1", "Class2"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mini-dagm", "mini-mvtec", "mini-visa"]


def test_two_processes_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    racers = [
        context.Process(
            target=generate_mini, args=(tmp_path,), kwargs={"share": 0.02, "workers": 1}
        )
        for _ in range(2)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mini-dagm", "mini-mvtec", "mini-visa"]
    assert len(load_category("mini-mvtec", "nut", 64, root=tmp_path).train) == 1


def test_where_no_processes_can_be_started_one_draws_the_same_bytes(tmp_path, monkeypatch):
    class Broken(write.ProcessPoolExecutor):
        def map(self, *_):
            raise BrokenProcessPool

    generate_mini(tmp_path / "one", share=0.02, workers=1)
    monkeypatch.setattr(write, "ProcessPoolExecutor", Broken)
    monkeypatch.setattr(write.os, "cpu_count", lambda: 2)
    generate_mini(tmp_path / "two", share=0.02, workers=2)
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


def marked(folder: Path, mark: str, content: str) -> Path:
    """A dataset of one file."""
    folder.mkdir(parents=True)
    (folder / "VERSION").write_text(mark)
    (folder / "file").write_text(content)
    return folder


def test_one_that_came_first_by_a_moment_is_kept(tmp_path, monkeypatch):
    """The mark read first is out of date by the time that the folder is moved."""
    mine = marked(tmp_path / "temporary" / "mine", "3", "mine")
    theirs = marked(tmp_path / "data", "3", "theirs")
    read, marks = mini._mark, iter(["3", "2"])
    monkeypatch.setattr(mini, "_mark", lambda folder: next(marks, None) or read(folder))
    mini._move_in(mine, theirs)
    assert (theirs / "file").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir() if path.name != "temporary"] == ["data"]


@pytest.mark.parametrize("mark", ["3", "2"])
def test_one_that_comes_in_between_is_kept_where_it_is_the_same(tmp_path, monkeypatch, mark):
    mine = marked(tmp_path / "temporary" / "mine", "3", "mine")
    target, rename = tmp_path / "data", Path.rename

    def late(source: Path, place: Path) -> Path:
        marked(place, mark, "theirs")
        return rename(source, place)

    monkeypatch.setattr(Path, "rename", late)
    if mark == "3":
        mini._move_in(mine, target)
    else:
        with pytest.raises(OSError, match="data"):
            mini._move_in(mine, target)
    assert (target / "file").read_text() == "theirs"


def test_grid_is_centred():
    grid = make_grid(4)
    assert grid.x[0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert (grid.x == grid.y.T).all()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_what_a_killed_drawing_left_goes_with_the_next(tmp_path):
    code = "import sys; from pouta_lib.data.mini import generate_mini\n"
    code += "if __name__ == '__main__': generate_mini(sys.argv[1])"
    (tmp_path / "draws.py").write_text(code)
    root = tmp_path / "data"
    drawing = subprocess.Popen([sys.executable, tmp_path / "draws.py", root])
    while not list(root.glob(".mini.*.tmp/*/*")):
        time.sleep(0.1)
    workers = psutil.Process(drawing.pid).children(recursive=True)
    assert workers
    drawing.kill()
    drawing.wait()
    assert psutil.wait_procs(workers, timeout=20)[1] == []
    assert len(list(root.iterdir())) == 1
    generate_mini(root, share=0.02, workers=1)
    assert sorted(path.name for path in root.iterdir()) == ["mini-dagm", "mini-mvtec", "mini-visa"]

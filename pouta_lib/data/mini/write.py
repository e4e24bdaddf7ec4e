"""The mini datasets on disk, in the three layouts, drawn by two processes."""

import csv
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from PIL import Image

from pouta_lib.data.mini.plan import SCENES, Scene, label_ellipse, picture
from pouta_lib.ground.progress import Bar, tqdm

VERSION = "3"  # raise it when the drawing changes: older files are then drawn again
DATASETS = ("mini-mvtec", "mini-visa", "mini-dagm")
TRAIN, TRAIN_DEFECT = 60, 10  # the latter in DAGM's Train only
TEST_GOOD = {"mini-mvtec": 16, "mini-visa": 16, "mini-dagm": 40}
TEST_DEFECT = {"mini-mvtec": 8, "mini-visa": 6, "mini-dagm": 16}  # of each kind of defect

Row = list[str]
Count = Callable[[int], range]  # the pictures to draw of so many


def write_mini(folder: Path, seed: int, share: float, workers: int) -> None:
    """Writes the three datasets below `folder`."""
    jobs = [(folder, scene.category, seed, share) for scene in SCENES]
    bar = tqdm(total=len(jobs), desc="drawing the mini datasets", unit="category")
    # a daemonic process, such as a pool's worker, may not start processes of its own
    alone = multiprocessing.current_process().daemon
    if alone or min(workers, os.cpu_count() or 1) == 1:
        rows = list(_ticking(map(_write_category, jobs), bar))
    else:
        # spawned, as on macOS and Windows: a forked kernel or torch can hang
        context = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(workers, context, _end_with_parent) as pool:
                rows = list(_ticking(pool.map(_write_category, jobs), bar))
        except BrokenProcessPool:  # a main program that cannot be imported again
            bar.reset()
            rows = list(_ticking(map(_write_category, jobs), bar))
    bar.close()
    _write_split(folder / "mini-visa", [row for part in rows for row in part])


def _end_with_parent() -> None:
    """A worker whose parent was killed would draw on, into a folder that nobody wants."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _ticking(parts: Iterable[list[Row]], bar: Bar) -> Iterable[list[Row]]:
    for part in parts:
        bar.update()
        yield part


def _write_category(job: tuple[Path, str, int, float]) -> list[Row]:
    """Writes one category; for VisA the rows of its split list."""
    folder, category, seed, share = job
    scene = next(scene for scene in SCENES if scene.category == category)
    write = {"mini-mvtec": _mvtec, "mini-visa": _visa, "mini-dagm": _dagm}[scene.dataset]

    def count(full: int) -> range:
        return range(max(1, round(full * share)))

    return write(folder / scene.dataset, scene, seed, count) or []


def _save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 94} if path.suffix == ".JPG" else {"compress_level": 2}
    Image.fromarray(array).save(path, format="JPEG" if path.suffix == ".JPG" else "PNG", **options)


def _mvtec(base: Path, scene: Scene, seed: int, count: Count) -> None:
    base = base / scene.category
    for split, full in (("train", TRAIN), ("test", TEST_GOOD[scene.dataset])):
        for k in count(full):
            _save(picture(scene, split, None, k, seed)[0], base / split / "good" / f"{k:03}.png")
    for defect in scene.defects:
        for k in count(TEST_DEFECT[scene.dataset]):
            image, mask = picture(scene, "test", defect, k, seed)
            _save(image, base / "test" / defect / f"{k:03}.png")
            path = base / "ground_truth" / defect / f"{k:03}_mask.png"
            _save(mask.astype(np.uint8) * 255, path)


def _visa(base: Path, scene: Scene, seed: int, count: Count) -> list[Row]:
    """As VisA ships: masks hold class numbers, and the split stands in a list."""
    data, name = base / scene.category / "Data", scene.category
    rows, annotations = [], []
    splits = [("train", k) for k in count(TRAIN)]
    splits += [("test", k) for k in count(TEST_GOOD[scene.dataset])]
    for n, (split, k) in enumerate(splits):
        path = data / "Images" / "Normal" / f"{n:04}.JPG"
        _save(picture(scene, split, None, k, seed)[0], path)
        file_name = path.relative_to(base).as_posix()
        rows.append([name, split, "normal", file_name, ""])
        annotations.append([file_name, "normal", ""])
    wrong = [
        (c, d, k) for c, d in enumerate(scene.defects) for k in count(TEST_DEFECT["mini-visa"])
    ]
    for n, (number, defect, k) in enumerate(wrong):
        image, mask = picture(scene, "test", defect, k, seed)
        path, mask_path = (
            data / kind / "Anomaly" / f"{n:03}{suffix}"
            for kind, suffix in (("Images", ".JPG"), ("Masks", ".png"))
        )
        _save(image, path)
        _save(mask.astype(np.uint8) * (number + 1), mask_path)
        names = [p.relative_to(base).as_posix() for p in (path, mask_path)]
        rows.append([name, "test", "anomaly", *names])
        annotations.append([names[0], defect, names[1]])
    _write_csv(base / name / "image_anno.csv", ["image", "label", "mask"], annotations)
    return rows


def _write_split(base: Path, rows: list[Row]) -> None:
    header = ["object", "split", "label", "image", "mask"]
    _write_csv(base / "split_csv" / "1cls.csv", header, rows)


def _write_csv(path: Path, header: Row, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows([header, *rows])


def _dagm(base: Path, scene: Scene, seed: int, count: Count) -> None:
    """As DAGM ships: defective images stand among the good ones, in Train as well."""
    plan = {
        "Train": (TRAIN, TRAIN_DEFECT),
        "Test": (TEST_GOOD[scene.dataset], TEST_DEFECT[scene.dataset]),
    }
    for split, (good, bad) in plan.items():
        folder = base / scene.category / split
        kinds = [(None, k) for k in count(good)] + [("defect", k) for k in count(bad)]
        order = np.random.default_rng([seed, 5]).permutation(len(kinds))
        lines = ["1"]
        for n, (defect, k) in enumerate((kinds[i] for i in order), start=1):
            _save(picture(scene, split, defect, k, seed)[0], folder / f"{n:04}.PNG")
            label = f"{n:04}_label.PNG" if defect else "0"
            lines.append(f"{n}\t{int(defect is not None)}\t{n:04}.PNG\t0\t{label}")
            if defect:
                coarse = label_ellipse(scene, split, k, seed).astype(np.uint8) * 255
                _save(coarse, folder / "Label" / label)
        text = "\n".join(lines) + "\n"
        (folder / "Label").mkdir(parents=True, exist_ok=True)
        (folder / "Label" / "Labels.txt").write_text(text, encoding="ascii")

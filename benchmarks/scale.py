"""How time and memory grow: works whose contestants are one task at several sizes.

    python benchmarks/bench.py --works reading patchcore_fit --rounds 2

All pictures are drawn (`pouta_lib.data.mini`). Where time grows in step with the size, "times the
first's" is the ratio of the sizes.
"""

import functools
import os
import shutil
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from material import at_size, mapped, masks_and_maps, nuts, patches, photographs

Done = Callable[[], Any]  # does the work once
Line = dict[str, Callable[[str], Done]]  # from a size's name to what prepares the work
TINY = 1000  # how many times smaller the tests have everything


def line(prepare: Callable[[int, bool], Done], sizes: tuple[int, ...], unit: str) -> Line:
    """The same work at several sizes: `prepare` is told one, and whether it is for a test."""

    def at(size: int, how: str) -> Done:
        return prepare(max(4, size // TINY) if how == "tiny" else size, how == "tiny")

    return {f"{size:,} {unit}": functools.partial(at, size) for size in sizes}


def reading(count: int, tiny: bool, again: bool = False) -> Done:
    """Pictures of 256 px into the cache, as the first run of a category has it, or from there."""
    from pouta_lib.data import cache, load_category

    root, side = photographs(count, 32 if tiny else 256), 16 if tiny else 224

    def done() -> Any:
        if not again:
            shutil.rmtree(root / "cache", ignore_errors=True)
        with (
            mock.patch.object(cache, "WORTH_BYTES", 0),
            mock.patch.dict(os.environ, POUTA_CACHE=str(root / "cache")),
        ):
            return load_category("folder", "nut", side, root=root)

    if again:
        done()
    return done


def reading_photographs(side: int, tiny: bool) -> Done:
    """Sixteen photographs of a size, to 224 px."""
    from pouta_lib.data import load_category

    root = photographs(2 if tiny else 16, side)
    return lambda: load_category("folder", "nut", 224, root=root, cache=False)


def looking(side: int, tiny: bool) -> Done:
    """One image through POUTA of `demo`'s width, at its full size."""
    import torch

    from pouta_lib.ground.profiles import load_profile
    from pouta_lib.method.device import choose_compute
    from pouta_lib.method.models import build_model
    from pouta_lib.score.evaluation import predict

    side = max(64, side)
    model = build_model("pouta", load_profile("demo", size_px=side))
    model = model.to(memory_format=torch.channels_last)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, side, side), np.uint8)
    compute = choose_compute("cpu", "fp32")
    return lambda: predict(model, image, compute)


def training(count: int, tiny: bool) -> Done:
    """Twenty steps of `demo`, from images that are mapped."""
    from pouta_lib.ground.profiles import load_profile
    from pouta_lib.method.training import fit

    settings = {"steps": 2, "size_px": 32, "width": 8} if tiny else {"steps": 20}
    profile = load_profile("demo", **settings)
    images = mapped(count, profile.size_px)
    return lambda: fit(images, np.array(images[:8]), profile, "pouta", 0, device="cpu")


def patchcore_fit(count: int, tiny: bool) -> Done:
    """A memory made of images of 96 px, which the backbone sees at 224."""
    from pouta_lib.ground.profiles import load_profile
    from pouta_lib.method.training import fit

    profile = load_profile("demo")
    pictures = [at_size(picture, profile.size_px) for picture in nuts(count)]
    images = np.moveaxis(np.stack(pictures), -1, 1)
    return lambda: fit(images, images, profile, "patchcore", 0, device="cpu")


def coreset(count: int, tiny: bool) -> Done:
    """A hundredth of the features of 1,024 dimensions."""
    import torch

    from pouta_lib.method.models.patchcore import greedy_coreset

    features = patches(max(count, 200))
    picks = len(features) // 100
    return lambda: greedy_coreset(features, picks, torch.Generator().manual_seed(0))


def scoring(count: int, tiny: bool) -> Done:
    """Maps, scores, metrics and repaired images of a test set at `demo`, as a run makes them."""
    from pouta_lib.data import Category
    from pouta_lib.ground.profiles import load_profile
    from pouta_lib.method.device import compute_of
    from pouta_lib.method.models import build_model
    from pouta_lib.score.evaluation import evaluate

    profile = load_profile("demo")
    test = mapped(count, profile.size_px)
    masks = np.zeros((count, *test.shape[2:]), bool)
    masks[count // 2 :, 30:50, 30:50] = True  # the second half is defective
    bad = np.arange(count) >= count // 2
    names = ["hole" if hurt else "good" for hurt in bad]
    data = Category(
        "folder", "nut", "object", test[:0], test, masks, "exact", bad, names, [], names, ""
    )
    model, compute = build_model("pouta", profile), compute_of("pouta", profile, "cpu")
    return lambda: evaluate(model, data, profile, compute, "pouta")


def maps_of(count: int, tiny: bool) -> tuple[np.ndarray, np.ndarray]:
    """Masks and probability maps of 224 px, a third of them good: blobs in noise."""
    side = 48 if tiny else 224
    parts = [masks_and_maps(min(50, count - start), side, start) for start in range(0, count, 50)]
    masks, maps = (np.concatenate(part) for part in zip(*parts, strict=True))
    return masks, maps


def metrics(count: int, tiny: bool) -> Done:
    from pouta_lib.score.metrics import pixel_metrics

    masks, maps = maps_of(count, tiny)
    return lambda: pixel_metrics(masks, maps)


def scores(count: int, tiny: bool) -> Done:
    from pouta_lib.score.evaluation import image_scores

    maps = maps_of(count, tiny)[1]
    return lambda: image_scores(maps, 21)


LINES: dict[str, Line] = {
    "reading": line(reading, (100, 1000, 10_000), "images"),
    "reading_again": line(functools.partial(reading, again=True), (100, 1000, 10_000), "images"),
    "reading_photographs": line(reading_photographs, (512, 1024, 2048), "px"),
    "looking": line(looking, (512, 1024, 2048), "px"),
    "training_set": line(training, (100, 1000, 10_000), "images"),
    "patchcore_fit": line(patchcore_fit, (50, 200, 800), "images"),
    "coreset_of_many": line(coreset, (10_000, 40_000, 163_856), "features"),
    "scoring": line(scoring, (100, 300, 1000), "images"),
    "metrics_of_many": line(metrics, (100, 300, 1000), "maps"),
    "scores_of_many": line(scores, (100, 300, 1000), "maps"),
}

"""What `make bench` measures: each work, by the library and by those it is compared with.

    python benchmarks/works.py WORK CONTESTANT SIZE

prepares one and then does it once for each line it reads, answering with what it took. The works of
scale.py are one task at several sizes. Contestants named anomalib run in the environment of
``tools/peers_env.py``, which has no pouta_lib: imports are made by those who need them.
"""

import contextlib
import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from material import masks_and_maps, patches
from scale import LINES, coreset

Done = Callable[[], Any]  # does the work once
SIZES = ("full", "tiny")
STEPS = {"demo": 10, "paper": 1}  # of a training
BATCH = {"full": (8, 224), "tiny": (2, 64)}  # images, and their side in pixels
TEST_SET = {"full": (83, 224), "tiny": (6, 48)}  # maps, and their side in pixels
PATCHES = {"full": 40_000, "tiny": 600}


def metrics_here(size: str) -> Done:
    from pouta_lib.score.metrics import pixel_metrics

    masks, maps = masks_and_maps(*TEST_SET[size])
    return lambda: pixel_metrics(masks, maps)


def metrics_of_scikit_learn(size: str) -> Done:
    """AUROC, AP and best F1; it has no AUPRO."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    masks, maps = (values.ravel() for values in masks_and_maps(*TEST_SET[size]))

    def done() -> dict[str, float]:
        precision, recall, _ = precision_recall_curve(masks, maps)
        f1 = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        auroc, ap = roc_auc_score(masks, maps), average_precision_score(masks, maps)
        return {"pixel_auroc": auroc, "pixel_ap": ap, "pixel_f1max": f1}

    return done


def metrics_of_anomalib(size: str) -> Done:
    import torch
    from anomalib.data import ImageBatch
    from anomalib.metrics import AUPR, AUPRO, AUROC, F1Max

    masks, maps = (torch.from_numpy(values) for values in masks_and_maps(*TEST_SET[size]))
    batch = ImageBatch(image=torch.zeros(len(maps), 3, 1, 1), anomaly_map=maps, gt_mask=masks)

    def done() -> dict[str, float]:
        found = {}
        for metric in (AUROC, AUPR, F1Max, AUPRO):
            kept = metric(fields=["anomaly_map", "gt_mask"])
            kept.update(batch)
            found[metric.__name__] = float(kept.compute())
        return found

    return done


def scores_here(size: str) -> Done:
    from pouta_lib.score.evaluation import image_scores

    maps = masks_and_maps(*TEST_SET[size])[1]
    return lambda: image_scores(maps, 21)


def scores_of_torch(size: str) -> Done:
    import torch
    from torch.nn import functional as F

    maps = torch.from_numpy(masks_and_maps(*TEST_SET[size])[1]).unsqueeze(1)
    return lambda: F.avg_pool2d(maps, 21, stride=1, padding=10).amax(dim=(1, 2, 3)).numpy()


def coreset_here(size: str) -> Done:
    return coreset(PATCHES[size], False)


def coreset_by_passes(size: str) -> Done:
    """The definition: after each pick, a pass over all features."""
    import torch

    from pouta_lib.method.models.patchcore import PROJECTED

    features = patches(PATCHES[size])

    def done() -> Any:
        generator = torch.Generator().manual_seed(0)
        matrix = torch.randn(features.shape[1], PROJECTED, generator=generator)
        projected = features @ matrix / PROJECTED**0.5
        chosen = [int(torch.randint(len(features), (), generator=generator))]
        distance = torch.full((len(features),), torch.inf)
        while len(chosen) < len(features) // 100:
            difference = projected - projected[chosen[-1]]
            distance = torch.minimum(distance, difference.square().sum(dim=1))
            chosen.append(int(distance.argmax()))
        return torch.tensor(chosen)

    return done


def coreset_of_anomalib(size: str) -> Done:
    from anomalib.models.components.sampling import KCenterGreedy

    features = patches(PATCHES[size])
    return lambda: KCenterGreedy(features, sampling_ratio=0.01).select_coreset_idxs()


def inference(method: str) -> Callable[[str], Done]:
    """One image through a network of the paper's size, in float32."""

    def prepare(size: str) -> Done:
        import torch

        from pouta_lib.ground.profiles import load_profile
        from pouta_lib.method.models import build_model

        profile = load_profile("paper" if size == "full" else "smoke")
        model = build_model(method, profile).eval()
        image = torch.rand(1, 3, profile.size_px, profile.size_px)
        image = image.contiguous(memory_format=torch.channels_last)

        def done() -> Any:
            with torch.inference_mode():
                return model(image)

        return done

    return prepare


def training_step(method: str, layout: str, bf16: bool) -> Callable[[str], Done]:
    """Trace, losses and gradients of a batch at the `demo` profile."""

    def prepare(size: str) -> Done:
        import torch

        from pouta_lib.ground.profiles import load_profile
        from pouta_lib.method.losses import total_loss
        from pouta_lib.method.models import build_model

        profile = load_profile("demo" if size == "full" else "smoke")
        model: Any = build_model(method, profile).to(memory_format=getattr(torch, layout))
        shape = (profile.batch_size, 3, profile.size_px, profile.size_px)
        image = torch.rand(shape).contiguous(memory_format=getattr(torch, layout))
        mask = (torch.rand(shape)[:, 0] > 0.9).float()

        def done() -> Any:
            model.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                named = model.trace(image)
            total_loss(named, image, mask)["total"].backward()

        return done

    return prepare


def training(method: str, profile: str, plain: bool) -> Callable[[str], Done]:
    """Whole steps, synthesis and optimiser included: as trained, or with nothing but torch.

    Plain is in float32, in torch's own layout and by its own optimiser.
    """

    def prepare(size: str) -> Done:
        import torch

        from pouta_lib.ground.profiles import load_profile
        from pouta_lib.method.losses import total_loss
        from pouta_lib.method.models import build_model
        from pouta_lib.method.synthesis import synthesize
        from pouta_lib.method.training import fit

        named, steps = (profile, STEPS[profile]) if size == "full" else ("smoke", 2)
        settings = load_profile(named, steps=steps, epochs=None)
        shape = (2, settings.batch_size, 3, settings.size_px, settings.size_px)
        good, textures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        if not plain:
            return lambda: fit(good, textures, settings, method, 0, device="cpu")
        images, bank = torch.from_numpy(good).float() / 255, torch.from_numpy(textures)

        def done() -> None:
            model: Any = build_model(method, settings)
            generator = torch.Generator().manual_seed(0)
            optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr)
            for _ in range(steps):
                batch = synthesize(images, bank, generator, settings.synthesis)
                optimizer.zero_grad()
                total_loss(model.trace(batch.image), batch.original, batch.mask)["total"].backward()
                optimizer.step()

        return done

    return prepare


def synthesis(anomalous_share: float) -> Callable[[str], Done]:
    """A batch, of which a share gets an anomaly."""

    def prepare(size: str) -> Done:
        import torch

        from pouta_lib.ground.profiles import SynthesisSettings
        from pouta_lib.method.synthesis import synthesize

        count, side = BATCH[size]
        good, generator = torch.rand(count, 3, side, side), torch.Generator().manual_seed(0)
        textures = torch.randint(256, (8, 3, side, side), dtype=torch.uint8)
        settings = SynthesisSettings(anomalous_share=anomalous_share)
        return lambda: synthesize(good, textures, generator, settings)

    return prepare


def noise_here(size: str) -> Done:
    import torch

    from pouta_lib.method.perlin import draw_lattice, perlin_field

    count, side = BATCH[size]
    generator = torch.Generator().manual_seed(0)
    return lambda: perlin_field(side, *draw_lattice(count, generator))


def noise_of_draem(size: str) -> Done:
    from draem_item import noise

    count, side = BATCH[size]
    rng = np.random.default_rng(0)
    return lambda: [noise(side, rng) for _ in range(count)]


def synthesis_of_draem(size: str) -> Done:
    """As many of its items, of which every second is anomalous."""
    from draem_item import item

    count, side = BATCH[size]
    rng = np.random.default_rng(0)
    good, textures = rng.integers(0, 256, (2, count, side, side, 3), np.uint8)
    return lambda: [item(one, other, rng) for one, other in zip(good, textures, strict=True)]


def synthesis_of_anomalib(size: str) -> Done:
    """As many images, one after another as in its own training, all anomalous."""
    import torch
    from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator

    count, side = BATCH[size]
    good, generator = torch.rand(count, 3, side, side), PerlinAnomalyGenerator(probability=1.0)
    return lambda: [generator(one) for one in good]


# the first of each is what the others are measured by
WORKS: dict[str, dict[str, Callable[[str], Done]]] = {
    "pixel_metrics": {
        "ours": metrics_here,
        "scikit-learn": metrics_of_scikit_learn,
        "anomalib": metrics_of_anomalib,
    },
    "image_scores": {"ours": scores_here, "torch": scores_of_torch},
    "coreset": {
        "ours": coreset_here,
        "a pass each": coreset_by_passes,
        "anomalib": coreset_of_anomalib,
    },
    "synthesis": {
        "ours: half anomalous": synthesis(0.5),
        "ours: all anomalous": synthesis(1.0),
        "DRAEM's item": synthesis_of_draem,
        "anomalib": synthesis_of_anomalib,
    },
    "noise": {"ours": noise_here, "DRAEM's": noise_of_draem},
    "inference": {name: inference(name) for name in ("pouta", "vanilla", "draem")},
    "training_step": {
        "pouta, channels_last, bf16": training_step("pouta", "channels_last", True),
        "pouta, channels_last, fp32": training_step("pouta", "channels_last", False),
        "pouta, contiguous, fp32": training_step("pouta", "contiguous_format", False),
        "vanilla, channels_last, bf16": training_step("vanilla", "channels_last", True),
    },
    **{
        f"steps_{profile}": {
            "pouta, as trained": training("pouta", profile, plain=False),
            "pouta, plain": training("pouta", profile, plain=True),
            "vanilla, plain": training("vanilla", profile, plain=True),
        }
        for profile in STEPS
    },
    **LINES,
}


def own_mib() -> float | None:
    """Memory held now that no file backs: the system cannot take it back. On Linux alone."""
    try:
        held, of_files = map(int, Path("/proc/self/statm").read_text("ascii").split()[1:3])
    except OSError:
        return None
    return (held - of_files) * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_mib(field: str) -> float | None:
    """VmRSS, memory held now, or VmHWM, the most since the mark was set back; on Linux alone."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), None)


def measure(done: Done) -> dict[str, float | None]:
    """CPU seconds and seconds of one call, and by how much it raised the memory held.

    ``own_mib`` leaves out what is mapped from files, and is looked at fifty times a second.
    """
    before, own = memory_mib("VmRSS"), [own_mib()]
    if before is not None:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # sets the mark back
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            own.append(own_mib())

    looking = threading.Thread(target=look)
    looking.start()
    cpu, wall = time.process_time(), time.perf_counter()
    result = done()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    ended.set()
    looking.join()
    own.append(own_mib())
    del result
    highest = memory_mib("VmHWM")
    raised = None if before is None or highest is None else max(0.0, highest - before)
    known = [each for each in own if each is not None]
    return {
        "cpu_s": cpu,
        "wall_s": wall,
        "mib": raised,
        "own_mib": max(known) - known[0] if known else None,
    }


def give_back() -> None:
    """Hands what was freed while preparing back to the system (glibc alone), or it hides a rise."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def main() -> None:
    work, contestant, size = sys.argv[1:]
    done = WORKS[work][contestant](size)
    give_back()
    for _ in sys.stdin:
        print(json.dumps(measure(done)), flush=True)


if __name__ == "__main__":
    main()

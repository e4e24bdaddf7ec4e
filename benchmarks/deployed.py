"""What an exported POUTA costs per image, beside the methods that it is compared with in torch.

    python benchmarks/deployed.py --profile paper
    python benchmarks/deployed.py --profile demo

Batch 1, pixels in, map and score out, one thread, CPU time. All take turns in one process; ratios
are those of the medians. OpenVINO is left out, with a word, where it is not installed; on a
processor with bf16 units it computes in bf16 unless it is told not to.
"""

import argparse
import functools
import importlib.util
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import torch
import torchvision

from pouta_lib.deliver.export import Form, Look, export_detector, open_exported
from pouta_lib.detector import Detector
from pouta_lib.ground.methods import BACKBONE_TITLES, find_method
from pouta_lib.ground.profiles import Profile, load_profile
from pouta_lib.method.device import Compute, cpu_has_bf16_units, cpu_name
from pouta_lib.method.models import build_model

REMEMBERED = 1600  # patches, as of 200 good images at 224 px


def made(method: str, profile: Profile, precision: str = "fp32") -> Detector:
    """A detector with random weights: they cost what trained ones do."""
    torch.manual_seed(0)
    unweighted = functools.partial(torchvision.models.get_model, weights=None)
    with mock.patch("torchvision.models.get_model", lambda name, weights: unweighted(name)):
        model = build_model(method, profile).eval()
    if not find_method(method).trained:
        memory = cast(Any, model)
        memory.memory = memory.embed(torch.rand(16, 3, 224, 224)).flatten(0, 2)[::8][:REMEMBERED]
    compute = Compute(torch.device("cpu"), precision)
    return Detector(model, method, profile, 0.5, "", (0.0, 1.0), compute)


def in_torch(detector: Detector) -> Look:
    """As `pouta predict` looks, in the detector's precision."""
    detector.model.to(memory_format=torch.channels_last)
    return lambda pixels: detector.look_at(np.moveaxis(pixels, -1, 1))


def looks(profile: Profile, folder: Path) -> dict[str, Look]:
    """What is measured; the first is what the others are measured by."""
    bf16 = cpu_has_bf16_units()
    found = {"Vanilla, torch fp32": in_torch(made("vanilla", profile))}
    backbone = BACKBONE_TITLES[profile.backbone]
    for method, title in (("pouta", "POUTA"), ("patchcore", f"PatchCore ({backbone})")):
        detector = made(method, profile)
        found[f"{title}, torch fp32"] = in_torch(detector)
        if bf16 and method == "pouta":
            found[f"{title}, torch bf16"] = in_torch(made(method, profile, "bf16"))
        path, _ = export_detector(detector, folder / method)
        found[f"{title}, ONNX Runtime fp32"] = open_exported(path, threads=1)
        if importlib.util.find_spec("openvino") is None:
            print(f"{title} in OpenVINO: left out, the package openvino is not installed")
            continue
        path, _ = export_detector(detector, folder / f"{method}_ir", Form(format="openvino"))
        for precision in ("f32", "bf16") if bf16 else ("f32",):
            name = f"{title}, OpenVINO {precision.replace('f32', 'fp32')}"
            found[name] = open_exported(path, precision, threads=1)
    return found


def main() -> None:
    """Prints milliseconds an image, lowest and highest, and the ratio to the first of the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backbone", help="PatchCore's; default: the profile's")
    arguments = parser.parse_args()
    chosen = {"backbone": arguments.backbone} if arguments.backbone else {}
    profile = load_profile(arguments.profile, **chosen)
    torch.set_num_threads(1)
    size = profile.size_px
    print(f"{cpu_name()}, bf16 units: {cpu_has_bf16_units()}; {size} px, width {profile.width}")
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        compared = looks(profile, Path(folder))
        spent: dict[str, list[float]] = {name: [] for name in compared}
        for turn in range(arguments.rounds + 2):
            for name, look in compared.items():
                started = time.process_time()
                look(pixels)
                if turn > 1:  # the first two warm up
                    spent[name].append(1000 * (time.process_time() - started))
    medians = {name: statistics.median(values) for name, values in spent.items()}
    first = next(iter(medians.values()))
    print("| batch 1, one thread | CPU ms | lowest to highest | ratio |\n|---|---|---|---|")
    for name, values in spent.items():
        shown = f"{medians[name]:.1f} | {min(values):.1f} to {max(values):.1f}"
        print(f"| {name} | {shown} | {medians[name] / first:.2f} |")


if __name__ == "__main__":
    main()

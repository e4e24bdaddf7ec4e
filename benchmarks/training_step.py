"""What the memory format and the precision of training gain in a training step on a CPU.

    python benchmarks/training_step.py --profile demo

The settings take turns in one run, on one thread as in the batch; ratios are those of the medians.
bf16 pays only where the processor has units for it: `pouta_lib.method.device.cpu_has_bf16_units`.
"""

import argparse
import statistics
import time

import torch

from pouta_lib.ground.methods import ABLATED
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import cpu_has_bf16_units, cpu_name
from pouta_lib.method.losses import total_loss
from pouta_lib.method.models import build_model

# name: memory format, whether under bf16 autocast; the first is what the others are measured by
SETTINGS = {
    "contiguous fp32": (torch.contiguous_format, False),
    "channels_last fp32": (torch.channels_last, False),
    "channels_last bf16": (torch.channels_last, True),
}


def main() -> None:
    """Prints, for each row of Table V, seconds a step, and how many times faster than the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    profile = load_profile(arguments.profile)
    torch.set_num_threads(1)
    print(f"{cpu_name()}, bf16 units: {cpu_has_bf16_units()}, profile {arguments.profile}")
    image = torch.rand(profile.batch_size, 3, profile.size_px, profile.size_px)
    mask = (torch.rand(profile.batch_size, 1, profile.size_px, profile.size_px) > 0.9).float()
    for method in ABLATED:
        model = build_model(method, profile)
        seconds = {name: [] for name in SETTINGS}
        for round_ in range(arguments.rounds + 1):
            for name, (layout, bf16) in SETTINGS.items():
                model.to(memory_format=layout).zero_grad(set_to_none=True)
                started = time.perf_counter()
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                    named = model.trace(image.contiguous(memory_format=layout))
                total_loss(named, image, mask)["total"].backward()
                if round_:  # the first round warms up
                    seconds[name].append(time.perf_counter() - started)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        first = next(iter(medians.values()))
        shown = (f"{name} {value:.3f} s ({first / value:.2f})" for name, value in medians.items())
        print(f"{method:10}", ", ".join(shown))


if __name__ == "__main__":
    main()

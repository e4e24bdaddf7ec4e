"""What channels_last, the format that training uses, gains in a float32 training step on a CPU.

    python benchmarks/memory_format.py --profile demo

Both formats take turns in one run, on one thread as in the batch; the ratio is that of the medians.
"""

import argparse
import statistics
import time

import torch

from pouta_lib.losses import total_loss
from pouta_lib.models import VARIANTS, build_model
from pouta_lib.profiles import load_profile

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def main() -> None:
    """Prints seconds a step in both formats, and their ratio, for each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    profile = load_profile(arguments.profile)
    torch.set_num_threads(1)
    image = torch.rand(profile.batch_size, 3, profile.size_px, profile.size_px)
    mask = (torch.rand(profile.batch_size, 1, profile.size_px, profile.size_px) > 0.9).float()
    for variant in VARIANTS:
        model = build_model(variant, profile.width, profile.norm)
        seconds = {name: [] for name in FORMATS}
        for round_ in range(arguments.rounds + 1):
            for name, layout in FORMATS.items():
                model.to(memory_format=layout).zero_grad(set_to_none=True)
                started = time.perf_counter()
                named = model.trace(image.contiguous(memory_format=layout))
                total_loss(named, image, mask)["total"].backward()
                if round_:  # the first round warms up
                    seconds[name].append(time.perf_counter() - started)
        plain, last = (statistics.median(seconds[name]) for name in FORMATS)
        print(f"{variant:10} {plain:.3f} s to {last:.3f} s a step: ratio {plain / last:.2f}")


if __name__ == "__main__":
    main()

"""What a profile's study costs on a cluster, as a table: before any dataset is there.

    python tools/gpu_hours.py --profile paper --records results/real

A training's steps are those that its method takes for the published number of good images; the
seconds of a step are those of the committed records of this profile. Storage is counted, before
compression: the weights, and for each test image its map, and its repaired image where the method
makes one.
"""

import argparse
import itertools
import sys
from collections import Counter, defaultdict
from pathlib import Path

import torch

from pouta_lib.data.registry import DATASETS, Counts
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.profiles import Profile, config_path, load_profile
from pouta_lib.method.models import build_model
from pouta_lib.study.choices import RunGroup, read_choices
from pouta_lib.study.records import RunKey, find_records

GPUS = (1, 4, 16, 64)
CATEGORIES, IMAGES, TESTED = 1000, 250, 120  # of a study that large; the last two as in MVTec AD


def images(counts: Counts) -> tuple[int, int]:
    """Good images to train with, and test images, of a category as published."""
    if "train" in counts:
        return counts["train"], counts["test good"] + counts["test defective"]
    good = counts["images"] - counts["all defective"]  # of DAGM, in two like halves
    return good // 2, counts["images"] // 2


def planned(settings: Profile) -> dict[RunKey, Counts]:
    """The study's runs, and the published counts of their categories.

    *Raises* :class:`PoutaError` for a dataset of which no counts are published.
    """
    runs = {}
    for group in read_choices(list[RunGroup], settings.name, "study"):
        info = DATASETS.get(group.dataset)
        published = info.published if info else {}
        if not published:
            found, where = f"{group.dataset}, which has none", config_path(settings.name)
            todo = "take a profile of published datasets, such as paper"
            raise problem("datasets with published counts", found, where, todo)
        names = list(published) if group.categories == "all" else group.categories
        for words in itertools.product(names, group.variants, group.shots, group.seeds):
            runs[RunKey(settings.label, group.dataset, *words)] = published[words[0]]
    return runs


def weights_bytes(settings: Profile, method: str) -> int:
    """Of a model's weights, which are counted and not made; 0 for a memory, whose size varies."""
    if not find_method(method).trained:
        return 0
    with torch.device("meta"):
        state = build_model(method, settings).state_dict()
    return sum(tensor.nbytes for tensor in state.values())


def arrays_bytes(settings: Profile, method: str, tested: int) -> int:
    """Of a run's maps in half precision, and of its repaired images."""
    return tested * settings.size_px**2 * (2 + 3 * find_method(method).rebuilds)


def seconds_a_step(settings: Profile, records: Path) -> tuple[float, str]:
    """Of a training step as the slowest record of this profile has it, and its device.

    *Raises* :class:`PoutaError` where there is no record of a training.
    """
    found = find_records(settings.label, records)
    paces = [(r.seconds.train / r.steps, f"{r.device}, {r.precision}") for r in found if r.steps]
    if not paces:
        todo = "name the folder of its records (--records), or another profile"
        raise problem(f"a record of a training of {settings.label}", "none", records, todo)
    return max(paces)


def report(settings: Profile, records: Path) -> str:
    """The tables, in Markdown."""
    pace, device = seconds_a_step(settings, records)
    runs = planned(settings)
    weights = {key.variant: weights_bytes(settings, key.variant) for key in runs}
    count, bytes_ = Counter[str](), Counter[str]()
    hours: defaultdict[str, float] = defaultdict(float)
    longest = 0.0
    for key, counts in runs.items():
        train, tested = images(counts)
        part = DATASETS[key.dataset].title + (", few shots" if key.shots else "")
        a_run = find_method(key.variant).num_steps(settings, train, key.shots) * pace / 3600
        longest = max(longest, a_run)
        count[part] += 1
        hours[part] += a_run
        bytes_[part] += weights[key.variant] + arrays_bytes(settings, key.variant, tested)
    lines = [f"A training step: {pace:.4f} s ({device}).\n"]
    lines += ["| runs of | runs | GPU-hours of training | GB |", "|---|---|---|---|"]
    for part in count:
        lines += [f"| {part} | {count[part]} | {hours[part]:.1f} | {bytes_[part] / 1e9:.1f} |"]
    whole = sum(hours.values())
    lines += [f"| all | {len(runs)} | {whole:.1f} | {sum(bytes_.values()) / 1e9:.1f} |\n"]
    lines += ["| GPUs | " + " | ".join(map(str, GPUS)) + " |", "|---" * (len(GPUS) + 1) + "|"]
    spread = [f"{max(whole / n, longest):.1f}" for n in GPUS]
    lines += ["| hours at the least | " + " | ".join(spread) + " |\n"]
    one = find_method("pouta").num_steps(settings, IMAGES) * pace / 3600
    stored = weights["pouta"] + arrays_bytes(settings, "pouta", TESTED)
    lines += [
        f"The longest training takes {longest:.1f} hours. In a run of POUTA with {TESTED} test "
        f"images, the weights take {weights['pouta'] / 1e6:.0f} MB and the arrays "
        f"{(stored - weights['pouta']) / 1e6:.0f} MB. {CATEGORIES} categories of {IMAGES} images, "
        f"POUTA alone: {CATEGORIES * one:.0f} GPU-hours and {CATEGORIES * stored / 1e9:.0f} GB."
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--records", type=Path, default=Path("results/real"))
    options = parser.parse_args(arguments)
    try:
        print(report(load_profile(options.profile), options.records), end="")
    except PoutaError as error:
        parser.exit(1, f"gpu_hours: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

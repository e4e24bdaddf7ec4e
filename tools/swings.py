"""What swings along a training: the weights, or the statistics of batch normalisation?

    python tools/swings.py --dataset surface --category magnetic_tile --set light_share=0.0 ...

Trains a network once, with averaged weights beside it (D42), and asks twenty times on the way about
the test images: with its weights and running statistics as they are; with the same weights and
statistics taken anew, from the images of the latest steps; and with the averaged weights. Each row
has the metrics, and the median score of the good and of the bad images. In the table that --out
names, rows of the same training are replaced, and the others stay.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor, nn

from pouta_lib.commands.arguments import add_one_category, add_override
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.paths import atomic_path, results_root
from pouta_lib.ground.profiles import Profile, parse_overrides
from pouta_lib.method.device import Compute, compute_of
from pouta_lib.method.models import build_model
from pouta_lib.method.schedule import batch_indices, step_seed
from pouta_lib.method.training import make_batch, num_steps, train
from pouta_lib.score.evaluation import score_test
from pouta_lib.study.run import Run, load_run_data, prepare_run

LOOKS = 20
LATEST = 200  # steps, whose images the statistics are taken from anew
AS_TRAINED, ANEW, AVERAGED = "as trained", "statistics anew", "averaged weights"
TRAINING = ["dataset", "category", "method", "seed", "label", "steps"]


def take_statistics_anew(model: nn.Module, batches: list[Tensor], compute: Compute) -> nn.Module:
    """`model` with the mean of these batches' statistics in each of its batch normalisations.

    *Shape*: each batch ``(B, 3, S, S)`` in [0, 1].
    """
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    model.train()
    with torch.no_grad(), compute.autocast():
        for batch in batches:
            model(batch.contiguous(memory_format=torch.channels_last))
    return model.eval()


def training_batches(
    images: np.ndarray, textures: np.ndarray, profile: Profile, seed: int, steps: range
) -> list[Tensor]:
    """The images that the training with this seed sees in these steps.

    *Shape*: images ``(N, 3, S, S)`` uint8; textures ``(K, 3, S, S)`` uint8.
    """
    good, bank = torch.from_numpy(images), torch.from_numpy(textures)
    batches = []
    for step in steps:
        chosen = torch.from_numpy(batch_indices(len(good), profile.batch_size, step, seed))
        draws = Generator().manual_seed(step_seed(seed, step))
        batches.append(make_batch(good[chosen].float() / 255, bank, draws, profile).image)
    return batches


def look_along(run: Run) -> list[dict[str, Any]]:
    """One training, and what its network says of the test images at each look, in three ways.

    *Raises* :class:`PoutaError` for a run that averages no weights.
    """
    if not run.profile.average_share:
        todo = "add --set average_share=0.05"
        raise problem("a share of the steps to average over", "0", "average_share", todo)
    part, support, textures = load_run_data(run)
    images, method, seed = part.train[support], run.key.variant, run.key.seed
    steps = num_steps(run.profile, len(images))
    tens = max(1, steps // LOOKS // 10)  # progress is told every ten steps
    settings = replace(run.profile, checkpoint_steps=10 * tens)
    compute = compute_of(method, settings, "cpu")
    values = (part.dataset, part.name, method, seed, run.profile.label, steps)
    rows: list[dict[str, Any]] = []

    def ask(step: int, way: str, model: nn.Module) -> None:
        _, scores, metrics = score_test(model.eval(), part, settings, compute, method)
        row = dict(zip(TRAINING, values, strict=True)) | {"step": step, "way": way} | metrics
        good, bad = (float(np.median(scores[part.labels == label])) for label in (0, 1))
        rows.append(row | {"good_median": good, "bad_median": bad})

    def look(step: int, steps: int, losses: dict[str, float]) -> None:
        if step % settings.checkpoint_steps:
            return
        kept = torch.load(path, weights_only=True)
        model = build_model(method, settings).to(memory_format=torch.channels_last)
        model.load_state_dict(kept["model"])
        ask(step, AS_TRAINED, model)
        seen = training_batches(
            images, textures, settings, seed, range(max(0, step - LATEST), step)
        )
        ask(step, ANEW, take_statistics_anew(model, seen, compute))
        model.load_state_dict(kept["average"])
        ask(step, AVERAGED, model)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        train(
            images,
            textures,
            settings,
            method,
            seed,
            device="cpu",
            checkpoint=path,
            progress=look,
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_one_category(parser)
    parser.add_argument("--profile", default="real-cpu")
    add_override(parser)
    parser.add_argument("--out", type=Path, default=results_root() / "swings.csv")
    options = parser.parse_args(arguments)
    try:
        overrides = parse_overrides(options.overrides)
        named = (options.profile, options.dataset, options.category, options.variant)
        rows = look_along(prepare_run(*named, seed=options.seed, overrides=overrides))
    except PoutaError as error:
        parser.exit(1, f"swings: {error}\n")
    table = pd.DataFrame(rows)
    if options.out.is_file():
        table = pd.concat([pd.read_csv(options.out), table])
        table = table.drop_duplicates([*TRAINING, "step", "way"], keep="last")
    table = table.sort_values([*TRAINING, "step"], kind="stable")
    with atomic_path(options.out) as path:
        table.to_csv(path, index=False, float_format="%.6f")
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())

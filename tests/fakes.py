"""Run records that pass the schema, with no training behind them or with next to none."""

import numpy as np
import torch

from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.history import LOSSES
from pouta_lib.method.training import fit
from pouta_lib.score.evaluation import evaluate
from pouta_lib.study.records import METRICS, RunKey, write_run
from pouta_lib.study.run import load_run_data, prepare_run, save_run


def record_body(profile="demo", **metrics):
    """What save_run hands to write_run; `metrics` are fractions, the others are 0.5."""
    points = {name: [1.0, 0.5] for name in LOSSES}
    return {
        "profile": load_profile(profile).to_dict(),
        "device": "cpu",
        "precision": "fp32",
        "data": {
            "manifest_hash": "0" * 64,
            "num_train": 3,
            "num_test": 4,
            "num_defect": 2,
            "train_paths": None,
        },
        "selection": "last step",
        "backbone": None,
        "watched": [],
        "steps": 2,
        "history": {"step": [1, 2]} | points,
        "metrics": dict.fromkeys(METRICS, 0.5) | metrics,
        "seconds": {"train": 1.0, "evaluate": 0.5},
    }


def fake_run(
    results, dataset, category, variant="pouta", seed=0, shots=None, label="demo", **metrics
):
    """Writes one run folder below `results`; its path."""
    key = RunKey(label, dataset, category, variant, shots, seed)
    arrays = {"maps": np.zeros((4, 8, 8), np.float16)}
    return write_run(key, record_body(label, **metrics), torch.nn.Conv2d(3, 2, 1), arrays, results)


def short_run(variant, steps=2):
    """A run of the smoke profile on the nut, where the environment's folders are; its label."""
    settings = {"precision": "fp32", "steps": steps}
    run = prepare_run("smoke", "mini-mvtec", "nut", variant, overrides=settings)
    category, support, textures = load_run_data(run)
    trained = fit(category.train[support], textures, run.profile, variant, 0, device="cpu")
    found = evaluate(trained.model, category, run.profile, trained.compute, variant)
    save_run(run, category, support, trained, found)
    return run.profile.label

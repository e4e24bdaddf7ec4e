"""Trainings of seconds: of what, by which settings, and whether two of them ended alike."""

import numpy as np
import torch

from pouta_lib.ground.profiles import load_profile

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
TEXTURES = np.random.default_rng(1).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)


def settings(**changes):
    return load_profile("smoke", **({"size_px": 32, "steps": 8, "checkpoint_steps": 3} | changes))


def weights(trained):
    return trained.model.state_dict()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class Stop(Exception):
    pass

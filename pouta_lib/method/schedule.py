"""What step t of a training takes, out of how many: each a function of the seed and t alone.

So a checkpoint keeps no draw, and a training that goes on from one draws what it would have drawn.
"""

import numpy as np

from pouta_lib.ground.profiles import Profile


def learning_rate(profile: Profile, step: int, steps: int) -> float:
    """The rate of step 0 .. steps-1: ``lr`` times ``lr_gamma`` for each milestone passed."""
    passed = sum(step >= milestone * steps for milestone in profile.lr_milestones)
    return profile.lr * profile.lr_gamma**passed


def batch_indices(num_images: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Which images step `step` takes, out of an endless row of shuffled passes.

    Every batch is full: one that begins near the end of a pass is filled from the next, so that a
    category with fewer images than a batch (few-shot) works alike (D16).
    """
    positions = range(step * batch_size, (step + 1) * batch_size)
    passes = {
        p: np.random.default_rng([seed, 1, p]).permutation(num_images)
        for p in sorted({i // num_images for i in positions})
    }
    return np.array([passes[i // num_images][i % num_images] for i in positions])


def step_seed(seed: int, step: int) -> int:
    """What the generator of one step's synthesis is seeded with: a function of (seed, step)."""
    return int(np.random.SeedSequence([seed, 2, step]).generate_state(1, np.uint64)[0] >> 1)

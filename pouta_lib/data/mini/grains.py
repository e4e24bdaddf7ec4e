"""Two statistical textures after DAGM 2007: gray, endless, with one faint place in them."""

import numpy as np

from pouta_lib.data.mini.draw import Grid, Rng, noise, posed


def ellipse(hurt: Rng) -> tuple[float, float, float, float, float]:
    """Where a DAGM defect lies: x, y, angle and the two half axes."""
    x, y = hurt.uniform(-0.6, 0.6, 2)
    return x, y, hurt.uniform(0, np.pi), hurt.uniform(0.18, 0.32), hurt.uniform(0.08, 0.14)


def granular(rng: Rng, hurt: Rng, defect: str | None, grid: Grid) -> np.ndarray:
    """Isotropic grain; its defect is a streak of another brightness, as if wiped."""
    size = grid.x.shape[0]
    field = noise(rng, size, rng.uniform(36, 44)) + 0.6 * noise(rng, size, 80)
    value = 0.47 * rng.normal(1, 0.05) + 0.085 * field + 0.02 * noise(rng, size, 4)
    if defect:
        x, y, angle, a, b = ellipse(hurt)
        local = posed(grid, x, y, angle)
        inside = np.exp(-((local.x / (0.8 * a)) ** 4) - (local.y / (0.75 * b)) ** 4)
        value = value + hurt.choice([-1, 1]) * hurt.uniform(0.16, 0.28) * inside
    return value


def directional(rng: Rng, hurt: Rng, defect: str | None, grid: Grid) -> np.ndarray:
    """A grain with a direction that varies; its defect is a patch where the direction turns."""
    size = grid.x.shape[0]
    turn = rng.normal(0.5, 0.12)
    big = noise(rng, 2 * size, 110, 3)
    local = posed(grid, 0, 0, turn)

    def sample(at: Grid) -> np.ndarray:
        column = ((at.x / 3 + 0.5) * 2 * size).astype(int) % (2 * size)
        return big[((at.y / 3 + 0.5) * 2 * size).astype(int) % (2 * size), column]

    value = 0.5 * rng.normal(1, 0.05) + 0.02 * noise(rng, size, 3)
    field = sample(local)
    if defect:
        x, y, angle, a, b = ellipse(hurt)
        spot = posed(grid, x, y, angle)
        inside = np.exp(-((spot.x / (0.8 * a)) ** 6) - (spot.y / (0.8 * b)) ** 6)
        other = sample(posed(grid, 0.3, 0.2, turn + np.pi / 2 + hurt.normal(0, 0.2)))
        field = field * (1 - inside) + (1.2 * other - 0.9) * inside
    return value + 0.1 * field

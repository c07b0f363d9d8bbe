"""95 % intervals of what was measured per image. Needs no torch."""

import numpy as np
from jaxtyping import Float

ROUNDS = 1000
LEVEL_Z = 1.959964  # 97.5 % quantile of the normal distribution


def mean_interval(values: Float[np.ndarray, "n"], *, seed: int, rounds: int = ROUNDS) -> tuple[float, float] | None:
    """Give the percentile bootstrap interval of a mean: photos are drawn again with replacement.

    Args:
        values: One value per photo, (n,).
        seed: Seed of the draw.
        rounds: Number of draws.

    Returns:
        The 2.5 and 97.5 percentile, or None for fewer than two values.

    Source:
        An Introduction to the Bootstrap (Efron and Tibshirani, 1993), chapter 13.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return None
    draws = np.random.default_rng(seed).integers(0, len(values), (rounds, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def share_interval(count: int, total: int) -> tuple[float, float] | None:
    """Give Wilson's interval of a share; it stays sensible at 0 and at 1.

    Returns:
        Low and high in [0, 1], or None where the total is 0.

    Source:
        Probable inference, the law of succession, and statistical inference (Wilson, 1927).
    """
    if total == 0:
        return None
    share, square = count / total, LEVEL_Z**2
    centre = (share + square / (2 * total)) / (1 + square / total)
    half = LEVEL_Z / (1 + square / total) * np.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))

"""What ratings say besides the ranking: opinion scores, agreement, position bias, correlation with metrics."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from bench import ranking, records

SCALES = ("likeness", "style", "artefacts")
ROUNDS, SEED = 1000, 2026
Coefficient = Callable[[np.ndarray, np.ndarray], np.ndarray]
FITTED = {"A": 0, "B": 1, "tie": 2, "both_bad": 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: None where it cannot be had.
        low: End of the interval, None where it cannot be had; so is high.
        n: How many observations it rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


def opinion(marks: Sequence[float]) -> Estimate:
    """Give the mean opinion score with a t-interval."""
    count = len(marks)
    if count == 0:
        return Estimate(value=None, low=None, high=None, n=0)
    mean = float(np.mean(marks))
    if count == 1:
        return Estimate(value=mean, low=None, high=None, n=1)
    half = float(stats.t.ppf(0.975, count - 1) * np.std(marks, ddof=1) / np.sqrt(count))
    return Estimate(value=mean, low=mean - half, high=mean + half, n=count)


def opinions(ratings: Sequence[records.Rating]) -> dict[str, dict[str, Estimate]]:
    """Give the mean opinion scores per model and scale."""
    marks: dict[str, dict[str, list[int]]] = {}
    for rating in ratings:
        if rating.scaled_side is not None and rating.likeness is not None:
            mine = marks.setdefault(getattr(rating, f"{rating.scaled_side}_model"), {scale: [] for scale in SCALES})
            for scale in SCALES:
                mine[scale].append(getattr(rating, scale))
    return {model: {scale: opinion(values) for scale, values in mine.items()} for model, mine in sorted(marks.items())}


def position(comparisons: ranking.Comparisons, rounds: ranking.Rounds) -> Estimate:
    """Give the share of decisive choices that went to the left; the interval is clustered like the bootstrap's."""
    left = int((comparisons.outcome == ranking.LEFT).sum())
    decided = left + int((comparisons.outcome == ranking.RIGHT).sum())
    if decided == 0:
        return Estimate(value=None, low=None, high=None, n=0)
    low, high = np.percentile(rounds.left_wins, [2.5, 97.5])
    return Estimate(value=left / decided, low=float(low), high=float(high), n=decided)


def agreement(ratings: Sequence[records.Rating], *, rounds: int = 200, seed: int = SEED) -> Estimate:
    """Give Krippendorff's nominal alpha of the choices, ties included, with an interval over pairs of predictions.

    A unit is a pair of predictions of one photo, its sides brought into one order. The order is drawn by hash: one by
    name would make a better model the same value everywhere, and agreement about it look like chance.
    """
    units: dict[tuple[str, ...], list[int]] = {}
    for rating in ratings:
        if rating.choice in FITTED:
            unit = (rating.photo_id, *sorted((rating.left_model, rating.right_model)))
            choice = FITTED[rating.choice]
            swap = (rating.left_model == unit[1]) != bool(zlib.crc32("/".join(unit).encode()) & 1)
            units.setdefault(unit, []).append(1 - choice if swap and choice < 2 else choice)
    counts = np.array([np.bincount(values, minlength=3) for values in units.values() if len(values) > 1])
    if len(counts) < 2 or (counts.sum(axis=0) > 0).sum() < 2:
        return Estimate(value=None, low=None, high=None, n=int(counts.sum()))
    generator = np.random.default_rng(seed)
    drawn = [alpha(counts[generator.integers(len(counts), size=len(counts))]) for _ in range(rounds)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Estimate(value=alpha(counts), low=float(low), high=float(high), n=int(counts.sum()))


def alpha(counts: np.ndarray) -> float:
    """Give Krippendorff's nominal alpha of units with counts per value; NaN where all values are the same."""
    import krippendorff

    if (counts.sum(axis=0) > 0).sum() < 2:
        return float("nan")
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Correlation:
    """How a metric goes with preference over models; with about ten models the intervals are very wide.

    Attributes:
        metric: Its label and reference.
        spearman: Rank correlation, positive where a better value goes with preference.
        kendall: The same by pairs of models.
        p_value: Of Spearman's, corrected for the number of metrics after Holm.
        models: How many models have both.
    """

    metric: str
    spearman: Estimate
    kendall: Estimate
    p_value: float
    models: int


def correlate(
    metrics: Mapping[str, Mapping[str, float]], fit: Mapping[str, float], rounds: ranking.Rounds, models: Sequence[str]
) -> list[Correlation]:
    """Correlate every metric with strength.

    Args:
        metrics: Per metric the value of each model, signed so that more is better.
        fit: Strength of each model.
        rounds: Bootstrap over participants and photos, for the interval.
        models: Order of the columns of `rounds`.

    Returns:
        One entry for every metric that three models or more have.
    """
    found = []
    for metric, values in sorted(metrics.items()):
        common = [name for name in models if name in values]
        if len(common) < 3 or len({values[name] for name in common}) < 2:
            continue
        x = np.array([values[name] for name in common])
        columns = [list(models).index(name) for name in common]
        strength = np.array([fit[name] for name in common])
        found.append(
            Correlation(
                metric=metric,
                spearman=_estimate(spearman, x, strength, rounds.strength[:, columns]),
                kendall=_estimate(kendall, x, strength, rounds.strength[:, columns]),
                p_value=float(stats.spearmanr(x, strength)[1]),  # pyright: ignore[reportArgumentType]
                models=len(common),
            )
        )
    return _holm(found)


def _estimate(coefficient: Coefficient, x: np.ndarray, strength: np.ndarray, drawn: np.ndarray) -> Estimate:
    low, high = np.nanpercentile(coefficient(x, drawn), [2.5, 97.5])
    value = float(coefficient(x, strength[None])[0])
    return Estimate(value=value, low=float(low), high=float(high), n=len(x))


def spearman(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Give the rank correlation of x (M,) with every row of (R, M)."""
    a, b = stats.rankdata(x), stats.rankdata(rows, axis=1)
    a, b = a - a.mean(), b - b.mean(axis=1, keepdims=True)
    return b @ a / np.sqrt((a**2).sum() * (b**2).sum(axis=1))


def kendall(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Give Kendall's tau-b of x (M,) with every row of (R, M)."""
    first, second = np.triu_indices(len(x), 1)
    a, b = np.sign(x[first] - x[second]), np.sign(rows[:, first] - rows[:, second])
    return b @ a / np.sqrt((a**2).sum() * (b**2).sum(axis=1))


def _holm(found: list[Correlation]) -> list[Correlation]:
    """Correct p-values for their number: the smallest times n, the next times n - 1, never decreasing."""
    order = sorted(range(len(found)), key=lambda index: found[index].p_value)
    corrected, so_far = dict.fromkeys(order, 1.0), 0.0
    for place, index in enumerate(order):
        so_far = max(so_far, min(1.0, (len(found) - place) * found[index].p_value))
        corrected[index] = so_far
    return [dataclasses.replace(each, p_value=corrected[index]) for index, each in enumerate(found)]

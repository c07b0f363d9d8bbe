"""How often a metric, asked about one photo, sides with the person who chose; and how often other people do.

Needs no torch.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bench import preference, protocol, ranking, records

Values = Mapping[str, Mapping[str, float]]
DECISIVE = {"A": 1.0, "B": 0.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Pairwise accuracy on decisive choices.

    Attributes:
        metric: Name, or `PEOPLE` for the majority of the other participants: the ceiling of any metric.
        share: Of choices that it sides with, a tie counting half; 0.5 is chance. The interval draws participants and
            photos together.
    """

    metric: str
    share: preference.Estimate


PEOPLE = "other people"


def read_values(path: str | Path) -> dict[str, dict[str, float]]:
    """Read the benchmark's values per image, signed so that more is better.

    Args:
        path: `values.jsonl` of a benchmark's folder.

    Returns:
        Per metric the value of every prediction, by the SHA-256 of its bytes.

    Raises:
        RecordError: A line is no value.
    """
    better = {
        metric.values: metric.better for metric in protocol.METRICS if metric.values and metric.label != "no_face"
    }
    found: dict[str, dict[str, float]] = {}
    for number, row in enumerate(records.read_jsonl(path), start=1):
        try:
            name, sha256, value = row["metric"], row["prediction_sha256"], row["value"]
        except KeyError as error:
            raise records.RecordError(f"{path}, line {number} has no {error}; expected a value per image.") from error
        if value is not None and name in better:
            found.setdefault(name, {})[sha256] = value if better[name] == "higher" else -value
    return found


def accuracies(ratings: Sequence[records.Rating], values: Values, *, rounds: int = ranking.ROUNDS) -> list[Accuracy]:
    """Compare every metric with the choices, and people with each other.

    Args:
        ratings: Main trials; ties and pairs that a metric has no values of are left out.
        values: As `read_values` gives them.
        rounds: Of the bootstrap.

    Returns:
        The people first, then the metrics by name; only those with a pair to judge.
    """
    decisive = [rating for rating in ratings if rating.choice in DECISIVE]
    judges: dict[str, Callable[[records.Rating], float | None]] = {PEOPLE: _majority(decisive)}
    judges |= {name: _by_value(of) for name, of in sorted(values.items())}
    found = []
    for name, judge in judges.items():
        judged = [(rating, wanted) for rating in decisive if (wanted := judge(rating)) is not None]
        if judged:
            found.append(Accuracy(metric=name, share=_share(judged, rounds=rounds)))
    return found


def _by_value(of: Mapping[str, float]) -> Callable[[records.Rating], float | None]:
    def judge(rating: records.Rating) -> float | None:
        left, right = of.get(rating.left_sha256), of.get(rating.right_sha256)
        return None if left is None or right is None else _sign(left - right)

    return judge


def _majority(decisive: Sequence[records.Rating]) -> Callable[[records.Rating], float | None]:
    """Side with the majority of the others who saw this pair on this photo, on whichever side."""
    votes: dict[tuple[str, str, str], list[tuple[str, float]]] = {}
    for rating in decisive:
        for first, second, sign in (
            (rating.left_model, rating.right_model, 1.0),
            (rating.right_model, rating.left_model, -1.0),
        ):
            place = votes.setdefault((rating.photo_id, first, second), [])
            place.append((rating.participant_id, sign * (2 * DECISIVE[rating.choice] - 1)))

    def judge(rating: records.Rating) -> float | None:
        seen = votes[rating.photo_id, rating.left_model, rating.right_model]
        others = [vote for who, vote in seen if who != rating.participant_id]
        return _sign(sum(others)) if others else None

    return judge


def _sign(difference: float) -> float:
    """1 for left, 0 for right, 0.5 for neither."""
    return (1 + float(np.sign(difference))) / 2


def _share(judged: Sequence[tuple[records.Rating, float]], *, rounds: int) -> preference.Estimate:
    given = np.array([DECISIVE[rating.choice] for rating, _ in judged])
    right = 1 - np.abs(given - np.array([wanted for _, wanted in judged]))
    weights = ranking.joint_weights(
        np.unique([rating.participant_id for rating, _ in judged], return_inverse=True)[1],
        np.unique([rating.photo_id for rating, _ in judged], return_inverse=True)[1],
        rounds=rounds,
    )
    total = weights.sum(axis=1)
    drawn = (weights @ right)[total > 0] / total[total > 0]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return preference.Estimate(value=float(right.mean()), low=float(low), high=float(high), n=len(judged))

"""What people preferred, as one document: strengths with intervals and all that a reader must know. Needs no torch.

The same ratings give the same bytes: nothing in it depends on the moment or the machine.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench import accuracy, preference, protocol, ranking, records

DIGITS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Body:
    """The ratings of one protocol, screened.

    Attributes:
        headline: Main ratings of those who passed.
        everybody: Main ratings of all.
        scaled: Ratings whose scales count.
        checks: Counts and rates of the screening, for the panel.
        min_ratings: A model with fewer is hidden.
        firm_ratings: A model with fewer is preliminary.
        firm_participants: A ranking of fewer is preliminary.
        position_bias: A ranking is preliminary while the interval of P(left) excludes 0.5 by more.
    """

    headline: Sequence[records.Rating]
    everybody: Sequence[records.Rating]
    scaled: Sequence[records.Rating] = ()
    checks: Mapping[str, Any]
    min_ratings: int = 100
    firm_ratings: int = 300
    firm_participants: int = 30
    position_bias: float = 0.03


def standings(
    body: Body, scores: Sequence[records.Score] = (), values: accuracy.Values | None = None
) -> dict[str, Any]:
    """Rank the models.

    Args:
        body: Ratings of one protocol.
        scores: What the benchmark measured, to correlate with.
        values: What it measured of each prediction, see `accuracy.read_values`.

    Returns:
        JSON types only. "models" is sorted by the lower end of the strength's interval; it is empty, and "reason" says
        why, where nothing can be ranked.

    Raises:
        RecordError: Simulated and real ratings, or two protocols, are mixed.
    """
    document = _facts(body)
    try:
        compared = ranking.compare(body.headline)
        fitted = ranking.fit(compared)
    except records.RecordError as error:
        return document | {"models": [], "reason": str(error)}
    people, photos = ranking.resample(compared), ranking.resample(compared, cluster="photo")
    position = preference.position(compared, people)
    firm = _is_firm(body, compared, position)
    rows = _rows(body, compared, fitted, (ranking.intervals(people), ranking.intervals(photos)), firm=firm)
    strength = dict(zip(compared.models, fitted.strength.tolist(), strict=True))
    return document | {
        "models": sorted(rows, key=lambda row: (-row["strength"]["low"], row["model"])),
        "reason": "",
        "preliminary": not firm,
        "names": list(compared.models),
        "wins": ranking.win_matrix(compared).astype(int).tolist(),
        "gamma": round(fitted.gamma, DIGITS),
        "nu": round(fitted.nu, DIGITS),
        "rao_kupper": dict(zip(compared.models, _rounded(ranking.rao_kupper(compared).strength, 1), strict=True)),
        "position": _estimate(position),
        "agreement": _estimate(preference.agreement(body.headline)),
        **_beside_metrics(body, compared, strength, signed(scores), values or {}),
    }


def _beside_metrics(
    body: Body,
    compared: ranking.Comparisons,
    strength: Mapping[str, float],
    metrics: Mapping[str, Mapping[str, float]],
    values: accuracy.Values,
) -> dict[str, Any]:
    """Say how metrics go with preference: over models, and pair by pair."""
    drawn = ranking.resample(compared, cluster="both")
    return {
        "correlations": [
            {
                "metric": each.metric,
                "spearman": _estimate(each.spearman),
                "kendall": _estimate(each.kendall),
                "p_value": round(each.p_value, DIGITS),
                "models": each.models,
            }
            for each in preference.correlate(metrics, strength, drawn, compared.models)
        ],
        "accuracies": [
            {"metric": each.metric, "share": _estimate(each.share)}
            for each in accuracy.accuracies(body.headline, values)
        ],
    }


def _facts(body: Body) -> dict[str, Any]:
    """Say whose ratings these are; refuse what must never be ranked together."""
    given = body.everybody
    kinds = {(rating.simulated, rating.protocol, rating.rules_sha256) for rating in given}
    if len(kinds) > 1:
        listed = "; ".join(f"{name}{' (simulated)' if made_up else ''}" for made_up, name, _ in sorted(kinds))
        raise records.RecordError(f"ratings of different kinds are never ranked together: {listed}. Rank each alone.")
    simulated, name, rules_sha256 = kinds.pop() if kinds else (False, "", "")
    return {
        "protocol": name,
        "simulated": simulated,
        "rules_sha256": rules_sha256,
        "data_sha256": digest(given),
        "as_of": max((rating.received_at for rating in given), default=""),
        "commits": sorted({rating.git_commit for rating in given}),
        "ratings": len(body.headline),
        "ratings_of_all": len(given),
        "participants": len({rating.participant_id for rating in body.headline}),
        "checks": dict(body.checks),
    }


def digest(ratings: Sequence[records.Rating]) -> str:
    """Hash ratings in their order."""
    lines = "\n".join(json.dumps(records.to_row(rating), sort_keys=True) for rating in ratings)
    return hashlib.sha256(lines.encode()).hexdigest()


def _is_firm(body: Body, compared: ranking.Comparisons, position: preference.Estimate) -> bool:
    people = len({rating.participant_id for rating in body.headline})
    low, high = position.low or 0.0, position.high or 1.0
    biased = low > 0.5 + body.position_bias or high < 0.5 - body.position_bias
    return people >= body.firm_participants and not biased and len(ranking.components(compared, strong=True)) == 1


def _rows(
    body: Body,
    compared: ranking.Comparisons,
    fitted: ranking.Fit,
    intervals: tuple[ranking.Intervals, ranking.Intervals],
    *,
    firm: bool,
) -> list[dict[str, Any]]:
    people, photos = intervals
    of_all = _strengths(body.everybody)
    opinions = preference.opinions(body.scaled)
    rows = []
    for number, model in enumerate(compared.models):
        mine = [rating for rating in body.headline if model in (rating.left_model, rating.right_model)]
        amount = sum(rating.choice in ranking.OUTCOMES for rating in mine)
        rows.append(
            {
                "model": model,
                "strength": _ends(fitted.strength[number], people.strength[number]),
                "strength_by_photo": _ends(fitted.strength[number], photos.strength[number]),
                "strength_of_all": of_all.get(model),
                "rank": people.rank[number].tolist(),
                "ratings": amount,
                "participants": len({rating.participant_id for rating in mine}),
                "both_bad": _share(mine, "both_bad"),
                "cannot_load": _share(mine, "cannot_load"),
                "opinion": {scale: _estimate(value) for scale, value in opinions.get(model, {}).items()},
                "hidden": amount < body.min_ratings,
                "preliminary": not firm or amount < body.firm_ratings,
            }
        )
    return rows


def _strengths(ratings: Sequence[records.Rating]) -> dict[str, float]:
    try:
        compared = ranking.compare(ratings)
        return dict(zip(compared.models, _rounded(ranking.fit(compared).strength, 1), strict=True))
    except records.RecordError:
        return {}


def _share(ratings: Sequence[records.Rating], choice: str) -> float:
    return round(sum(rating.choice == choice for rating in ratings) / max(1, len(ratings)), DIGITS)


def _ends(value: float, ends: np.ndarray) -> dict[str, float]:
    low, high = _rounded(ends, 1)
    return {"value": round(float(value), 1), "low": low, "high": high}


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]


def _estimate(estimate: preference.Estimate) -> dict[str, Any]:
    row = dataclasses.asdict(estimate)
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in row.items()}


def signed(scores: Sequence[records.Score]) -> dict[str, dict[str, float]]:
    """Arrange scores per metric and model, signed so that more is better; the photo is no model."""
    better = {(metric.label, metric.reference): metric.better for metric in protocol.METRICS}
    found: dict[str, dict[str, float]] = {}
    for score in scores:
        direction = next(
            (
                way
                for (label, reference), way in better.items()
                if reference == score.reference and (score.metric == label or score.metric.startswith(f"{label}-"))
            ),
            None,
        )
        if direction and score.value is not None and score.model != protocol.PHOTO:
            name = f"{score.metric} to {score.reference}" if score.reference else score.metric
            found.setdefault(name, {})[score.model] = score.value if direction == "higher" else -score.value
    return found


def to_json(document: Mapping[str, Any]) -> bytes:
    """Write the document the one way that is published."""
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()

"""Pairwise accuracy by hand, its interval on known truth, and where values come from."""

import dataclasses
from pathlib import Path

import pytest

from bench import accuracy, records
from space import plan, simulate

MODELS = ("weak", "middle", "strong")
VALUE = {"weak": 0.0, "middle": 1.0, "strong": 2.0}


@pytest.fixture(scope="module")
def ratings() -> list[records.Rating]:
    """A study whose predictions have the hash "photo/model"."""
    design = plan.Design(models=MODELS, photos=tuple(f"p{number}" for number in range(20)))
    truth = simulate.Truth(log_s=simulate.spread(MODELS, 600), taste=0.0)
    given = simulate.study(design, simulate.crowd("honest", 15, truth=truth), sessions=2)
    return [
        dataclasses.replace(
            rating,
            left_sha256=f"{rating.photo_id}/{rating.left_model}",
            right_sha256=f"{rating.photo_id}/{rating.right_model}",
        )
        for rating in given
        if rating.role == "main"
    ]


def values(ratings: list[records.Rating], *, sign: float = 1.0) -> dict[str, float]:
    hashes = {sha256 for rating in ratings for sha256 in (rating.left_sha256, rating.right_sha256)}
    return {sha256: sign * VALUE[sha256.split("/")[1]] for sha256 in hashes}


def test_shares_are_counted_by_hand(ratings: list[records.Rating]):
    found = {each.metric: each.share for each in accuracy.accuracies(ratings, {"good": values(ratings)})}
    decisive = [rating for rating in ratings if rating.choice in "AB"]
    sides = [VALUE[rating.left_model] > VALUE[rating.right_model] for rating in decisive]
    expected = sum(side == (rating.choice == "A") for side, rating in zip(sides, decisive, strict=True)) / len(decisive)
    assert found["good"].value == pytest.approx(expected)
    assert found["good"].n == len(decisive)
    assert found["good"].low is not None and found["good"].high is not None
    assert 0.6 < found["good"].low < expected < found["good"].high < 1


def test_a_metric_turned_round_and_one_that_never_differs(ratings: list[records.Rating]):
    flat = dict.fromkeys(values(ratings), 3.0)
    given = {"good": values(ratings), "bad": values(ratings, sign=-1.0), "flat": flat}
    found = {each.metric: each.share.value for each in accuracy.accuracies(ratings, given, rounds=50)}
    assert found["good"] == pytest.approx(1 - (found["bad"] or 0))
    assert found["flat"] == 0.5


def test_people_are_compared_with_others_only(ratings: list[records.Rating]):
    (first, *_) = [rating for rating in ratings if rating.choice == "A"]
    other = dataclasses.replace(
        first,
        participant_id="other",
        left_model=first.right_model,
        right_model=first.left_model,
        choice="B",
    )
    assert accuracy.accuracies([first, first], {}, rounds=10) == [], "nobody else saw this pair"
    (ceiling,) = accuracy.accuracies([first, other], {}, rounds=10)
    assert (ceiling.metric, ceiling.share.value, ceiling.share.n) == (accuracy.PEOPLE, 1.0, 2)
    against = dataclasses.replace(other, choice="A")
    assert accuracy.accuracies([first, against], {}, rounds=10)[0].share.value == 0.0


def test_pairs_without_values_are_left_out(ratings: list[records.Rating]):
    some = {sha256: value for sha256, value in values(ratings).items() if sha256.startswith("p1/")}
    found = {each.metric: each.share.n for each in accuracy.accuracies(ratings, {"some": some}, rounds=10)}
    assert found["some"] == sum(rating.photo_id == "p1" and rating.choice in "AB" for rating in ratings)
    assert accuracy.PEOPLE in found


def test_values_are_read_with_their_sign(tmp_path: Path):
    rows = [
        {"metric": "lpips_alex_v0.1", "prediction_sha256": "a", "value": 0.2},
        {"metric": "identity", "prediction_sha256": "a", "value": 0.9},
        {"metric": "identity", "prediction_sha256": "b", "value": None},
        {"metric": "unheard of", "prediction_sha256": "a", "value": 1.0},
    ]
    records.append_jsonl(tmp_path / "values.jsonl", rows)
    found = accuracy.read_values(tmp_path / "values.jsonl")
    assert found["identity"] == {"a": 0.9}
    assert found["lpips_alex_v0.1"] == {"a": -0.2}
    assert "unheard of" not in found
    records.append_jsonl(tmp_path / "values.jsonl", [{"metric": "lpips_alex_v0.1"}])
    with pytest.raises(records.RecordError, match="line 5"):
        accuracy.read_values(tmp_path / "values.jsonl")

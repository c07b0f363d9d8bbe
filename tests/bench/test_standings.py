"""Standings: known truth comes out, bytes do not change, different kinds are never mixed, marks are set."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import records, standings
from space import plan, screening, simulate
from tests.bench import samples

MODELS = ("weak", "middle", "strong")
TRUTH = simulate.Truth(log_s=simulate.spread(MODELS, 300))
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ratings() -> list[records.Rating]:
    design = plan.Design(models=MODELS, photos=tuple(f"p{number}" for number in range(20)))
    return simulate.study(design, simulate.crowd("honest", 36, truth=TRUTH), sessions=5)


def body(ratings: list[records.Rating], **options: object) -> standings.Body:
    screened = screening.screen(ratings)
    facts = {
        "headline": screened.headline,
        "everybody": screened.everybody,
        "scaled": screened.scaled,
        "checks": {"passed": len(screened.passed)},
    }
    return standings.Body(**facts | options)


def test_the_known_order_comes_out_with_its_intervals(ratings: list[records.Rating]) -> None:
    document = standings.standings(body(ratings))
    assert [row["model"] for row in document["models"]] == ["strong", "middle", "weak"]
    for row, truth in zip(document["models"], (1150, 1000, 850), strict=True):
        assert row["strength"]["low"] - 15 <= truth <= row["strength"]["high"] + 15
        assert row["strength"]["low"] < row["strength"]["value"] < row["strength"]["high"]
        assert not row["hidden"] and not row["preliminary"]
        assert set(row["opinion"]) == {"likeness", "style", "artefacts"}
    assert document["models"][0]["rank"] == [1, 1]
    assert document["simulated"]
    assert document["participants"] >= 34  # screening may remove an honest one
    json.loads(standings.to_json(document))


def test_the_same_ratings_give_the_same_bytes_in_another_process(ratings: list[records.Rating], tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    records.append_jsonl(path, map(records.to_row, ratings))
    code = (
        "import sys; from bench import records, standings; from space import screening\n"
        "given = [records.rating_from_row(row) for row in records.read_jsonl(sys.argv[1])]\n"
        "s = screening.screen(given)\n"
        "facts = {'headline': s.headline, 'everybody': s.everybody, 'scaled': s.scaled}\n"
        "b = standings.Body(**facts, checks={'passed': len(s.passed)})\n"
        "sys.stdout.buffer.write(standings.to_json(standings.standings(b)))\n"
        "assert 'torch' not in sys.modules"
    )
    other = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, check=True)
    assert other.stdout == standings.to_json(standings.standings(body(ratings)))


def test_simulated_ratings_are_never_mixed_with_real_ones(ratings: list[records.Rating]) -> None:
    real = dataclasses.replace(ratings[0], simulated=False, protocol="study-v1", rating_id="r", trial_id="t")
    with pytest.raises(records.RecordError, match=r"simulated-study-v1 \(simulated\)"):
        standings.standings(standings.Body(headline=[], everybody=[*ratings, real], checks={}))


def test_little_is_marked_as_preliminary_or_hidden(ratings: list[records.Rating]) -> None:
    few = [rating for rating in ratings if rating.participant_id in {each.participant_id for each in ratings[:20]}]
    document = standings.standings(body(few))
    assert document["preliminary"]
    assert all(row["preliminary"] and row["hidden"] for row in document["models"])


def test_nothing_to_rank_says_why() -> None:
    document = standings.standings(standings.Body(headline=[], everybody=[], checks={}))
    assert document["models"] == []
    assert "two models" in document["reason"]


def test_metrics_are_signed_so_that_more_is_better() -> None:
    scores = [
        samples.score(model=model, metric=metric, reference=reference, value=value)
        for model, metric, reference, value in [
            ("a", "kid_tf-768", "anime", 0.004),
            ("b", "identity", "photo", 0.7),
            ("photo", "identity", "photo", 1.0),
            ("a", "unheard of", "photo", 1.0),
        ]
    ]
    assert standings.signed(scores) == {"kid_tf-768 to anime": {"a": -0.004}, "identity to photo": {"b": 0.7}}

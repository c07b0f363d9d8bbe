"""Opinion scores, agreement, position bias and correlation, against closed forms and other implementations."""

import numpy as np
import pytest
from scipy import stats

from bench import preference, ranking
from space import plan, simulate

MODELS = ("a", "b", "c", "d")
TRUTH = simulate.Truth(log_s=simulate.spread(MODELS, 300))


def ratings(sessions: int = 2, people: int = 12, **truth: float):
    design = plan.Design(models=MODELS, photos=tuple(f"p{number}" for number in range(20)))
    made = simulate.Truth(log_s=TRUTH.log_s, **truth)
    given = simulate.study(design, simulate.crowd("honest", people, truth=made), sessions=sessions)
    return [rating for rating in given if rating.role == "main"]


def test_the_t_interval_is_scipys() -> None:
    marks = [3, 4, 4, 5, 2, 4]
    expected = stats.t.interval(0.95, 5, loc=np.mean(marks), scale=stats.sem(marks))
    estimate = preference.opinion(marks)
    assert (estimate.low, estimate.high) == pytest.approx(expected)
    assert preference.opinion([]).value is None
    assert preference.opinion([4]).low is None


def test_the_half_width_of_the_specification() -> None:
    """Twenty-four marks with a standard deviation of 1: +- 0.42."""
    marks = stats.norm.ppf((np.arange(24) + 0.5) / 24)
    estimate = preference.opinion((marks / np.std(marks, ddof=1)).tolist())
    assert estimate.high is not None
    assert estimate.high == pytest.approx(0.42, abs=0.005)


def test_scales_belong_to_the_side_they_were_asked_about() -> None:
    given = preference.opinions(ratings())
    assert set(given) <= set(MODELS)
    counts = sum(scales["likeness"].n for scales in given.values())
    assert counts == 12 * 2 * 5


def test_alpha_of_a_published_example() -> None:
    """Two observers, ten binary units (Krippendorff, 2011, section A): alpha = 0.095."""
    first, second = "0100000010", "1110010000"
    counts = np.array([np.bincount([int(a), int(b)], minlength=2) for a, b in zip(first, second, strict=True)])
    assert preference.alpha(counts) == pytest.approx(0.095, abs=0.001)


def test_agreement_of_people_who_agree_and_of_coins() -> None:
    sure = preference.agreement(ratings(sessions=4, nu=0.01, taste=0.0))
    assert sure.value is not None and sure.low is not None and sure.high is not None
    assert sure.low <= sure.value <= sure.high
    design = plan.Design(models=MODELS, photos=tuple(f"p{number}" for number in range(20)))
    coins = simulate.study(design, simulate.crowd("random", 12, truth=TRUTH), sessions=4)
    tossed = preference.agreement([rating for rating in coins if rating.role == "main"])
    assert tossed.value is not None
    assert abs(tossed.value) < 0.15 < sure.value
    assert preference.agreement([]).value is None


def test_position_bias_is_seen() -> None:
    compared = ranking.compare(ratings(sessions=6, people=20, gamma=1.5))
    share = preference.position(compared, ranking.resample(compared, rounds=200))
    assert share.low is not None
    assert share.low > 0.5


def test_a_metric_that_follows_preference_correlates_and_one_that_does_not_is_corrected() -> None:
    compared = ranking.compare(ratings(sessions=6, people=20), MODELS)
    fitted = ranking.fit(compared)
    strength = dict(zip(MODELS, fitted.strength.tolist(), strict=True))
    rounds = ranking.resample(compared, rounds=200)
    metrics = {
        "follows": dict(strength),
        "opposes": {name: -value for name, value in strength.items()},
        "two models only": {"a": 1.0, "b": 2.0},
        "noise": dict(zip(MODELS, (2.0, 9.0, 4.0, 3.0), strict=True)),
    }
    found = {each.metric: each for each in preference.correlate(metrics, strength, rounds, MODELS)}
    assert set(found) == {"follows", "opposes", "noise"}
    assert found["follows"].spearman.value == pytest.approx(1)
    assert found["opposes"].kendall.value == pytest.approx(-1)
    raw = stats.spearmanr(list(metrics["noise"].values()), fitted.strength).pvalue
    assert found["noise"].p_value >= raw > 0.05
    assert found["follows"].models == 4


def test_the_coefficients_of_many_rows_are_scipys() -> None:
    generator = np.random.default_rng(5)
    x, rows = generator.integers(0, 4, size=7).astype(float), generator.normal(size=(6, 7))
    for ours, theirs in ((preference.spearman, stats.spearmanr), (preference.kendall, stats.kendalltau)):
        expected = [theirs(x, row).statistic for row in rows]
        assert ours(x, rows) == pytest.approx(expected)

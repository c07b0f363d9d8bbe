"""Intervals against the normal formula, their promised coverage and known values."""

import numpy as np
import pytest

from bench import intervals


def test_mean_interval_is_close_to_the_normal_one_and_repeatable() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    interval = intervals.mean_interval(values, seed=5)
    half = 1.96 * values.std(ddof=1) / 20
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.04)
    assert interval == intervals.mean_interval(values, seed=5)
    assert interval != intervals.mean_interval(values, seed=6)


def test_mean_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for seed in range(200):
        interval = intervals.mean_interval(generator.exponential(1, 100), seed=seed, rounds=300)
        assert interval is not None
        hits += interval[0] <= 1 <= interval[1]
    assert hits / 200 >= 0.88


def test_one_value_has_no_interval() -> None:
    assert intervals.mean_interval(np.ones(1), seed=1) is None
    assert intervals.share_interval(0, 0) is None


def test_share_interval() -> None:
    assert intervals.share_interval(0, 338) == pytest.approx((0, 0.01124), abs=1e-5)
    assert intervals.share_interval(10, 10) == pytest.approx((0.72247, 1), abs=1e-5)
    assert intervals.share_interval(50, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)

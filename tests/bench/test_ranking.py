"""The ranking: closed forms, an independent fit, known truth, ties, position bias, and what cannot be ranked."""

import dataclasses

import numpy as np
import pytest
from scipy import optimize

from bench import ranking, records
from bench.ranking import LEFT, RIGHT, TIE, Comparisons


def comparisons(rows: list[tuple[int, int, int]], *, models: int = 2, people: list[int] | None = None) -> Comparisons:
    left, right, outcome = (np.array(column, dtype=int) for column in zip(*rows, strict=True))
    participant = np.array(people if people is not None else range(len(rows)), dtype=int)
    names = tuple("abcdefghij"[:models])
    return Comparisons(
        models=names, left=left, right=right, outcome=outcome, participant=participant, photo=participant
    )


def drawn(
    log_s: np.ndarray, *, amount: int, gamma: float = 1.0, nu: float = 0.5, seed: int = 0, people: int = 50
) -> Comparisons:
    generator = np.random.default_rng(seed)
    models = len(log_s)
    left = generator.integers(models, size=amount)
    right = (left + generator.integers(1, models, size=amount)) % models
    a, b = np.exp(log_s[left]), np.exp(log_s[right])
    weights = np.stack([gamma * a, b, nu * np.sqrt(a * b)], axis=1)
    uniform = generator.random((amount, 1)) * weights.sum(axis=1, keepdims=True)
    outcome = (uniform > weights.cumsum(axis=1)).sum(axis=1)
    person = np.arange(amount) % people
    return Comparisons(
        models=tuple("abcdefghij"[:models]), left=left, right=right, outcome=outcome, participant=person, photo=person
    )


def test_equal_records_are_equally_strong() -> None:
    fit = ranking.fit(comparisons([(0, 1, LEFT), (0, 1, RIGHT), (1, 0, LEFT), (1, 0, RIGHT), (0, 1, TIE), (1, 0, TIE)]))
    assert fit.strength == pytest.approx([1000, 1000])
    assert fit.gamma == pytest.approx(1)


def test_two_models_agree_with_the_closed_form() -> None:
    # Without a prior s_a / s_b = wins / losses; 3000 choices drown the prior.
    rows = [(0, 1, LEFT)] * 1000 + [(1, 0, RIGHT)] * 1000 + [(0, 1, RIGHT)] * 500 + [(1, 0, LEFT)] * 500
    fit = ranking.fit(comparisons(rows))
    assert fit.strength[0] - fit.strength[1] == pytest.approx(400 * np.log10(2), abs=1)
    assert fit.nu < 0.01


def test_the_known_truth_comes_back() -> None:
    log_s = np.array([-0.6, -0.2, 0.1, 0.7])
    fit = ranking.fit(drawn(log_s, amount=60_000, gamma=1.2, nu=0.6))
    assert fit.strength == pytest.approx(1000 + 400 * log_s / np.log(10), abs=8)
    assert fit.gamma == pytest.approx(1.2, abs=0.03)
    assert fit.nu == pytest.approx(0.6, abs=0.02)


def test_agrees_with_an_independent_optimiser() -> None:
    """Reference: the likelihood of the definition, written out choice by choice and left to Nelder and Mead."""
    data = drawn(np.array([0.5, 0.0, -0.5]), amount=200, gamma=0.8, nu=0.4, seed=3)

    def loss(parameters: np.ndarray) -> float:
        s, (gamma, nu) = np.exp(parameters[:3]), np.exp(parameters[3:])
        total = (parameters[3] ** 2 + parameters[4] ** 2) / (2 * ranking.NUISANCE_SD**2)
        for i, j, outcome in zip(data.left, data.right, data.outcome, strict=True):
            parts = [gamma * s[i], s[j], nu * np.sqrt(s[i] * s[j])]
            total -= np.log(parts[outcome] / sum(parts))
        return total - np.log(s / (1 + s) ** 2).sum()

    options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 20_000, "maxfev": 20_000}
    found = optimize.minimize(loss, np.zeros(5), method="Nelder-Mead", options=options).x
    expected = 1000 + 400 * (found[:3] - found[:3].mean()) / np.log(10)
    fit = ranking.fit(data)
    assert fit.strength == pytest.approx(expected, abs=0.05)
    assert (fit.gamma, fit.nu) == pytest.approx(tuple(np.exp(found[3:])), rel=1e-3)


def test_rao_and_kupper_give_the_same_order_and_proportional_gaps() -> None:
    data = drawn(np.array([-0.8, -0.1, 0.3, 0.6]), amount=8000, gamma=1.1)
    ours, theirs = ranking.fit(data), ranking.rao_kupper(data)
    assert np.array_equal(np.argsort(theirs.strength), np.argsort(ours.strength))
    assert np.corrcoef(theirs.strength, ours.strength)[0, 1] > 0.999
    assert theirs.gamma == pytest.approx(ours.gamma, abs=0.03)
    assert theirs.nu > 1


def test_ties_are_modelled_and_do_not_shrink_the_gaps() -> None:
    log_s = np.array([-0.86, 0.86])  # 300 points
    tied = ranking.fit(drawn(log_s, amount=40_000, nu=0.7))
    assert np.ptp(tied.strength) == pytest.approx(300, abs=10)


def test_a_perfect_record_stays_finite() -> None:
    fit = ranking.fit(comparisons([(0, 1, LEFT)] * 30 + [(1, 0, RIGHT)] * 30))
    assert np.isfinite(fit.strength).all()
    assert fit.strength[0] > 1200


def test_models_that_never_met_cannot_be_ranked() -> None:
    apart = comparisons([(0, 1, LEFT), (2, 3, LEFT)], models=4)
    assert ranking.components(apart) == [("a", "b"), ("c", "d")]
    with pytest.raises(records.RecordError, match=r"a, b; c, d"):
        ranking.fit(apart)
    with pytest.raises(records.RecordError, match="two models"):
        ranking.fit(comparisons([(0, 0, TIE)], models=1))


def test_without_a_way_back_a_ranking_is_not_strongly_connected() -> None:
    one_way = comparisons([(0, 1, LEFT), (1, 2, LEFT)], models=3)
    assert len(ranking.components(one_way)) == 1
    assert len(ranking.components(one_way, strong=True)) == 3
    tied = comparisons([(0, 1, TIE), (1, 2, TIE)], models=3)
    assert len(ranking.components(tied, strong=True)) == 1


def test_the_bootstrap_is_seeded_and_clustered_by_participant() -> None:
    data = drawn(np.array([-0.3, 0.0, 0.3]), amount=600, people=20)
    first = ranking.intervals(ranking.resample(data, rounds=200))
    assert np.array_equal(first.strength, ranking.intervals(ranking.resample(data, rounds=200)).strength)
    assert (first.rank[:, 0] <= first.rank[:, 1]).all()
    low, high = first.left_wins
    assert low < 0.5 < high
    # Twenty copies of one person know no more than that person.
    alone = dataclasses.replace(data, participant=np.zeros(600, dtype=int))
    assert np.ptp(ranking.resample(alone, rounds=50).strength, axis=0) == pytest.approx([0, 0, 0], abs=1e-9)


def test_the_win_matrix_counts_both_sides() -> None:
    data = comparisons([(0, 1, LEFT), (1, 0, RIGHT), (1, 0, LEFT), (0, 1, TIE)])
    assert ranking.win_matrix(data).tolist() == [[0, 2], [1, 0]]


def test_people_and_photos_drawn_together_weigh_the_product() -> None:
    participant, photo = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0])
    weights = ranking.joint_weights(participant, photo, rounds=4000, seed=1)
    assert weights.shape == (4000, 4)
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.1)
    lost = (weights[:, 0] == 0) & (weights[:, 1] > 0)  # the person was drawn, so the photo was not
    assert (weights[lost, 3] == 0).all()

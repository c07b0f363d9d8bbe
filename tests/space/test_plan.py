"""The plan of a study: what a session is made of, balance of sides, coverage of pairs, scales."""

import collections

import pytest

from bench import records
from space import plan, rules, screening

MODELS = ("a", "b", "c", "d", "e")
PHOTOS = tuple(f"p{number}" for number in range(24))


def design(**options: object) -> plan.Design:
    return plan.Design(**{"models": MODELS, "photos": PHOTOS, "seed": 3} | options)


def sessions(amount: int, made: plan.Design | None = None) -> list[tuple[plan.Planned, ...]]:
    made, ledger = made or design(), plan.Ledger.of(())
    return [made.session(ledger, number) for number in range(amount)]


def test_a_session_has_its_roles_in_order() -> None:
    for trials in sessions(20):
        roles = collections.Counter(trial.role for trial in trials)
        assert roles == {"main": 17, "gold": 1, "duplicate": 2}
        assert [trial.index for trial in trials] == list(range(1, 21))
        for trial in trials:
            assert bool(trial.scaled) == (trial.index % 4 == 0)
            assert not (trial.scaled and trial.role != "main")


def test_duplicates_swap_the_sides_and_keep_their_distance() -> None:
    for trials in sessions(20):
        for trial in trials:
            if trial.duplicate_of:
                first = trials[trial.duplicate_of - 1]
                assert first.role == "main"
                assert (trial.left, trial.right, trial.photo) == (first.right, first.left, first.photo)
                assert trial.index - first.index >= 5


def test_no_photo_comes_twice_in_a_session() -> None:
    for trials in sessions(20):
        fresh = [trial.photo for trial in trials if trial.role != "duplicate"]
        assert len(set(fresh)) == len(fresh)


def test_gold_trials_are_on_both_sides() -> None:
    golds = [trial for trials in sessions(60) for trial in trials if trial.role == "gold"]
    damaged_left = sum(screening.is_damaged(trial.left) for trial in golds)
    assert 15 < damaged_left < 45
    for trial in golds:
        (sound,) = {trial.left, trial.right} & set(MODELS)
        assert {trial.left, trial.right} == {sound, screening.damaged(sound)}


def test_two_thousand_trials_are_balanced() -> None:
    mains = [trial for trials in sessions(118) for trial in trials if trial.role == "main"]
    assert len(mains) > 2000
    for model in MODELS:
        left, right = sum(trial.left == model for trial in mains), sum(trial.right == model for trial in mains)
        assert 0.48 <= left / (left + right) <= 0.52
    pairs = collections.Counter(frozenset((trial.left, trial.right)) for trial in mains)
    assert len(pairs) == 10
    assert min(pairs.values()) >= 0.8 * len(mains) / 10


def test_every_pair_meets_on_every_photo_before_one_comes_a_third_time() -> None:
    mains = [trial for trials in sessions(40) for trial in trials if trial.role == "main"]
    cells = collections.Counter((frozenset((trial.left, trial.right)), trial.photo) for trial in mains)
    assert len(cells) > 0.95 * 10 * len(PHOTOS)


def test_scales_are_asked_about_so_few_predictions_that_each_gets_its_ratings() -> None:
    made = design(sessions=150)
    assert len(made.scale_items) == 31
    scaled = collections.Counter(
        (getattr(trial, trial.scaled), trial.photo)
        for trials in sessions(150, made)
        for trial in trials
        if trial.scaled
    )
    assert min(scaled.values()) >= 20
    assert set(scaled) == set(made.scale_items)


def test_the_same_seed_gives_the_same_plan() -> None:
    assert sessions(3) == sessions(3)
    assert sessions(3) != sessions(3, design(seed=4))


def test_what_could_not_be_loaded_comes_back() -> None:
    made = design(models=("a", "b", "c"))
    # Five showings of each pair, but those of a and b could not be loaded.
    kept = [plan.Shown(photo="p0", left=a, right=b) for a, b in (("a", "c"), ("b", "c"))] * 5
    ledger = plan.Ledger.of(kept)
    made.session(ledger, 0)
    assert max(ledger.pairs.values()) - min(ledger.pairs.values()) <= 2


def test_too_few_photos_or_models_are_refused() -> None:
    with pytest.raises(records.RecordError, match=r"18 photos.*given 17"):
        design(photos=PHOTOS[:17])
    with pytest.raises(records.RecordError, match="two models"):
        design(models=("a",))


def test_a_pilot_repeats_photos_evenly() -> None:
    trials = design(photos=("x", "y", "z"), limits=rules.PILOT).session(plan.Ledger.of(()), 0)
    counts = collections.Counter(trial.photo for trial in trials if trial.role != "duplicate")
    assert max(counts.values()) - min(counts.values()) <= 2

"""Screening: every rule at its edge, and simulated crowds with known truth."""

import dataclasses
import datetime

import pytest

from bench import records
from space import outliers, plan, rules, screening, simulate

MODELS = tuple(f"m{number}" for number in range(6))
TRUTH = simulate.Truth(log_s=simulate.spread(MODELS, 300))
DESIGN = plan.Design(models=MODELS, photos=tuple(f"p{number}" for number in range(30)))


def sitting(kind: simulate.Kind = "honest", *, sessions: int = 1, amount: int = 1) -> list[records.Rating]:
    return simulate.study(DESIGN, simulate.crowd(kind, amount, truth=TRUTH), sessions=sessions)


def change(ratings: list[records.Rating], **changes: object) -> list[records.Rating]:
    return [dataclasses.replace(rating, **changes) for rating in ratings]


def test_the_rules_are_frozen() -> None:
    """A change of a threshold is a new protocol: raise its version, then put the new hash here."""
    assert rules.STUDY.sha256 == "f9450dad378f2e0845ca52414c2448c4a8937e04a38bfac82f2d924ef453f79d"
    assert len({each.sha256 for each in (rules.STUDY, rules.PILOT, rules.ARENA)}) == 3


def test_only_the_last_attempt_counts() -> None:
    first = sitting()[0]
    again = dataclasses.replace(first, rating_id="x", attempt=1, choice="tie")
    assert screening.latest([again, first]) == [again]


def test_a_hurried_session_is_removed() -> None:
    slow, fast = change(sitting(), decision_ms=1500), change(sitting(), decision_ms=1499)
    assert not screening.screen(slow).removed_sessions
    assert "1499 ms" in next(iter(screening.screen(fast).removed_sessions.values()))


def test_a_run_of_one_side_is_a_flag_and_with_reversals_a_reason() -> None:
    ratings = change(sitting(), choice="A")
    screened = screening.screen(ratings)
    (flags,) = screened.flags.values()
    assert "long run of one side" in flags
    assert "every duplicate reversed" in flags
    assert screened.removed_sessions
    no_run = [dataclasses.replace(each, choice="A" if each.trial_index % 5 else "tie") for each in sitting()]
    assert screening.longest_run([each.choice for each in no_run]) == 4


def test_a_tie_breaks_a_run() -> None:
    assert screening.longest_run(["A", "A", "tie", "A"]) == 2
    assert screening.longest_run(["tie"] * 20) == 0


def test_a_reversal_needs_two_decisive_answers() -> None:
    ratings = sitting()
    twin = next(rating for rating in ratings if rating.role == "duplicate")

    def judged(before: records.Choice, after: records.Choice) -> tuple[list[bool], float | None]:
        pair = [
            dataclasses.replace(next(each for each in ratings if each.trial_id == twin.duplicate_of), choice=before),
            dataclasses.replace(twin, choice=after),
        ]
        return screening.reversals(pair), screening.own_agreement(pair)

    assert judged("A", "A") == ([True], 0.0)  # the sides were swapped
    assert judged("A", "B") == ([False], 1.0)
    assert judged("A", "tie") == ([False], 0.0)
    assert judged("tie", "tie") == ([False], 1.0)


def test_nobody_is_judged_before_the_fifth_session() -> None:
    early = screening.screen(sitting(sessions=4))
    assert early.waiting
    assert not early.headline
    assert len(early.everybody) == 4 * 17
    late = screening.screen(sitting(sessions=5))
    assert late.passed
    assert len(late.headline) == 5 * 17


def test_ratings_above_the_rate_limit_are_left_out() -> None:
    ratings = sitting(sessions=5)
    moment = datetime.datetime.fromisoformat(ratings[0].received_at)
    rush = [
        dataclasses.replace(
            each, received_at=(moment + datetime.timedelta(seconds=number)).isoformat(timespec="milliseconds")
        )
        for number, each in enumerate(ratings[:8])
    ]
    screened = screening.screen([*rush, *ratings[8:]])
    assert len(screened.too_fast) == 2
    assert len(screened.headline) >= 5 * 17 - 2


def test_a_shared_address_removes_only_with_a_second_flag() -> None:
    ratings = sitting(sessions=5)
    shared = frozenset({ratings[0].participant_id})
    flagged = screening.screen(ratings, shared=shared)
    assert flagged.passed or "two flags" in next(iter(flagged.removed.values()))
    wrong_gold = [
        dataclasses.replace(each, choice="tie")
        if each.role == "gold" and each.session_id == ratings[0].session_id
        else each
        for each in ratings
    ]
    assert "two flags" in next(iter(screening.screen(wrong_gold, shared=shared).removed.values()))


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("honest", 0.0, 0.04), ("random", 0.95, 1.0), ("four_way", 0.95, 1.0), ("one_sided", 0.9, 1.0)],
)
def test_crowds_with_known_truth(kind: simulate.Kind, least: float, most: float) -> None:
    screened = screening.screen(sitting(kind, sessions=5, amount=120))
    assert not screened.waiting
    assert least <= len(screened.removed) / 120 <= most


def test_scales_without_variation_or_against_everybody_are_dropped() -> None:
    ratings = sitting(sessions=5, amount=12)
    whole = screening.screen(ratings)
    person = next(iter(whole.passed))
    kept = {each.rating_id for each in whole.scaled}
    assert kept
    flat = [
        dataclasses.replace(each, likeness=4, style=4, artefacts=4)
        if each.participant_id == person and each.scaled_side
        else each
        for each in ratings
    ]
    assert person not in {each.participant_id for each in screening.screen(flat).scaled}
    turned = [
        dataclasses.replace(each, likeness=6 - each.likeness, style=6 - each.style, artefacts=6 - each.artefacts)
        if each.participant_id == person and each.likeness and each.style and each.artefacts
        else each
        for each in ratings
    ]
    assert person not in {each.participant_id for each in screening.screen(turned).scaled}


def test_the_reported_rules_see_a_contrarian_and_leave_the_honest() -> None:
    mild = sitting(sessions=5, amount=30)
    assert len(outliers.unusual(mild)) <= 4
    assert len(outliers.bt500(mild)) <= 4
    clear = simulate.Truth(log_s=simulate.spread(MODELS, 900), nu=0.1)
    ratings = simulate.study(DESIGN, simulate.crowd("honest", 30, truth=clear), sessions=5)
    person = ratings[0].participant_id
    against = {"A": "B", "B": "A"}
    contrary = [
        dataclasses.replace(each, choice=against.get(each.choice, each.choice))
        if each.participant_id == person
        else each
        for each in ratings
    ]
    assert person in outliers.unusual(contrary)
    ends = {True: 5, False: 1}
    noisy = [
        dataclasses.replace(each, likeness=ends[flip], style=ends[not flip], artefacts=ends[flip])
        if each.participant_id == mild[0].participant_id and each.scaled_side
        else each
        for each, flip in zip(mild, (number // 4 % 2 == 0 for number in range(len(mild))), strict=True)
    ]
    assert mild[0].participant_id in outliers.bt500(noisy)

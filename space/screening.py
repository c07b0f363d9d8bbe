"""Who counts: the rules of the study applied to ratings, session by session and person by person. Needs no torch."""

import collections
import dataclasses
import datetime
import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence

from bench import records
from space import rules

SWAPPED = {"A": "B", "B": "A"}
DAMAGED = "damaged/"
SIDES = {"A": "left", "B": "right"}

Ratings = Sequence[records.Rating]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Screening:
    """What the rules decided.

    Attributes:
        passed: Participants whose ratings make the headline.
        waiting: Participants with too few gold and duplicate trials to be judged.
        removed: Reason by participant.
        removed_sessions: Reason by session; their ratings are stored and not ranked.
        flags: Reasons by participant that remove nobody by themselves.
        too_fast: Ratings above the rate limits.
        headline: Main ratings that are ranked, oldest first.
        everybody: Main ratings of all, as if there were no rules.
        scaled: Those of the headline whose scales count.
    """

    passed: frozenset[str]
    waiting: frozenset[str]
    removed: Mapping[str, str]
    removed_sessions: Mapping[str, str]
    flags: Mapping[str, tuple[str, ...]]
    too_fast: frozenset[str]
    headline: tuple[records.Rating, ...]
    everybody: tuple[records.Rating, ...]
    scaled: tuple[records.Rating, ...]


def screen(
    ratings: Iterable[records.Rating], *, limits: rules.Rules = rules.STUDY, shared: frozenset[str] = frozenset()
) -> Screening:
    """Apply the rules.

    Args:
        ratings: Every rating of one protocol; of several attempts at a trial the last one counts.
        limits: The rules.
        shared: Participants who share their address with too many others; only a flag.
    """
    given = latest(ratings)
    by_person = _group(given, "participant_id")
    too_fast = frozenset(name for mine in by_person.values() for name in _too_fast(mine, limits))
    removed_sessions: dict[str, str] = {}
    flags: dict[str, tuple[str, ...]] = {}
    verdicts: dict[str, str | None] = {}
    for person, mine in by_person.items():
        raised = {"many participants share this address"} if person in shared else set()
        for session, trials in _group(mine, "session_id").items():
            reason, found = judge_session(trials, limits)
            raised |= found
            if reason:
                removed_sessions[session] = reason
        verdicts[person] = judge_person(mine, limits)
        if person in shared and len(raised) > 1:
            verdicts[person] = f"two flags: {'; '.join(sorted(raised))}"
        if raised:
            flags[person] = tuple(sorted(raised))
    passed = frozenset(person for person, verdict in verdicts.items() if verdict == PASSED)
    everybody = tuple(rating for rating in given if rating.role == "main")
    headline = tuple(
        rating
        for rating in everybody
        if rating.participant_id in passed
        and rating.session_id not in removed_sessions
        and rating.rating_id not in too_fast
    )
    return Screening(
        passed=passed,
        waiting=frozenset(person for person, verdict in verdicts.items() if verdict is None),
        removed={person: verdict for person, verdict in verdicts.items() if verdict not in (None, PASSED)},
        removed_sessions=removed_sessions,
        flags=flags,
        too_fast=too_fast,
        headline=headline,
        everybody=everybody,
        scaled=trusted_scales(headline, limits),
    )


PASSED = "passed"


def latest(ratings: Iterable[records.Rating]) -> list[records.Rating]:
    """Keep the last attempt at every trial, oldest first."""
    kept: dict[str, records.Rating] = {}
    for rating in ratings:
        before = kept.get(rating.trial_id)
        if before is None or rating.attempt > before.attempt:
            kept[rating.trial_id] = rating
    return sorted(kept.values(), key=lambda rating: (rating.received_at, rating.rating_id))


def judge_session(trials: Ratings, limits: rules.Rules) -> tuple[str | None, set[str]]:
    """Look at one sitting.

    Returns:
        Why it is removed, or None, and its flags.
    """
    rated = sorted((trial for trial in trials if trial.role != "training"), key=lambda trial: trial.trial_index)
    if not rated:
        return None, set()
    turned = reversals(rated)
    flags = set()
    if turned and all(turned):
        flags.add("every duplicate reversed")
    if any(not right for right in golds(rated)):
        flags.add("gold trial wrong")
    if longest_run([trial.choice for trial in rated]) > limits.longest_run:
        flags.add("long run of one side")
    median = statistics.median(trial.decision_ms for trial in rated)
    if median < limits.min_session_ms:
        return f"median decision time {median:.0f} ms", flags
    if "every duplicate reversed" in flags and len(turned) >= limits.duplicate_trials and len(flags) > 1:
        return "; ".join(sorted(flags)), flags
    return None, flags


def judge_person(ratings: Ratings, limits: rules.Rules) -> str | None:
    """Look at all sittings of a participant.

    Returns:
        `PASSED`, the reason for removal, or None while there are too few checks.
    """
    right, turned = golds(ratings), reversals(ratings)
    if len(right) < limits.min_golds or len(turned) < limits.min_duplicates:
        return None
    gold, kept = sum(right) / len(right), 1 - sum(turned) / len(turned)
    reasons = []
    if gold < limits.gold_right:
        reasons.append(f"{gold:.0%} of gold trials right")
    if kept < limits.not_reversed:
        reasons.append(f"{1 - kept:.0%} of duplicates reversed")
    return "; ".join(reasons) or PASSED


def trusted_scales(ratings: Ratings, limits: rules.Rules) -> tuple[records.Rating, ...]:
    """Keep the scale answers that vary within a session and go with those of the others."""
    scaled = [rating for rating in ratings if marks(rating)]
    lively = [
        rating
        for trials in _group(scaled, "session_id").values()
        if statistics.pvariance([mark for trial in trials for mark in marks(trial)]) >= limits.min_scale_variance
        for rating in trials
    ]
    kept = []
    for mine in _group(lively, "participant_id").values():
        if len(mine) < limits.min_scale_trials or _correlation(mine, lively) >= limits.min_scale_correlation:
            kept.extend(mine)
    return tuple(kept)


def marks(rating: records.Rating) -> list[int]:
    """Give the three marks of a rating; none where scales were not asked or skipped."""
    given = (rating.likeness, rating.style, rating.artefacts)
    return [mark for mark in given if mark is not None]


def _correlation(mine: Ratings, everybody: Ratings) -> float:
    """Correlate somebody's marks with the mean of the others' marks of the same predictions; 1 where none compares."""
    own = {rating.rating_id for rating in mine}
    others: dict[tuple[str, str, int], list[int]] = {}
    for rating in everybody:
        if rating.rating_id not in own:
            for scale, mark in enumerate(marks(rating)):
                others.setdefault((*scaled_item(rating), scale), []).append(mark)
    pairs = [
        (mark, statistics.fmean(others[*scaled_item(rating), scale]))
        for rating in mine
        for scale, mark in enumerate(marks(rating))
        if (*scaled_item(rating), scale) in others
    ]
    columns = list(zip(*pairs, strict=True))
    if len(pairs) < 2 or min(map(statistics.pvariance, columns)) == 0:
        return 1.0
    return statistics.correlation(*columns)


def scaled_item(rating: records.Rating) -> tuple[str, str]:
    """Name the prediction that the scales are about: model and photo."""
    return getattr(rating, f"{rating.scaled_side}_model"), rating.photo_id


def golds(ratings: Ratings) -> list[bool]:
    """Tell for each gold trial whether the sound side was chosen."""
    return [
        rating.choice == ("B" if is_damaged(rating.left_model) else "A") for rating in ratings if rating.role == "gold"
    ]


def damaged(model: str) -> str:
    """Name the damaged copies of a model's predictions."""
    return f"{DAMAGED}{model}"


def is_damaged(name: str) -> bool:
    """Tell whether a name is that of damaged copies."""
    return name.startswith(DAMAGED)


def reversals(ratings: Ratings) -> list[bool]:
    """Tell for each duplicate whether the answer was the opposite one; a tie against a side is no reversal."""
    first = {rating.trial_id: rating.choice for rating in ratings if rating.role == "main"}
    return [
        first[rating.duplicate_of] in SWAPPED and rating.choice == first[rating.duplicate_of]
        for rating in ratings
        if rating.role == "duplicate" and rating.duplicate_of in first
    ]


def longest_run(choices: Sequence[str]) -> int:
    """Give the length of the longest run of the same side."""
    return max((len(list(run)) for choice, run in itertools.groupby(choices) if choice in SIDES), default=0)


def own_agreement(ratings: Ratings) -> float | None:
    """Share of duplicates with the same choice after swapping back; None without any."""
    first = {rating.trial_id: rating.choice for rating in ratings if rating.role == "main"}
    pairs = [(first[each.duplicate_of], each.choice) for each in ratings if each.duplicate_of in first]
    return sum(SWAPPED.get(before, before) == after for before, after in pairs) / len(pairs) if pairs else None


def majority_agreement(mine: Ratings, everybody: Ratings) -> float | None:
    """Share of decisive answers that agree with what most others preferred of the same pair; None without any.

    Args:
        mine: One participant's ratings.
        everybody: All ratings; the own ones among them do not count.
    """
    own = {rating.rating_id for rating in mine}
    votes: collections.Counter[tuple[str, str]] = collections.Counter()
    for rating in everybody:
        if rating.role == "main" and rating.choice in SIDES and rating.rating_id not in own:
            votes[preferred(rating)] += 1
    agreed = []
    for rating in mine:
        if rating.role == "main" and rating.choice in SIDES:
            winner, loser = preferred(rating)
            if votes[winner, loser] != votes[loser, winner]:
                agreed.append(votes[winner, loser] > votes[loser, winner])
    return sum(agreed) / len(agreed) if agreed else None


def preferred(rating: records.Rating) -> tuple[str, str]:
    """Give winner and loser of a decisive rating."""
    pair = (rating.left_model, rating.right_model)
    return pair if rating.choice == "A" else (pair[1], pair[0])


def _too_fast(ratings: Ratings, limits: rules.Rules) -> set[str]:
    """Find the ratings above one of the rate limits."""
    times = [datetime.datetime.fromisoformat(rating.received_at).timestamp() for rating in ratings]
    found = set()
    for amount, seconds in limits.limits:
        window: collections.deque[float] = collections.deque()
        for rating, moment in zip(ratings, times, strict=True):
            window.append(moment)
            while window[0] <= moment - seconds:
                window.popleft()
            if len(window) > amount:
                found.add(rating.rating_id)
    return found


def _group(ratings: Ratings, field: str) -> dict[str, list[records.Rating]]:
    groups: dict[str, list[records.Rating]] = {}
    for rating in ratings:
        groups.setdefault(getattr(rating, field), []).append(rating)
    return groups

"""Two common outlier rules, reported beside our own and never applied. Needs no torch."""

import collections
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from bench import records
from space import screening

LOOKS = (5, 10, 20, 40, 80)
ALPHA = 0.05
NORMAL_KURTOSIS = (2.0, 4.0)
MOST_OUTSIDE, MOST_LOPSIDED = 0.05, 0.3

Item = tuple[str, str, int]


def marks(ratings: Sequence[records.Rating]) -> dict[str, dict[Item, float]]:
    """Arrange scale answers per participant and item: a scale of one model's prediction of one photo."""
    found: dict[str, dict[Item, float]] = {}
    for rating in ratings:
        for scale, mark in enumerate(screening.marks(rating)):
            found.setdefault(rating.participant_id, {})[*screening.scaled_item(rating), scale] = mark
    return found


def bt500(ratings: Sequence[records.Rating]) -> frozenset[str]:
    """Name the participants that BT.500 would reject: often outside the band of the others, on both sides of it.

    Source:
        ITU-R BT.500, as implemented by Netflix's sureal: 2 sigma where an item's kurtosis is in [2, 4], else
        sqrt(20) sigma; (P + Q) / N > 0.05 and |P - Q| / (P + Q) < 0.3.
    """
    given = marks(ratings)
    bands = _bands(given)
    rejected = set()
    for person, own in given.items():
        above = sum(value > bands[item][1] for item, value in own.items())
        below = sum(value < bands[item][0] for item, value in own.items())
        outside = above + below
        if outside / len(own) > MOST_OUTSIDE and abs(above - below) / outside < MOST_LOPSIDED:
            rejected.add(person)
    return frozenset(rejected)


def _bands(given: Mapping[str, Mapping[Item, float]]) -> dict[Item, tuple[float, float]]:
    values: dict[Item, list[float]] = {}
    for own in given.values():
        for item, value in own.items():
            values.setdefault(item, []).append(value)
    bands = {}
    for item, each in values.items():
        mean, deviation = float(np.mean(each)), float(np.std(each))
        kurtosis = float(np.mean((np.array(each) - mean) ** 4)) / deviation**4 if deviation else 3.0
        width = 2.0 if NORMAL_KURTOSIS[0] <= kurtosis <= NORMAL_KURTOSIS[1] else math.sqrt(20)
        bands[item] = (mean - width * deviation, mean + width * deviation)
    return bands


def unusual(ratings: Sequence[records.Rating]) -> frozenset[str]:
    """Name the participants whose choices are unlikely, given what the others chose of the same pairs.

    Every choice gets the share of the others who chose that or something rarer; after 5, 10, 20, 40 and 80 choices
    these are combined by Fisher's method, at 5 % over all looks.

    Source:
        Chatbot Arena (Chiang et al., 2024), section 5, the test for anomalous users.
    """
    votes: dict[tuple[str, str], collections.Counter[float]] = {}
    own: dict[str, list[tuple[tuple[str, str], float]]] = {}
    for rating in ratings:
        if rating.role == "main" and rating.choice != "cannot_load":
            first, second = sorted((rating.left_model, rating.right_model))
            value = 0.5 if rating.choice not in screening.SIDES else float(screening.preferred(rating)[0] == first)
            votes.setdefault((first, second), collections.Counter())[value] += 1
            own.setdefault(rating.participant_id, []).append(((first, second), value))
    return frozenset(person for person, chosen in own.items() if _is_unusual(chosen, votes))


def _is_unusual(
    chosen: Sequence[tuple[tuple[str, str], float]],
    votes: Mapping[tuple[str, str], Mapping[float, int]],
) -> bool:
    mine = collections.Counter(chosen)
    statistic = 0.0
    for number, (pair, value) in enumerate(chosen, start=1):
        others = {each: votes[pair].get(each, 0) - mine[pair, each] for each in (0.0, 0.5, 1.0)}
        total = sum(others.values())
        rare = sum(amount for amount in others.values() if amount <= others[value])
        statistic -= 2 * math.log((1 + rare) / (1 + total))
        if number in LOOKS and statistic > stats.chi2.ppf(1 - ALPHA / len(LOOKS), 2 * number):
            return True
    return False

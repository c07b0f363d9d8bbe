"""Which trial comes next: a balanced incomplete design over pair, photo and side, filled from what was shown so far.

Needs no torch, keeps nothing: the trials that were shown are the state.
"""

import collections
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from bench import records
from space import rules, screening

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """A trial as the plan counts it.

    Attributes:
        photo: Name of the photo.
        left: Model at A; right the one at B.
        scaled: Which side the scales are asked about, or None.
    """

    photo: str
    left: str
    right: str
    scaled: records.Side | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned(Shown):
    """A trial of a session that has not been shown yet.

    Attributes:
        index: Place in the session, from 1.
        role: "main", "gold" or "duplicate".
        duplicate_of: Index of the trial whose sides it swaps, or None.
    """

    index: int
    role: records.Role
    duplicate_of: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ledger:
    """Counts over the main trials shown so far; "cannot load" trials are left out, so that their pairs come back."""

    pairs: collections.Counter[tuple[str, str]]
    photos: collections.Counter[tuple[str, str, str]]
    lean: collections.Counter[str]
    scales: collections.Counter[tuple[str, str]]

    @classmethod
    def of(cls, shown: Iterable[Shown]) -> "Ledger":
        """Count trials."""
        ledger = cls(
            pairs=collections.Counter(),
            photos=collections.Counter(),
            lean=collections.Counter(),
            scales=collections.Counter(),
        )
        for trial in shown:
            ledger.add(trial)
        return ledger

    def add(self, trial: Shown, *, by: int = 1) -> None:
        """Count one more trial, or with -1 one less."""
        first, second = sorted((trial.left, trial.right))
        self.pairs[first, second] += by
        self.photos[first, second, trial.photo] += by
        self.lean[trial.left] += by
        self.lean[trial.right] -= by
        if trial.scaled:
            self.scales[getattr(trial, trial.scaled), trial.photo] += by


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
    """What a study compares.

    Attributes:
        models: Names of the models, two or more.
        photos: Names of the photos.
        seed: Of every draw.
        sessions: How many sittings are expected; decides how many predictions the scales are asked about.
        limits: How a session is made up.
    """

    models: tuple[str, ...]
    photos: tuple[str, ...]
    seed: int = 0
    sessions: int = 150
    limits: rules.Rules = rules.STUDY

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise records.RecordError(f"a study compares two models or more; {len(self.models)} can be offered.")
        if len(self.photos) < self.limits.min_photos:
            raise records.RecordError(
                f"{self.limits.protocol} needs {self.limits.min_photos} photos, since none appears twice in a session; "
                f"given {len(self.photos)}. Add photos, or run the pilot."
            )

    def session(self, ledger: Ledger, number: int) -> tuple[Planned, ...]:
        """Plan a sitting: the pairs, photos and sides that were shown least, gold and duplicates among them.

        Args:
            ledger: What was shown before; it counts the new main trials too when this returns.
            number: Of the session; with the seed it decides every draw.
        """
        generator = np.random.default_rng((self.seed, number))
        order, deck = roles(self.limits, generator), Deck(self.photos)
        trials: dict[int, Planned] = {}
        # Trials with scales first, while the few photos that they may have are all at hand.
        for index in sorted(order, key=lambda index: (index % self.limits.scale_every > 0, index)):
            role, of = order[index]
            if role == "main":
                trials[index] = self._main(index, ledger, deck, generator)
                ledger.add(trials[index])
            elif role == "gold":
                trials[index] = self._gold(index, deck, generator)
            else:
                first = trials[of or 0]
                trials[index] = Planned(
                    index=index, role=role, duplicate_of=of, photo=first.photo, left=first.right, right=first.left
                )
        return tuple(trials[index] for index in sorted(trials))

    @functools.cached_property
    def scale_items(self) -> tuple[tuple[str, str], ...]:
        """The (model, photo) predictions that scales are asked about, so few that each gets its ratings."""
        asked = self.sessions * (self.limits.trials // self.limits.scale_every)
        generator = np.random.default_rng(self.seed)
        photos = [str(name) for name in generator.permutation(self.photos)]
        models = [str(name) for name in generator.permutation(self.models)]
        amount = min(max(1, asked // self.limits.scale_ratings), len(models) * len(photos))
        lap = math.lcm(len(models), len(photos))  # after a lap the same pairs would come again
        return tuple((models[k % len(models)], photos[(k + k // lap) % len(photos)]) for k in range(amount))

    def _main(self, index: int, ledger: Ledger, deck: "Deck", generator: np.random.Generator) -> Planned:
        pairs = list(itertools.combinations(sorted(self.models), 2))
        item = None
        if index % self.limits.scale_every == 0:
            items = [item for item in self.scale_items if item[1] in deck] or list(self.scale_items)
            item = least(items, lambda item: ledger.scales[item], generator)
            pairs = [pair for pair in pairs if item[0] in pair]
        pair = least(pairs, lambda pair: ledger.pairs[pair], generator)
        photo = item[1] if item else least(deck.left, lambda name: ledger.photos[*pair, name], generator)
        deck.take(photo)
        # The one that stood on the left more often goes to the right.
        left = least(pair, lambda name: ledger.lean[name], generator)
        right = pair[1] if left == pair[0] else pair[0]
        scaled: records.Side | None = None
        if item:
            scaled = "left" if item[0] == left else "right"
        return Planned(index=index, role="main", photo=photo, left=left, right=right, scaled=scaled)

    def _gold(self, index: int, deck: "Deck", generator: np.random.Generator) -> Planned:
        sound = self.models[generator.integers(len(self.models))]
        copy = screening.damaged(sound)
        left, right = (sound, copy) if generator.integers(2) else (copy, sound)
        photo = least(deck.left, lambda _: 0, generator)
        deck.take(photo)
        return Planned(index=index, role="gold", photo=photo, left=left, right=right)


class Deck:
    """Photos that were not shown yet in this session; a pilot's deck is filled again when it is empty.

    Args:
        photos: All photos of the study.
    """

    def __init__(self, photos: Sequence[str]) -> None:
        self.photos = photos
        self.left = list(photos)

    def __contains__(self, photo: str) -> bool:
        return photo in self.left

    def take(self, photo: str) -> None:
        """Remove a photo."""
        if photo in self.left:
            self.left.remove(photo)
        if not self.left:
            self.left = list(self.photos)


def least(items: Sequence[Item], count: Callable[[Item], int], generator: np.random.Generator) -> Item:
    """Choose one of the items with the smallest count, at random."""
    counts = [count(item) for item in items]
    smallest = min(counts)
    rarest = [item for item, amount in zip(items, counts, strict=True) if amount == smallest]
    return rarest[generator.integers(len(rarest))]


def roles(limits: rules.Rules, generator: np.random.Generator) -> dict[int, tuple[records.Role, int | None]]:
    """Draw the order of a session: per index its role, and for a duplicate the trial that it repeats.

    Gold and duplicates never stand where scales are asked; a duplicate keeps its distance.
    """
    free = [index for index in range(1, limits.trials + 1) if index % limits.scale_every]
    sources: dict[int, int] = {}
    while len(sources) < limits.duplicate_trials:
        special = generator.choice(free, limits.gold_trials + limits.duplicate_trials, replace=False).tolist()
        gold, again = special[: limits.gold_trials], sorted(special[limits.gold_trials :])
        sources = {}
        for index in again:
            taken = {*special, *sources.values()}
            early = [main for main in free if main <= index - limits.duplicate_distance and main not in taken]
            if early:
                sources[index] = int(generator.choice(early))
    order: dict[int, tuple[records.Role, int | None]] = {}
    for index in range(1, limits.trials + 1):
        role: records.Role = "gold" if index in gold else "duplicate" if index in sources else "main"
        order[index] = role, sources.get(index)
    return order

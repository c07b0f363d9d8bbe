"""Participants with known truth, to test the statistics and to show the study without people. Needs no torch."""

import dataclasses
import datetime
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from bench import records
from space import plan, screening

Kind = Literal["honest", "random", "four_way", "one_sided", "colluding"]
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
CHOICES: tuple[records.Choice, ...] = ("A", "B", "tie")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
    """What honest participants go by.

    Attributes:
        log_s: Natural logarithm of each model's strength.
        gamma: Position bias; 1 is none.
        nu: How common ties are.
        taste: Standard deviation of a participant's own log strengths around `log_s`.
        steady: Chance that a duplicate is answered like its first showing, without another look.
        gold_right: Chance of a right answer to a gold trial.
    """

    log_s: Mapping[str, float]
    gamma: float = 1.0
    nu: float = 0.5
    taste: float = 0.3
    steady: float = 0.7
    gold_right: float = 0.98


def spread(models: Sequence[str], points: float) -> dict[str, float]:
    """Space log strengths evenly, so that the best is `points` (400-point scale) above the worst."""
    log_s = np.linspace(0, points / 400 * np.log(10), len(models)).tolist()
    return dict(zip(models, log_s, strict=True))


class Participant:
    """Somebody who answers trials.

    Args:
        kind: "honest"; "random" between A and B; "four_way" random; "one_sided" always A; "colluding" always for
            the target, honest elsewhere.
        truth: What honest answers go by.
        seed: Of identity and answers.
        target: Model that a colluding participant pushes.
    """

    def __init__(self, kind: Kind, truth: Truth, *, seed: int, target: str = "") -> None:
        self.kind, self.truth, self.target = kind, truth, target
        self.generator = np.random.default_rng((seed, 77))
        self.participant_id = str(uuid.UUID(bytes=self.generator.bytes(16), version=4))
        shift = self.generator.normal(0, truth.taste, len(truth.log_s))
        self.own = dict(zip(truth.log_s, np.array(list(truth.log_s.values())) + shift, strict=True))

    def answer(self, trial: plan.Planned, given: Mapping[int, records.Choice]) -> records.Choice:
        """Choose, knowing the own answers to the trials before."""
        if self.kind == "one_sided":
            return "A"
        if self.kind == "random":
            return CHOICES[self.generator.integers(2)]
        if self.kind == "four_way":
            return (*CHOICES, "both_bad")[self.generator.integers(4)]
        if self.kind == "colluding" and trial.role != "gold" and self.target in (trial.left, trial.right):
            return "A" if trial.left == self.target else "B"
        return self._honest(trial, given)

    def _honest(self, trial: plan.Planned, given: Mapping[int, records.Choice]) -> records.Choice:
        if trial.role == "gold":
            right: records.Choice = "B" if screening.is_damaged(trial.left) else "A"
            wrong: records.Choice = "A" if right == "B" else "B"
            return right if self.generator.random() < self.truth.gold_right else wrong
        if trial.duplicate_of is not None and self.generator.random() < self.truth.steady:
            before = given[trial.duplicate_of]
            return {"A": "B", "B": "A"}.get(before, before)  # pyright: ignore[reportReturnType]
        a, b = self.own[trial.left], self.own[trial.right]
        weights = np.exp([a, b, (a + b) / 2]) * [self.truth.gamma, 1.0, self.truth.nu]
        return CHOICES[self.generator.choice(3, p=weights / weights.sum())]

    def decision_ms(self) -> int:
        """Draw a decision time: people look for some seconds, the others click."""
        median = 4500.0 if self.kind in ("honest", "colluding") else 2200.0
        return int(median * np.exp(self.generator.normal(0, 0.4)))


def study(
    design: plan.Design, participants: Sequence[Participant], *, sessions: int, ledger: plan.Ledger | None = None
) -> list[records.Rating]:
    """Let every participant sit the same number of sessions, in turns.

    Returns:
        Ratings marked as simulated; the same arguments give the same ratings.
    """
    ledger = ledger or plan.Ledger.of(())
    ratings: list[records.Rating] = []
    for turn in range(sessions):
        for number, participant in enumerate(participants):
            trials = design.session(ledger, turn * len(participants) + number)
            ratings.extend(sit(participant, trials, design=design, turn=turn))
    return ratings


def sit(
    participant: Participant, trials: Sequence[plan.Planned], *, design: plan.Design, turn: int
) -> Iterator[records.Rating]:
    """Give one participant's ratings of one session."""
    identity = f"{participant.participant_id}/{turn}"
    names = {trial.index: _uuid(f"{identity}/{trial.index}") for trial in trials}
    given: dict[int, records.Choice] = {}
    moment = START + datetime.timedelta(days=turn)
    for trial in trials:
        choice = given[trial.index] = participant.answer(trial, given)
        shown, spent = moment, participant.decision_ms()
        moment = shown + datetime.timedelta(milliseconds=spent + 3000)
        yield records.Rating(
            rating_id=_uuid(f"{identity}/{trial.index}/rating"),
            trial_id=names[trial.index],
            attempt=0,
            participant_id=participant.participant_id,
            session_id=_uuid(identity),
            trial_index=trial.index,
            role=trial.role,
            duplicate_of=names[trial.duplicate_of] if trial.duplicate_of else None,
            photo_id=trial.photo,
            photo_sha256=_sha256(trial.photo),
            left_model=trial.left,
            right_model=trial.right,
            left_sha256=_sha256(f"{trial.left}/{trial.photo}"),
            right_sha256=_sha256(f"{trial.right}/{trial.photo}"),
            choice=choice,
            decision_ms=spent,
            shown_at=shown.isoformat(timespec="milliseconds"),
            received_at=moment.isoformat(timespec="milliseconds"),
            **_scales(participant, trial),
            language="en",
            viewport_width=1280,
            viewport_height=800,
            pixel_ratio=1.0,
            input="mouse",
            protocol=f"simulated-{design.limits.protocol}",
            rules_sha256=design.limits.sha256,
            plan_seed=design.seed,
            git_commit="0" * 40,
            left_checkpoint_sha256=None,
            right_checkpoint_sha256=None,
            prediction_protocol="simulated",
            device="simulated",
            library_versions=json.dumps({}),
            previous_hash="",
            row_hash="",
            simulated=True,
        )


def _scales(participant: Participant, trial: plan.Planned) -> dict[str, Any]:
    """Answer the three scales: stronger models get better marks."""
    if trial.scaled is None:
        return {"scaled_side": None}
    model = getattr(trial, trial.scaled)
    middle = 3 + 2 * (participant.own.get(model, 0.0) - float(np.mean(list(participant.truth.log_s.values()))))
    marks = np.clip(np.rint(middle + participant.generator.normal(0, 0.4, 3)), 1, 5).astype(int).tolist()
    return {"scaled_side": trial.scaled, **dict(zip(("likeness", "style", "artefacts"), marks, strict=True))}


def _uuid(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, text))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def crowd(kind: Kind, amount: int, *, truth: Truth, seed: int = 0, target: str = "") -> list[Participant]:
    """Make participants of one kind."""
    return [Participant(kind, truth, seed=seed * 100_003 + number, target=target) for number in range(amount)]

"""The arena: two hidden models draw a visitor's own photo, and their names are told after the answer. No torch here.

The pictures stay in memory until they are answered or forgotten; of the photo nothing is stored, not even a hash.
"""

import concurrent.futures
import dataclasses
import functools
import json
import secrets
import threading
import time
import uuid
from typing import Any

import sqlalchemy as sql

from bench import records
from space import convert, lookup, rules, store, trials

KEPT_SECONDS = 900.0
KEPT_DUELS = 24  # of up to three pictures of 1,024 px each


@dataclasses.dataclass(frozen=True, kw_only=True)
class Duel:
    """A photo and what two models made of it.

    Attributes:
        trial_id: UUID.
        pictures: PNG by token.
        tokens: Of photo, left and right.
        left: What the model on the left made; right likewise.
        shown_at: UTC.
        born: Monotonic seconds.
    """

    trial_id: str
    pictures: dict[str, bytes]
    tokens: tuple[str, str, str]
    left: convert.Conversion
    right: convert.Conversion
    shown_at: str
    born: float


class Arena:
    """Makes duels and stores what came of them.

    Args:
        kept: Where ratings are kept.
        git_commit: Of the code, for the records.
    """

    limits = rules.ARENA

    def __init__(self, kept: store.Store, *, git_commit: str = "unknown") -> None:
        self.store, self.git_commit = kept, git_commit
        self._duels: dict[str, Duel] = {}
        self._lock = threading.Lock()

    def open(self, photo: bytes) -> Duel:
        """Let two models that are drawn by lot convert a photo.

        Raises:
            ImageError: The photo cannot be used.
            RecordError: There are not two models with weights.
        """
        offered = [entry.name for entry in convert.offered()]
        if len(offered) < 2:
            raise records.RecordError("an arena needs two models with weights; train another one.")
        names = secrets.SystemRandom().sample(offered, 2)
        left, right = (convert.convert(photo, model=name) for name in names)  # both, before either is shown
        tokens = (uuid.uuid4().hex, uuid.uuid4().hex, uuid.uuid4().hex)
        largest = max(len(left.png), len(right.png))
        duel = Duel(
            trial_id=str(uuid.uuid4()),
            pictures=dict(
                zip(tokens, (left.photo.png, *(side.png.ljust(largest, b"\0") for side in (left, right))), strict=True)
            ),
            tokens=tokens,
            left=left,
            right=right,
            shown_at=store.now(),
            born=time.monotonic(),
        )
        with self._lock:
            self._forget()
            self._duels[duel.trial_id] = duel
        return duel

    def picture(self, token: str) -> bytes | None:
        """Give the PNG behind a token; None once it is forgotten."""
        with self._lock:
            return next((duel.pictures[token] for duel in self._duels.values() if token in duel.pictures), None)

    def rate(
        self, trial_id: str, answer: trials.Answer, *, language: str
    ) -> "concurrent.futures.Future[dict[str, Any]]":
        """Store an answer; the future is set after the commit, and only then holds the names.

        Raises:
            RecordError: The duel is forgotten, or was never.
        """
        with self._lock:
            duel = self._duels.get(trial_id)
        if duel is None:
            raise records.RecordError("these pictures are gone; draw the photo once more.")
        return self.store.submit(functools.partial(self._rate, duel=duel, answer=answer, language=language))

    def _rate(self, connection: sql.Connection, *, duel: Duel, answer: trials.Answer, language: str) -> dict[str, Any]:
        event = lookup.event("rating", duel.trial_id, 0)
        body = self._body(duel, answer, language=language)
        store.append(connection, dataclasses.replace(event, body=body))
        stored = store.find(connection, event) or body
        return {"answered": stored["choice"], "left": duel.left.model, "right": duel.right.model}

    def _body(self, duel: Duel, answer: trials.Answer, *, language: str) -> records.Row:
        nobody = str(uuid.uuid4())  # every duel stands by itself: nobody is followed from one to the next
        return {
            "rating_id": str(uuid.uuid4()),
            "trial_id": duel.trial_id,
            "attempt": 0,
            "participant_id": nobody,
            "session_id": nobody,
            "trial_index": 1,
            "role": "main",
            "duplicate_of": None,
            "photo_id": "own",
            "photo_sha256": "",
            "left_model": duel.left.model,
            "right_model": duel.right.model,
            "left_sha256": "",
            "right_sha256": "",
            "choice": answer.choice,
            "decision_ms": answer.decision_ms,
            "shown_at": duel.shown_at,
            "received_at": store.now(),
            "language": language,
            "viewport_width": answer.viewport_width,
            "viewport_height": answer.viewport_height,
            "pixel_ratio": answer.pixel_ratio,
            "input": answer.input,
            "protocol": self.limits.protocol,
            "rules_sha256": self.limits.sha256,
            "plan_seed": 0,
            "git_commit": self.git_commit,
            "left_checkpoint_sha256": duel.left.sha256,
            "right_checkpoint_sha256": duel.right.sha256,
            "prediction_protocol": "whole picture, longest side 1024",
            "device": "cpu",
            "library_versions": json.dumps({}),
            "simulated": False,
        }

    def _forget(self) -> None:
        """Drop what is old, and the oldest where there are too many."""
        oldest = time.monotonic() - KEPT_SECONDS
        kept = [duel for duel in self._duels.values() if duel.born > oldest][-(KEPT_DUELS - 1) :]
        self._duels = {duel.trial_id: duel for duel in kept}

"""The blind study: who sees which pair, what is stored of the answer, and what nobody may learn before it. No torch."""

import concurrent.futures
import dataclasses
import datetime
import functools
import hashlib
import hmac
import json
import secrets
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sql

from bench import records
from space import lookup, plan, screening, stimuli, store, trials

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # of withdrawal codes: nothing that looks like something else
LANGUAGES = ("vi", "zh-CN", "en")
RECOUNT_SECONDS = 60
Marks = tuple[int, int, int]


class Study:
    """A study that runs.

    Args:
        pictures: Photos and predictions.
        kept: Where ratings are kept.
        seed: Of the plan.
        sessions: How many sittings are expected.
        git_commit: Of the code, for the records.
        secret: Signs participants and salts addresses; drawn once for the database where it is empty. A study whose
            disk does not outlive a restart needs one.
    """

    def __init__(
        self,
        pictures: stimuli.Stimuli,
        kept: store.Store,
        *,
        seed: int = 0,
        sessions: int = 150,
        git_commit: str = "unknown",
        secret: str = "",
    ) -> None:
        self.pictures, self.store, self.git_commit = pictures, kept, git_commit
        self.limits = pictures.limits
        self.design = plan.Design(
            models=pictures.models, photos=pictures.photos, seed=seed, sessions=sessions, limits=self.limits
        )
        name = self.limits.protocol
        self._key, self._salt = (
            f"{purpose}-{secret}".encode() if secret else store.secret(kept, f"{purpose}-{name}").encode()
            for purpose in ("signature", "salt")
        )
        with kept.read() as connection:
            self._recount(connection)

    def _recount(self, connection: sql.Connection) -> None:
        self._ledger = plan.Ledger.of(lookup.counted(connection, self.limits))
        self._counted = time.monotonic()

    def join(self, *, address: str = "") -> tuple[str, str]:
        """Take somebody in who agreed.

        Args:
            address: Network address; only a salted hash of it is kept.

        Returns:
            The signed participant's token, and the code that deletes everything again.

        Raises:
            RecordError: The study is closed.
        """
        participant = str(uuid.uuid4())
        code = "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(3))
        hashed = hmac.new(self._salt, address.encode(), hashlib.sha256).hexdigest() if address else None
        row = {
            "participant_id": participant,
            "protocol": self.limits.protocol,
            "address_hash": hashed,
            "code_sha256": store.code_hash(code),
            "created_at": store.now(),
        }
        self.store.write(functools.partial(self._join, row=row))
        return f"{participant}.{self._sign(participant)}", code

    def _join(self, connection: sql.Connection, *, row: records.Row) -> None:
        self._check_open(connection)
        connection.execute(store.PARTICIPANTS.insert().values(row))

    def _check_open(self, connection: sql.Connection) -> None:
        if since := store.closed(connection, self.limits.protocol):
            raise records.RecordError(f"the study was closed on {since[:10]}; thank you all the same.")

    def participant(self, token: str) -> str:
        """Check a token and give the participant's UUID.

        Raises:
            RecordError: It was not made by this study.
        """
        participant, _, signature = token.partition(".")
        if not hmac.compare_digest(signature, self._sign(participant)):
            raise records.RecordError("the participant is unknown here; agree once more to begin anew.")
        return participant

    def _sign(self, participant: str) -> str:
        return hmac.new(self._key, f"{self.limits.protocol}/{participant}".encode(), hashlib.sha256).hexdigest()

    def sit(self, token: str, *, language: str) -> dict[str, Any]:
        """Open a session, or go on with one that is not finished.

        Returns:
            "session_id", "done" and "total" trials, and the "next" one; training has the numbers -2 to 0.
        """
        participant = self.participant(token)
        if language not in LANGUAGES:
            raise records.RecordError(f"the language is {language!r}; expected one of {', '.join(LANGUAGES)}.")
        return self.store.write(functools.partial(self._sit, participant=participant, language=language))

    def _sit(self, connection: sql.Connection, *, participant: str, language: str) -> dict[str, Any]:
        mine = lookup.sessions(connection, participant)
        answered = lookup.answered(connection, mine[0].session_id) if mine else frozenset()
        done = sum(number > 0 for number in answered)
        if mine and done < self.limits.trials:
            session = mine[0].session_id
        else:
            session, answered, done = str(uuid.uuid4()), frozenset(), 0
            self._open(connection, session, participant=participant, language=language)
        sittings = len({session, *(row.session_id for row in mine)})
        begin = -2 if sittings == 1 and done == 0 else 1
        first = next(number for number in range(begin, self.limits.trials + 1) if number not in answered)
        return {"session_id": session, "next": first, "done": done, "total": self.limits.trials}

    def _open(self, connection: sql.Connection, session: str, *, participant: str, language: str) -> None:
        self._check_open(connection)
        number = lookup.next_number(connection, self.limits.protocol)
        if time.monotonic() - self._counted > RECOUNT_SECONDS:  # sittings that were given up come back to the plan
            self._recount(connection)
        planned = self.design.session(self._ledger, number)
        connection.execute(
            store.SESSIONS.insert().values(
                session_id=session,
                participant_id=participant,
                protocol=self.limits.protocol,
                number=number,
                plan=json.dumps([dataclasses.asdict(trial) for trial in planned]),
                language=language,
                created_at=store.now(),
            )
        )

    def trial(self, token: str, session: str, number: int) -> trials.Trial:
        """Show a trial of a session: the one that was shown already while it is valid, else a new row.

        Raises:
            RecordError: Somebody else's session, or a number outside it.
        """
        participant = self.participant(token)
        return self.store.write(functools.partial(self._show, participant=participant, session=session, number=number))

    def _show(self, connection: sql.Connection, *, participant: str, session: str, number: int) -> trials.Trial:
        plan_text = lookup.session(connection, session, participant).plan
        for old in lookup.shown(connection, session, number):
            answer = lookup.answer(connection, old.trial_id)
            if answer is not None or old.expires_at > store.now():
                return self._describe(connection, old, answer)
        planned = self.pictures.training[number + 2] if number < 1 else lookup.planned(plan_text, number)
        tokens = {side: uuid.uuid4().hex for side in ("photo", "left", "right")}
        facts = planned | {f"{side}_token": token for side, token in tokens.items()}
        moment = datetime.datetime.now(datetime.UTC)
        values = {
            "trial_id": str(uuid.uuid4()),
            "session_id": session,
            "place": number,
            "shown_at": moment.isoformat(timespec="milliseconds"),
            "expires_at": (moment + datetime.timedelta(minutes=self.limits.trial_minutes)).isoformat(
                timespec="milliseconds"
            ),
            "facts": json.dumps(facts),
        }
        connection.execute(store.TRIALS.insert().values(values))
        store.add_tokens(connection, values["trial_id"], facts)
        return self._describe(connection, lookup.trial(connection, values["trial_id"], participant)[0], None)

    def _describe(self, connection: sql.Connection, row: sql.Row, answer: records.Row | None) -> trials.Trial:
        facts = json.loads(row.facts)
        choice = None if answer is None else answer["choice"]
        return trials.Trial(
            trial_id=row.trial_id,
            number=row.place,
            attempt=lookup.attempt(connection, row.trial_id),
            photo=facts["photo_token"],
            left=facts["left_token"],
            right=facts["right_token"],
            answered=choice,
            **self._after(facts, choice),
        )

    @staticmethod
    def _after(facts: Mapping[str, Any], choice: str | None) -> dict[str, Any]:
        """What may be told once the choice is stored."""
        if choice is None:
            return {}
        return {
            "scaled_side": facts["scaled"],
            "expected": stimuli.expected(facts) if facts["role"] == "training" else None,
        }

    def rate(self, token: str, trial_id: str, answer: trials.Answer) -> "concurrent.futures.Future[trials.Trial]":
        """Store an answer; the future is set after the commit. A repeat gets the stored choice back."""
        participant = self.participant(token)
        return self.store.submit(
            functools.partial(self._rate, participant=participant, trial_id=trial_id, answer=answer)
        )

    def _rate(
        self, connection: sql.Connection, *, participant: str, trial_id: str, answer: trials.Answer
    ) -> trials.Trial:
        row, session = lookup.trial(connection, trial_id, participant)
        before = store.find(connection, lookup.event("rating", trial_id, answer.attempt))
        if before is not None:
            return self._describe(connection, row, before)
        if answer.attempt != lookup.attempt(connection, trial_id):
            raise records.RecordError("this answer was not taken back, so it cannot be given again.")
        if row.expires_at <= store.now():
            raise records.RecordError("this pair was open for too long; go on with a fresh one.")
        facts = json.loads(row.facts)
        body = self._body(connection, row, session=session, facts=facts, answer=answer)
        store.append(
            connection, dataclasses.replace(lookup.event("rating", trial_id, answer.attempt, participant), body=body)
        )
        if answer.choice == "cannot_load" and facts["role"] == "main":
            self._ledger.add(lookup.as_shown(facts), by=-1)
        return self._describe(connection, row, body)

    def _body(
        self,
        connection: sql.Connection,
        row: sql.Row,
        *,
        session: sql.Row,
        facts: Mapping[str, Any],
        answer: trials.Answer,
    ) -> records.Row:
        """Everything that is stored of a rating, with its provenance; see `bench.records.Rating`."""
        picture = functools.partial(self.pictures.find, facts["photo"])
        left, right = picture(facts["left"]), picture(facts["right"])
        return {
            "rating_id": str(uuid.uuid4()),
            "trial_id": row.trial_id,
            "attempt": answer.attempt,
            "participant_id": session.participant_id,
            "session_id": session.session_id,
            "trial_index": row.place,
            "role": facts["role"],
            "duplicate_of": lookup.first_showing(connection, session.session_id, facts["duplicate_of"]),
            "photo_id": facts["photo"],
            "photo_sha256": picture(stimuli.PHOTO).sha256,
            "left_model": facts["left"],
            "right_model": facts["right"],
            "left_sha256": left.sha256,
            "right_sha256": right.sha256,
            "choice": answer.choice,
            "decision_ms": answer.decision_ms,
            "shown_at": row.shown_at,
            "received_at": store.now(),
            "language": session.language,
            "viewport_width": answer.viewport_width,
            "viewport_height": answer.viewport_height,
            "pixel_ratio": answer.pixel_ratio,
            "input": answer.input,
            "protocol": self.limits.protocol,
            "rules_sha256": self.limits.sha256,
            "plan_seed": self.design.seed,
            "git_commit": self.git_commit,
            "left_checkpoint_sha256": left.checkpoint_sha256,
            "right_checkpoint_sha256": right.checkpoint_sha256,
            "prediction_protocol": self.pictures.prediction_protocol,
            "device": self.pictures.device,
            "library_versions": json.dumps(self.pictures.versions, sort_keys=True),
            "simulated": False,
        }

    def undo(self, token: str, trial_id: str) -> int:
        """Take the last answer back, once and within the time of the rules.

        Returns:
            The attempt that is open now.
        """
        participant = self.participant(token)
        return self.store.write(functools.partial(self._undo, participant=participant, trial_id=trial_id))

    def _undo(self, connection: sql.Connection, *, participant: str, trial_id: str) -> int:
        row, _ = lookup.trial(connection, trial_id, participant)
        if lookup.attempt(connection, trial_id) == 1:
            return 1  # taken back already
        given = store.find(connection, lookup.event("rating", trial_id, 0))
        if given is None:
            raise records.RecordError("there is no answer to take back.")
        age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(given["received_at"])
        if age.total_seconds() > self.limits.undo_seconds:
            raise records.RecordError(f"an answer can be taken back within {self.limits.undo_seconds} s only.")
        store.append(
            connection,
            dataclasses.replace(lookup.event("undo", trial_id, 0, participant), body={"received_at": store.now()}),
        )
        facts = json.loads(row.facts)
        if given["choice"] == "cannot_load" and facts["role"] == "main":
            self._ledger.add(lookup.as_shown(facts))
        return 1

    def scale(self, token: str, trial_id: str, marks: Marks) -> bool:
        """Store the three scales of an answered trial: likeness, style, artefacts, each 1 to 5.

        Raises:
            RecordError: The trial has no scales or no answer yet, or a mark is out of range.
        """
        if len(marks) != 3 or not all(isinstance(mark, int) and 1 <= mark <= 5 for mark in marks):
            raise records.RecordError(f"the marks are {marks!r}; expected three whole numbers from 1 to 5.")
        participant = self.participant(token)
        return self.store.write(functools.partial(self._scale, participant=participant, trial_id=trial_id, marks=marks))

    def _scale(self, connection: sql.Connection, *, participant: str, trial_id: str, marks: Marks) -> bool:
        row, _ = lookup.trial(connection, trial_id, participant)
        facts, answer = json.loads(row.facts), lookup.answer(connection, trial_id)
        if facts["scaled"] is None or answer is None:
            raise records.RecordError("no scales are asked about this pair, or it was not answered yet.")
        body = {"scaled_side": facts["scaled"], **dict(zip(("likeness", "style", "artefacts"), marks, strict=True))}
        event = lookup.event("scales", trial_id, answer["attempt"], participant)
        return store.append(connection, dataclasses.replace(event, body=body)) is not None

    def finish(self, token: str) -> dict[str, float | int | None]:
        """Give somebody's own agreement as two numbers, never per trial."""
        participant = self.participant(token)
        with self.store.read() as connection:
            given = screening.latest(store.ratings(connection))
        mine = [rating for rating in given if rating.participant_id == participant]
        return {
            "ratings": sum(rating.role != "training" for rating in mine),
            "own": screening.own_agreement(mine),
            "majority": screening.majority_agreement(mine, given),
        }

    def picture(self, token: str) -> bytes | None:
        """Give the PNG behind a token of a trial that was shown, all of one size; None for any other."""
        with self.store.read() as connection:
            found = lookup.picture(connection, token)
        return None if found is None else self.pictures.content(*found)

    def withdraw(self, code: str) -> int:
        """Delete what somebody gave.

        Returns:
            How many rows lost their content.

        Raises:
            RecordError: Nobody was given this code.
        """
        rows = self.store.write(functools.partial(store.withdraw, code=code))
        if rows is None:
            raise records.RecordError("this code is unknown: nothing was deleted. Look at it once more.")
        return rows


if __name__ == "__main__":
    from space import command

    sys.exit(command.main())

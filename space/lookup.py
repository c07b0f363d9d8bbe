"""What the study asks its database. Each function takes a connection; none writes, none needs torch."""

import datetime
import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sql

from bench import records
from space import plan, rules, store

BAD_PICTURE = '%"choice":"cannot_load"%'  # as `store.canonical` writes it


def sessions(connection: sql.Connection, participant: str) -> list[sql.Row]:
    """List a participant's sessions, the newest first.

    Raises:
        RecordError: Nobody of that name takes part any more.
    """
    known = sql.select(store.PARTICIPANTS.c.participant_id).where(store.PARTICIPANTS.c.participant_id == participant)
    if connection.execute(known).first() is None:
        raise records.RecordError("these ratings were deleted; agree once more to begin anew.")
    mine = store.SESSIONS.c.participant_id == participant
    return list(connection.execute(sql.select(store.SESSIONS).where(mine).order_by(store.SESSIONS.c.number.desc())))


def session(connection: sql.Connection, session_id: str, participant: str) -> sql.Row:
    """Get a session of this participant; raises RecordError for anybody else's."""
    table = store.SESSIONS
    row = connection.execute(
        sql.select(table).where(table.c.session_id == session_id, table.c.participant_id == participant)
    ).first()
    if row is None:
        raise records.RecordError("there is no such session; load the page once more.")
    return row


def next_number(connection: sql.Connection, protocol: str) -> int:
    """Give the number that the next session of a protocol has in the plan."""
    table = store.SESSIONS
    last = connection.execute(sql.select(sql.func.max(table.c.number)).where(table.c.protocol == protocol)).scalar()
    return 0 if last is None else last + 1


def planned(text: str, number: int) -> dict[str, Any]:
    """Get a trial of a session's plan; raises RecordError for a number outside it."""
    found = [trial for trial in json.loads(text) if trial["index"] == number]
    if not found:
        raise records.RecordError(f"the session has no trial {number}.")
    return found[0]


def shown(connection: sql.Connection, session_id: str, place: int) -> list[sql.Row]:
    """List the rows of one place of a session, the newest first: it has several where one expired."""
    table = store.TRIALS
    return list(
        connection.execute(
            sql.select(table)
            .where(table.c.session_id == session_id, table.c.place == place)
            .order_by(table.c.shown_at.desc())
        )
    )


def trial(connection: sql.Connection, trial_id: str, participant: str) -> tuple[sql.Row, sql.Row]:
    """Get a trial of this participant and its session; raises RecordError for anybody else's."""
    row = connection.execute(sql.select(store.TRIALS).where(store.TRIALS.c.trial_id == trial_id)).first()
    if row is None:
        raise records.RecordError("there is no such pair; load the page once more.")
    return row, session(connection, row.session_id, participant)


def answered(connection: sql.Connection, session_id: str) -> frozenset[int]:
    """Give the places of a session that have an answer which was not taken back."""
    places = connection.execute(
        sql.select(store.TRIALS.c.place, store.TRIALS.c.trial_id)
        .join(store.EVENTS, store.EVENTS.c.trial_id == store.TRIALS.c.trial_id)
        .where(store.TRIALS.c.session_id == session_id, store.EVENTS.c.kind == "rating")
    )
    return frozenset(place for place, trial_id in places if answer(connection, trial_id) is not None)


def attempt(connection: sql.Connection, trial_id: str) -> int:
    """Give the attempt that is open: 1 once the first answer was taken back."""
    return int(store.find(connection, event("undo", trial_id, 0)) is not None)


def answer(connection: sql.Connection, trial_id: str) -> dict[str, Any] | None:
    """Get the answer that counts; None where there is none, or it was taken back and not given again."""
    return store.find(connection, event("rating", trial_id, attempt(connection, trial_id)))


def first_showing(connection: sql.Connection, session_id: str, place: int | None) -> str | None:
    """Give the trial that was answered at a place of a session: the one that a duplicate repeats."""
    if place is None:
        return None
    rows = shown(connection, session_id, place)
    return next((row.trial_id for row in rows if answer(connection, row.trial_id) is not None), None)


def picture(connection: sql.Connection, token: str) -> tuple[str, str] | None:
    """Tell which photo and whose prediction a token stands for."""
    row = connection.execute(sql.select(store.TOKENS).where(store.TOKENS.c.token == token)).first()
    return None if row is None else (row.photo, row.name)


def event(kind: str, trial_id: str, number: int, participant: str | None = None) -> store.Event:
    """Make an event without a body."""
    return store.Event(kind=kind, trial_id=trial_id, attempt=number, participant_id=participant, body={})


def as_shown(facts: Mapping[str, Any]) -> plan.Shown:
    """Read a trial as the plan counts it."""
    return plan.Shown(photo=facts["photo"], left=facts["left"], right=facts["right"], scaled=facts["scaled"])


def counted(connection: sql.Connection, limits: rules.Rules) -> Iterator[plan.Shown]:
    """List the main trials that count for the plan: answered, or of a sitting that may still go on."""
    given = (
        sql.select(store.TRIALS.c.session_id, store.TRIALS.c.place, store.EVENTS.c.body.like(BAD_PICTURE).label("bad"))
        .join(store.EVENTS, store.EVENTS.c.trial_id == store.TRIALS.c.trial_id)
        .where(store.EVENTS.c.kind == "rating")
    )
    bad: dict[tuple[str, int], bool] = {(row.session_id, row.place): bool(row.bad) for row in connection.execute(given)}
    begun = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=limits.trial_minutes)
    same = store.SESSIONS.c.protocol == limits.protocol
    for row in connection.execute(sql.select(store.SESSIONS).where(same)):
        alive = datetime.datetime.fromisoformat(row.created_at) > begun
        for facts in json.loads(row.plan):
            if facts["role"] == "main" and not bad.get((row.session_id, facts["index"]), not alive):
                yield as_shown(facts)


def sharing(connection: sql.Connection, limits: rules.Rules) -> frozenset[str]:
    """List participants who came from one address with too many others within the days of the rules."""
    rows = connection.execute(
        sql.select(
            store.PARTICIPANTS.c.participant_id, store.PARTICIPANTS.c.address_hash, store.PARTICIPANTS.c.created_at
        ).where(store.PARTICIPANTS.c.address_hash.is_not(None))
    )
    homes: dict[str, list[tuple[datetime.datetime, str]]] = {}
    for row in rows:
        moment = datetime.datetime.fromisoformat(row.created_at)
        homes.setdefault(row.address_hash, []).append((moment, row.participant_id))
    span = datetime.timedelta(days=limits.shared_address_days)
    found: set[str] = set()
    for people in homes.values():
        people.sort()
        for start, _ in people:
            together = [name for moment, name in people if start <= moment <= start + span]
            if len(together) >= limits.shared_address:
                found.update(together)
    return frozenset(found)

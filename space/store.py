"""Where ratings are kept: SQLite on the local disk or PostgreSQL, append-only, hash-chained, one writer. No torch.

An answer is given after the commit, never before. Waiting writes share one transaction ("group commit"), so that the
price of a durable commit is paid once for many raters.
"""

import concurrent.futures
import contextlib
import dataclasses
import datetime
import functools
import hashlib
import json
import logging
import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy import event, exc
from sqlalchemy.pool import StaticPool

from bench import records

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sql.Connection], T]

LARGEST_GROUP = 256
GENESIS = "0" * 64
PHOTO = "photo"  # stands among the models for the photo itself
CHAIN_LOCK = 0x6E696A69  # of PostgreSQL's advisory locks: one chain, however many processes write

SCHEMA = sql.MetaData()
META = sql.Table("meta", SCHEMA, sql.Column("name", sql.Text, primary_key=True), sql.Column("value", sql.Text))
PARTICIPANTS = sql.Table(
    "participants",
    SCHEMA,
    sql.Column("participant_id", sql.Text, primary_key=True),
    sql.Column("protocol", sql.Text, nullable=False),
    sql.Column("address_hash", sql.Text),
    sql.Column("code_sha256", sql.Text, unique=True, nullable=False),
    sql.Column("created_at", sql.Text, nullable=False),
    sql.Column("withdrawn_at", sql.Text),
)
SESSIONS = sql.Table(
    "sessions",
    SCHEMA,
    sql.Column("session_id", sql.Text, primary_key=True),
    sql.Column("participant_id", sql.Text, nullable=False, index=True),
    sql.Column("protocol", sql.Text, nullable=False),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("plan", sql.Text, nullable=False),
    sql.Column("language", sql.Text, nullable=False),
    sql.Column("created_at", sql.Text, nullable=False),
    sql.UniqueConstraint("protocol", "number"),
)
TRIALS = sql.Table(
    "trials",
    SCHEMA,
    sql.Column("trial_id", sql.Text, primary_key=True),
    sql.Column("session_id", sql.Text, nullable=False, index=True),
    sql.Column("place", sql.Integer, nullable=False),
    sql.Column("shown_at", sql.Text, nullable=False),
    sql.Column("expires_at", sql.Text, nullable=False),
    sql.Column("facts", sql.Text, nullable=False),
)
TOKENS = sql.Table(
    "tokens",
    SCHEMA,
    sql.Column("token", sql.Text, primary_key=True),
    sql.Column("trial_id", sql.Text, nullable=False, index=True),
    sql.Column("photo", sql.Text, nullable=False),
    sql.Column("name", sql.Text, nullable=False),
)
EVENTS = sql.Table(
    "events",
    SCHEMA,
    sql.Column("sequence", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("kind", sql.Text, nullable=False),
    sql.Column("trial_id", sql.Text),
    sql.Column("attempt", sql.Integer),
    sql.Column("participant_id", sql.Text, index=True),
    sql.Column("body", sql.Text),
    sql.Column("body_sha256", sql.Text, nullable=False),
    sql.Column("previous_hash", sql.Text, nullable=False),
    sql.Column("row_hash", sql.Text, nullable=False),
    sql.UniqueConstraint("kind", "trial_id", "attempt"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened, as it is appended.

    Attributes:
        kind: "rating", "undo", "scales" or "tombstone".
        trial_id: Trial it belongs to; None for a tombstone.
        attempt: Of the answer.
        participant_id: Who did it; None for a tombstone.
        body: All that is known about it.
    """

    kind: str
    trial_id: str | None
    attempt: int | None
    participant_id: str | None
    body: Mapping[str, Any]


class Store:
    """The database, and the one thread that writes to it.

    Args:
        url: SQLAlchemy address, e.g. "sqlite:////var/nijigen/study.sqlite3" or "postgresql+psycopg://...".

    Raises:
        RecordError: There is no such database, or it cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.engine = connect(url)
        try:
            with self.engine.begin() as connection:
                SCHEMA.create_all(connection)
        except exc.SQLAlchemyError as error:
            raise records.RecordError(
                f"the ratings cannot be kept at {self.engine.url.render_as_string()}: {error}. Set DATABASE_URL to a "
                "database that can be written, or leave it out for a file on the local disk."
            ) from error
        self._waiting: queue.SimpleQueue[tuple[Work, concurrent.futures.Future] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_on, name="store", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> "concurrent.futures.Future[T]":
        """Hand work to the writer; the future is set once it is committed, and work that raised is rolled back."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._waiting.put((work, future))
        return future

    def write(self, work: Work[T]) -> T:
        """Do work in the writer and wait for the commit."""
        return self.submit(work).result()

    @contextlib.contextmanager
    def read(self) -> Iterator[sql.Connection]:
        """Give a connection that sees what was committed."""
        with self.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Finish what is waiting, then stop."""
        self._waiting.put(None)
        self._thread.join()
        self.engine.dispose()

    def _write_on(self) -> None:
        while True:
            group = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while len(group) < LARGEST_GROUP:
                    group.append(self._waiting.get_nowait())
            jobs = [job for job in group if job is not None]
            if jobs:
                self._commit(jobs)
            if len(jobs) < len(group):
                return

    def _commit(self, jobs: list[tuple[Work, concurrent.futures.Future]]) -> None:
        """Do all jobs in one transaction, each behind its own savepoint; answer when it is committed."""
        answers: list[tuple[concurrent.futures.Future, Any, BaseException | None]] = []
        try:
            with self.engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(sql.select(sql.func.pg_advisory_xact_lock(CHAIN_LOCK)))
                for work, future in jobs:
                    try:
                        with connection.begin_nested():
                            answers.append((future, work(connection), None))
                    except Exception as error:
                        answers.append((future, None, error))
        except Exception as error:
            logger.exception("A commit failed; nothing of it was acknowledged.")
            answers = [(future, None, error) for _, future in jobs]
        for future, value, error in answers:
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)


def connect(url: str) -> sql.Engine:
    """Make an engine: SQLite in WAL mode with full synchronisation, or whatever the address names."""
    address = sql.make_url(url)
    if address.get_backend_name() != "sqlite":
        return sql.create_engine(address.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    if address.database and address.database != ":memory:":
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sql.create_engine(address, connect_args={"timeout": 30, "check_same_thread": False})
    else:
        engine = sql.create_engine(address, connect_args={"check_same_thread": False}, poolclass=StaticPool)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _configure_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # SQLAlchemy says BEGIN, or savepoints would not nest
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def append(connection: sql.Connection, happened: Event) -> str | None:
    """Add an event to the chain; to be called in the writer.

    Returns:
        The row's hash; None where the same kind, trial and attempt was there already, and nothing is written.
    """
    if happened.trial_id is not None and find(connection, happened) is not None:
        return None
    row = connection.execute(
        sql.select(EVENTS.c.sequence, EVENTS.c.row_hash).order_by(EVENTS.c.sequence.desc()).limit(1)
    ).first()
    sequence, previous = (row.sequence + 1, row.row_hash) if row else (1, GENESIS)
    body = canonical(happened.body)
    body_sha256 = hashlib.sha256(body.encode()).hexdigest()
    row_hash = chain(previous, sequence=sequence, kind=happened.kind, body_sha256=body_sha256)
    connection.execute(
        EVENTS.insert().values(
            sequence=sequence,
            kind=happened.kind,
            trial_id=happened.trial_id,
            attempt=happened.attempt,
            participant_id=happened.participant_id,
            body=body,
            body_sha256=body_sha256,
            previous_hash=previous,
            row_hash=row_hash,
        )
    )
    return row_hash


def find(connection: sql.Connection, happened: Event) -> dict[str, Any] | None:
    """Give the body of the event with the same kind, trial and attempt."""
    body = connection.execute(
        sql.select(EVENTS.c.body).where(
            EVENTS.c.kind == happened.kind,
            EVENTS.c.trial_id == happened.trial_id,
            EVENTS.c.attempt == happened.attempt,
        )
    ).scalar()
    return None if body is None else json.loads(body)


def canonical(body: Mapping[str, Any]) -> str:
    """Write a body the one way that is hashed."""
    return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def chain(previous: str, *, sequence: int, kind: str, body_sha256: str) -> str:
    """Hash a row together with the row before it; the body only by its own hash, so that it can be withdrawn."""
    return hashlib.sha256(f"{previous}\n{sequence}\n{kind}\n{body_sha256}".encode()).hexdigest()


def verify(connection: sql.Connection) -> int:
    """Follow the whole chain.

    Returns:
        Number of rows.

    Raises:
        RecordError: A row is missing, was changed or was put in between.
    """
    previous = GENESIS
    rows = connection.execute(sql.select(EVENTS).order_by(EVENTS.c.sequence)).all()
    for expected, row in enumerate(rows, start=1):
        hashed = row.body is None or hashlib.sha256(row.body.encode()).hexdigest() == row.body_sha256
        linked = row.previous_hash == previous and row.sequence == expected
        own = chain(previous, sequence=row.sequence, kind=row.kind, body_sha256=row.body_sha256)
        if not (hashed and linked and own == row.row_hash):
            raise records.RecordError(
                f"the chain of ratings is broken at row {row.sequence} (expected {expected}): it was changed from "
                "outside. Restore the database from its exports."
            )
        previous = row.row_hash
    return len(rows)


def withdraw(connection: sql.Connection, code: str) -> int | None:
    """Delete what a participant gave and leave a tombstone; to be called in the writer.

    Args:
        connection: Of the writer.
        code: What the participant was told at the end.

    Returns:
        How many rows lost their content; None for an unknown code.
    """
    who = connection.execute(
        sql.select(PARTICIPANTS.c.participant_id).where(PARTICIPANTS.c.code_sha256 == code_hash(code))
    ).scalar()
    if who is None:
        return None
    mine = EVENTS.c.participant_id == who
    sequences = connection.execute(sql.select(EVENTS.c.sequence).where(mine)).scalars().all()
    connection.execute(EVENTS.update().where(mine).values(body=None, trial_id=None, attempt=None, participant_id=None))
    sessions = sql.select(SESSIONS.c.session_id).where(SESSIONS.c.participant_id == who)
    trials = sql.select(TRIALS.c.trial_id).where(TRIALS.c.session_id.in_(sessions))
    connection.execute(TOKENS.delete().where(TOKENS.c.trial_id.in_(trials)))
    connection.execute(TRIALS.delete().where(TRIALS.c.session_id.in_(sessions)))
    connection.execute(SESSIONS.delete().where(SESSIONS.c.participant_id == who))
    connection.execute(PARTICIPANTS.delete().where(PARTICIPANTS.c.participant_id == who))
    body = {"rows": list(sequences), "time": now()}
    append(connection, Event(kind="tombstone", trial_id=None, attempt=None, participant_id=None, body=body))
    return len(sequences)


def code_hash(code: str) -> str:
    """Hash a withdrawal code, however it was typed."""
    return hashlib.sha256("".join(filter(str.isalnum, code)).lower().encode()).hexdigest()


def now() -> str:
    """Give the time as it is stored: UTC, ISO 8601, milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def ratings(connection: sql.Connection) -> list[records.Rating]:
    """Read every rating with its scales, oldest first; withdrawn ones are gone, and those that were taken back."""
    rows = connection.execute(sql.select(EVENTS).order_by(EVENTS.c.sequence)).all()
    bodies = {row.sequence: json.loads(row.body) for row in rows if row.body is not None}
    undone = {(row.trial_id, row.attempt) for row in rows if row.kind == "undo"}
    scales = {
        (row.trial_id, row.attempt): bodies[row.sequence]
        for row in rows
        if row.kind == "scales" and row.sequence in bodies
    }
    return [
        records.rating_from_row(
            bodies[row.sequence]
            | scales.get((row.trial_id, row.attempt), {})
            | {"previous_hash": row.previous_hash, "row_hash": row.row_hash}
        )
        for row in rows
        if row.kind == "rating" and row.sequence in bodies and (row.trial_id, row.attempt) not in undone
    ]


def add_tokens(connection: sql.Connection, trial_id: str, facts: Mapping[str, Any]) -> None:
    """Write down which picture each token of a trial stands for; to be called in the writer."""
    names = {"photo": PHOTO, "left": facts["left"], "right": facts["right"]}
    rows = [
        {"token": facts[f"{side}_token"], "trial_id": trial_id, "photo": facts["photo"], "name": name}
        for side, name in names.items()
    ]
    connection.execute(TOKENS.insert(), rows)


def secret(store: Store, name: str) -> str:
    """Give a secret that is drawn once for a database and stays in it."""
    return store.write(functools.partial(_secret, name=name))


def _secret(connection: sql.Connection, *, name: str) -> str:
    value = connection.execute(sql.select(META.c.value).where(META.c.name == name)).scalar()
    if value is None:
        value = uuid.uuid4().hex + uuid.uuid4().hex
        connection.execute(META.insert().values(name=name, value=value))
    return value


def close(connection: sql.Connection, protocol: str) -> int:
    """End a study for good: nobody is taken in any more, and every address hash goes, with its salt.

    Args:
        connection: Of the writer.
        protocol: Of the study.

    Returns:
        How many address hashes were deleted.
    """
    if not closed(connection, protocol):
        connection.execute(META.insert().values(name=f"closed-{protocol}", value=now()))
    connection.execute(META.delete().where(META.c.name == f"salt-{protocol}"))
    mine = (PARTICIPANTS.c.protocol == protocol) & PARTICIPANTS.c.address_hash.is_not(None)
    return connection.execute(PARTICIPANTS.update().where(mine).values(address_hash=None)).rowcount


def closed(connection: sql.Connection, protocol: str) -> str:
    """Give the time at which a study was closed; empty while it is open."""
    return connection.execute(sql.select(META.c.value).where(META.c.name == f"closed-{protocol}")).scalar() or ""

"""What leaves the database: append-only parts of JSON lines, Parquet of closed parts, and a dataset on the Hub.

No address and no hash of one is ever exported. Needs no torch.
"""

import datetime
import json
import logging
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql

from bench import records
from space import store

if TYPE_CHECKING:
    import huggingface_hub

logger = logging.getLogger(__name__)

PART_ROWS = 5000
CONTENT = ("trial_id", "attempt", "participant_id", "body")
KEYS = {"events": "sequence", "participants": "participant_id", "sessions": "session_id", "trials": "trial_id"}
NEVER = {"participants": {"address_hash"}}
MINUTES = 10.0
WEEK = datetime.timedelta(days=7)


class Export:
    """A folder that follows the database.

    Args:
        kept: The database.
        folder: Holds the parts; made where missing.

    Attributes:
        redacted: Whether content was taken out that older copies of the folder may still hold.
    """

    def __init__(self, kept: store.Store, folder: Path) -> None:
        self.kept, self.folder = kept, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._seen: dict[str, set[Any]] = {table: set() for table in KEYS}
        self._part, self._rows = self._name(), 0
        self.redacted = False
        for row in read(folder):
            self._seen[row["table"]].add(row[KEYS[row["table"]]])

    def sync(self) -> int:
        """Append what is new, and take out what was withdrawn.

        Returns:
            How many rows were appended.
        """
        with self._lock, self.kept.read() as connection:
            fresh = [row for table in KEYS for row in self._fresh(connection, table)]
            for start in range(0, len(fresh), PART_ROWS):
                self._append(fresh[start : start + PART_ROWS])
            if any(row["table"] == "events" and row["kind"] == "tombstone" for row in fresh):
                self._redact(connection)
        return len(fresh)

    def close_part(self) -> None:
        """Write the open part as Parquet as well, and begin another."""
        with self._lock:
            self._rotate()

    def _fresh(self, connection: sql.Connection, table: str) -> Iterator[records.Row]:
        columns, key = store.SCHEMA.tables[table], KEYS[table]
        for row in connection.execute(sql.select(columns).order_by(columns.c[key])).mappings():
            if row[key] not in self._seen[table]:
                self._seen[table].add(row[key])
                yield {"table": table, **{name: row[name] for name in row if name not in NEVER.get(table, ())}}

    def _append(self, rows: list[records.Row]) -> None:
        records.append_jsonl(self.folder / self._part, rows)
        self._rows += len(rows)
        if self._rows >= PART_ROWS:
            self._rotate()

    def _rotate(self) -> None:
        path = self.folder / self._part
        if path.exists():
            to_parquet(path)
        self._part, self._rows = self._name(), 0

    def _redact(self, connection: sql.Connection) -> None:
        """Rewrite the parts without the content that is gone from the database."""
        self.redacted = True
        gone = set(
            connection.execute(sql.select(store.EVENTS.c.sequence).where(store.EVENTS.c.body.is_(None))).scalars()
        )
        alive = {
            table: set(connection.execute(sql.select(store.SCHEMA.tables[table].c[key])).scalars())
            for table, key in KEYS.items()
            if table != "events"
        }
        for path in sorted(self.folder.glob("*.jsonl")):
            rows = []
            for row in records.read_jsonl(path):
                if row["table"] == "events" and row["sequence"] in gone:
                    row |= dict.fromkeys(CONTENT)
                elif row["table"] != "events" and row[KEYS[row["table"]]] not in alive[row["table"]]:
                    continue
                rows.append(row)
            text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
            records.write_atomic(path, text.encode())
            if path.with_suffix(".parquet").exists():
                to_parquet(path)

    @staticmethod
    def _name() -> str:
        return f"{store.now()[:19].replace(':', '')}-{uuid.uuid4().hex}.jsonl"


def to_parquet(path: Path) -> None:
    """Write a part of JSON lines beside itself as Parquet."""
    import io

    import pandas

    buffer = io.BytesIO()
    pandas.DataFrame(list(records.read_jsonl(path))).to_parquet(buffer, index=False)
    records.write_atomic(path.with_suffix(".parquet"), buffer.getvalue())


def read(folder: Path) -> Iterator[records.Row]:
    """Read the rows of all parts, in the order of the parts' names."""
    for path in sorted(folder.glob("*.jsonl")):
        yield from records.read_jsonl(path)


def restore(kept: store.Store, folder: Path) -> int:
    """Fill an empty database from exported parts.

    Returns:
        How many rows came back; 0 where the database holds events already.

    Raises:
        RecordError: The chain of the restored rows is broken.
    """
    with kept.read() as connection:
        if connection.execute(sql.select(store.EVENTS.c.sequence).limit(1)).first() is not None:
            return 0
    rows: dict[tuple[str, Any], records.Row] = {}
    for row in read(folder):
        rows[row["table"], row[KEYS[row["table"]]]] = row

    def write(connection: sql.Connection) -> None:
        for (table, _), row in rows.items():
            values = {name: value for name, value in row.items() if name != "table"}
            connection.execute(store.SCHEMA.tables[table].insert().values(values))
            if table == "trials":
                store.add_tokens(connection, row["trial_id"], json.loads(row["facts"]))
        store.verify(connection)

    if rows:
        kept.write(write)
        logger.info("%d rows came back from %s.", len(rows), folder)
    return len(rows)


class HubDataset:
    """The exports as a private dataset on the Hub, pushed at intervals, on change only, and once more at the end.

    Its history is squashed every week, and at once where somebody withdrew: older commits still hold the content.

    Args:
        exported: The folder that is pushed.
        repository: "owner/name".
        minutes: Between pushes; the Hub allows 128 commits an hour.
    """

    def __init__(self, exported: Export, repository: str, *, minutes: float = MINUTES) -> None:
        import huggingface_hub

        class Scheduler(huggingface_hub.CommitScheduler):
            """Brings the folder up to date before each push, and the history after it."""

            def push_to_hub(self) -> Any:
                """Export what is new, then commit what changed."""
                exported.sync()
                made = super().push_to_hub()
                try:
                    if exported.redacted or (made is not None and old(self.api, repository)):
                        self.api.super_squash_history(repository, repo_type="dataset")
                        exported.redacted = False
                except (OSError, ValueError):
                    logger.exception("The history of %s was not squashed; the next push tries again.", repository)
                return made

        self.scheduler = Scheduler(
            repo_id=repository, repo_type="dataset", folder_path=exported.folder, every=minutes, private=True
        )

    def flush(self) -> None:
        """Push what is left and stop; for the end of the process."""
        try:
            self.scheduler.trigger().result(timeout=60)
        finally:
            self.scheduler.stop()


def old(api: "huggingface_hub.HfApi", repository: str) -> bool:
    """Tell whether a dataset's history reaches back more than a week."""
    commits = api.list_repo_commits(repository, repo_type="dataset")
    age = datetime.datetime.now(datetime.UTC) - min(commit.created_at for commit in commits)
    return len(commits) > 1 and age > WEEK


def fetch(repository: str, folder: Path) -> None:
    """Download the parts of a dataset, where there is one already.

    Raises:
        RecordError: The Hub cannot be asked; nothing is restored in silence.
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        huggingface_hub.snapshot_download(
            repository, repo_type="dataset", local_dir=folder, allow_patterns=["*.jsonl", "*.parquet"]
        )
    except errors.RepositoryNotFoundError:
        logger.info("%s is new.", repository)
    except (OSError, ValueError) as error:
        raise records.RecordError(
            f"the ratings in {repository} could not be fetched ({error}); the study stays closed until they can."
        ) from error

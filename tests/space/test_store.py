"""The store on SQLite and, where a server is at hand, on PostgreSQL: order, idempotency, the chain, withdrawal."""

import concurrent.futures
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from bench import records
from space import store
from tests.space import postgresql


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    programs = postgresql.find()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql.serve(programs) as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[store.Store]:
    if request.param == "sqlite":
        opened = store.Store(f"sqlite:///{tmp_path}/study.sqlite3")
    else:
        opened = store.Store(request.getfixturevalue("server"))
    yield opened
    store.SCHEMA.drop_all(opened.engine)
    opened.close()


def happened(number: int = 0, *, kind: str = "rating", trial: str | None = None) -> store.Event:
    return store.Event(
        kind=kind, trial_id=trial or f"trial-{number}", attempt=0, participant_id="p", body={"number": number}
    )


def count(kept: store.Store) -> int:
    with kept.read() as connection:
        return store.verify(connection)


def test_rows_are_chained_in_order(kept: store.Store) -> None:
    hashes = [kept.write(lambda connection, n=n: store.append(connection, happened(n))) for n in range(5)]
    assert len(set(hashes)) == 5
    assert count(kept) == 5
    with kept.read() as connection:
        previous = connection.execute(sql.select(store.EVENTS.c.previous_hash)).scalars().all()
    assert previous == [store.GENESIS, *hashes[:-1]]


def test_the_same_key_is_stored_once_however_many_ask(kept: store.Store) -> None:
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        work = lambda connection: store.append(connection, happened(1))  # noqa: E731
        answers = [future.result() for future in list(pool.map(lambda _: kept.submit(work), range(50)))]
    assert sum(answer is not None for answer in answers) == 1
    assert count(kept) == 1


def test_work_that_fails_is_undone_and_the_rest_of_its_group_is_not(kept: store.Store) -> None:
    gate = threading.Event()
    kept.submit(lambda _: gate.wait(5))  # so that the next three wait together

    def fail(connection: sql.Connection) -> None:
        store.append(connection, happened(2))
        raise records.RecordError("no")

    first = kept.submit(lambda connection: store.append(connection, happened(1)))
    broken = kept.submit(fail)
    last = kept.submit(lambda connection: store.append(connection, happened(3)))
    gate.set()
    assert first.result() and last.result()
    with pytest.raises(records.RecordError, match="no"):
        broken.result()
    assert count(kept) == 2


@pytest.mark.parametrize(
    "change",
    [
        sql.update(store.EVENTS).where(store.EVENTS.c.sequence == 2).values(body='{"number":9}'),
        sql.update(store.EVENTS).where(store.EVENTS.c.sequence == 2).values(kind="undo"),
        sql.delete(store.EVENTS).where(store.EVENTS.c.sequence == 2),
    ],
    ids=["body", "kind", "missing"],
)
def test_a_row_that_was_changed_breaks_the_chain(kept: store.Store, change: sql.Update | sql.Delete) -> None:
    for number in range(3):
        kept.write(lambda connection, n=number: store.append(connection, happened(n)))
    kept.write(lambda connection: connection.execute(change).rowcount)
    with pytest.raises(records.RecordError, match="chain of ratings is broken at row"):
        count(kept)


def test_a_secret_is_drawn_once(kept: store.Store) -> None:
    assert store.secret(kept, "salt") == store.secret(kept, "salt") != store.secret(kept, "other")


def test_withdrawal_leaves_no_content(kept: store.Store) -> None:
    code = "abcd-efgh-jkmn"
    row = {"participant_id": "p", "protocol": "x", "code_sha256": store.code_hash(code), "created_at": store.now()}
    kept.write(lambda connection: connection.execute(store.PARTICIPANTS.insert().values(row)).rowcount)
    marker = uuid.uuid4().hex
    kept.write(lambda connection: store.append(connection, happened(1, trial=marker)))
    assert kept.write(lambda connection: store.withdraw(connection, "ABCD EFGH JKMN")) == 1
    assert kept.write(lambda connection: store.withdraw(connection, code)) is None
    with kept.read() as connection:
        rows = connection.execute(sql.select(store.EVENTS)).all()
        assert not connection.execute(sql.select(store.PARTICIPANTS)).all()
    assert marker not in str(rows)
    assert [row.kind for row in rows] == ["rating", "tombstone"]
    assert count(kept) == 2


def test_what_was_acknowledged_is_there_after_opening_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/deep/folder/study.sqlite3"
    first = store.Store(url)
    futures = [first.submit(lambda connection, n=n: store.append(connection, happened(n))) for n in range(300)]
    first.close()
    assert all(future.result() for future in futures)
    second = store.Store(url)
    assert count(second) == 300
    second.close()


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database, and long enough to be taken for a damaged one" * 50)
    with pytest.raises(records.RecordError, match="DATABASE_URL"):
        store.Store(f"sqlite:///{tmp_path}/file")

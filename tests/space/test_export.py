"""Exports: appended, redacted, restored, pushed to a Hub of the tests' own, flushed when the server is stopped."""

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

from bench import records
from space import export, stimuli, store, study
from tests import hub_server
from tests.space import studies
from tests.space.test_study import sit_through

ROOT = Path(__file__).parents[2]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[store.Store]:
    opened = store.Store(f"sqlite:///{tmp_path}/study.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def held(kept: store.Store, tmp_path: Path) -> study.Study:
    return study.Study(stimuli.load(studies.folder(tmp_path / "pictures")), kept)


def contents(kept: store.Store) -> list[object]:
    with kept.read() as connection:
        store.verify(connection)
        tables = (store.EVENTS, store.SESSIONS, store.TRIALS, store.TOKENS)
        return [sorted(map(str, connection.execute(table.select()))) for table in tables]


def test_only_what_is_new_is_appended(held: study.Study, kept: store.Store, tmp_path: Path) -> None:
    token, _ = held.join(address="203.0.113.7")
    exported = export.Export(kept, tmp_path / "parts")
    assert exported.sync() == 1
    sit_through(held, token)
    assert exported.sync() == 28 + 1 + 23
    assert exported.sync() == 0
    (part,) = (tmp_path / "parts").glob("*.jsonl")
    assert "address" not in part.read_text()
    assert export.Export(kept, tmp_path / "parts").sync() == 0, "a restart knows what it has"


def test_a_closed_part_is_parquet_too(held: study.Study, kept: store.Store, tmp_path: Path) -> None:
    held.join()
    exported = export.Export(kept, tmp_path / "parts")
    exported.sync()
    exported.close_part()
    (part,) = (tmp_path / "parts").glob("*.parquet")
    assert pandas.read_parquet(part)["table"].tolist() == ["participants"]


def test_withdrawn_content_leaves_the_parts(held: study.Study, kept: store.Store, tmp_path: Path) -> None:
    token, code = held.join()
    other, _ = held.join()
    sit_through(held, token)
    sit_through(held, other)
    exported = export.Export(kept, tmp_path / "parts")
    exported.sync()
    exported.close_part()
    person = token.partition(".")[0]
    assert person in next((tmp_path / "parts").glob("*.jsonl")).read_text()
    held.withdraw(code)
    exported.sync()
    texts = [path.read_text() for path in (tmp_path / "parts").glob("*.jsonl")]
    assert person not in "".join(texts)
    assert other.partition(".")[0] in "".join(texts)
    frames = pandas.concat(pandas.read_parquet(path) for path in (tmp_path / "parts").glob("*.parquet"))
    assert person not in set(frames["participant_id"])


def test_an_empty_database_is_restored_with_its_chain(held: study.Study, kept: store.Store, tmp_path: Path) -> None:
    token, _ = held.join()
    session = sit_through(held, token)
    export.Export(kept, tmp_path / "parts").sync()
    fresh = store.Store(f"sqlite:///{tmp_path}/fresh.sqlite3")
    assert export.restore(fresh, tmp_path / "parts") == 53
    assert export.restore(fresh, tmp_path / "parts") == 0
    assert contents(fresh) == contents(kept)
    again = study.Study(held.pictures, fresh)
    assert session
    assert sum(again._ledger.pairs.values()) == 17
    fresh.close()


def test_changed_parts_are_not_restored(held: study.Study, kept: store.Store, tmp_path: Path) -> None:
    token, _ = held.join()
    sit_through(held, token)
    export.Export(kept, tmp_path / "parts").sync()
    (part,) = (tmp_path / "parts").glob("*.jsonl")
    part.write_text(part.read_text().replace('\\"choice\\":\\"A\\"', '\\"choice\\":\\"B\\"', 1))
    fresh = store.Store(f"sqlite:///{tmp_path}/fresh.sqlite3")
    with pytest.raises(records.RecordError, match="chain of ratings is broken"):
        export.restore(fresh, tmp_path / "parts")
    with fresh.read() as connection:
        assert not connection.execute(store.EVENTS.select()).all()
    fresh.close()


SCRIPT = """
import pathlib, sys
from space import export, stimuli, store, study
sys.path.insert(0, ".")
from tests.space import studies
from tests.space.test_study import sit_through
root = pathlib.Path(sys.argv[1])
kept = store.Store(f"sqlite:///{root}/study.sqlite3")
export.fetch("tester/ratings", root / "parts")
print("restored", export.restore(kept, root / "parts"))
exported = export.Export(kept, root / "parts")
dataset = export.HubDataset(exported, "tester/ratings", minutes=60)
held = study.Study(stimuli.load(root / "pictures"), kept)
token, _ = held.join()
sit_through(held, token)
dataset.flush()
kept.close()
"""


def hub_environment(hub: hub_server.Hub, home: Path) -> dict[str, str]:
    return os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "hf_test",
    }


def test_a_dataset_on_the_hub_brings_everything_back(tmp_path: Path) -> None:
    with hub_server.serve() as hub:
        environment = hub_environment(hub, tmp_path / "hf")
        said = []
        for machine in ("first", "second"):
            studies.folder(tmp_path / machine / "pictures")
            command = [sys.executable, "-c", SCRIPT, str(tmp_path / machine)]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            said.append(done.stdout.strip())
        assert said == ["restored 0", "restored 53"]
        repository = hub.repositories["dataset", "tester/ratings"]
        assert repository.private
        squashed = [call for call in hub.calls if "super-squash" in call]
        assert len(squashed) == 1, "its first commit was months old; after that it is not"
        rows = [json.loads(line) for content in repository.files.values() for line in content.decode().splitlines()]
        assert len({row["sequence"] for row in rows if row["table"] == "events"}) == 56


def test_a_withdrawal_reaches_the_history_on_the_hub(tmp_path: Path) -> None:
    studies.folder(tmp_path / "pictures")
    with hub_server.serve() as hub:
        environment = hub_environment(hub, tmp_path / "hf")
        command = [sys.executable, "-c", WITHDRAWAL, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        person = done.stdout.strip()
        repository = hub.repositories["dataset", "tester/ratings"]
        assert len(repository.commits) == 1
        assert person and person not in b"".join(repository.files.values()).decode()


WITHDRAWAL = """
import pathlib, sys
from space import export, stimuli, store, study
sys.path.insert(0, ".")
from tests.space.test_study import sit_through
root = pathlib.Path(sys.argv[1])
kept = store.Store(f"sqlite:///{root}/study.sqlite3")
dataset = export.HubDataset(export.Export(kept, root / "parts"), "tester/ratings", minutes=60)
held = study.Study(stimuli.load(root / "pictures"), kept)
token, code = held.join()
sit_through(held, token)
dataset.scheduler.trigger().result(60)
held.withdraw(code)
dataset.flush()
kept.close()
print(token.partition(".")[0])
"""


def test_the_last_rating_is_on_the_hub_after_sigterm(tmp_path: Path) -> None:
    studies.folder(tmp_path / "pictures")
    with hub_server.serve() as hub, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        environment = hub_environment(hub, tmp_path / "hf") | {
            "DATABASE_URL": f"sqlite:///{tmp_path}/study.sqlite3",
            "NIJIGEN_RATINGS": "tester/ratings",
            "NIJIGEN_STATE": str(tmp_path),
            "NIJIGEN_STUDY": str(tmp_path / "pictures"),
            "OMP_NUM_THREADS": "1",
        }
        with subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=environment) as app:
            try:
                ask = functools.partial(request, f"http://127.0.0.1:{port}/study")
                wait(lambda: ask("about")["ready"])
                token = {"token": ask("join", {"consent": True})["token"]}
                session = ask("session", token | {"language": "en"})
                trial = ask("trial", token | {"session_id": session["session_id"], "number": 1})
                answer = {"trial_id": trial["trial_id"], "attempt": 0, "choice": "A", "decision_ms": 2000}
                ask("rating", token | answer | {"input": "key", **SCREEN})
                start = time.monotonic()
                app.terminate()
                app.wait(30)
                assert time.monotonic() - start < 10
            finally:
                app.kill()
        files = hub.repositories["dataset", "tester/ratings"].files
        assert any(trial["trial_id"] in content.decode() for content in files.values())


SCREEN = {"viewport_width": 1280, "viewport_height": 800, "pixel_ratio": 1.0}


def request(address: str, route: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"{address}/{route}", data=data, headers={"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.loads(answer.read())


def wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if ready():
                return
        time.sleep(0.1)
    raise TimeoutError("the app did not start")

"""Channels by which a model could show before the answer, one by one, at the level of the routes.

What a browser receives as a whole is scanned in `test_rate`.
"""

import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastapi
import numpy as np
import pytest
from fastapi import testclient
from PIL import Image

from space import api, host, results, stimuli, store, study
from tests.space import studies


@pytest.fixture
def held(tmp_path: Path) -> Iterator[host.Host]:
    folder = studies.folder(tmp_path / "pictures")
    flat = folder / studies.MODELS[0]
    for path in flat.iterdir():  # a model whose files are far smaller than those of the others
        Image.new("RGB", (64, 64), (200, 120, 90)).save(path)
    kept = store.Store(f"sqlite:///{tmp_path}/study.sqlite3")
    made = host.Host(folder=tmp_path, url="")
    made.running = study.Study(stimuli.load(folder), kept)
    yield made
    kept.close()


@pytest.fixture
def client(held: host.Host) -> testclient.TestClient:
    app = fastapi.FastAPI()
    api.add_to(app, results.Results(held))
    return testclient.TestClient(app)


@pytest.fixture
def trials(client: testclient.TestClient) -> list[Any]:
    """The answers to "show me" of a whole session, unanswered."""
    token = client.post("/study/join", json={"consent": True}).json()["token"]
    session = client.post("/study/session", json={"token": token, "language": "en"}).json()
    asked = {"token": token, "session_id": session["session_id"]}
    return [client.post("/study/trial", json=asked | {"number": number}) for number in range(1, 21)]


def tokens(trials: list[Any]) -> list[str]:
    return [trial.json()[side] for trial in trials for side in ("photo", "left", "right")]


def test_sizes(client: testclient.TestClient, trials: list[Any], held: host.Host) -> None:
    assert held.running is not None
    sizes = {picture.path.stat().st_size for picture in held.running.pictures.pictures.values()}
    assert len(sizes) > 1, "the files differ"
    served = {len(client.get(f"/study/picture/{token}").content) for token in tokens(trials)}
    assert served == {max(sizes)}


def test_the_bytes_of_the_benchmark_are_what_is_shown(
    client: testclient.TestClient, trials: list[Any], held: host.Host
) -> None:
    assert held.running is not None
    known = {picture.path.read_bytes() for picture in held.running.pictures.pictures.values()}
    for token in tokens(trials[:5]):
        content = client.get(f"/study/picture/{token}").content
        (file,) = [each for each in known if content.startswith(each)]
        assert not content[len(file) :].strip(b"\0")
        shown, made = (np.array(Image.open(io.BytesIO(each))) for each in (content, file))
        assert np.array_equal(shown, made)


def test_headers(client: testclient.TestClient, trials: list[Any]) -> None:
    kinds = {tuple(sorted(client.get(f"/study/picture/{token}").headers.items())) for token in tokens(trials)}
    assert len(kinds) == 1, "no picture's headers differ from another's"
    assert {name for name, _ in kinds.pop()} == {"content-length", "content-type", "cache-control", "x-robots-tag"}


def test_addresses_and_names(trials: list[Any]) -> None:
    found = tokens(trials)
    assert len(set(found)) == len(found), "the same picture never has the same address twice"
    assert all(uuid.UUID(token).version == 4 for token in found), "drawn by lot, so they follow no order"


def test_bodies_look_the_same_whatever_the_trial_is_for(trials: list[Any]) -> None:
    bodies = [trial.json() for trial in trials]
    assert len({tuple(body) for body in bodies}) == 1
    shapes = {tuple(len(json.dumps(value)) for key, value in body.items() if key != "number") for body in bodies}
    assert len(shapes) == 1, "gold, duplicate, scaled and main trials answer with the same lengths"
    assert all(body["expected"] is None and body["scaled_side"] is None for body in bodies)
    assert len({frozenset(trial.headers) for trial in trials}) == 1


def test_metadata(client: testclient.TestClient, trials: list[Any]) -> None:
    for token in tokens(trials[:5]):
        opened = Image.open(io.BytesIO(client.get(f"/study/picture/{token}").content))
        assert (opened.format, opened.size, opened.mode) == ("PNG", (64, 64), "RGB")
        assert opened.info == {} and not opened.getexif()


def test_order(held: host.Host) -> None:
    """Each model stands on the left in half of the trials of many sessions, and at every place of a session."""
    assert held.running is not None
    left, right, places = (dict.fromkeys(studies.MODELS, 0) for _ in range(3))
    for _ in range(40):
        token, _ = held.running.join()
        session = held.running.sit(token, language="en")["session_id"]
        with held.running.store.read() as connection:
            row = connection.execute(store.SESSIONS.select().where(store.SESSIONS.c.session_id == session)).one()
        for number, trial in enumerate(json.loads(row.plan)):
            if trial["role"] == "main":
                left[trial["left"]] += 1
                right[trial["right"]] += 1
                places[trial["left"]] += number
    shares = {name: left[name] / (left[name] + right[name]) for name in left}
    assert all(0.48 <= share <= 0.52 for share in shares.values()), shares
    means = [places[name] / left[name] for name in left]
    assert max(means) - min(means) < 1.5, "no model comes earlier than another"


def test_errors_say_nothing_of_a_model(client: testclient.TestClient, trials: list[Any], held: host.Host) -> None:
    assert held.running is not None
    token = trials[0].json()["left"]
    first = client.get(f"/study/picture/{token[:-1]}x")
    other = client.get("/study/picture/none")
    assert (first.status_code, first.json()) == (other.status_code, other.json()) == (404, other.json())
    assert first.json() == {"detail": "There is no such picture."}

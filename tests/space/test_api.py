"""The study's routes: a session over HTTP, bad requests, what the answers carry."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastapi
import pytest
from fastapi import testclient

from space import api, arena, convert, host, results, stimuli, store, study
from tests.space import studies

SCREEN = {"viewport_width": 360, "viewport_height": 740, "pixel_ratio": 2.0}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[host.Host]:
    made = host.Host(folder=tmp_path, url="")
    kept = store.Store(f"sqlite:///{tmp_path}/study.sqlite3")
    made.running = study.Study(stimuli.load(studies.folder(tmp_path / "pictures")), kept)
    made.ring = arena.Arena(kept)
    yield made
    kept.close()


@pytest.fixture
def client(held: host.Host) -> testclient.TestClient:
    app = fastapi.FastAPI()
    api.add_to(app, results.Results(held))
    return testclient.TestClient(app)


def begin(client: testclient.TestClient) -> tuple[str, dict[str, Any]]:
    token = client.post("/study/join", json={"consent": True}).json()["token"]
    return token, client.post("/study/session", json={"token": token, "language": "en"}).json()


def show(client: testclient.TestClient, token: str, session: dict[str, Any], number: int) -> dict[str, Any]:
    asked = {"token": token, "session_id": session["session_id"], "number": number}
    return client.post("/study/trial", json=asked).json()


def answer(own: str, trial: dict[str, Any], **changes: object) -> dict[str, object]:
    given = {"trial_id": trial["trial_id"], "attempt": 0, "choice": "B", "decision_ms": 2500, "input": "touch"}
    return {"token": own, **given, **SCREEN} | changes


def test_a_pair_is_shown_judged_and_scaled(client: testclient.TestClient) -> None:
    token, session = begin(client)
    trial = show(client, token, session, 4)
    for side in ("photo", "left", "right"):
        picture = client.get(f"/study/picture/{trial[side]}")
        assert picture.headers["content-type"] == "image/png"
        assert picture.headers["cache-control"] == "no-store"
    saved = client.post("/study/rating", json=answer(token, trial)).json()
    assert saved["answered"] == "B"
    assert saved["scaled_side"] in ("left", "right")
    marks = {"token": token, "trial_id": trial["trial_id"], "marks": [1, 3, 5]}
    assert client.post("/study/scales", json=marks).json() == {"saved": True}
    assert client.post("/study/scales", json=marks).json() == {"saved": False}
    assert client.post("/study/undo", json={"token": token, "trial_id": trial["trial_id"]}).json() == {"attempt": 1}
    again = answer(token, trial, attempt=1, choice="tie")
    assert client.post("/study/rating", json=again).json()["answered"] == "tie"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"choice": "C"}, 400),
        ({"attempt": 1}, 400),
        ({"attempt": 7}, 422),
        ({"trial_id": "00000000-0000-4000-8000-000000000000"}, 400),
        ({"token": "somebody.else"}, 400),
        ({"decision_ms": "soon"}, 422),
        ({"model": "x"}, 422),
    ],
)
def test_a_wrong_answer_is_refused(client: testclient.TestClient, changes: dict[str, object], status: int) -> None:
    token, session = begin(client)
    refused = client.post("/study/rating", json=answer(token, show(client, token, session, 1), **changes))
    assert refused.status_code == status
    assert refused.json()["detail"]


def test_consent_cannot_be_left_out(client: testclient.TestClient) -> None:
    for body in ({}, {"consent": False}, {"consent": "yes"}):
        assert client.post("/study/join", json=body).status_code == 422


def test_a_large_body_is_refused_before_it_is_read(client: testclient.TestClient) -> None:
    refused = client.post("/study/join", content=b"x" * 5000)
    assert refused.status_code == 413
    chunked = client.post("/study/join", content=iter([b"x" * 10]))
    assert chunked.status_code == 413


def test_a_study_that_is_not_ready_says_so_and_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    app, asked = fastapi.FastAPI(), host.Host(folder=None, url="")
    monkeypatch.setattr(asked, "_open", lambda: None)
    api.add_to(app, results.Results(asked))
    client = testclient.TestClient(app)
    assert client.get("/study/about").json() == {"protocol": "pilot-v1", "ready": False}
    assert asked.opening is None
    assert client.post("/study/join", json={"consent": True}).status_code == 503
    assert asked.opening is not None


def test_withdrawal_over_http(client: testclient.TestClient) -> None:
    joined = client.post("/study/join", json={"consent": True}).json()
    session = client.post("/study/session", json={"token": joined["token"], "language": "vi"}).json()
    client.post("/study/rating", json=answer(joined["token"], show(client, joined["token"], session, 1)))
    assert client.post("/study/withdraw", json={"code": joined["code"]}).json() == {"deleted": 1}
    assert client.post("/study/withdraw", json={"code": joined["code"]}).status_code == 400
    assert client.get("/study/picture/unknown").status_code == 404


def test_the_arena_tells_the_names_after_the_answer_only(
    client: testclient.TestClient, held: host.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paint(source: bytes, *, model: str) -> convert.Conversion:
        photo = convert.Photo(png=source, height=64, width=64)
        return convert.Conversion(photo=photo, png=model[::-1].encode(), model=model, sha256="0" * 64, seconds=0.1)

    entries = [SimpleNamespace(name=name) for name in ("maple", "cedar", "birch")]
    monkeypatch.setattr(convert, "offered", lambda: tuple(entries))
    monkeypatch.setattr(convert, "convert", paint)
    opened = client.post("/study/arena", content=b"photo" * 2000)
    assert not any(entry.name in opened.text for entry in entries)
    duel = opened.json()
    drawn = [client.get(f"/study/arena/{duel[side]}").content.decode()[::-1] for side in ("left", "right")]
    given = {"trial_id": duel["trial_id"], "language": "vi", "choice": "A", "decision_ms": 900, "input": "key"} | SCREEN
    told = client.post("/study/arena/rating", json=given).json()
    assert told == {"answered": "A", "left": drawn[0], "right": drawn[1]}
    assert client.post("/study/arena/rating", json=given | {"choice": "B"}).json() == told
    running = held.running
    assert running is not None
    with running.store.read() as connection:
        (rating,) = store.ratings(connection)
    assert (rating.protocol, rating.photo_id, rating.photo_sha256) == ("arena-v1", "own", "")
    assert client.get("/study/standings.json").json()["ratings_of_all"] == 0, "never ranked with the study"
    assert client.post("/study/arena/rating", json=given | {"trial_id": "x"}).status_code == 400


def test_the_arena_forgets(monkeypatch: pytest.MonkeyPatch, held: host.Host) -> None:
    ring = held.ring
    assert ring is not None
    photo = convert.Photo(png=b"photo", height=64, width=64)
    monkeypatch.setattr(convert, "offered", lambda: (SimpleNamespace(name="a"), SimpleNamespace(name="b")))
    monkeypatch.setattr(
        convert,
        "convert",
        lambda source, *, model: convert.Conversion(photo=photo, png=b"", model=model, sha256=None, seconds=0),
    )
    duels = [ring.open(b"photo") for _ in range(arena.KEPT_DUELS + 1)]
    assert ring.picture(duels[0].tokens[0]) is None
    assert ring.picture(duels[-1].tokens[0]) == b"photo"
    monkeypatch.setattr(arena, "KEPT_SECONDS", 0.0)
    last = ring.open(b"photo")
    assert ring.picture(duels[-1].tokens[0]) is None
    assert ring.picture(last.tokens[0]) == b"photo"

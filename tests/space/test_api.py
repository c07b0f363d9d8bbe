"""The study's routes: a session over HTTP, bad requests, what the answers carry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastapi
import pytest
from fastapi import testclient

from space import api, host, results, stimuli, store, study
from tests.space import studies

SCREEN = {"viewport_width": 360, "viewport_height": 740, "pixel_ratio": 2.0}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[host.Host]:
    made = host.Host(folder=tmp_path, url="")
    kept = store.Store(f"sqlite:///{tmp_path}/study.sqlite3")
    made.running = study.Study(stimuli.load(studies.folder(tmp_path / "pictures")), kept)
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

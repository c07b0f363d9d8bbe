"""A study from agreeing to the end, on a real database: what is stored, what is refused, what stays hidden."""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import records
from space import rules, stimuli, store, study, trials
from tests.space import studies

ANSWER = trials.Answer(
    choice="A", decision_ms=4000, input="key", viewport_width=1280, viewport_height=800, pixel_ratio=1.0
)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[store.Store]:
    opened = store.Store(f"sqlite:///{tmp_path}/study.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def held(kept: store.Store, tmp_path: Path) -> study.Study:
    return study.Study(stimuli.load(studies.folder(tmp_path / "pictures")), kept, git_commit="a" * 40)


def answer(held: study.Study, token: str, trial: trials.Trial, choice: records.Choice = "A") -> trials.Trial:
    given = dataclasses.replace(ANSWER, choice=choice, attempt=trial.attempt)
    return held.rate(token, trial.trial_id, given).result()


def sit_through(held: study.Study, token: str) -> str:
    session = held.sit(token, language="en")
    for number in range(session["next"], 21):
        trial = held.trial(token, session["session_id"], number)
        saved = answer(held, token, trial)
        if saved.scaled_side:
            held.scale(token, trial.trial_id, (3, 4, 5))
    return session["session_id"]


def stored(kept: store.Store) -> list[records.Rating]:
    with kept.read() as connection:
        return store.ratings(connection)


def test_a_whole_session_is_stored(held: study.Study, kept: store.Store) -> None:
    token, _ = held.join(address="203.0.113.7")
    sit_through(held, token)
    ratings = stored(kept)
    assert [rating.trial_index for rating in ratings] == list(range(-2, 21))
    roles = [rating.role for rating in ratings]
    assert (roles.count("training"), roles.count("main"), roles.count("gold"), roles.count("duplicate")) == (
        3,
        17,
        1,
        2,
    )
    for rating in ratings:
        assert rating.protocol == "study-v1"
        assert rating.rules_sha256 == rules.STUDY.sha256
        assert rating.git_commit == "a" * 40
        assert bool(rating.likeness) == (rating.trial_index in (4, 8, 12, 16, 20))
        left = held.pictures.find(rating.photo_id, rating.left_model)
        assert (rating.left_sha256, rating.left_checkpoint_sha256) == (left.sha256, left.checkpoint_sha256)
        assert bool(rating.duplicate_of) == (rating.role == "duplicate")
    with kept.read() as connection:
        assert store.verify(connection) == 23 + 5
    assert held.finish(token)["ratings"] == 20
    assert held.finish(token)["own"] == 0.0  # always A: every duplicate reversed


def test_the_address_is_stored_as_a_salted_hash_only(held: study.Study, kept: store.Store, tmp_path: Path) -> None:
    held.join(address="203.0.113.7")
    kept.close()
    content = b"".join(path.read_bytes() for path in tmp_path.glob("study.sqlite3*"))
    assert b"203.0.113.7" not in content


def test_a_repeated_answer_is_stored_once(held: study.Study, kept: store.Store) -> None:
    token, _ = held.join()
    session = held.sit(token, language="vi")
    trial = held.trial(token, session["session_id"], 1)
    first = [held.rate(token, trial.trial_id, dataclasses.replace(ANSWER, choice="tie"))]
    others = [held.rate(token, trial.trial_id, dataclasses.replace(ANSWER, choice="B")) for _ in range(50)]
    assert {future.result().answered for future in [*first, *others]} == {"tie"}
    assert len(stored(kept)) == 1


def test_an_answer_can_be_taken_back_once(held: study.Study, kept: store.Store) -> None:
    token, _ = held.join()
    session = held.sit(token, language="en")
    trial = held.trial(token, session["session_id"], 1)
    with pytest.raises(records.RecordError, match="no answer to take back"):
        held.undo(token, trial.trial_id)
    answer(held, token, trial)
    assert held.undo(token, trial.trial_id) == 1
    assert stored(kept) == []
    again = held.trial(token, session["session_id"], 1)
    assert (again.trial_id, again.attempt, again.answered) == (trial.trial_id, 1, None)
    answer(held, token, again, "B")
    assert held.undo(token, trial.trial_id) == 1  # a repeated request changes nothing
    (rating,) = stored(kept)
    assert (rating.choice, rating.attempt) == ("B", 1)


def test_an_answer_cannot_be_taken_back_late(held: study.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    token, _ = held.join()
    trial = held.trial(token, held.sit(token, language="en")["session_id"], 1)
    answer(held, token, trial)
    monkeypatch.setattr(held, "limits", dataclasses.replace(held.limits, undo_seconds=0))
    time.sleep(0.01)
    with pytest.raises(records.RecordError, match="within 0 s"):
        held.undo(token, trial.trial_id)


def test_a_reload_goes_on_where_it_was(held: study.Study) -> None:
    token, _ = held.join()
    session = held.sit(token, language="en")
    assert session["next"] == -2
    for number in (-2, -1, 0, 1, 2):
        answer(held, token, held.trial(token, session["session_id"], number))
    shown = held.trial(token, session["session_id"], 3)
    again = held.sit(token, language="en")
    assert again == session | {"next": 3, "done": 2}
    assert held.trial(token, session["session_id"], 3) == shown


def test_a_pair_that_was_left_out_comes_back(held: study.Study) -> None:
    token, _ = held.join()
    session = held.sit(token, language="en")["session_id"]
    for number in (1, 2, 4):
        answer(held, token, held.trial(token, session, number))
    assert held.sit(token, language="en")["next"] == 3


def test_training_comes_once_and_tells_the_right_answer_afterwards(held: study.Study) -> None:
    token, _ = held.join()
    session = held.sit(token, language="en")
    lessons = [held.trial(token, session["session_id"], number) for number in (-2, -1, 0)]
    assert [lesson.expected for lesson in lessons] == [None] * 3
    assert [answer(held, token, lesson).expected for lesson in lessons] == ["A", "B", "tie"]
    sit_through(held, token)
    assert held.sit(token, language="en")["next"] == 1


def test_an_expired_pair_is_shown_anew(held: study.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    token, _ = held.join()
    session = held.sit(token, language="en")["session_id"]
    monkeypatch.setattr(held, "limits", dataclasses.replace(held.limits, trial_minutes=0))
    old = held.trial(token, session, 1)
    time.sleep(0.01)
    with pytest.raises(records.RecordError, match="open for too long"):
        answer(held, token, old)
    monkeypatch.undo()
    fresh = held.trial(token, session, 1)
    assert fresh.trial_id != old.trial_id
    assert answer(held, token, fresh).answered == "A"


def test_nobody_answers_for_somebody_else(held: study.Study) -> None:
    token, _ = held.join()
    other, _ = held.join()
    session = held.sit(token, language="en")["session_id"]
    trial = held.trial(token, session, 1)
    with pytest.raises(records.RecordError, match="no such session"):
        answer(held, other, trial)
    with pytest.raises(records.RecordError, match="no such session"):
        held.trial(other, session, 1)
    with pytest.raises(records.RecordError, match="unknown here"):
        held.sit(token[:-1] + "x", language="en")


@pytest.mark.parametrize(
    "wrong", [{"choice": "C"}, {"attempt": 2}, {"decision_ms": -1}, {"input": "voice"}, {"pixel_ratio": 0.0}]
)
def test_an_answer_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(records.RecordError, match="out of range"):
        dataclasses.replace(ANSWER, **wrong)


def test_what_could_not_be_loaded_goes_back_to_the_plan(held: study.Study) -> None:
    token, _ = held.join()
    session = held.sit(token, language="en")["session_id"]
    before = sum(held._ledger.pairs.values())
    trial = held.trial(token, session, 4)  # never gold or duplicate
    answer(held, token, trial, "cannot_load")
    assert sum(held._ledger.pairs.values()) == before - 1
    held.undo(token, trial.trial_id)
    assert sum(held._ledger.pairs.values()) == before


def test_a_restart_keeps_plan_and_sessions(held: study.Study, kept: store.Store) -> None:
    token, _ = held.join()
    session = sit_through(held, token)
    again = study.Study(held.pictures, kept)
    assert again._ledger == held._ledger
    assert again.participant(token)
    assert again.trial(token, session, 5).answered == "A"


def test_withdrawal_deletes_the_content_and_keeps_the_chain(held: study.Study, kept: store.Store) -> None:
    token, code = held.join()
    other, _ = held.join()
    sit_through(held, token)
    sit_through(held, other)
    with pytest.raises(records.RecordError, match="nothing was deleted"):
        held.withdraw("aaaa-bbbb-cccc")
    assert held.withdraw(code.upper().replace("-", " ")) == 28
    assert {rating.participant_id for rating in stored(kept)} == {other.partition(".")[0]}
    with kept.read() as connection:
        assert store.verify(connection) == 57
    with pytest.raises(records.RecordError, match="were deleted"):
        held.sit(token, language="en")
    assert sum(study.Study(held.pictures, kept)._ledger.pairs.values()) == 17


def test_the_page_gets_nothing_that_tells_models_or_roles_apart(held: study.Study) -> None:
    token, _ = held.join()
    session = held.sit(token, language="en")
    seen = [json.dumps(session)]
    for number in range(1, 21):
        seen.append(json.dumps(dataclasses.asdict(held.trial(token, session["session_id"], number))))
    text = "".join(seen)
    for name in (*studies.MODELS, "damaged", "gold", "duplicate", "main", "photo-"):
        assert name not in text
    hashes = {picture.sha256 for picture in held.pictures.pictures.values()}
    assert not any(value in text for value in hashes)


def test_a_picture_needs_a_token_of_a_trial_that_was_shown(held: study.Study) -> None:
    token, _ = held.join()
    trial = held.trial(token, held.sit(token, language="en")["session_id"], 1)
    content = held.picture(trial.left)
    assert content is not None
    assert content.startswith(b"\x89PNG")
    assert held.picture("0" * 32) is None

"""The study's commands: advice by the formula, simulated ratings that rank, plain errors."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sql

from bench import records
from space import command, host, results, stimuli, store, study
from tests.space import studies


@pytest.mark.parametrize(("share", "ratings"), [(0.55, 783), (0.60, 194), (0.65, 85), (0.70, 47), (0.75, 29)])
def test_the_sample_size_of_one_pair(share: float, ratings: int) -> None:
    assert command.decisive_ratings(share) == ratings


def test_simulated_ratings_are_ranked_and_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ratings.jsonl"
    assert command.main(["simulate", "--out", str(path), "--models", "3", "--participants", "12"]) == 0
    assert "1,300 simulated ratings" in capsys.readouterr().out
    out = tmp_path / "standings.json"
    assert command.main(["rank", str(path), "--out", str(out)]) == 0
    first = out.read_bytes()
    assert command.main(["rank", str(path), "--out", str(out)]) == 0
    assert out.read_bytes() == first
    document = json.loads(first)
    assert document["simulated"]
    assert document["checks"]["removed"] + document["checks"]["passed"] == 13
    assert document["models"][0]["model"] == "model-02"


@pytest.mark.parametrize("arguments", [["plan", "--models", "1"], ["plan", "--models", "5", "--gap", "40:60"]])
def test_a_plan_that_makes_no_sense_exits_with_2(arguments: list[str], caplog: pytest.LogCaptureFixture) -> None:
    assert command.main(arguments) == 2
    assert "expected two models or more" in caplog.text


def test_a_file_without_ratings_exits_with_2(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert command.main(["rank", str(tmp_path / "nothing.jsonl")]) == 2
    assert "holds no ratings" in caplog.text


def test_closing_a_study_deletes_what_tells_addresses_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/study.sqlite3"
    kept = store.Store(url)
    held = study.Study(stimuli.load(studies.folder(tmp_path / "pictures")), kept)
    token, code = held.join(address="203.0.113.7")
    session = held.sit(token, language="en")
    assert command.main(["close", url]) == 0
    assert "1 address hashes and their salt were deleted" in capsys.readouterr().out
    with kept.read() as connection:
        assert connection.execute(sql.select(store.PARTICIPANTS.c.address_hash)).scalars().all() == [None]
        assert "salt" not in " ".join(connection.execute(sql.select(store.META.c.name)).scalars())
    with pytest.raises(records.RecordError, match="was closed on"):
        held.join()
    assert held.trial(token, session["session_id"], 1).number == 1, "who has begun may end"
    assert command.main(["close", url]) == 0, "closing twice changes nothing"
    held.withdraw(code)
    kept.close()


def test_simulated_ratings_can_stand_in_on_the_leaderboard_but_real_ones_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ratings.jsonl"
    command.main(["simulate", "--out", str(path), "--names", "weak", "strong", "--participants", "6"])
    ranked = results.Results(host.Host(folder=None, url="sqlite://"), tmp_path / "scores.jsonl")
    assert ranked.document() is None
    monkeypatch.setenv("NIJIGEN_SIMULATED", str(path))
    document = ranked.document()
    assert document is not None and document["simulated"]
    assert document["names"] == ["strong", "weak"]
    real = tmp_path / "real.jsonl"
    rows = [row | {"simulated": False} for row in records.read_jsonl(path)]
    records.append_jsonl(real, rows)
    monkeypatch.setenv("NIJIGEN_SIMULATED", str(real))
    with pytest.raises(records.RecordError, match="shows simulated ones only"):
        ranked.document()

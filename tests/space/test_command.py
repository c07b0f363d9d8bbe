"""The study's commands: advice by the formula, simulated ratings that rank, plain errors."""

import json
from pathlib import Path

import pytest

from space import command


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

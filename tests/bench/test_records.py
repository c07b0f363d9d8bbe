"""Records: round trip, append-only files that survive a torn write, Parquet."""

import dataclasses
import json
from pathlib import Path

import pandas
import pytest

from bench import records

PROVENANCE = records.Provenance(
    git_commit="0" * 40,
    git_dirty=False,
    protocol="translate-256",
    protocol_version=1,
    seed=2020,
    device="cpu: test, 2 cores",
    threads=1,
    versions={"torch": "2.15.0"},
    time="2026-11-20T10:00:00+00:00",
)
SCORE = records.Score(
    model="photo",
    metric="identity",
    reference="photo",
    value=0.75,
    interval=(0.7, 0.8),
    n_photos=3,
    dataset_sha256="d",
    checkpoint_sha256=None,
    details={"embedder": "test"},
    provenance=PROVENANCE,
)


def test_scores_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.jsonl"
    empty = dataclasses.replace(SCORE, value=None, interval=None, reason="no face")
    records.append_jsonl(path, [records.to_row(SCORE)])
    records.append_jsonl(path, [records.to_row(empty)])
    assert records.read_scores(path) == [SCORE, empty]
    assert records.read_scores(tmp_path / "absent.jsonl") == []


def test_appending_keeps_what_is_there_but_for_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2, "b": "' + "x" * 70_000)
    assert list(records.read_jsonl(path)) == [{"a": 1}]
    records.append_jsonl(path, [{"a": 3}])
    assert path.read_text() == '{"a": 1}\n{"a": 3}\n'
    path.write_text('{"torn')
    records.append_jsonl(path, [{"a": 4}])
    assert path.read_text() == '{"a": 4}\n'


@pytest.mark.parametrize("line", ["nonsense", "[1]", "3"])
def test_a_finished_line_that_is_no_object_is_an_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text(f"{{}}\n{line}\n")
    with pytest.raises(records.RecordError, match="line 2"):
        list(records.read_jsonl(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize("change", [{"surplus": 1}, {"interval": [1]}, {"provenance": {}}, {"provenance": None}])
def test_a_row_that_is_no_score_is_an_error(tmp_path: Path, change: dict) -> None:
    records.append_jsonl(tmp_path / "scores.jsonl", [{**records.to_row(SCORE), **change}])
    with pytest.raises(records.RecordError, match=r"line 1.*not a score"):
        records.read_scores(tmp_path / "scores.jsonl")


def test_nan_never_enters_a_record(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.append_jsonl(tmp_path / "rows.jsonl", [{"value": float("nan")}])
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"model": "x"},
        {"metric": "x"},
        {"reference": "x"},
        {"dataset_sha256": "x"},
        {"checkpoint_sha256": "x"},
        {"backbone_sha256": "x"},
        {"limit": 3},
        {"provenance": dataclasses.replace(PROVENANCE, protocol_version=2)},
    ],
)
def test_everything_that_changes_a_number_is_in_the_key(change: dict) -> None:
    assert dataclasses.replace(SCORE, **change).key() != SCORE.key()


def test_the_machine_matters_for_latency_alone() -> None:
    elsewhere = dataclasses.replace(PROVENANCE, device="cpu: other, 8 cores")
    assert dataclasses.replace(SCORE, provenance=elsewhere).key() == SCORE.key()
    latency = dataclasses.replace(SCORE, metric=records.LATENCY)
    assert dataclasses.replace(latency, provenance=elsewhere).key() != latency.key()


def test_parquet_is_flat(tmp_path: Path) -> None:
    records.to_parquet([SCORE, dataclasses.replace(SCORE, interval=None)], tmp_path / "scores.parquet")
    table = pandas.read_parquet(tmp_path / "scores.parquet")
    first = table.iloc[0]
    assert (first["interval_low"], first["interval_high"], first["git_commit"]) == (0.7, 0.8, "0" * 40)
    assert json.loads(first["versions"]) == {"torch": "2.15.0"}
    assert pandas.isna(table.iloc[1]["interval_low"])


def test_an_interrupted_replacement_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    records.write_atomic(path, b"old")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(records.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        records.write_atomic(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"

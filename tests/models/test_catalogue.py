"""The committed catalogue equals the cards, and the command prints it."""

import json
import sys

import pytest

from models import __main__ as command
from models import card, registry


@pytest.fixture(scope="module")
def entries() -> tuple[card.CatalogueEntry, ...]:
    return registry.entries()


def test_the_committed_catalogue_is_current(entries: tuple[card.CatalogueEntry, ...]):
    assert card.CATALOGUE.read_text() == command.as_json(entries), (
        "run: python -m models --json > models/catalogue.json"
    )
    assert card.catalogue() == entries


def test_counts_are_the_published_ones():
    assert {entry.name: entry.parameters for entry in card.catalogue()} == {
        "dtgan": 1_027_520,
        "dtgan-portrait": 1_027_520,
        "dtgan-illust": 1_027_520,
        "animegan": 3_956_096,
        "animegan-portrait": 3_956_096,
        "animeganv2": 2_143_552,
        "animeganv2-portrait": 2_143_552,
        "animeganv2-lite": 698_240,
        "animeganv2-lite-portrait": 698_240,
    }


def test_only_trained_models_are_offered():
    assert {entry.name for entry in card.offered()} == {
        name for name, entry in registry.CARDS.items() if entry.checkpoint is not None
    }


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["models", *arguments])
    command.tyro.cli(command.main, prog="python -m models")


def test_the_command_prints_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(["--json"], monkeypatch)
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(registry.CARDS)
    assert set(listed[0]) >= {"name", "task", "parameters", "multiple", "min_side", "checkpoint"}


def test_the_command_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run([], monkeypatch)
    head, first, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == list(command.COLUMNS)
    assert first.startswith("dtgan ")
    assert "1,027,520" in first
    assert "multiple of 8 (padded), from 64 px" in first
    assert len(rest) == len(registry.CARDS) - 1


def test_a_misspelt_flag_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        run(["--jsn"], monkeypatch)
    assert caught.value.code == 2
    assert "--json" in capsys.readouterr().err

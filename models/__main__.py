"""Print the catalogue: `python -m models [--json]`; `python -m models --json > models/catalogue.json` renews it."""

import dataclasses
import json
import sys
from collections.abc import Iterable

import tyro

from models import registry
from models.card import CatalogueEntry

COLUMNS = ("name", "task", "parameters", "input", "checkpoint")


def as_json(entries: Iterable[CatalogueEntry]) -> str:
    """Give the text of catalogue.json."""
    return json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2) + "\n"


def as_table(entries: Iterable[CatalogueEntry]) -> str:
    """Give an aligned table for people."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for entry in entries:
        rule = f"multiple of {entry.multiple} (padded), from {entry.min_side} px"
        rows.append((entry.name, entry.task, f"{entry.parameters:,}", rule, entry.checkpoint or "not trained yet"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def main(*, json: bool = False) -> None:
    """List the models.

    Args:
        json: Print the catalogue as JSON: name, task, parameters, input rule, checkpoint or null, source and terms.
    """
    sys.stdout.write((as_json if json else as_table)(registry.entries()))


if __name__ == "__main__":
    tyro.cli(main, prog="python -m models")

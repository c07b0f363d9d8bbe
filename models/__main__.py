"""Print the catalogue: `python -m models [--json]`; `python -m models --renew` rewrites all that is made of it."""

import dataclasses
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import tyro

from models import card, probe
from models.card import CatalogueEntry

PAGE = """# The models

Made by `python -m models --renew`. Multiply-adds, in thousands of millions, are of one forward pass that makes
256 x 256 px: convolutions and matrix products, counted by torch. Parameters include frozen ones. A model without a
checkpoint is built and tested, but never offered to visitors nor ranked. "Architecture only" means that there are no
weights here; official ones, where `python -m models.convert` reads them, keep the terms that stand beside it.
"""
TASKS = {
    "translate": "photo to anime",
    "stylize": "a photo in the manner of a style picture",
    "generate": "noise to a face",
    "upscale": "64 px to 256",
    "restore": "degraded to clean",
}
LAST = "parameters | multiply-adds, G | licence | checkpoint | what differs from the source, and why |"
RULES = "--:|--:|---|---|---|"
HEAD = f"| name | source | {LAST}\n|---|---|{RULES}"
SUMMARY = f"| name | task | source | {LAST}\n|---|---|---|{RULES}"
AUTHORS = re.compile(r".*\(([^()]+)\)")
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"
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


def as_page(entries: Iterable[CatalogueEntry]) -> str:
    """Give the text of models/README.md."""
    parts = [PAGE]
    listed = list(entries)
    for task, meaning in TASKS.items():
        rows = [as_row(entry) for entry in listed if entry.task == task]
        parts.append(f"## {task}: {meaning}\n\n{HEAD}\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def as_row(entry: CatalogueEntry) -> str:
    """Give one model's row of models/README.md."""
    return join(f"`{entry.name}`", links(entry, short=False), *facts(entry, folder="checkpoints"))


def links(entry: CatalogueEntry, *, short: bool) -> str:
    """Give links to the sources, by title or by authors and year alone."""
    found = []
    for title, link in card.sources(entry.paper):
        authors = AUTHORS.fullmatch(title)
        found.append(f"[{authors[1] if short and authors else title}]({link})")
    return "; ".join(found)


def facts(entry: CatalogueEntry, *, folder: str) -> tuple[str, ...]:
    """Give the cells that both tables end with; `folder` leads to the bundled checkpoints."""
    home = "https://huggingface.co" if "/" in str(entry.checkpoint) else folder
    trained = f"[{entry.checkpoint}]({home}/{entry.checkpoint})" if entry.checkpoint else "none yet"
    terms = f"{entry.licence}; official weights: {entry.released}" if entry.released else entry.licence
    return f"{entry.parameters:,}", work(entry), terms, trained, entry.note


def join(*cells: str) -> str:
    """Give a row in Markdown."""
    return f"| {' | '.join(cells)} |"


def work(entry: CatalogueEntry) -> str:
    """Give the multiply-adds in thousands of millions."""
    return "-" if entry.multiply_adds is None else f"{entry.multiply_adds / 1e9:,.2f}"


def as_summary(entries: Iterable[CatalogueEntry]) -> str:
    """Give the table in the project's README."""
    rows = (
        join(f"`{each.name}`", each.task, links(each, short=True), *facts(each, folder="models/checkpoints"))
        for each in entries
    )
    return "\n".join((SUMMARY, *rows))


def with_summary(readme: str, entries: Iterable[CatalogueEntry]) -> str:
    """Put the table between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{as_summary(entries)}\n{END}{after}"


def rewrite() -> None:
    """Rewrite catalogue.json, models/README.md and the table in README.md."""
    entries = probe.entries()
    card.CATALOGUE.write_text(as_json(entries))
    card.CATALOGUE.with_name("README.md").write_text(as_page(entries))
    README.write_text(with_summary(README.read_text(), entries))


def main(*, json: bool = False, renew: bool = False) -> None:
    """List the models.

    Args:
        json: Print the catalogue as JSON: name, task, parameters, input rule, checkpoint or null, source and terms.
        renew: Rewrite the committed catalogue, models/README.md and the table in README.md instead.
    """
    if renew:
        rewrite()
    else:
        sys.stdout.write((as_json if json else as_table)(probe.entries()))


if __name__ == "__main__":
    tyro.cli(main, prog="python -m models")

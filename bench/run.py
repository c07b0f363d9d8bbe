"""The benchmark's commands: `python bench/run.py leaderboard|predict|measure`, or `python -m bench.run`."""

import collections
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # started as a file: Python put this folder first, where records.py and others would be top-level
    sys.path[0] = str(ROOT)

import tyro  # noqa: E402

from bench import backbones as networks  # noqa: E402
from bench import board, contestants, datasets, protocol, records, report  # noqa: E402

log = logging.getLogger("bench")

README, PUBLISHED = ROOT / "README.md", ROOT / "bench" / "results" / "scores.jsonl"
EXPECTED = {"ImageError", "UnknownModel", "CheckpointError", "RecipeError", "RecordError"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Settings that all commands share."""

    photos: Path
    """Folder of photos; with a SOURCES.csv that has a split column only split test is used."""
    anime: Path
    """Folder of anime faces, chosen the same way."""
    out: Path = Path("runs/bench")
    """Folder for records, predictions and caches; a second run there computes nothing again."""
    models: str | None = None
    """Cards or checkpoint folders, separated by commas; by default every translating card with a checkpoint."""
    limit: int | None = None
    """Use only this many images of each folder: quick, marked, never published."""
    size: int = 256
    """Short side and crop of all images, in pixels."""
    backbones: networks.Source = "official"
    """Where the metrics' networks come from: official downloads, or the folder that NIJIGEN_WEIGHTS names."""
    device: str = "cpu"
    """Where models and metrics run: cpu, cuda, cuda:1, ..."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaderboard(Options):
    """Predict with every model, measure, print the table; a full run refreshes the README's table."""

    publish: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Insist on refreshing the README's table and bench/results; refused for a part of the board."""
    no_publish: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Leave the README's table and bench/results alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict(Options):
    """Only make the predictions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure(Options):
    """Only measure predictions that are there already, and print the table."""


def plan(options: Options) -> board.Board:
    """Find images, models and networks; loads none of them.

    Raises:
        RecordError: A folder is missing or an option makes no sense.
        UnknownModel: A model's name is neither a card nor a checkpoint folder.
    """
    if options.size < protocol.MINIMUM_SIZE:
        raise records.RecordError(f"--size is {options.size}; expected {protocol.MINIMUM_SIZE} or more.")
    index = datasets.HashIndex(options.out / "index.json")
    names = tuple(name.strip() for name in options.models.split(",") if name.strip()) if options.models else None
    return board.Board(
        conditions=protocol.Protocol(size=options.size),
        photos=datasets.read_set(options.photos, index, limit=options.limit),
        anime=datasets.read_set(options.anime, index, limit=options.limit),
        models=contestants.find(names, index),
        networks=networks.Backbones(options.backbones, index),
        index=index,
        out=options.out,
        device=options.device,
        limit=options.limit,
    )


def predict(options: Options) -> collections.Counter[str]:
    """Make all missing predictions.

    Returns:
        How many of each artefact were computed.
    """
    from bench import predict as predictions

    current, made = plan(options), 0
    for model in current.models:
        made += predictions.predict(
            model,
            current.photos,
            conditions=current.conditions,
            folder=current.predictions,
            index=current.index,
            device=current.device,
        )[1]
    current.index.save()
    sys.stdout.write(f"{made} predictions made, in {current.predictions / current.conditions.folder}\n")
    return collections.Counter(predictions=made)


def leaderboard(options: Options) -> collections.Counter[str]:
    """Compute what is missing, write records and reports, print the table.

    Returns:
        How many of each artefact were computed; empty when a run like this was finished before.
    """
    publishing = _publishing(options)
    current = plan(options)
    scores, missing = board.split(current)
    current.index.save()
    made: collections.Counter[str] = collections.Counter()
    if missing:
        made = _fill(current, missing, make_predictions=not isinstance(options, Measure))
        scores, _ = board.split(current)
        current.index.save()
    table = report.leaderboard(scores)
    text = report.markdown(table)
    _write_reports(current, scores, table_text=text, page=None if _has_reports(current, made) else report.page(table))
    if publishing:
        publish(scores, readme=README, results=PUBLISHED)
    sys.stdout.write(text)
    return made


def _publishing(options: Options) -> bool:
    """Decide whether the README's table is refreshed.

    Raises:
        RecordError: Publishing was asked for and this is only a part of the board, or the README lacks its marks.
    """
    if not isinstance(options, Leaderboard):
        return False
    if options.publish and options.no_publish:
        raise records.RecordError("--publish and --no-publish exclude each other; give one of them.")
    partial = "--limit" if options.limit is not None else "--models" if options.models is not None else ""
    if options.publish and partial:
        raise records.RecordError(f"a run with {partial} is only a part of the board and is never published.")
    if partial or options.no_publish:
        return False
    _refreshed(README, [])
    return True


def _fill(current: board.Board, missing: Sequence[board.Cell], *, make_predictions: bool) -> collections.Counter[str]:
    from bench import measure

    measurer = measure.Measurer(current, make_predictions=make_predictions)
    start = time.monotonic()
    for number, cell in enumerate(missing, start=1):
        score = measurer.score(cell)
        records.append_jsonl(current.out / board.SCORES, [records.to_row(score)])
        current.index.save()
        shown = score.reason if score.value is None else f"{score.value:.5g}"
        reference = f" to {score.reference}" if score.reference else ""
        log.info("%d/%d %s: %s%s = %s", number, len(missing), score.model, score.metric, reference, shown)
    log.info("computed %s in %.0f s", dict(measurer.made), time.monotonic() - start)
    return measurer.made


def _has_reports(current: board.Board, made: collections.Counter[str]) -> bool:
    return not made and (current.out / "report.html").is_file()


def _write_reports(current: board.Board, scores: list[records.Score], *, table_text: str, page: str | None) -> None:
    if page is None:
        return
    records.write_atomic(current.out / "leaderboard.md", table_text.encode())
    records.write_atomic(current.out / "report.html", page.encode())
    records.write_atomic(current.out / "protocol.json", json.dumps(current.conditions.describe(), indent=2).encode())
    records.to_parquet(records.read_scores(current.out / board.SCORES), current.out / "scores.parquet")


def publish(scores: Sequence[records.Score], *, readme: Path, results: Path) -> None:
    """Refresh the table of a README and the scores that the app shows; files that would not change stay untouched.

    Args:
        scores: All scores of one full board.
        readme: Document with the two marks.
        results: The file of scores.

    Raises:
        RecordError: A score comes from a run with --limit, or the marks are missing.
    """
    limited = next((score for score in scores if score.limit is not None), None)
    if limited is not None:
        raise records.RecordError(f"{limited.model} was cut by --limit {limited.limit}; such a score is not published.")
    lines = "".join(json.dumps(records.to_row(score), ensure_ascii=False, allow_nan=False) + "\n" for score in scores)
    text = _refreshed(readme, scores)
    for path, content in ((readme, text.encode()), (results, lines.encode())):
        if not path.exists() or path.read_bytes() != content:
            records.write_atomic(path, content)


def _refreshed(readme: Path, scores: Sequence[records.Score]) -> str:
    try:
        text = readme.read_text(encoding="utf-8") if readme.exists() else ""
        return report.insert(text, report.leaderboard(scores))
    except records.RecordError as error:
        raise records.RecordError(f"{readme}: {error} Or run with --no-publish.") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 for a wrong input, said in one line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = tyro.cli(Leaderboard | Predict | Measure, args=arguments, prog="bench/run.py")
    try:
        predict(options) if isinstance(options, Predict) else leaderboard(options)
    except ValueError as error:
        if type(error).__name__ not in EXPECTED:  # ImageError and CheckpointError stand beside torch: known by name
            raise
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Scores and ratings with their provenance: append-only JSON lines, and Parquet made of them. Needs no torch."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

Row = dict[str, Any]
Key = tuple[str | int | None, ...]
LATENCY = "latency_ms"  # the one metric that belongs to a machine


Choice = Literal["A", "B", "tie", "both_bad", "cannot_load"]
Role = Literal["training", "main", "gold", "duplicate"]
Side = Literal["left", "right"]


class RecordError(ValueError):
    """A record, an image folder or an option of benchmark or study that cannot be used."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything that decided a score, besides the images.

    Attributes:
        git_commit: Commit of the code, or "unknown".
        git_dirty: Whether tracked files differed from it.
        protocol: Name of the fixed conditions.
        protocol_version: Raised whenever they would change a number.
        seed: Seed of subsets and bootstrap.
        device: Where it ran, in words.
        threads: CPU threads of torch.
        versions: Version by library.
        time: UTC, ISO 8601.
    """

    git_commit: str
    git_dirty: bool
    protocol: str
    protocol_version: int
    seed: int
    device: str
    threads: int
    versions: dict[str, str]
    time: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """What one metric said of one model.

    Attributes:
        model: Name of a card or a checkpoint folder; "photo" is the untouched photo.
        metric: Label with everything that defines it, e.g. "kid_tf-768".
        reference: What the predictions were held against: "photo" (each its own), "photos", "anime" or "".
        value: None where it could not be computed; `reason` says why.
        interval: 95 % interval, or None; `interval_note` says how it was made or why it is missing.
        n_photos: Photos that were predicted.
        n_reference: Images of the reference set; 0 where there is none.
        limit: The cut that `--limit` made; such scores are never published.
        dataset_sha256: Hash over names and bytes of all images involved; "" where there are none.
        checkpoint_sha256: Hash of the model's weights; None for the photo.
        backbone: The network behind the metric; "" where it has none.
        backbone_sha256: Hash of its file; None where it could not be had.
        details: Settings and side results of the metric.
        seconds: Time spent on this score.
    """

    model: str
    metric: str
    reference: str
    value: float | None
    interval: tuple[float, float] | None = None
    interval_note: str = ""
    reason: str = ""
    n_photos: int
    n_reference: int = 0
    limit: int | None = None
    dataset_sha256: str
    checkpoint_sha256: str | None
    backbone: str = ""
    backbone_sha256: str | None = None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    provenance: Provenance

    def key(self) -> Key:
        """Everything that can change the number; a score with the same key is never computed twice."""
        return (
            self.metric,
            self.reference,
            self.model,
            self.checkpoint_sha256,
            self.dataset_sha256,
            self.backbone_sha256,
            self.provenance.protocol,
            self.provenance.protocol_version,
            self.limit,
            self.provenance.device if self.metric == LATENCY else "",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rating:
    """What a person said of two predictions of one photo. No address, no browser's name, no person's name.

    Attributes:
        rating_id: UUID of this row.
        trial_id: UUID of the trial; with `attempt` the key that makes a repeated answer harmless.
        attempt: 0, or 1 after the answer was undone.
        participant_id: UUID that the server issued.
        session_id: UUID of one sitting.
        trial_index: Place in the session, from 1; training pairs count by themselves.
        role: Only "main" is ranked.
        duplicate_of: For a duplicate the trial whose sides it swaps.
        photo_id: The photo's name in the study.
        photo_sha256: Of its PNG bytes.
        left_model: Who stands at A; right_model at B.
        left_sha256: Of the PNG bytes shown.
        choice: A is left.
        decision_ms: From both images decoded to the answer.
        shown_at: UTC, ISO 8601 with milliseconds, by the server; so is received_at.
        scaled_side: Which side the three scales (1 bad to 5 excellent) are about; None without scales.
        likeness: To the person.
        style: Quality as anime.
        artefacts: Freedom from them.
        language: Of the page.
        viewport_width: CSS pixels; so is viewport_height.
        pixel_ratio: Device pixels per CSS pixel.
        input: "key", "mouse" or "touch".
        protocol: Name of the study's protocol, with its version.
        rules_sha256: Of the rules that were in force.
        plan_seed: Of the plan of trials.
        git_commit: Of the code that showed the trial.
        left_checkpoint_sha256: Of the weights; None where the side was made without a checkpoint.
        prediction_protocol: Protocol that the predictions were made with.
        device: Where they were made.
        library_versions: JSON text.
        previous_hash: Hash of the row before this one, and row_hash of this one: the chain of the store.
        simulated: Whether no person gave it.
    """

    rating_id: str
    trial_id: str
    attempt: int
    participant_id: str
    session_id: str
    trial_index: int
    role: Role
    duplicate_of: str | None
    photo_id: str
    photo_sha256: str
    left_model: str
    right_model: str
    left_sha256: str
    right_sha256: str
    choice: Choice
    decision_ms: int
    shown_at: str
    received_at: str
    scaled_side: Side | None = None
    likeness: int | None = None
    style: int | None = None
    artefacts: int | None = None
    language: str
    viewport_width: int
    viewport_height: int
    pixel_ratio: float
    input: str
    protocol: str
    rules_sha256: str
    plan_seed: int
    git_commit: str
    left_checkpoint_sha256: str | None
    right_checkpoint_sha256: str | None
    prediction_protocol: str
    device: str
    library_versions: str
    previous_hash: str
    row_hash: str
    simulated: bool = False

    def __post_init__(self) -> None:
        if self.choice not in get_args(Choice) or self.role not in get_args(Role):
            raise ValueError(f"choice {self.choice!r} or role {self.role!r} is unknown")


def to_row(record: Score | Rating) -> Row:
    """Give a record as plain JSON types."""
    return dataclasses.asdict(record)


def rating_from_row(row: Row) -> Rating:
    """Make a rating of a JSON object.

    Raises:
        RecordError: A field is missing, surplus or of the wrong kind.
    """
    try:
        return Rating(**row)
    except (TypeError, ValueError) as error:
        raise RecordError(f"not a rating: {error}; expected the fields of bench.records.Rating.") from error


def from_row(row: Row) -> Score:
    """Make a score of a JSON object.

    Raises:
        RecordError: A field is missing, surplus or of the wrong kind.
    """
    try:
        interval = row.get("interval")
        return Score(
            **{
                **row,
                "interval": None if interval is None else (float(interval[0]), float(interval[1])),
                "provenance": Provenance(**row["provenance"]),
            }
        )
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise RecordError(f"not a score: {error}; expected the fields of bench.records.Score.") from error


def read_scores(path: str | Path) -> list[Score]:
    """Read all scores of a file, oldest first; none where it does not exist.

    Raises:
        RecordError: A line is not a score.
    """
    scores = []
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            scores.append(from_row(row))
        except RecordError as error:
            raise RecordError(f"{path}, line {number}: {error}") from error
    return scores


def append_jsonl(path: str | Path, rows: Iterable[Row]) -> None:
    """Add rows at the end of a file, durably; the tail that an interrupted write left is cut off first.

    Args:
        path: Made with its folders where missing.
        rows: JSON objects; no NaN or infinity.
    """
    path = Path(path)
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    if not text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        _cut_torn_tail(file)
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _cut_torn_tail(file: Any) -> None:
    end = position = file.seek(0, os.SEEK_END)
    while position:
        start = max(0, position - 65536)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    if position < end:
        file.truncate(position)


def read_jsonl(path: str | Path) -> Iterator[Row]:
    """Read the rows of a file, oldest first; none where it does not exist. An unfinished last line is no row.

    Raises:
        RecordError: A finished line is not a JSON object.
    """
    path = Path(path)
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                row = json.loads(line)
            except ValueError as error:
                raise RecordError(f"{path}, line {number} is not JSON ({error}); remove or repair it.") from error
            if not isinstance(row, dict):
                raise RecordError(f"{path}, line {number} is a {type(row).__name__}; expected an object.")
            yield row


def write_atomic(path: str | Path, content: bytes) -> None:
    """Replace a file in one step: it holds the old bytes or the new ones, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def to_parquet(scores: Iterable[Score], path: str | Path) -> None:
    """Write scores as one flat table: provenance and interval as columns, mappings as JSON text."""
    import io

    import pandas

    buffer = io.BytesIO()
    pandas.DataFrame([_flat(score) for score in scores]).to_parquet(buffer, index=False)
    write_atomic(path, buffer.getvalue())


def _flat(score: Score) -> Row:
    row = to_row(score)
    provenance = row.pop("provenance")
    low, high = row.pop("interval") or (None, None)
    return {
        **row,
        "details": json.dumps(row["details"], sort_keys=True),
        "interval_low": low,
        "interval_high": high,
        **provenance,
        "versions": json.dumps(provenance["versions"], sort_keys=True),
    }

"""The plan of a leaderboard: which scores it needs, before anything is computed. Needs no torch."""

import dataclasses
from pathlib import Path

from bench import backbones, contestants, datasets, protocol, provenance, records

SCORES, VALUES = "scores.jsonl", "values.jsonl"
STANDARD_LAYER = "2048"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """Everything that a leaderboard is made of.

    Attributes:
        conditions: The protocol.
        photos: What is predicted from.
        anime: What it should look like.
        models: Who takes part; the photo comes first.
        networks: The networks behind the metrics.
        index: Remembers hashes.
        out: Folder of records, predictions and caches.
        device: Where models and metrics run, in torch's words.
        limit: The cut of `--limit`.
    """

    conditions: protocol.Protocol
    photos: datasets.ImageSet
    anime: datasets.ImageSet
    models: tuple[contestants.Contestant, ...]
    networks: backbones.Backbones
    index: datasets.HashIndex
    out: Path
    device: str = "cpu"
    limit: int | None = None

    @property
    def predictions(self) -> Path:
        """Folder that holds a folder per protocol and model."""
        return self.out / "predictions"

    @property
    def selection(self) -> str:
        """Which files of the two folders count, in words."""
        return f"photos: {self.photos.selection}; anime: {self.anime.selection}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One score to be had.

    Attributes:
        metric: What to measure.
        label: The metric's label, with the feature layer where it is not the standard one.
        model: Whom to measure.
        backbone: The network behind it, or None.
        dataset_sha256: Hash over the images involved.
        key: See `Score.key`.
    """

    metric: protocol.Metric
    label: str
    model: contestants.Contestant
    backbone: backbones.Backbone | None
    dataset_sha256: str
    key: records.Key


def cells(board: Board) -> list[Cell]:
    """List every score of the board, a model after the other, in the order of the columns."""
    return [_cell(board, metric, model) for model in board.models for metric in protocol.METRICS]


def _cell(board: Board, metric: protocol.Metric, model: contestants.Contestant) -> Cell:
    label, backbone = metric.label, _backbone(board, metric)
    if metric.label in ("fid_tf", "kid_tf") and board.networks.inception_layer != STANDARD_LAYER:
        label += f"-{board.networks.inception_layer}"
    hashes = {
        protocol.ANIME: (board.photos.sha256, board.anime.sha256),
        "": (),
    }.get(metric.reference, (board.photos.sha256,))
    dataset = datasets.digest(hashes) if hashes else ""
    key = (
        label,
        metric.reference,
        model.name,
        model.sha256,
        dataset,
        backbone.sha256 if backbone else None,
        board.conditions.name,
        board.conditions.version,
        board.limit,
        provenance.describe_device(board.device) if label == records.LATENCY else "",
    )
    return Cell(metric=metric, label=label, model=model, backbone=backbone, dataset_sha256=dataset, key=key)


def _backbone(board: Board, metric: protocol.Metric) -> backbones.Backbone | None:
    if metric.label in ("fid_tf", "kid_tf"):
        return board.networks.inception
    if metric.values == "identity":
        return board.networks.faces
    if metric.values == "lpips_alex_v0.1":
        return board.networks.alexnet
    return None


def split(board: Board) -> tuple[list[records.Score], list[Cell]]:
    """Tell what is known already from what is missing.

    Returns:
        The scores of this board that were recorded before, and the cells without one.
    """
    known = {score.key(): score for score in records.read_scores(board.out / SCORES)}
    planned = cells(board)
    return [known[cell.key] for cell in planned if cell.key in known], [
        cell for cell in planned if cell.key not in known
    ]

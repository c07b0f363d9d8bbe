"""Measure predictions: values per image, distances between sets, latency."""

import collections
import dataclasses
import functools
import logging
import pickle
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

import models
from bench import (
    backbones,
    board,
    contestants,
    datasets,
    intervals,
    predict,
    protocol,
    provenance,
    records,
    speed,
)
from bench.metrics import fid, kid, psnr, ssim
from models import image
from models.image import Images

if TYPE_CHECKING:
    from bench import inception

log = logging.getLogger(__name__)

CHUNK = 32  # values per write: what an interruption can lose
PENDING = "interval pending"
# torchvision and OpenCV are imported late: where they do not fit this torch, the rest of the board goes on
UNUSABLE = (ImportError, OSError, RuntimeError, KeyError, SafetensorError, pickle.UnpicklingError)
Judge = Callable[[Images, Images], float | None]
NO_VALUE = {"psnr_rgb": "infinite: equal to the photo", "identity": "no face found in the prediction or the photo"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The part of a score that the metric decides; fields as in `records.Score`."""

    value: float | None = None
    interval: tuple[float, float] | None = None
    interval_note: str = ""
    reason: str = ""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


class BackboneFailed(Exception):
    """A network that is there but cannot be used; its metrics stay empty and are tried again next time."""


class Measurer:
    """Computes the missing cells of a board; each artefact once, counted in `made`.

    Args:
        plan: The board.
        make_predictions: Predict what is missing; else only read what `predict` made.
    """

    def __init__(self, plan: board.Board, *, make_predictions: bool) -> None:
        self._board, self._make_predictions = plan, make_predictions
        self.made: collections.Counter[str] = collections.Counter()
        self._predictions: dict[str, tuple[datasets.ImageFile, ...]] = {}
        self._judges: dict[str, Judge] = {}

    def score(self, cell: board.Cell) -> records.Score:
        """Compute one score; where that is not possible its value is None and the reason is given.

        Raises:
            RecordError: A prediction is missing and must not be made.
        """
        start = time.perf_counter()
        failed = False
        if cell.backbone is not None and cell.backbone.sha256 is None:
            outcome = Outcome(reason=cell.backbone.reason)
        else:
            try:
                outcome = self._measure(cell)
            except BackboneFailed as error:
                failed, outcome = True, Outcome(reason=str(error))
        self.made["scores"] += 1
        return records.Score(
            value=outcome.value,
            interval=outcome.interval,
            interval_note=outcome.interval_note or "no value",
            reason=outcome.reason,
            **self._circumstances(cell, failed=failed),
            details={**outcome.details, "card": cell.model.card, "selection": self._board.selection},
            seconds=round(time.perf_counter() - start, 3),
        )

    def _circumstances(self, cell: board.Cell, *, failed: bool) -> dict[str, Any]:
        plan, per_model = self._board, cell.metric.reference == ""
        references = {protocol.ANIME: len(plan.anime), protocol.PHOTOS: len(plan.photos)}
        return {
            "model": cell.model.name,
            "metric": cell.label,
            "reference": cell.metric.reference,
            "n_photos": 0 if per_model else len(plan.photos),
            "n_reference": references.get(cell.metric.reference, 0),
            "limit": plan.limit,
            "dataset_sha256": cell.dataset_sha256,
            "checkpoint_sha256": cell.model.sha256,
            "backbone": cell.backbone.name if cell.backbone else "",
            "backbone_sha256": cell.backbone.sha256 if cell.backbone and not failed else None,
            "provenance": provenance.collect(plan.conditions, device=provenance.describe_device(plan.device)),
        }

    def _measure(self, cell: board.Cell) -> Outcome:
        if cell.metric.values:
            return self._summary(cell)
        if cell.label == records.LATENCY:
            return self._latency(cell.model)
        return self._distance(cell)

    # per-image metrics

    def _summary(self, cell: board.Cell) -> Outcome:
        metric, seed = cell.metric, self._board.conditions.seed
        values = self._values(metric.values, cell)
        present = np.array([value for value in values if value is not None])
        absent = len(values) - len(present)
        if metric.label == "no_face":
            share = intervals.share_interval(absent, len(values))
            return Outcome(value=absent / len(values), interval=share, interval_note="95 %, Wilson")
        details: dict[str, Any] = {"without_value": absent} if absent else {}
        if metric.values == "identity":
            details |= {"embedder": protocol.EMBEDDER, "aligner": protocol.ALIGNER}
        if not len(present):
            return Outcome(reason=f"{NO_VALUE[metric.values]}, for all photos", details=details)
        rounds = self._board.conditions.bootstrap_rounds
        interval = intervals.mean_interval(present, seed=seed, rounds=rounds)
        note = f"95 %, bootstrap over photos, {rounds} rounds" if interval else "needs two photos or more"
        return Outcome(value=float(present.mean()), interval=interval, interval_note=note, details=details)

    def _values(self, metric: str, cell: board.Cell) -> list[float | None]:
        """Give one value per photo, in order; those recorded before are not computed again."""
        path = self._board.out / board.VALUES
        backbone = cell.backbone.sha256 if cell.backbone else None
        conditions = self._board.conditions.folder
        known = {_value_key(row): row["value"] for row in records.read_jsonl(path) if row["metric"] == metric}
        photos, predictions = self._files(self._board.models[0]), self._files(cell.model)
        rows = [
            {
                "metric": metric,
                "backbone_sha256": backbone,
                "protocol": conditions,
                "model": cell.model.name,
                "photo": photo.name,
                "photo_sha256": photo.sha256,
                "prediction_sha256": prediction.sha256,
            }
            for photo, prediction in zip(photos, predictions, strict=True)
        ]
        missing = [position for position, row in enumerate(rows) if _value_key(row) not in known]
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            for position in chunk:
                value = self._value(metric, cell, photos[position].path, predictions[position].path)
                rows[position]["value"] = known[_value_key(rows[position])] = value
                self.made["values"] += 1
            records.append_jsonl(path, [rows[position] for position in chunk])
        return [known[_value_key(row)] for row in rows]

    def _value(self, metric: str, cell: board.Cell, photo: Path, prediction: Path) -> float | None:
        if metric not in self._judges:
            self._judges[metric] = _judge(metric, cell.backbone)
        value = self._judges[metric](image.read(prediction), image.read(photo))
        return value if value is not None and np.isfinite(value) else None

    # set metrics

    def _distance(self, cell: board.Cell) -> Outcome:
        conditions, is_anime = self._board.conditions, cell.metric.reference == protocol.ANIME
        predictions = self._files(cell.model)
        reference = self._board.anime.files if is_anime else self._files(self._board.models[0])
        smaller = min(len(predictions), len(reference))
        minimum = fid.MINIMUM if cell.metric.label == "fid_tf" else kid.MINIMUM
        if smaller < minimum:
            return Outcome(reason=f"{smaller} image in the smaller set; at least {minimum} needed")
        features, targets = self._features(predictions), self._features(reference)
        details: dict[str, Any] = {"layer": self._board.networks.inception_layer, "resize": "TensorFlow 1 bilinear"}
        if cell.metric.label == "fid_tf":
            return Outcome(value=fid.fid(features, targets), interval_note=PENDING, details=details)
        size = min(conditions.kid_subset_size, smaller)
        subsets = kid.subset_values(
            features, targets, subset_size=size, subsets=conditions.kid_subsets, seed=conditions.seed
        )
        details |= {"subset_size": size, "subsets": len(subsets), "seed": conditions.seed}
        details |= {"subset_deviation": float(subsets.std()), "exact": kid.exact(features, targets)}
        return Outcome(value=float(subsets.mean()), interval_note=PENDING, details=details)

    def _features(self, files: Sequence[datasets.ImageFile]) -> np.ndarray:
        try:
            before = self._extractor.computed
            features = self._extractor.features(files)
        except UNUSABLE as error:
            raise BackboneFailed(f"{self._board.networks.inception.name} cannot be used: {error}") from error
        self.made["features"] += self._extractor.computed - before
        return features

    @functools.cached_property
    def _extractor(self) -> "inception.Extractor":
        from bench import inception

        size, networks = self._board.conditions.size, self._board.networks
        return inception.Extractor(
            networks.inception,
            layer=networks.inception_layer,
            cache=self._board.out / "cache" / "features",
            read=lambda path: image.to_uint8(predict.prepare(path, size=size)),
            preset=f"short side {size}, centred square",
            device=self._board.device,
        )

    # the model alone

    def _latency(self, model: contestants.Contestant) -> Outcome:
        if model.source is None:
            return Outcome(reason="the photo itself runs no model")
        conditions, device = self._board.conditions, self._board.device
        timing = speed.measure(
            models.load(model.source, device=device),
            size=conditions.size,
            device=device,
            repeats=conditions.latency_repeats,
            warm_up=conditions.latency_warm_up,
        )
        note = f"median of {timing.repeats} runs, batch of one; 10th and 90th percentile in the details"
        details = dataclasses.asdict(timing) | {"size": conditions.size}
        return Outcome(value=timing.latency_ms, interval_note=note, details=details)

    def _files(self, model: contestants.Contestant) -> tuple[datasets.ImageFile, ...]:
        if model.name not in self._predictions:
            files, made = predict.predict(
                model,
                self._board.photos,
                conditions=self._board.conditions,
                folder=self._board.predictions,
                index=self._board.index,
                device=self._board.device if self._make_predictions else None,
            )
            self._predictions[model.name] = files
            self.made["predictions"] += made
        return self._predictions[model.name]


def _value_key(row: records.Row) -> tuple[str | None, ...]:
    return row["backbone_sha256"], row["protocol"], row["photo_sha256"], row["prediction_sha256"]


def _judge(metric: str, backbone: backbones.Backbone | None) -> Judge:
    """Give the function that compares one prediction with its photo."""
    if metric == "psnr_rgb":
        return lambda prediction, photo: float(psnr.psnr(prediction, photo))
    if metric == "ssim_rgb":
        return lambda prediction, photo: float(ssim.ssim(prediction, photo))
    assert backbone is not None
    try:
        if metric == "identity":
            from bench.metrics import identity

            embed = identity.Judge(*backbone.paths).embed
            return lambda prediction, photo: identity.identity(_pixels(prediction), _pixels(photo), embed=embed)
        from bench.metrics import lpips

        network = lpips.load(backbone.paths[0])
    except UNUSABLE as error:
        raise BackboneFailed(f"{backbone.name} cannot be used: {error}") from error
    return lambda prediction, photo: float(lpips.distance(prediction, photo, network=network))


def _pixels(images: Images) -> np.ndarray:
    return image.to_uint8(images)[0]

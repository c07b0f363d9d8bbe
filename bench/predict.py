"""Predictions: what each model makes of each photo, as PNG files with a manifest."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import models
from bench import contestants, datasets, protocol, records
from models import image
from models.image import Images

log = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"
Run = Callable[[Images], Images]


def prepare(path: Path, *, size: int) -> Images:
    """Read an image as the protocol wants it: short side scaled to `size`, centred square.

    Returns:
        RGB in [-1, 1], (1, 3, size, size).

    Raises:
        ImageError: The file is no readable image; its name is in the message.
    """
    try:
        images = image.read(path)
    except image.ImageError as error:
        raise image.ImageError(f"{path}: {error}") from error
    height, width = images.shape[-2:]
    if min(height, width) != size:
        scale = size / min(height, width)
        height, width = max(size, round(height * scale)), max(size, round(width * scale))
        images = image.resize(images, height=height, width=width)
    top, left = (height - size) // 2, (width - size) // 2
    return images[:, :, top : top + size, left : left + size]


def predict(
    contestant: contestants.Contestant,
    photos: datasets.ImageSet,
    *,
    conditions: protocol.Protocol,
    folder: Path,
    index: datasets.HashIndex,
    device: str | None = "cpu",
) -> tuple[tuple[datasets.ImageFile, ...], int]:
    """Bring the predictions of one model up to date; those of unchanged photos and weights stay.

    Args:
        contestant: The model, or the photo itself.
        photos: What to predict from.
        conditions: The protocol.
        folder: Holds a folder per protocol and model.
        index: Remembers hashes.
        device: Where the model runs; None makes nothing and insists that all is there.

    Returns:
        One file per photo, in order and named like it, and how many had to be made.

    Raises:
        RecordError: Something is missing and must not be made.
    """
    target = folder / conditions.folder / contestant.name
    known = {row["photo"]: row for row in records.read_jsonl(target / MANIFEST)}
    run: Run | None = None
    files, made = [], 0
    for photo, name in zip(photos.files, _prediction_names(photos.files), strict=True):
        row = known.get(photo.name)
        if row is None or not _is_current(row, photo.sha256, contestant.sha256) or not _is_intact(row, target, index):
            run = run or _runner(contestant, device, target)
            row = _make(photo, name, run=run, contestant=contestant, conditions=conditions, target=target)
            made += 1
        files.append(datasets.ImageFile(name=photo.name, path=target / row["prediction"], sha256=row["sha256"]))
    if made:
        log.info("%s: %d predictions", contestant.name, made)
    return tuple(files), made


def _runner(contestant: contestants.Contestant, device: str | None, target: Path) -> Run:
    if device is None:
        raise records.RecordError(
            f"{target} lacks current predictions of some photos; run `python bench/run.py predict` first."
        )
    if contestant.source is None:
        return lambda images: images
    model = models.load(contestant.source, device=device)

    def run(images: Images) -> Images:
        with torch.inference_mode():
            return model(images.to(device)).float().cpu()

    return run


def _make(
    photo: datasets.ImageFile,
    name: str,
    *,
    run: Run,
    contestant: contestants.Contestant,
    conditions: protocol.Protocol,
    target: Path,
) -> records.Row:
    content = image.png(run(prepare(photo.path, size=conditions.size)))
    records.write_atomic(target / name, content)
    row = {
        "photo": photo.name,
        "photo_sha256": photo.sha256,
        "prediction": name,
        "sha256": datasets.hash_bytes(content),
        "checkpoint_sha256": contestant.sha256,
        "protocol": conditions.folder,
    }
    records.append_jsonl(target / MANIFEST, [row])
    return row


def _is_current(row: records.Row, photo_sha256: str, checkpoint_sha256: str | None) -> bool:
    return row["photo_sha256"] == photo_sha256 and row["checkpoint_sha256"] == checkpoint_sha256


def _is_intact(row: records.Row, target: Path, index: datasets.HashIndex) -> bool:
    path = target / row["prediction"]
    return path.is_file() and index.sha256(path) == row["sha256"]


def _prediction_names(photos: Sequence[datasets.ImageFile]) -> list[str]:
    """Name predictions by the photo's stem; by its whole name where two photos share the stem."""
    stems = [Path(photo.name).stem for photo in photos]
    return [f"{stem if stems.count(stem) == 1 else photo.name}.png" for stem, photo in zip(stems, photos, strict=True)]

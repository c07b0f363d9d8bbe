"""Records, images and checkpoints that the benchmark's tests share."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

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


def score(*, metric: str, reference: str, value: float | None, model: str = "photo", **fields: Any) -> records.Score:
    """Make a record with sensible values for all that a test does not care about."""
    defaults: dict[str, Any] = {
        "n_photos": 338,
        "n_reference": 403 if reference == "anime" else 0,
        "dataset_sha256": "d",
        "checkpoint_sha256": None if model == "photo" else "c",
        "details": {"card": None if model == "photo" else model, "selection": "photos: split test; anime: split test"},
        "provenance": PROVENANCE,
    }
    return records.Score(metric=metric, reference=reference, value=value, model=model, **{**defaults, **fields})


def board() -> list[records.Score]:
    """Make a small leaderboard: the photo and one model."""
    kid: dict[str, Any] = {
        "metric": "kid_tf-768",
        "reference": "anime",
        "backbone": "inception",
        "backbone_sha256": "b",
    }
    identity: dict[str, Any] = {"metric": "identity", "reference": "photo"}
    no_face: dict[str, Any] = {"metric": "no_face", "reference": "photo"}
    psnr: dict[str, Any] = {"metric": "psnr_rgb", "reference": "photo"}
    return [
        score(**kid, value=0.00672),
        score(**identity, value=1.0, interval=(1.0, 1.0)),
        score(**no_face, value=0.0, interval=(0.0, 0.01124)),
        score(**psnr, value=None, reason="infinite"),
        score(metric="latency_ms", reference="", value=None, reason="runs no model", n_photos=0),
        score(**kid, value=0.00412, model="dtgan"),
        score(**identity, value=0.593, interval=(0.583, 0.603), model="dtgan"),
        score(**no_face, value=0.01, interval=(0.003, 0.031), model="dtgan"),
        score(**psnr, value=18.25, interval=(17.75, 18.75), model="dtgan"),
        score(metric="latency_ms", reference="", value=123.4, model="dtgan", n_photos=0),
    ]


def pictures(folder: Path, *, count: int, seed: int, size: tuple[int, int] = (72, 64)) -> Path:
    """Draw smooth random pictures; `size` is width and height in pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        coarse = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f"picture-{number}.png")
    return folder

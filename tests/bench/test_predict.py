"""Predictions: made once, resumed photo by photo, made anew when photo, weights or file changed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import models
from bench import contestants, datasets, predict, protocol, records
from models import card, image
from tests.bench import samples

CONDITIONS = protocol.Protocol(size=64)
INVERTER = contestants.Contestant(name="inverter", source="inverter", card="dtgan", sha256="1")
PHOTO = contestants.Contestant(name="photo")


class _Bench:
    """A folder of three photos and a counter of model calls."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls = root, 0
        samples.pictures(root / "photos", count=3, seed=1)

    def load(self, name: str, *, device: str) -> "_Bench":
        return self

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return -images

    def predict(
        self, who: contestants.Contestant = INVERTER, *, device: str | None = "cpu"
    ) -> tuple[tuple[datasets.ImageFile, ...], int]:
        index = datasets.HashIndex(self.root / "index.json")
        photos = datasets.read_set(self.root / "photos", index)
        return predict.predict(
            who, photos, conditions=CONDITIONS, folder=self.root / "predictions", index=index, device=device
        )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Bench:
    bench = _Bench(tmp_path)
    monkeypatch.setattr(models, "load", bench.load)
    return bench


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_files_manifest_and_second_run(bench: _Bench) -> None:
    files, made = bench.predict()
    assert made == bench.calls == 3
    folder = bench.root / "predictions" / "translate-64-v1" / "inverter"
    rows = list(records.read_jsonl(folder / "manifest.jsonl"))
    assert [row["prediction"] for row in rows] == [f"picture-{number}.png" for number in range(3)]
    assert {row["checkpoint_sha256"] for row in rows} == {"1"}
    assert [row["sha256"] for row in rows] == [datasets.hash_bytes(file.path.read_bytes()) for file in files]
    photo = _pixels(bench.root / "photos" / "picture-0.png")[:, 4:68]  # 72 x 64: the middle 64 columns
    assert np.abs(_pixels(files[0].path) - (255 - photo)).max() == 0
    assert bench.predict() == (files, 0)
    assert bench.calls == 3


def test_the_photo_itself_keeps_its_pixels(bench: _Bench) -> None:
    files, _ = bench.predict(PHOTO)
    assert np.array_equal(_pixels(files[1].path), _pixels(bench.root / "photos" / "picture-1.png")[:, 4:68])
    assert bench.calls == 0


def test_only_what_changed_is_made_anew(bench: _Bench) -> None:
    files, _ = bench.predict()
    files[0].path.unlink()
    assert bench.predict() == (files, 1)
    files[1].path.write_bytes(b"torn")
    assert bench.predict() == (files, 1)
    samples.pictures(bench.root / "photos", count=1, seed=9)
    changed, made = bench.predict()
    assert made == 1 and changed[0] != files[0] and changed[1:] == files[1:]
    retrained = contestants.Contestant(name="inverter", source="inverter", sha256="2")
    assert bench.predict(retrained)[1] == 3


def test_an_interrupted_run_goes_on_where_it_stopped(bench: _Bench) -> None:
    files, _ = bench.predict()
    manifest = files[0].path.with_name("manifest.jsonl")
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text(lines[0] + lines[1][:20])  # killed within a write; the third file is there, but not listed
    resumed, made = bench.predict()
    assert (resumed, made) == (files, 2)


def test_measuring_alone_makes_nothing(bench: _Bench) -> None:
    with pytest.raises(records.RecordError, match=r"run `python bench/run\.py predict` first"):
        bench.predict(device=None)
    bench.predict()
    assert bench.predict(device=None)[1] == 0


def test_two_photos_with_one_stem_do_not_collide(bench: _Bench) -> None:
    photo = Image.open(bench.root / "photos" / "picture-0.png")
    photo.save(bench.root / "photos" / "picture-0.bmp")
    files, _ = bench.predict()
    assert len({file.path.name for file in files}) == 4


def test_large_photos_are_scaled_and_bad_ones_named(tmp_path: Path) -> None:
    path = samples.pictures(tmp_path, count=1, seed=3, size=(200, 131)) / "picture-0.png"
    assert predict.prepare(path, size=64).shape == (1, 3, 64, 64)
    path.write_bytes(b"not an image")
    with pytest.raises(image.ImageError, match="picture-0"):
        predict.prepare(path, size=64)


def test_unknown_and_untrained_models_are_refused(tmp_path: Path) -> None:
    index = datasets.HashIndex(tmp_path / "index.json")
    with pytest.raises(card.UnknownModel, match="dtgan"):
        contestants.find(("dtgam",), index)
    with pytest.raises(records.RecordError, match="no trained checkpoint"):
        contestants.find(("dtgan",), index)
    assert contestants.find((), index) == (PHOTO,)

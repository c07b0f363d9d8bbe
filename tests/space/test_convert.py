"""The conversion itself, with a network that only inverts colours in place of a trained one."""

import io
import types

import numpy as np
import pytest
import torch
from PIL import Image

from models import card, image
from space import convert

INVERTER = types.SimpleNamespace(name="inverter", task="translate")


class Inverter(torch.nn.Module):
    """Stands in for a loaded model."""

    sha256 = "0" * 64

    def forward(self, images):
        return -images


@pytest.fixture(autouse=True)
def _inverter(monkeypatch):
    monkeypatch.setattr(card, "offered", lambda: (INVERTER, types.SimpleNamespace(name="face", task="generate")))
    monkeypatch.setattr("models.registry.load", lambda name: Inverter())
    convert._model.cache_clear()
    yield
    convert._model.cache_clear()


def _file(height: int, width: int, *, suffix: str = "PNG", **options) -> bytes:
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, suffix, **options)
    return stream.getvalue()


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG" and picture.info == {} and not picture.getexif()
        return np.array(picture)


def test_the_prediction_is_what_the_network_made_of_the_photo_shown():
    made = convert.convert(_file(70, 93), model="inverter")
    assert (made.photo.height, made.photo.width, made.photo.largest) == (70, 93, False)
    assert np.array_equal(_pixels(made.png), 255 - _pixels(made.photo.png))
    assert made.model == "inverter" and made.sha256 == Inverter.sha256 and made.seconds >= 0


def test_a_path_and_its_bytes_give_the_same(tmp_path):
    source = _file(80, 64)
    (tmp_path / "photo.png").write_bytes(source)
    made = convert.convert(tmp_path / "photo.png", model="inverter")
    assert made.png == convert.convert(source, model="inverter").png == convert.convert(source, model="inverter").png


def test_a_long_photo_is_reduced_and_marked():
    photo = convert.prepare(_file(300, 1500))
    assert max(photo.height, photo.width) == convert.LONGEST_SIDE and photo.largest
    assert photo.height == pytest.approx(1024 * 300 / 1500, abs=1)


@pytest.mark.parametrize("size", [(64, 64), (200, 1300)])
def test_preparing_twice_changes_nothing(size):
    photo = convert.prepare(_file(*size))
    assert convert.prepare(photo.png) == photo
    assert convert.convert(photo.png, model="inverter").png == convert.convert(_file(*size), model="inverter").png


def test_metadata_is_gone_and_the_photo_stands_upright():
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "SpyCam", 6
    source = _file(64, 100, suffix="JPEG", exif=exif)
    assert b"SpyCam" in source
    made = convert.convert(source, model="inverter")
    assert _pixels(made.png).shape == (100, 64, 3)
    assert b"SpyCam" not in made.png + made.photo.png


def test_errors_for_visitors_are_told_apart(monkeypatch):
    with pytest.raises(image.ImageError):
        convert.prepare(b"no picture")
    with pytest.raises(card.UnknownModel):
        convert.convert(_file(64, 64), model="nobody")
    assert {image.ImageError, card.UnknownModel} < set(convert.problems())
    assert [entry.name for entry in convert.offered()] == ["inverter"], "only what translates photos"


def test_warming_up_loads_the_first_model_and_survives_a_failure(monkeypatch, caplog):
    loaded = []
    monkeypatch.setattr("models.registry.load", lambda name: loaded.append(name) or Inverter())
    monkeypatch.setattr(convert, "READY", types.SimpleNamespace(set=lambda: loaded.append("ready")))
    convert.warm().join()
    convert.convert(_file(64, 64), model="inverter")
    assert loaded == ["inverter", "ready"]
    convert._model.cache_clear()
    monkeypatch.setattr("models.registry.load", lambda name: 1 / 0)
    convert.warm().join()
    assert loaded == ["inverter", "ready", "ready"] and "could not be loaded" in caplog.text

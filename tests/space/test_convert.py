"""The conversion itself, with a network that only inverts colours in place of a trained one."""

import io
import types

import numpy as np
import pytest
import torch
from PIL import Image

from models import card, faces, image
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
    monkeypatch.setattr("models.runners.load", lambda name: Inverter())
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


@pytest.fixture
def two(monkeypatch) -> list[faces.Face]:
    """A detector that sees two faces in every picture: the larger one to the right, a small one in a corner."""
    found = [faces.Face(left=200, top=60, width=90, height=110), faces.Face(left=2, top=4, width=40, height=40)]
    monkeypatch.setattr(convert, "_detector", lambda: faces.Detector("two", lambda pixels: found))
    return found


@pytest.fixture
def sizes(monkeypatch) -> list[tuple[int, int]]:
    """Collects the heights and widths that the network is given."""
    seen = []

    class Watched(Inverter):
        def forward(self, images):
            seen.append(tuple(images.shape[2:]))
            return super().forward(images)

    monkeypatch.setattr("models.runners.load", lambda name: Watched())
    return seen


def test_the_whole_picture_needs_no_detector(monkeypatch):
    monkeypatch.setattr(convert, "_detector", lambda: 1 / 0)
    source = _file(80, 90)
    made = convert.convert(source, model="inverter", area="whole")
    assert made.png == convert.convert(source, model="inverter").png and made.faces is made.detector is None


def test_a_portrait_is_cut_out_and_drawn_alone(two, sizes):
    source = _file(300, 400)
    made = convert.convert(source, model="inverter", area="face")
    assert (made.faces, made.detector, sizes) == (1, "two", [(256, 256)])
    assert (made.photo.height, made.photo.width) == (256, 256), "a face below that size is enlarged"
    assert np.array_equal(_pixels(made.png), 255 - _pixels(made.photo.png)), "before and after show the same"
    frame = faces.inside(faces.square(two[0]), height=300, width=400)
    whole = _pixels(convert.prepare(source).png)
    assert np.array_equal(_pixels(made.photo.png), faces.crop(whole, frame, size=256))


@pytest.mark.parametrize(("side", "expected"), [(100, 256), (200, 348), (500, 512)])
def test_portraits_keep_their_own_size_within_limits(monkeypatch, sizes, side, expected):
    found = [faces.Face(left=450 - side / 2, top=450 - side / 2, width=side, height=side)]
    monkeypatch.setattr(convert, "_detector", lambda: faces.Detector("one", lambda pixels: found))
    made = convert.convert(_file(900, 900), model="inverter", area="face")
    assert (made.photo.height, made.photo.width) == (expected, expected) and sizes == [(expected, expected)]


def test_every_face_is_drawn_again_and_nothing_stays_a_photo(two, sizes):
    ramp = np.linspace(0, 200, 400, dtype=np.uint8)[None, :, None].repeat(300, 0).repeat(3, 2)
    stream = io.BytesIO()
    Image.fromarray(ramp).save(stream, "PNG")
    made = convert.convert(stream.getvalue(), model="inverter", area="every")
    assert made.faces == 2 and sizes == [(256, 256), (256, 256), (300, 400)]
    difference = np.abs(_pixels(made.png).astype(int) - (255 - ramp.astype(int)))
    assert difference.max() <= 2, "drawn in parts or at once, an inverted picture is the same"
    assert made.photo.png == convert.prepare(stream.getvalue()).png
    assert made.png == convert.convert(stream.getvalue(), model="inverter", area="every").png


def test_a_crowd_is_drawn_up_to_a_limit(monkeypatch, sizes):
    crowd = [faces.Face(left=30 * i % 270, top=30 * (i // 9), width=25, height=25) for i in range(30)]
    monkeypatch.setattr(convert, "_detector", lambda: faces.Detector("crowd", lambda pixels: crowd))
    made = convert.convert(_file(300, 300), model="inverter", area="every")
    assert made.faces == convert.MAX_FACES == len(sizes) - 1


@pytest.mark.parametrize("area", ["face", "every"])
def test_without_a_face_the_whole_picture_is_drawn_and_said_so(area):
    source = _file(90, 120)
    made = convert.convert(source, model="inverter", area=area)
    assert made.faces == 0 and made.detector in ("yunet-2023mar", "lbp-frontal")
    assert made.png == convert.convert(source, model="inverter").png


def test_an_unknown_area_is_named():
    with pytest.raises(ValueError, match=r"'hat'; expected one of whole, face, every"):
        convert.convert(_file(64, 64), model="inverter", area="hat")


def test_errors_for_visitors_are_told_apart(monkeypatch):
    with pytest.raises(image.ImageError):
        convert.prepare(b"no picture")
    with pytest.raises(card.UnknownModel):
        convert.convert(_file(64, 64), model="nobody")
    assert {image.ImageError, card.UnknownModel} < set(convert.problems())
    assert [entry.name for entry in convert.offered()] == ["inverter"], "only what translates photos"


def test_warming_up_loads_the_first_model_and_survives_a_failure(monkeypatch, caplog):
    loaded = []
    monkeypatch.setattr("models.runners.load", lambda name: loaded.append(name) or Inverter())
    monkeypatch.setattr(convert, "READY", types.SimpleNamespace(set=lambda: loaded.append("ready")))
    convert.warm().join()
    convert.convert(_file(64, 64), model="inverter")
    assert loaded == ["inverter", "ready"]
    convert._model.cache_clear()
    monkeypatch.setattr("models.runners.load", lambda name: 1 / 0)
    convert.warm().join()
    assert loaded == ["inverter", "ready", "ready"] and "could not be loaded" in caplog.text

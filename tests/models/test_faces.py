"""Faces: found alone and in groups, small and turned; cut out upright; put back without a trace or a seam."""

import math
import urllib.error
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import skimage
from PIL import Image

from models import download, faces

ASTRONAUT = skimage.data.astronaut()
ASTRONAUT_FACE = (178, 63, 90, 113)  # as drawn by hand: left, top, width, height
FRAMES = {
    "whole pixels": faces.Frame(x=100, y=90, side=80),
    "turned": faces.Frame(x=101.3, y=88.7, side=77.7, angle=25),
    "over a corner": faces.Frame(x=10, y=200, side=90, angle=-10),
    "larger than the picture": faces.Frame(x=120, y=110, side=400),
    "outside": faces.Frame(x=-200, y=-200, side=50),
}


@pytest.fixture(scope="module")
def cascade() -> faces.Detector:
    return faces.cascade()


@pytest.fixture(scope="module")
def yunet(weights_dir: Path) -> faces.Detector:
    return faces.yunet(weights_dir / download.LOCAL_YUNET)


@pytest.fixture(scope="module")
def portraits(data_dir: Path) -> list[np.ndarray]:
    """Seven portraits, head and shoulders, 512 pixels."""
    return [_read(path) for path in sorted((data_dir / "portraits_512").glob("*.jpg"))[::9]]


@pytest.fixture(scope="module")
def hopper() -> np.ndarray:
    return _read(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))


def _resized(pixels: np.ndarray, *, side: int) -> np.ndarray:
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)


def _group(portraits: list[np.ndarray], places: list[tuple[int, int, int]], *, size: tuple[int, int]) -> np.ndarray:
    """Put portraits on one canvas at (left, top, side)."""
    canvas = np.full((*size, 3), 110, np.uint8)
    for portrait, (left, top, side) in zip(portraits, places, strict=True):
        canvas[top : top + side, left : left + side] = _resized(portrait, side=side)
    return canvas


def _turned(pixels: np.ndarray, degrees: float) -> np.ndarray:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    return cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def _texture(height: int, width: int) -> np.ndarray:
    """A smooth random picture: steps of about 10 levels from pixel to pixel."""
    coarse = np.random.default_rng(3).integers(0, 256, (height // 12 + 2, width // 12 + 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _apart(face: faces.Face, place: tuple[float, float, float, float]) -> float:
    """Distance of the centres, in sides of the face."""
    left, top, width, height = place
    x, y = face.left + face.width / 2 - left - width / 2, face.top + face.height / 2 - top - height / 2
    return math.hypot(x, y) / face.side


def test_the_packaged_detector_finds_a_face_where_it_is(cascade, hopper):
    assert cascade.name == "lbp-frontal"
    (face,) = faces.find(ASTRONAUT, detector=cascade)
    assert _apart(face, ASTRONAUT_FACE) < 0.15 and 0.8 < face.side / math.sqrt(90 * 113) < 1.25
    assert face.points is None and face.roll == 0
    places = [(0, 0, 500), (500, 40, 330), (0, 500, 400)]
    group = _group([ASTRONAUT, hopper[:512, :512], ASTRONAUT], places, size=(900, 900))
    assert len(faces.find(group, detector=cascade)) == 3


@pytest.mark.parametrize("picture", ["texture", "coffee", "rocket", "flat"])
def test_the_packaged_detector_sees_no_faces_in_things(cascade, picture):
    made = {"texture": lambda: _texture(300, 400), "flat": lambda: np.zeros((64, 700, 3), np.uint8)}
    pixels = made.get(picture, lambda: np.ascontiguousarray(getattr(skimage.data, picture)()[:400, :600]))()
    assert faces.find(pixels, detector=cascade) == ()


def test_both_detectors_frame_alike(cascade, yunet, portraits):
    for portrait in portraits[:3]:
        one, other = (faces.square(faces.find(portrait, detector=each)[0]) for each in (cascade, yunet))
        assert math.hypot(one.x - other.x, one.y - other.y) < 0.1 * other.side
        assert 0.8 < one.side / other.side < 1.25


def test_the_frame_is_that_of_the_portraits(yunet, portraits):
    frames = [faces.square(faces.find(portrait, detector=yunet)[0]) for portrait in portraits]
    assert np.mean([frame.side for frame in frames]) == pytest.approx(512, rel=0.1)
    assert np.mean([(frame.x, frame.y) for frame in frames], axis=0) == pytest.approx([256, 256], abs=25)


def test_everybody_in_a_group_is_found_where_they_are(yunet, portraits):
    places = [
        (0, 0, 512),
        (520, 0, 400),
        (930, 10, 300),
        (1240, 10, 160),
        (520, 420, 110),
        (660, 420, 70),
        (800, 420, 56),
    ]
    found = faces.find(_group(portraits, places, size=(640, 1420)), detector=yunet)
    assert len(found) == 7 and [face.side for face in found] == sorted((face.side for face in found), reverse=True)
    for left, top, side in places:
        inner = (left + side / 4, top + side / 4, side / 2, side / 2)
        nearest = min(found, key=lambda face: _apart(face, inner))
        assert _apart(nearest, inner) < 0.25 and 0.4 < nearest.side / side < 0.75
    assert 28 < found[-1].side < 40
    assert len(faces.find(_group(portraits, places, size=(640, 1420)), detector=yunet, smallest=60)) == 5


@pytest.mark.parametrize("side", [64, 2000])
def test_size_of_the_picture_matters_little(yunet, portraits, side):
    (face,) = faces.find(cv2.resize(portraits[0], (side, side)), detector=yunet)
    assert 0.4 < face.side / side < 0.75


def test_a_face_that_fills_the_picture_is_found(yunet, portraits):
    face = faces.find(portraits[1], detector=yunet)[0]
    x, y, reach = face.left + face.width / 2, face.top + face.height / 2, 0.3 * face.side
    close = portraits[1][int(y - reach) : int(y + reach), int(x - reach) : int(x + reach)]
    (found,) = faces.find(cv2.resize(close, (400, 400)), detector=yunet)
    assert found.side > 300 and _apart(found, (0, 0, 400, 400)) < 0.2


@pytest.mark.parametrize("degrees", [-35, -12, 20])
def test_turned_faces_are_put_upright(yunet, portraits, degrees):
    upright = faces.find(portraits[2], detector=yunet)[0]
    turned = _turned(portraits[2], degrees)
    face = faces.find(turned, detector=yunet)[0]
    assert face.roll - upright.roll == pytest.approx(degrees, abs=8)
    again = faces.find(faces.crop(turned, faces.square(face), size=300), detector=yunet)[0]
    assert abs(again.roll) < 6


@pytest.mark.parametrize("name", ["syn_makeup_r4c0", "syn_background_r3c1", "syn_ethnicityxage3_r1c0", "syn_hats_r2c3"])
def test_faces_that_look_aside_are_framed_like_others(yunet, data_dir, name):
    """The most turned heads of the portraits."""
    (face,) = faces.find(_read(data_dir / "portraits" / f"{name}.jpg"), detector=yunet)
    frame = faces.square(face)
    assert abs(frame.angle) < 25 and frame.side == pytest.approx(256, rel=0.3)
    assert math.hypot(frame.x - 128, frame.y - 128) < 0.2 * 256


def test_no_face_in_a_texture(yunet):
    assert faces.find(_texture(500, 700), detector=yunet) == ()
    assert faces.find(np.ascontiguousarray(skimage.data.rocket()), detector=yunet) == ()


def _face(points: tuple[tuple[float, float], ...]) -> faces.Face:
    return faces.Face(left=100, top=100, width=80, height=100, points=points)


def test_a_profile_is_not_turned_by_its_eyes():
    """The eyes nearly coincide, one above the other; nose and mouth are straight below."""
    profile = _face(((120, 130), (122, 136), (110, 150), (121, 170), (123, 171)))
    assert abs(profile.roll) < 15
    upside_down = _face(((160, 170), (120, 170), (140, 150), (155, 130), (125, 130)))
    assert abs(faces.square(upside_down).angle) == faces.ROLLS[1], "no face is turned by more"
    nearly = _face(((120, 130), (160, 131), (140, 150), (125, 170), (155, 171)))
    assert 0 < nearly.roll < faces.ROLLS[0] and faces.square(nearly).angle == 0


def test_a_frame_follows_the_head():
    """Turned clockwise by 90 degrees less what is believed: the top of the head lies to the right."""
    eyes = ((130.0, 120.0), (150.0, 140.0))
    frame = faces.square(_face((*eyes, (130, 140), (110, 140), (130, 160))), margin=2)
    assert frame.angle == pytest.approx(45) and frame.side == round(2 * math.sqrt(8000))
    assert frame.x > 140 and frame.y < 150


@pytest.mark.parametrize("name", FRAMES)
def test_what_is_put_back_unchanged_is_not_seen(name):
    picture, frame = _texture(220, 240), FRAMES[name]
    size = max(1, round(frame.side))
    back = faces.paste(picture, [(faces.crop(picture, frame, size=size), frame)])
    assert np.abs(back.astype(int) - picture).max() <= (0 if name in ("whole pixels", "larger than the picture") else 6)


@pytest.mark.parametrize("name", FRAMES)
def test_nothing_outside_the_frame_changes(name):
    picture, frame = _texture(220, 240), FRAMES[name]
    back = faces.paste(picture, [(np.full((64, 64, 3), 255, np.uint8), frame)])
    corners = cv2.boxPoints(((frame.x - 0.5, frame.y - 0.5), (frame.side, frame.side), frame.angle))
    inside = cv2.fillConvexPoly(np.zeros(picture.shape[:2], np.uint8), np.round(corners).astype(np.int32), 1)
    outside = cv2.dilate(inside, np.ones((3, 3), np.uint8)) == 0
    assert np.array_equal(back[outside], picture[outside])
    if 0 < frame.x < 240:
        row, column = min(int(frame.y), 219), int(frame.x)
        assert np.array_equal(back[row, column], [255, 255, 255]), "the middle is the part alone"


@pytest.mark.parametrize("angle", [0, 30])
def test_a_part_of_another_colour_leaves_no_seam(angle):
    flat, frame = np.full((300, 300, 3), 90, np.uint8), faces.Frame(x=150, y=150, side=200, angle=angle)
    back = faces.paste(flat, [(np.full((256, 256, 3), 150, np.uint8), frame)]).astype(int)
    steps = max(np.abs(np.diff(back, axis=axis)).max() for axis in (0, 1))
    assert back.max() == 150 and steps <= math.ceil(1.5 * 1.42 * 60 / (faces.FEATHER * frame.side)) + 1


def test_neighbours_do_not_paint_over_each_other():
    """Each middle keeps its own colour, in any order."""
    flat = np.zeros((200, 300, 3), np.uint8)
    left, right = faces.Frame(x=110, y=100, side=140), faces.Frame(x=200, y=100, side=140)
    parts = [(np.full((140, 140, 3), 80, np.uint8), left), (np.full((140, 140, 3), 240, np.uint8), right)]
    both = faces.paste(flat, parts)
    assert np.array_equal(both, faces.paste(flat, parts[::-1]))
    assert both[100, 90, 0] == 80 and both[100, 220, 0] == 240
    assert np.abs(np.diff(both[100, 60:250, 0].astype(int))).max() < 20


def test_a_reduced_cut_does_not_flicker():
    """Stripes finer than its pixels become grey; without antialiasing they would stay stripes."""
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    cut = faces.crop(stripes, faces.Frame(x=200, y=200, side=300), size=70)
    assert cut.shape == (70, 70, 3) and np.ptp(cut.astype(int)) < 90


@pytest.mark.parametrize("name", FRAMES)
def test_frames_move_into_the_picture(name):
    frame = faces.inside(FRAMES[name], height=220, width=240)
    corners = cv2.boxPoints(((frame.x, frame.y), (frame.side, frame.side), frame.angle))
    assert (corners >= -1e-3).all() and (corners <= np.array([240, 220]) + 1e-3).all()
    assert frame.side == min(FRAMES[name].side, 220) and frame.angle == FRAMES[name].angle


def test_the_best_detector_at_hand_is_chosen_and_nothing_is_fetched(monkeypatch, tmp_path, weights_dir):
    def refuse(*_, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    assert faces.detector().name == "yunet-2023mar"
    monkeypatch.delenv("NIJIGEN_WEIGHTS")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert faces.detector().name == "lbp-frontal", "the app asks no other host"
    with pytest.raises(OSError, match="could not be downloaded"):
        faces.detector(fetch=True)
    cached = download.cache_folder() / download.YUNET.file
    cached.write_bytes((weights_dir / download.LOCAL_YUNET).read_bytes())
    assert faces.detector().name == faces.detector(fetch=True).name == "yunet-2023mar"


def test_a_damaged_detector_is_named(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(OSError, match=r"bad\.onnx; download it again"):
        faces.yunet(tmp_path / "bad.onnx")

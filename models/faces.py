"""Faces: find them, cut out an upright square around each, put it back without a seam.

Works on 8-bit pixels with NumPy and OpenCV alone, so that worker processes need no torch.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from models import download

Pixels = UInt8[np.ndarray, "height width 3"]
Points = tuple[tuple[float, float], ...]

MARGIN = 1.74  # median side of the training portraits, in sides of the face that YuNet finds in them
LIFT = 0.03  # and how far above the centre of the face their centre lies, in their sides
ROLLS = (3.0, 45.0)  # degrees: a smaller one is left as it is, because turning blurs; no larger one is believed
SMALLEST = 24
FEATHER = 0.18
VIEWS = (640, 1600)
YUNET_SCORE = 0.6
CASCADE_SIDE = 512
CASCADE_SMALLEST = 1 / 12  # of the shorter side of the picture,
CASCADE_RANGE = 0.5  # and of the largest face: below, it takes too much for a face
OVERLAP = 0.3
SECOND_LOOK = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Face:
    """A face in a picture.

    Attributes:
        left: Left edge of its box, in pixels; may lie outside the picture.
        top: Upper edge.
        width: Width of the box, in pixels.
        height: Height of the box.
        score: How sure the detector is, in [0, 1]; 1 where it gives no number.
        points: Eye, eye, nose and two corners of the mouth as (x, y), image-left ones first; None where unknown.
    """

    left: float
    top: float
    width: float
    height: float
    score: float = 1.0
    points: Points | None = None

    @property
    def side(self) -> float:
        """Side of a square with the box's area, in pixels."""
        return math.sqrt(self.width * self.height)

    @property
    def roll(self) -> float:
        """Tilt of the head in degrees, positive when it turns clockwise in the picture; 0 without points.

        The line of the eyes and the line from eyes to mouth count by their lengths: in a profile the eyes nearly
        coincide and their line alone could point anywhere.
        """
        if self.points is None:
            return 0.0
        points = np.asarray(self.points)
        across = points[1] - points[0] + points[4] - points[3]
        down = points[3] + points[4] - points[0] - points[1]
        x, y = across + np.array([down[1], -down[0]])
        return math.degrees(math.atan2(y, x))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """A square in a picture, which may be turned and may reach outside.

    Attributes:
        x: Its centre, in pixels from the picture's left edge (edges, not centres of pixels, have whole numbers).
        y: Its centre, from the upper edge.
        side: In pixels.
        angle: Clockwise, in degrees.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0


@dataclasses.dataclass(frozen=True)
class Detector:
    """One way to find faces.

    Attributes:
        name: What stands in records and on the page.
        boxes: Gives all faces of one picture, in any order, some of them perhaps twice.
    """

    name: str
    boxes: Callable[[Pixels], list[Face]]


def detector(*, fetch: bool = False) -> Detector:
    """Choose the best detector at hand: YuNet where its file is, else the cascade inside scikit-image.

    Args:
        fetch: Download YuNet where neither NIJIGEN_WEIGHTS nor the cache has it.

    Returns:
        A detector; keep it, because making one reads its file.

    Raises:
        OSError: `fetch` was asked for and the download failed.
    """
    path = download.local(download.LOCAL_YUNET) or download.cached(download.YUNET)
    if path is None and fetch:
        path = download.fetch(download.YUNET)
    return cascade() if path is None else yunet(path)


def yunet(path: Path) -> Detector:
    """Read OpenCV's YuNet: boxes and points, profiles too, faces from about 16 pixels.

    Args:
        path: The ONNX file.

    Returns:
        The detector named "yunet-2023mar".

    Raises:
        OSError: OpenCV cannot read the file.
    """
    try:
        network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score_threshold=YUNET_SCORE)
    except cv2.error as error:
        raise OSError(f"OpenCV cannot read the face detector {path}; download it again ({error.err}).") from error
    return Detector("yunet-2023mar", functools.partial(_yunet_boxes, network))


def cascade() -> Detector:
    """Read the frontal-face cascade that scikit-image carries: boxes alone, upright faces seen from the front.

    Returns:
        The detector named "lbp-frontal".

    Source:
        The local binary patterns of OpenCV's lbpcascade_frontalface, run by `skimage.feature.Cascade`.
    """
    from skimage import data, feature

    network = feature.Cascade(data.lbp_frontal_face_cascade_filename())
    return Detector("lbp-frontal", functools.partial(_cascade_boxes, network))


def find(pixels: Pixels, *, detector: Detector, smallest: float = SMALLEST) -> tuple[Face, ...]:
    """Find the faces of a picture.

    Args:
        pixels: RGB, 0 to 255, (height, width, 3).
        detector: See `detector`.
        smallest: Faces with a `side` below this many pixels are left out.

    Returns:
        Each face once, largest first; empty where there is none.
    """
    faces = sorted(detector.boxes(pixels), key=lambda face: (-face.score, -face.side))
    kept: list[Face] = []
    for face in faces:
        if face.side >= smallest and all(_overlap(face, other) < OVERLAP for other in kept):
            kept.append(face)
    return tuple(sorted((_straightened(face, pixels, detector) for face in kept), key=lambda face: -face.side))


def square(face: Face, *, margin: float = MARGIN) -> Frame:
    """Frame a face as the training portraits are framed: head and shoulders, upright, whole pixels where not turned.

    Args:
        face: What `find` gave.
        margin: Side of the frame in sides of the face.

    Returns:
        The frame; it may reach outside the picture, see `inside`.
    """
    side = max(1, round(margin * face.side))
    turn = max(-ROLLS[1], min(ROLLS[1], face.roll)) if abs(face.roll) >= ROLLS[0] else 0.0
    x = face.left + face.width / 2 + LIFT * side * math.sin(math.radians(turn))
    y = face.top + face.height / 2 - LIFT * side * math.cos(math.radians(turn))
    if turn == 0:  # then cutting out and putting back copies pixels
        x, y = round(x - side / 2) + side / 2, round(y - side / 2) + side / 2
    return Frame(x=x, y=y, side=side, angle=turn)


def inside(frame: Frame, *, height: int, width: int) -> Frame:
    """Move a frame into the picture, and shrink it where it is too large for that.

    Args:
        frame: Any frame.
        height: Height of the picture in pixels.
        width: Its width.

    Returns:
        A frame at the same angle without any part outside.
    """
    angle = math.radians(frame.angle)
    spread = abs(math.cos(angle)) + abs(math.sin(angle))
    side = min(frame.side, min(height, width) / spread)
    reach = side * spread / 2
    x = min(max(frame.x, reach), width - reach)
    y = min(max(frame.y, reach), height - reach)
    return dataclasses.replace(frame, x=x, y=y, side=side)


def crop(pixels: Pixels, frame: Frame, *, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Cut a frame out, upright; what lies outside the picture is its reflection.

    Args:
        pixels: RGB, 0 to 255, (height, width, 3).
        frame: The square to cut out.
        size: Side of the cut in pixels; larger frames are reduced with antialiasing.

    Returns:
        Pixels (size, size, 3).
    """
    finer = max(1, math.ceil(frame.side / size - 0.01))  # sampled at least as densely as the picture, then averaged
    fine = size * finer
    matrix = _matrix(frame, fine)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(pixels, matrix, (fine, fine), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA) if finer > 1 else drawn


def paste(pixels: Pixels, parts: Iterable[tuple[UInt8[np.ndarray, "size size 3"], Frame]]) -> Pixels:
    """Put squares back where they were cut out, softly: nothing outside their frames changes.

    Args:
        pixels: The picture to put them into, RGB, 0 to 255, (height, width, 3).
        parts: Each square with its frame. Where frames overlap, a pixel goes to the frame it lies deepest in.

    Returns:
        A new picture of the same size.
    """
    total = np.zeros((*pixels.shape[:2], 1), np.float32)
    cover, drawn = np.zeros_like(total), np.zeros(pixels.shape, np.float32)
    for part, frame in parts:
        area, local = _bounds(frame, height=pixels.shape[0], width=pixels.shape[1])
        height, width = total[area].shape[:2]
        if height and width:
            mask = _mask(local, height=height, width=width)[:, :, None]
            drawn[area] += mask**4 * _placed(part, local, height=height, width=width)
            total[area] += mask**4
            cover[area] = np.maximum(cover[area], mask)
    blend = pixels + cover * (drawn / np.maximum(total, np.finfo(np.float32).tiny) - pixels)
    return np.where(total > 0, blend.round().clip(0, 255), pixels).astype(np.uint8)


def _bounds(frame: Frame, *, height: int, width: int) -> tuple[tuple[slice, slice], Frame]:
    """Give the rows and columns of the picture that a frame touches, and the frame as seen from there."""
    angle = math.radians(frame.angle)
    reach = frame.side / 2 * (abs(math.cos(angle)) + abs(math.sin(angle)))
    top, bottom = (min(max(math.floor(y), 0), height) for y in (frame.y - reach, frame.y + reach + 1))
    left, right = (min(max(math.floor(x), 0), width) for x in (frame.x - reach, frame.x + reach + 1))
    return (slice(top, bottom), slice(left, right)), dataclasses.replace(frame, x=frame.x - left, y=frame.y - top)


def _placed(part: np.ndarray, frame: Frame, *, height: int, width: int) -> Float[np.ndarray, "{height} {width} 3"]:
    """Turn and scale a part to where its frame lies; pixels outside the frame hold nothing of use."""
    size = min(len(part), max(1, math.ceil(frame.side)))
    if size < len(part):
        part = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.warpAffine(
        part.astype(np.float32),
        _matrix(frame, size),
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _mask(frame: Frame, *, height: int, width: int) -> Float[np.ndarray, "{height} {width}"]:
    """Rise from 0 at the frame's border to 1 at `FEATHER` of its side inside, smoothly."""
    angle = math.radians(frame.angle)
    x = np.arange(width, dtype=np.float32) + 0.5 - frame.x
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5 - frame.y
    across = np.abs(x * math.cos(angle) + y * math.sin(angle)) / frame.side
    down = np.abs(y * math.cos(angle) - x * math.sin(angle)) / frame.side
    return _rise((0.5 - across) / FEATHER) * _rise((0.5 - down) / FEATHER)


def _rise(x: np.ndarray) -> np.ndarray:
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


def _matrix(frame: Frame, size: int) -> Float[np.ndarray, "2 3"]:
    """Map a pixel of the cut, of `size` pixels a side, to its place in the picture."""
    step = frame.side / size
    cos, sin = step * math.cos(math.radians(frame.angle)), step * math.sin(math.radians(frame.angle))
    middle = (size - 1) / 2
    x, y = frame.x - 0.5, frame.y - 0.5
    return np.array([[cos, -sin, x - (cos - sin) * middle], [sin, cos, y - (sin + cos) * middle]])


def _straightened(face: Face, pixels: Pixels, detector: Detector) -> Face:
    """Look once more at a tilted face, turned upright: YuNet understates large tilts by a third."""
    frame = square(face)
    seen = detector.boxes(crop(pixels, frame, size=SECOND_LOOK)) if frame.angle else []
    if not seen:
        return face
    half = SECOND_LOOK / 2  # where it lies: neighbours may be in the cut, too
    again = min(seen, key=lambda it: math.hypot(it.left + it.width / 2 - half, it.top + it.height / 2 - half))
    middle = (again.left + again.width / 2, again.top + again.height / 2)
    matrix, scale = _matrix(frame, SECOND_LOOK), frame.side / SECOND_LOOK
    (x, y), *points = (np.array([middle, *(again.points or ())]) @ matrix[:, :2].T + matrix[:, 2]).tolist()
    width, height = again.width * scale, again.height * scale
    left, top = x - width / 2, y - height / 2
    places = tuple((x, y) for x, y in points)
    return Face(left=left, top=top, width=width, height=height, score=face.score, points=places)


def _overlap(one: Face, other: Face) -> float:
    """Share of the smaller box that both have."""
    across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    return max(0.0, across) * max(0.0, down) / min(one.side, other.side) ** 2


def _yunet_boxes(network: "cv2.FaceDetectorYN", pixels: Pixels) -> list[Face]:
    """Look at a reduced view for large faces and a finer one for small faces; only then whether one fills the view."""
    longest = max(pixels.shape[:2])
    views = sorted({min(side, longest) for side in VIEWS})
    found = [face for side in views for face in _yunet_view(network, pixels, side=side)]
    return found or _yunet_view(network, pixels, side=VIEWS[0] // 2, padding=0.5)


def _yunet_view(network: "cv2.FaceDetectorYN", pixels: Pixels, *, side: int, padding: float = 0) -> list[Face]:
    scale = min(1.0, side / max(pixels.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in pixels.shape[:2])
    border = round(padding * max(height, width))
    view = cv2.resize(pixels[:, :, ::-1], (width, height), interpolation=cv2.INTER_AREA)
    view = cv2.copyMakeBorder(view, border, border, border, border, cv2.BORDER_CONSTANT)
    network.setInputSize((view.shape[1], view.shape[0]))
    rows = network.detect(view)[1]
    return [] if rows is None else [_yunet_face(row, border=border, scale=scale) for row in rows]


def _yunet_face(row: np.ndarray, *, border: int, scale: float) -> Face:
    left, top = ((row[:2] - border) / scale).tolist()
    width, height = (row[2:4] / scale).tolist()
    points = ((row[4:14] - border) / scale).reshape(5, 2).tolist()
    places = tuple((x, y) for x, y in points)
    return Face(left=left, top=top, width=width, height=height, score=float(row[14]), points=places)


def _cascade_boxes(network: Any, pixels: Pixels) -> list[Face]:
    """Believe what is seen in the mirror, too, and is not much smaller than the largest."""
    scale = min(1.0, CASCADE_SIDE / max(pixels.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in pixels.shape[:2])
    view = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    seen = _cascade_view(network, view)
    mirrored = _cascade_view(network, np.ascontiguousarray(view[:, ::-1])) if seen else []
    confirmed = [
        face
        for face in seen
        if any(_overlap(face, dataclasses.replace(o, left=width - o.left - o.width)) > 2 * OVERLAP for o in mirrored)
    ]
    largest = max((face.side for face in confirmed), default=0)
    return [
        Face(left=face.left / scale, top=face.top / scale, width=face.width / scale, height=face.height / scale)
        for face in confirmed
        if face.side >= CASCADE_RANGE * largest
    ]


def _cascade_view(network: Any, view: Pixels) -> list[Face]:
    """Give its boxes as they are: they have YuNet's centre and size (0.997 +- 0.07 of it on 104 portraits)."""
    shortest = min(view.shape[:2])
    smallest = max(SMALLEST, round(CASCADE_SMALLEST * shortest))
    limits = {"min_size": (smallest, smallest), "max_size": (shortest, shortest)}
    boxes = network.detect_multi_scale(img=view, scale_factor=1.2, step_ratio=1, **limits)
    return [Face(left=box["c"], top=box["r"], width=box["width"], height=box["height"]) for box in boxes]

"""What preparation does with one picture, in worker processes: read it, cut its images out, hash them."""

import dataclasses
import functools
import hashlib
import math
import signal
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

from bench import records
from models import faces, image
from training import data, segmentation
from training.recipe import RecipeError

MAX_SIDE = 4096  # faces in the back row of a large photo need its pixels
MAX_SHIFT = 0.2  # portraits that are framed for it need up to 0.15
Pixels = UInt8[np.ndarray, "height width 3"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the prepared images; every line of the manifest repeats it."""

    size: int = 256
    """Side of the images, in pixels."""
    margin: float = faces.MARGIN
    """Side of the square that is cut out, in sides of the face."""
    faces: Literal["largest", "every", "none"] = "largest"
    """Which faces of a picture become images; "none" takes the picture's centre, for drawings."""
    detector: Literal["yunet", "cascade"] = "yunet"
    """How faces are found: YuNet, downloaded once, or scikit-image's frontal cascade, which needs no download."""
    smallest: int | None = None
    """Smallest face, in pixels, or with --faces none smallest side; by default half of --size, or all of it."""
    superpixels: int = 0
    """Also store superpixels, none below this many pixels (the recipes use 50 at --size 256); 0 stores none."""
    smooth: float | None = None
    """Also store the images with smoothed edges and this share of white pixels, for anime (the recipes use 0)."""
    duplicates: int = 4
    """Most bits of 64 in which the perceptual hashes of near-duplicates differ; -1 keeps near-duplicates."""

    @property
    def least(self) -> int:
        """Smallest face or side that is kept, in pixels."""
        whole = self.size if self.faces == "none" else self.size // 2
        return whole if self.smallest is None else self.smallest

    @property
    def versions(self) -> tuple[data.Derived, ...]:
        """What is stored besides the images."""
        regions = [data.superpixels(self.superpixels)] if self.superpixels else []
        drawings = [data.smooth_edges(self.smooth)] if self.smooth is not None else []
        return (*regions, *drawings)

    def check(self) -> None:
        """Raise RecipeError for a setting that cannot work."""
        limits = {
            "size": (64, 2048),
            "margin": (1, 4),
            "superpixels": (0, 10**6),
            "smooth": (0, 1),
            "duplicates": (-1, 32),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise RecipeError(f"--{name} is {value}; expected {least} to {most}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A raw picture.

    Attributes:
        name: Path inside the raw folder.
        path: Where it is.
        split: What SOURCES.csv says, "" where it does not divide, None where it leaves the picture out.
        size: In bytes; None where there is no such file.
    """

    name: str
    path: Path
    split: str | None
    size: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """One image made of a picture, or why there is none.

    Attributes:
        record: What the manifest says of it.
        png: Content of its file; empty where it is dropped.
        versions: Content of the versions stored beside it, in the order of `Settings.versions`.
    """

    record: records.Row
    png: bytes = b""
    versions: tuple[bytes, ...] = ()


def process(source: Source, settings: Settings) -> tuple[records.Row, list[Cut]]:
    """Do one worker's job: read a picture, cut its images out, and describe them.

    Returns:
        The line of the manifest but for its images, and the images.
    """
    row = {"source": source.name, "split": source.split, "bytes": source.size, "sha256": file_hash(source)}
    return row | {"settings": dataclasses.asdict(settings)}, cuts(source, settings)


def file_hash(source: Source) -> str | None:
    """Give the SHA-256 of a file, or None where it cannot be read; the reader will say why."""
    if source.size is None:
        return None
    try:
        with source.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def cuts(source: Source, settings: Settings) -> list[Cut]:
    """Cut the images of one picture out."""
    if source.split is None:
        return [drop("not listed", "no row of SOURCES.csv names it")]
    if source.size is None:
        return [drop("unreadable", "there is no such file")]
    try:
        picture = image.read(source.path, max_side=MAX_SIDE)
    except image.ImageError as error:
        return [drop("unreadable", str(error))]
    if settings.faces == "none":
        side = min(picture.shape[-2:])
        small = side < settings.least
        return [small_cut(side, settings) if small else finish(data.centre(picture, settings.size), settings)]
    pixels = image.to_uint8(picture)[0]
    found = faces.find(pixels, detector=detector(settings.detector))
    chosen = found if settings.faces == "every" else found[:1]
    return [face_cut(pixels, face, settings) for face in chosen] or [drop("no face", "the detector found none")]


def face_cut(pixels: Pixels, face: faces.Face, settings: Settings) -> Cut:
    """Cut one face out upright, inside the picture: a reflected border would teach reflections."""
    height, width = pixels.shape[:2]
    box = [round(length, 1) for length in (face.left, face.top, face.width, face.height)]
    if face.side < settings.least:
        return small_cut(face.side, settings, face=box)
    square = faces.square(face, margin=settings.margin)
    frame = faces.inside(square, height=height, width=width)
    shift = math.hypot(frame.x - square.x, frame.y - square.y) / square.side
    if shift > MAX_SHIFT or any(not (0 <= x <= width and 0 <= y <= height) for x, y in face.points or ()):
        return drop("cut off", "the face reaches over the border of the picture", face=box)
    return finish(faces.crop(pixels, frame, size=settings.size), settings, face=box)


def drop(reason: str, detail: str, *, face: list[float] | None = None) -> Cut:
    """Say why there is no image."""
    return Cut(record={"file": None, "face": face, "reason": reason, "detail": detail})


def small_cut(side: float, settings: Settings, *, face: list[float] | None = None) -> Cut:
    """Leave out what would have to be enlarged: it would teach blur."""
    return drop("too small", f"{side:.1f} pixels, expected at least {settings.least}", face=face)


def finish(pixels: UInt8[np.ndarray, "side side 3"], settings: Settings, *, face: list[float] | None = None) -> Cut:
    """Encode and hash an image, and make what is stored beside it."""
    png = encode(pixels)
    record = {
        "file": None,
        "face": face,
        "reason": "",
        "detail": "",
        "sha256": hashlib.sha256(png).hexdigest(),
        "phash": f"{perceptual_hash(pixels):016x}",
    }
    return Cut(record=record, png=png, versions=tuple(encode(version.make(pixels)) for version in settings.versions))


def encode(pixels: Pixels) -> bytes:
    """Write pixels as a PNG."""
    return image.png(image.from_uint8(pixels))


def perceptual_hash(pixels: Pixels) -> int:
    """Hash what a picture looks like: similar pictures differ in few of the 64 bits.

    Args:
        pixels: RGB.

    Returns:
        64 bits: which of the 8 x 8 lowest frequencies of the picture, reduced to 32 x 32 grays, exceed their median.

    Source:
        pHash (Zauner, Implementation and benchmarking of perceptual image hash functions, 2010), section 3.2.1, with
        all 64 frequencies from zero on, as the imagehash package has it.
    """
    import cv2

    gray = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(gray.astype(np.float32))[:8, :8]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes())


def fetch(name: str) -> None:
    """Make sure, before they start, that all workers will find the detector.

    Raises:
        RecipeError: It could not be downloaded.
    """
    try:
        if name == "yunet":
            faces.detector(fetch=True)
    except OSError as error:
        raise RecipeError(f"{error} Or find faces with --detector cascade, which needs no download.") from error


@functools.cache
def detector(name: str) -> faces.Detector:
    """Make the detector once per process."""
    return faces.detector() if name == "yunet" else faces.cascade()


def begin() -> None:
    """Ready a worker: one thread, and deaf to Ctrl-C, which is the command's to answer."""
    segmentation.begin_worker()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

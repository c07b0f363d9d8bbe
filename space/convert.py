"""Photo in, prediction out: the one conversion behind the app's page.

Torch and the models are imported inside functions, so that a page can be served while `warm` loads them.
"""

import dataclasses
import functools
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from models import card

if TYPE_CHECKING:
    from models.faces import Detector, Face, Frame, Pixels
    from models.registry import Model

logger = logging.getLogger(__name__)

Area = Literal["whole", "face", "every"]
LONGEST_SIDE = 1024
FACE_SIDES = (256, 512)  # the models were trained for portraits of this size, in pixels
MAX_FACES = 16
READY = threading.Event()
TURN = threading.Lock()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo as the model sees it.

    Attributes:
        png: Upright 8-bit RGB PNG without metadata, longest side at most `LONGEST_SIDE`.
        height: Its height in pixels.
        width: Its width in pixels.
    """

    png: bytes
    height: int
    width: int

    @property
    def largest(self) -> bool:
        """Whether it has the largest size that is drawn, so that what was sent may have been larger."""
        return max(self.height, self.width) == LONGEST_SIDE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """What a model made of a photo.

    Attributes:
        photo: The photo that the model saw; for the area "face" the portrait that was cut out of it.
        png: The prediction, exactly as `models.image.png` wrote it; same size as the photo.
        model: Name of the model's card.
        sha256: Checksum of the weights; None where they came from no file.
        seconds: Time of the model, with cutting out and putting back.
        faces: How many faces were drawn by themselves; 0 where none was found, None where none was looked for.
        detector: What looked for them, None where nothing did.
    """

    photo: Photo
    png: bytes
    model: str
    sha256: str | None
    seconds: float
    faces: int | None = None
    detector: str | None = None


def offered() -> tuple[card.CatalogueEntry, ...]:
    """Models a visitor can choose: they translate a photo and have trained weights."""
    return tuple(entry for entry in card.offered() if entry.task == "translate")


def warm() -> threading.Thread:
    """Import torch and load the first offered model in the background; `READY` is set when it is done."""
    thread = threading.Thread(target=_warm, name="warm", daemon=True)
    thread.start()
    return thread


def problems() -> tuple[type[Exception], ...]:
    """The errors whose text is meant for the visitor. Imports torch: use it where a conversion has been tried."""
    from models import image, registry

    return (image.ImageError, card.UnknownModel, registry.CheckpointError)


def prepare(source: bytes | str | Path) -> Photo:
    """Read any photo safely and bring it to the form that the model sees.

    Args:
        source: An image file or its bytes.

    Returns:
        The photo. Preparing it once more changes nothing, so a page may show it, keep it and send it back.

    Raises:
        ImageError: The file is no image, is damaged, or its size is outside the limits.
    """
    return _photo(_read(source))


def convert(source: bytes | str | Path, *, model: str, area: Area = "whole") -> Conversion:
    """Let a model draw a photo, or faces of it.

    Args:
        source: An image file or its bytes.
        model: Name of an offered card.
        area: "whole" draws the picture; "face" cuts the largest face out with its shoulders and draws this portrait;
            "every" draws the picture, and once more the largest `MAX_FACES` faces, each by itself.

    Returns:
        The prediction with the facts about it; the same source, model and area give the same bytes. Where no face is
        found, the whole picture is drawn.

    Raises:
        ImageError: See `prepare`.
        UnknownModel: No offered model has that name.
        CheckpointError: The weights are missing or damaged.
        ValueError: There is no such area.
    """
    import torch

    from models import faces, image

    if area not in get_args(Area):
        raise ValueError(f"The area is {area!r}; expected one of {', '.join(get_args(Area))}.")
    pixels = _read(source)
    with TURN, torch.inference_mode():
        network = _model(model)
        detector = None if area == "whole" else _detector()
        found = () if detector is None else faces.find(pixels, detector=detector)
        start = time.perf_counter()
        if found and area == "face":
            found = found[:1]
            pixels, drawn = _draw_portrait(network, pixels, found[0])
        else:
            found = found[:MAX_FACES]
            drawn = _draw_faces(network, pixels, found)
        seconds = time.perf_counter() - start
    return Conversion(
        photo=_photo(pixels),
        png=image.png(image.from_uint8(drawn)),
        model=model,
        sha256=network.sha256,
        seconds=seconds,
        faces=None if detector is None else len(found),
        detector=None if detector is None else detector.name,
    )


def _read(source: bytes | str | Path) -> "Pixels":
    from models import image

    # 8 bits, so that the photo on the page is to the bit what the model saw
    return image.to_uint8(image.read(source, max_side=LONGEST_SIDE))[0]


def _photo(pixels: "Pixels") -> Photo:
    from models import image

    return Photo(png=image.png(image.from_uint8(pixels)), height=pixels.shape[0], width=pixels.shape[1])


def _draw(network: "Model", pixels: "Pixels") -> "Pixels":
    from models import image

    return image.to_uint8(network(image.from_uint8(pixels)))[0]


def _draw_portrait(network: "Model", pixels: "Pixels", face: "Face") -> "tuple[Pixels, Pixels]":
    """Give the portrait that was cut out, all of it from inside the picture, and its drawing."""
    from models import faces

    frame = faces.inside(faces.square(face), height=pixels.shape[0], width=pixels.shape[1])
    portrait = faces.crop(pixels, frame, size=_size(frame))
    return portrait, _draw(network, portrait)


def _draw_faces(network: "Model", pixels: "Pixels", found: "tuple[Face, ...]") -> "Pixels":
    """Draw the picture, then each face by itself at the size that the models know, and put these back into it."""
    from models import faces

    frames = [faces.square(face) for face in found]
    parts = [(_draw(network, faces.crop(pixels, frame, size=_size(frame))), frame) for frame in frames]
    return faces.paste(_draw(network, pixels), parts)


def _size(frame: "Frame") -> int:
    return min(max(round(frame.side), FACE_SIDES[0]), FACE_SIDES[1])


@functools.cache
def _detector() -> "Detector":
    """Choose a face detector that is here already: no visitor waits for a download."""
    from models import faces

    return faces.detector()


@functools.cache
def _model(name: str) -> "Model":
    from models import runners

    names = [entry.name for entry in offered()]
    if name not in names:
        raise card.unknown(name, names)
    return runners.load(name)


def _warm() -> None:
    """Load what the first visitor needs; a failure is logged and shown again when somebody converts."""
    try:
        from models import registry

        logger.info("Model code is loaded (%d cards).", len(registry.CARDS))
        for entry in offered()[:1]:
            with TURN:
                _model(entry.name)
                _detector()
            logger.info("Model %s is ready.", entry.name)
    except Exception:
        logger.exception("The models could not be loaded.")
    finally:
        READY.set()

"""Photo in, prediction out: the one conversion behind the app's page.

Torch and the models are imported inside functions, so that a page can be served while `warm` loads them.
"""

import dataclasses
import functools
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from models import card

if TYPE_CHECKING:
    from models.image import Images
    from models.registry import Model

logger = logging.getLogger(__name__)

LONGEST_SIDE = 1024
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
        photo: The photo that the model saw.
        png: The prediction, exactly as `models.image.png` wrote it; same size as the photo.
        model: Name of the model's card.
        sha256: Checksum of the weights; None where they came from no file.
        seconds: Time of the model alone.
    """

    photo: Photo
    png: bytes
    model: str
    sha256: str | None
    seconds: float


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
    return _prepare(source)[0]


def convert(source: bytes | str | Path, *, model: str) -> Conversion:
    """Let a model draw a photo.

    Args:
        source: An image file or its bytes.
        model: Name of an offered card.

    Returns:
        The prediction with the facts about it; the same source and model give the same bytes.

    Raises:
        ImageError: See `prepare`.
        UnknownModel: No offered model has that name.
        CheckpointError: The weights are missing or damaged.
    """
    import torch

    from models import image

    photo, images = _prepare(source)
    with TURN, torch.inference_mode():
        network = _model(model)
        start = time.perf_counter()
        drawn = network(images)
        seconds = time.perf_counter() - start
    return Conversion(photo=photo, png=image.png(drawn), model=model, sha256=network.sha256, seconds=seconds)


def _prepare(source: bytes | str | Path) -> "tuple[Photo, Images]":
    from models import image

    # Through 8 bits, so that the photo on the page is to the bit what the model saw.
    images = image.from_uint8(image.to_uint8(image.read(source, max_side=LONGEST_SIDE)))
    return Photo(png=image.png(images), height=images.shape[2], width=images.shape[3]), images


@functools.cache
def _model(name: str) -> "Model":
    from models import registry

    names = [entry.name for entry in offered()]
    if name not in names:
        raise card.unknown(name, names)
    return registry.load(name)


def _warm() -> None:
    """Load what the first visitor needs; a failure is logged and shown again when somebody converts."""
    try:
        from models import registry

        logger.info("Model code is loaded (%d cards).", len(registry.CARDS))
        for entry in offered()[:1]:
            with TURN:
                _model(entry.name)
            logger.info("Model %s is ready.", entry.name)
    except Exception:
        logger.exception("The models could not be loaded.")
    finally:
        READY.set()

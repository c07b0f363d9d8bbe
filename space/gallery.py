"""Example portraits: public-domain photos inside installed packages, and a folder of the operator's own.

The pictures are read where pip put them and are never copied into the project. Pillow works here, outside
`models.image`, because thumbnails are needed before torch is there.
"""

import dataclasses
import functools
import importlib.util
import io
import logging
import os
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

logger = logging.getLogger(__name__)

MAX_PIXELS = 40_000_000
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
COLLINS = ("skimage", "data/astronaut.png", "Eileen Collins, astronaut. Photo: NASA, public domain (via scikit-image).")
HOPPER = (
    "matplotlib",
    "mpl-data/sample_data/grace_hopper.jpg",
    "Grace Hopper, computer scientist. Photo: U.S. Navy, public domain (via Matplotlib).",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One portrait that a visitor can try.

    Attributes:
        name: Key in events; letters, digits and hyphens.
        title: What it shows, for people who do not see it.
        credit: Who made it and under which terms.
        path: The picture file.
        box: Square to cut out of it as left, top, side in pixels; None for the whole picture.
    """

    name: str
    title: str
    credit: str
    path: Path
    box: tuple[int, int, int] | None = None


@functools.cache
def examples() -> tuple[Example, ...]:
    """List what can be offered now: packaged portraits first, then those in the folder `NIJIGEN_EXAMPLES`.

    Returns:
        Examples whose files were opened once; the others are named in the log and left out.
    """
    candidates = (*_packaged(), *_operator(os.environ.get("NIJIGEN_EXAMPLES", "")))
    return tuple(example for example in candidates if _readable(example))


def find(name: str) -> Example:
    """Get an example by its name; raises KeyError for a name that was never offered."""
    return {example.name: example for example in examples()}[name]


def png(example: Example) -> bytes:
    """Read the portrait, upright and cut to its box, as a PNG file without metadata."""
    return _encode(_open(example), format="PNG")


def thumbnail(example: Example, *, side: int) -> bytes:
    """Read the portrait at a longest side of `side` pixels, as a small JPEG file."""
    portrait = _open(example)
    portrait.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encode(portrait, format="JPEG")


def _open(example: Example) -> Image.Image:
    with Image.open(example.path) as opened:
        portrait = ImageOps.exif_transpose(opened).convert("RGB")
    portrait.info.clear()
    if example.box is None:
        return portrait
    left, top, side = example.box
    return portrait.crop((left, top, left + side, top + side))


def _encode(portrait: Image.Image, *, format: str) -> bytes:
    stream = io.BytesIO()
    portrait.save(stream, format=format)
    return stream.getvalue()


def _packaged() -> tuple[Example, ...]:
    chosen = (
        ("collins-face", "Face of a smiling woman with short hair", COLLINS, (99, 0, 256)),
        ("hopper-face", "Face of an older woman with glasses and a navy cap", HOPPER, (106, 10, 320)),
        ("collins-portrait", "Woman in an orange space suit", COLLINS, (20, 0, 400)),
        ("hopper-portrait", "Older woman in navy uniform", HOPPER, (0, 0, 512)),
    )
    return tuple(
        Example(name=name, title=title, credit=source[2], path=_inside(source[0], source[1]), box=box)
        for name, title, source, box in chosen
    )


def _inside(package: str, relative: str) -> Path:
    """Locate a package's file without importing the package: matplotlib alone would cost half a second."""
    spec = importlib.util.find_spec(package)
    roots = spec.submodule_search_locations if spec is not None else None
    return Path(roots[0] if roots else package) / relative


def _operator(folder: str) -> tuple[Example, ...]:
    """Pictures of one folder; a text file of the same stem, where there is one, holds the credit line."""
    if not folder:
        return ()
    if not Path(folder).is_dir():
        logger.warning("NIJIGEN_EXAMPLES names %r, which is no folder: no examples are added from it.", folder)
        return ()
    pictures = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)
    return tuple(
        Example(name=f"own-{index}", title=path.stem.replace("_", " "), credit=_credit(path), path=path)
        for index, path in enumerate(pictures)
    )


def _credit(path: Path) -> str:
    note = path.with_suffix(".txt")
    return note.read_text(encoding="utf-8", errors="replace").strip()[:300] if note.is_file() else ""


def _readable(example: Example) -> bool:
    try:
        with Image.open(example.path) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS or min(width, height) < 64:
                raise ValueError(f"{width} x {height} pixels; expected sides from 64 pixels and at most 40 Mpx")
            picture.load()
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        logger.warning("The example %s is left out: %s", example.path, error)
        return False
    return True

"""The README's picture: `python -m space.sheet OUT.png` draws the packaged portraits with a bundled model."""

import sys
from pathlib import Path

import torch

from models import image
from models.image import Images
from space import convert, gallery

SIDE, GAP = 176, 8


def sheet(model: str) -> Images:
    """Lay photos in the upper row and their predictions below them, on white.

    Args:
        model: Name of an offered card.

    Returns:
        One image (1, 3, 2 * SIDE + GAP, columns * (SIDE + GAP) - GAP), RGB in [-1, 1].
    """
    portraits = [gallery.png(example) for example in gallery.examples() if example.box is not None]
    conversions = [convert.convert(portrait, model=model) for portrait in portraits]
    columns = [torch.cat([tile(made.photo.png), gap(GAP, SIDE), tile(made.png)], dim=2) for made in conversions]
    spaced = [part for column in columns for part in (gap(2 * SIDE + GAP, GAP), column)]
    return torch.cat(spaced[1:], dim=3)


def tile(png: bytes) -> Images:
    """Read a square picture at the sheet's size."""
    return image.resize(image.read(png), height=SIDE, width=SIDE)


def gap(height: int, width: int) -> Images:
    """White between the tiles."""
    return torch.ones(1, 3, height, width)


def main(arguments: list[str]) -> int:
    """Write the sheet of the first offered model."""
    offered = convert.offered()
    if len(arguments) != 1 or not offered:
        sys.stderr.write("usage: python -m space.sheet OUT.png; needs a bundled checkpoint.\n")
        return 2
    Path(arguments[0]).write_bytes(image.png(sheet(offered[0].name)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""One picture by every model, as one sheet: `python -m bench.zoo PHOTO STYLE OUT.png`.

Models without a checkpoint have random weights, and their caption says so: the sheet shows that they run, not how well.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from models import image, nst, registry
from models.card import ModelCard
from models.image import Images

logger = logging.getLogger(__name__)

SIDE, CAPTION, COLUMNS = 256, 34, 8
NST_STEPS = 10


def draw(entry: ModelCard, photo: Images, style: Tensor) -> tuple[Tensor, str]:
    """Let a card's model make a picture.

    Args:
        entry: The card.
        photo: Square, RGB in [-1, 1].
        style: What a stylizing model takes on.

    Returns:
        The picture, and how its weights came about.
    """
    torch.manual_seed(0)
    if entry.checkpoint is not None:
        model = registry.load(entry.name)
        weights = "nothing to train" if next(model.parameters(), None) is None else "trained"
    elif entry.name == "nst":
        network = nst.NST(features="random", steps=NST_STEPS)
        model, weights = registry.Model(entry, network).eval(), f"random features, {NST_STEPS} steps"
    else:
        model, weights = registry.Model(entry, entry.build()).eval(), "random weights"
    with torch.inference_mode():
        if entry.task == "generate":
            return model(torch.randn(1, entry.latent)), weights
        low = image.resize(photo, height=SIDE // entry.scale, width=SIDE // entry.scale)
        return (model(low, style) if entry.task == "stylize" else model(low)), weights


def sheet(photo: Images, style: Tensor) -> Image.Image:
    """Draw every card's picture, COLUMNS in a row."""
    entries = list(registry.CARDS.values())
    rows = -(-(len(entries) + 1) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * SIDE, rows * (SIDE + CAPTION)), "white")
    pen = ImageDraw.Draw(page)
    for number in range(len(entries) + 1):
        made, weights = (photo, "what they were given") if number == 0 else draw(entries[number - 1], photo, style)
        name = "photo" if number == 0 else entries[number - 1].name
        left, top = number % COLUMNS * SIDE, number // COLUMNS * (SIDE + CAPTION)
        pixels = image.to_uint8(image.resize(made, height=SIDE, width=SIDE))[0]
        page.paste(Image.fromarray(pixels), (left, top + CAPTION))
        pen.text((left + 4, top + 4), f"{name}\n{weights}", fill="black")
        logger.info("%s: %s", name, weights)
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.zoo", description="One picture by every model, as one sheet."
    )
    parser.add_argument("photo", type=Path)
    parser.add_argument("style", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        photo, style = (image.read(path, max_side=1024) for path in (options.photo, options.style))
    except image.ImageError as error:
        logger.error("%s", error)
        return 2
    side = min(photo.shape[-2:])
    square = image.resize(photo[..., :side, :side], height=SIDE, width=SIDE)
    sheet(square, image.resize(style, height=SIDE, width=SIDE)).save(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""DCGAN: state dicts of the printed networks, `network.0`, `network.1`, ...; also PyTorch's example, `main.0`, ..."""

import functools

from models import dcgan
from models.conversion import layout
from models.conversion.layout import Layout, Settings, Tensors

SEQUENCE = r"(?:network|main)\.(\d+)\."


def official(state: Tensors, tensors: Tensors) -> Tensors:
    """Give the sequence its name in the example, where the file is the example's; the numbers are the same."""
    main = any(key.startswith("main.") for key in tensors)
    return {key.replace("network.", "main.", 1) if main else key: value for key, value in state.items()}


def settings(tensors: Tensors, *, first: int) -> Settings:
    """Count the convolutions, one of which makes or takes 4 x 4 pixels; norms tell them, too, but for the last one.

    Args:
        tensors: A file.
        first: Place of the second convolution, which a norm and an activation separate from the third.
    """
    places = [place - first for place in layout.numbers(tensors, SEQUENCE)]
    normed = layout.length({place // 3 + 1 for place in places if place % 3 == 1})
    count = max(layout.length({place // 3 + 1 for place in places}), normed + 1)
    return {"resolution": 2 ** (count + 1)} if count > 2 else {}


LAYOUTS = {
    "dcgan": Layout(
        card="dcgan-256",
        build=dcgan.DCGAN,
        settings=functools.partial(settings, first=3),
        sizes={"base": ".", "latent": "."},
        official=official,
    ),
    "dcgan-discriminator": Layout(
        card=None,
        build=dcgan.Discriminator,
        settings=functools.partial(settings, first=2),
        sizes={"base": "."},
        official=official,
    ),
}

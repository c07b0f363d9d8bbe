"""DCGAN: state dicts of the printed networks, `network.0`, `network.1`, ...; also PyTorch's example, `main.0`, ..."""

import re

from models import dcgan
from models.conversion import layout
from models.conversion.layout import Layout, LayoutError, Settings, Tensors

WEIGHT = re.compile(r"(?:network|main)\.(\d+)\.weight")


def rename(tensors: Tensors) -> Tensors:
    """Give the example's sequence the name of ours; the numbers are the same."""
    return {re.sub(r"^main\.", "network.", key): tensor for key, tensor in tensors.items()}


def kernels(tensors: Tensors) -> list[str]:
    """List the names of the convolutions' weights in the order of the forward pass.

    Raises:
        LayoutError: There are fewer than three, their number at 16 pixels.
    """
    numbers = {int(match[1]): key for key in tensors if (match := WEIGHT.fullmatch(key)) and tensors[key].ndim == 4}
    if len(numbers) < 3:
        raise LayoutError(f"it holds {len(numbers)} convolutions called network.<i>.weight; expected 3 or more")
    return [numbers[number] for number in sorted(numbers)]


def generator_settings(tensors: Tensors) -> Settings:
    """Count the transposed convolutions, the first of which makes 4 x 4 pixels, and read the channels at both ends."""
    found = kernels(tensors)
    base, latent = layout.shape(tensors, found[-1])[0], layout.shape(tensors, found[0])[0]
    return {"resolution": 2 ** (len(found) + 1), "base": base, "latent": latent}


def discriminator_settings(tensors: Tensors) -> Settings:
    """Count the convolutions, the last of which takes 4 x 4 pixels, and read the channels of the first."""
    found = kernels(tensors)
    return {"resolution": 2 ** (len(found) + 1), "base": layout.shape(tensors, found[0])[0]}


LAYOUTS = {
    "dcgan": Layout(card="dcgan-256", build=dcgan.DCGAN, settings=generator_settings, rename=rename),
    "dcgan-discriminator": Layout(card=None, build=dcgan.Discriminator, settings=discriminator_settings, rename=rename),
}

"""StyleGAN2 in labml's form: generator, discriminator and mapping are three files with names of their own.

Equalised kernels lie one level deeper there (`conv.weight.weight`), the layers of a discriminator block are numbered,
and every smoothing stores its constant kernel, which is checked and dropped.
"""

import re

import torch
from torch import Tensor

from models import stylegan2_labml
from models.conversion import layout
from models.conversion.layout import Layout, LayoutError, Settings, Tensors

SMOOTH = "smooth.kernel"
KERNEL = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
PLACES = {"block.0": "conv1", "block.2": "conv2", "residual.1": "residual"}


def rename(tensors: Tensors) -> Tensors:
    """Give our names to the tensors.

    Raises:
        LayoutError: A smoothing kernel is not the known one.
    """
    renamed: Tensors = {}
    for key, tensor in tensors.items():
        if key.endswith(SMOOTH):
            check(key, tensor)
            continue
        name = key.replace("weight.weight", "weight").replace("from_rgb.0.", "from_rgb.")
        place = re.search("|".join(map(re.escape, PLACES)), name)
        renamed[name.replace(place[0], PLACES[place[0]]) if place else name] = tensor
    return renamed


def check(key: str, kernel: Tensor) -> None:
    """Refuse a smoothing kernel other than [1, 2, 1] on each axis, normalised."""
    if kernel.shape[-2:] != (3, 3) or not torch.allclose(kernel, KERNEL.expand(kernel.shape)):
        raise LayoutError(f"{key} is another kernel than [1, 2, 1] x [1, 2, 1] / 16")


def blocks(tensors: Tensors) -> int:
    """Count the blocks; one doubles or halves a side.

    Raises:
        LayoutError: There are none.
    """
    numbers = {int(match[1]) for key in tensors if (match := re.match(r"blocks\.(\d+)\.", key))}
    if not numbers:
        raise LayoutError(f"no key starts with blocks.0; the file holds {', '.join(sorted(tensors)[:3]) or 'nothing'}")
    return len(numbers)


def generator_settings(tensors: Tensors) -> Settings:
    """Read the generator's size from its blocks, and the channels at both ends."""
    count = blocks(tensors)
    return {
        "resolution": 4 << count,
        "narrowest": layout.shape(tensors, f"blocks.{count - 1}.style_block2.bias")[0],
        "widest": layout.shape(tensors, "initial_constant")[1],
        "width": layout.shape(tensors, "style_block.to_style.weight.weight")[1],
    }


def discriminator_settings(tensors: Tensors) -> Settings:
    """Read the discriminator's size from its blocks, and the channels at both ends."""
    count = blocks(tensors)
    return {
        "resolution": 4 << count,
        "narrowest": layout.shape(tensors, "from_rgb.0.bias")[0],
        "widest": layout.shape(tensors, f"blocks.{count - 1}.residual.1.bias")[0],
    }


def mapping_settings(tensors: Tensors) -> Settings:
    """Count the mapping's layers and read their width."""
    depth = sum(re.fullmatch(r"net\.\d+\.bias", key) is not None for key in tensors)
    return {"depth": depth, "width": layout.shape(tensors, "net.0.bias")[0]}


LAYOUTS = {
    "stylegan2-labml": Layout(
        card=None, build=stylegan2_labml.Generator, settings=generator_settings, rename=rename, checked=True
    ),
    "stylegan2-labml-discriminator": Layout(
        card=None, build=stylegan2_labml.Discriminator, settings=discriminator_settings, rename=rename, checked=True
    ),
    "stylegan2-labml-mapping": Layout(
        card=None, build=stylegan2_labml.Mapping, settings=mapping_settings, rename=rename
    ),
}

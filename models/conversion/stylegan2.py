"""StyleGAN2: state dicts under NVIDIA's names, which are ours too; settings are read from the shapes.

A dictionary that holds several networks is taken apart: the averaged generator `G_ema` rather than `G`, and `D`.
"""

import re

from torch import nn

from models import stylegan2
from models.conversion import layout
from models.conversion.layout import Layout, LayoutError, Settings, Tensors

GENERATORS, DISCRIMINATORS = ("G_ema.", "G."), ("D.",)
TERMS = "NVIDIA source code licence: non-commercial, research or evaluation only"


def pick(tensors: Tensors, prefixes: tuple[str, ...]) -> Tensors:
    """Take the first network that is there under a prefix, without it; else everything."""
    for prefix in prefixes:
        found = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        if found:
            return found
    return tensors


def generator(tensors: Tensors) -> Tensors:
    """Take the generator out of a dictionary of networks."""
    return pick(tensors, GENERATORS)


def critic(tensors: Tensors) -> Tensors:
    """Take the discriminator out of a dictionary of networks."""
    return pick(tensors, DISCRIMINATORS)


def channels(tensors: Tensors, pattern: str) -> Settings:
    """Read the size, and a base and a limit that give the channels found.

    Args:
        tensors: Of one network.
        pattern: Matches the kernel that has, at each side, as many outputs as the side has channels; group 1 is the
            side. The largest product of both is always a base, since bases are divided by the side and rounded down.

    Raises:
        LayoutError: Nothing matches.
    """
    found = {int(match[1]): len(tensors[key]) for key in tensors if (match := re.fullmatch(pattern, key))}
    if not found:
        raise LayoutError(f"no key is {pattern}; the file holds {', '.join(sorted(tensors)[:3]) or 'nothing'}")
    base = max(side * outputs for side, outputs in found.items())
    return {"resolution": max(found), "base": base, "widest": max(found.values())}


def mapping(tensors: Tensors) -> Settings:
    """Count the layers of the mapping and read the labels' length, where there are any."""
    depth = sum(re.fullmatch(r"mapping\.fc\d+\.weight", key) is not None for key in tensors)
    embedding = tensors.get("mapping.embed.weight")
    return {"depth": depth, "classes": 0 if embedding is None else embedding.shape[1]}


def generator_settings(tensors: Tensors) -> Settings:
    """Read the generator's settings; the first mapping layer takes noise and, after it, the embedded label."""
    tensors = generator(tensors)
    found = channels(tensors, r"synthesis\.b(\d+)\.conv1\.weight") | mapping(tensors)
    inputs = layout.shape(tensors, "mapping.fc0.weight")[1]
    width = layout.shape(tensors, "synthesis.b4.conv1.affine.weight")[1]
    return found | {"width": width, "latent": inputs - (width if found["classes"] else 0)}


def discriminator_settings(tensors: Tensors) -> Settings:
    """Read the discriminator's settings."""
    tensors = critic(tensors)
    found = channels(tensors, r"b(\d+)\.(?:conv0|conv)\.weight") | mapping(tensors)
    return found if found["classes"] else found | {"depth": 8}


def discriminator(*, resolution: int, base: int, widest: int, depth: int, classes: int, group: float) -> nn.Module:
    """Build the discriminator; options come as floats."""
    return stylegan2.Discriminator(
        resolution=resolution, base=base, widest=widest, depth=depth, classes=classes, group=int(group)
    )


LAYOUTS = {
    "stylegan2": Layout(
        card="stylegan2-256", build=stylegan2.StyleGAN2, settings=generator_settings, rename=generator, terms=TERMS
    ),
    "stylegan2-discriminator": Layout(
        card=None,
        build=discriminator,
        settings=discriminator_settings,
        rename=critic,
        options={"group": 4.0},
        terms=TERMS,
    ),
}

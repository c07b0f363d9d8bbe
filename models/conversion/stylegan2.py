"""StyleGAN2: state dicts under NVIDIA's names, which are ours too; settings are read from the shapes.

A dictionary that holds several networks is taken apart: the averaged generator `G_ema` rather than `G`, and `D`.
"""

from torch import nn

from models import stylegan2
from models.conversion import layout
from models.conversion.layout import Layout, Settings, Tensors

GENERATORS, DISCRIMINATORS = ("G_ema.", "G."), ("D.",)
TERMS = "NVIDIA source code licence: non-commercial, research or evaluation only"
# Tensors that have, on one axis, as many channels as the maps of their side; {} is the side.
SYNTHESIS = ((r"synthesis\.b{}\.conv[01]\.(?:weight|bias)", 0), (r"synthesis\.b{}\.(?:conv1|torgb)\.weight", 1))
CRITIC = ((r"b{}\.(?:conv0|conv|fromrgb|fc)\.(?:weight|bias)", 0), (r"b{}\.(?:conv0|conv1|skip|out)\.weight", 1))


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


def channels(tensors: Tensors, places: tuple[tuple[str, int], ...]) -> Settings:
    """Read the size, and a base and a limit that give the channels found.

    Args:
        tensors: Of one network.
        places: Patterns and axes as in `SYNTHESIS`. The largest product of side and channels is always a base, since
            bases are divided by the side and rounded down.
    """
    sides = layout.numbers(tensors, places[0][0].split("{}")[0] + r"(\d+)\.")
    count = layout.length({side.bit_length() - 3 for side in sides if side > 3 and not side & (side - 1)})
    found = {}
    for side in (4 << level for level in range(count)):
        told = [vote for pattern, axis in places for vote in layout.votes(tensors, pattern.format(side), axis)]
        if told:
            found[side] = layout.majority(told, 0)
    if not found or count < 2:
        return {}
    base = max(side * outputs for side, outputs in found.items())
    return {"resolution": 2 << count, "base": base, "widest": max(found.values())}


def mapping(tensors: Tensors) -> Settings:
    """Count the layers of the mapping and read the labels' length, where there are any."""
    labelled = any(key.startswith("mapping.embed.") for key in tensors)
    return {
        "depth": layout.length(layout.numbers(tensors, r"mapping\.fc(\d+)\.")) or 8,
        "classes": layout.majority(layout.votes(tensors, r"mapping\.embed\.weight", 1), 1) if labelled else 0,
    }


def generator_settings(tensors: Tensors) -> Settings:
    """Read the generator's settings; the first mapping layer takes noise and, after it, the embedded label."""
    tensors = generator(tensors)
    found = mapping(tensors)
    width = layout.majority(layout.votes(tensors, r"synthesis\..+\.affine\.weight", 1), 512)
    labels = width if found["classes"] else 0
    inputs = [vote for vote in layout.votes(tensors, r"mapping\.fc0\.weight", 1) if vote > labels]
    latent = layout.majority(inputs, 512 + labels) - labels
    return {**channels(tensors, SYNTHESIS), **found, "width": width, "latent": latent}


def discriminator_settings(tensors: Tensors) -> Settings:
    """Read the discriminator's settings."""
    tensors = critic(tensors)
    return channels(tensors, CRITIC) | mapping(tensors)


def discriminator(
    *,
    resolution: int = 256,
    base: int = stylegan2.HALF_WIDTH,
    widest: int = stylegan2.WIDEST,
    depth: int = 8,
    classes: int = 0,
    group: float = 4.0,
) -> nn.Module:
    """Build the discriminator; options come as floats."""
    return stylegan2.Discriminator(
        resolution=resolution, base=base, widest=widest, depth=depth, classes=classes, group=int(group)
    )


LAYOUTS = {
    "stylegan2": Layout(
        card="stylegan2-256", build=stylegan2.StyleGAN2, settings=generator_settings, tidy=generator, terms=TERMS
    ),
    "stylegan2-discriminator": Layout(
        card=None,
        build=discriminator,
        settings=discriminator_settings,
        tidy=critic,
        options={"group": 4.0},
        terms=TERMS,
    ),
}

"""The generators of pytorch-CycleGAN-and-pix2pix: `cyclegan` (residual) and `pix2pix-unet`.

A residual generator is one sequence, `model.<place>`, and our keys are its keys. A U-Net is nested: each level holds
the next one between its two convolutions. Convolutions have a bias exactly where instance norms follow; those norms
learn nothing, but old files hold running statistics of them, which are dropped.
"""

import re

from models import cyclegan
from models.conversion import layout
from models.conversion.layout import Layout, Settings, Tensors

BLOCK = re.compile(r"model\.\d+\.conv_block\.1\.weight")
DROPPED = "conv_block.6.weight"  # the second convolution, at 5 where no dropout stands before it
OUTER, NEXT, DEEPER = "model.model.", "1.model.", "3.model."
TERMS = "BSD-2-Clause code; ask its authors for the terms of the weights"


def norm(tensors: Tensors, conv: str) -> str:
    """Tell the normalisation after a convolution by its bias."""
    return "instance" if f"{conv}.bias" in tensors else "batch"


def without_statistics(tensors: Tensors) -> Tensors:
    """Leave out running means and variances."""
    return {key: value for key, value in tensors.items() if ".running_" not in key}


def residual_settings(tensors: Tensors) -> Settings:
    """Read width, blocks, normalisation and dropout of a residual generator."""
    return {
        "channels": layout.shape(tensors, "model.1.weight")[0],
        "blocks": sum(BLOCK.fullmatch(key) is not None for key in tensors),
        "norm": norm(tensors, "model.1"),
        "dropout": any(key.endswith(DROPPED) and value.ndim == 4 for key, value in tensors.items()),
    }


def rename_residual(tensors: Tensors) -> Tensors:
    """Keep the names; leave out what instance norms do not need."""
    return without_statistics(tensors) if norm(tensors, "model.1") == "instance" else tensors


def prefix(level: int) -> str:
    """Give the path of a U-Net's level, the outermost being 0."""
    return OUTER + (NEXT + DEEPER * (level - 1) if level else "")


def count_levels(tensors: Tensors) -> int:
    """Count a U-Net's levels."""
    level = 0
    while any(key.startswith(prefix(level)) for key in tensors):
        level += 1
    return level


def unet_settings(tensors: Tensors) -> Settings:
    """Read width, depth and normalisation of a U-Net; dropout leaves no trace."""
    channels = layout.shape(tensors, f"{OUTER}0.weight")[0]
    return {"channels": channels, "depth": count_levels(tensors), "norm": norm(tensors, f"{OUTER}0")}


def unet_pairs(depth: int) -> dict[str, str]:
    """Pair the stems of the nested names with ours.

    Args:
        depth: Number of levels.
    """
    found = {}
    for level in range(depth):
        path, first, last = prefix(level), level == 0, level == depth - 1
        found[f"{path}{0 if first else 1}"] = f"down.{level}.1"
        found[f"{path}{3 if first or last else 5}"] = f"up.{level}.1"
        if not first:
            found[f"{path}{4 if last else 6}"] = f"up.{level}.2"
        if not (first or last):
            found[f"{path}2"] = f"down.{level}.2"
    return found


def rename_unet(tensors: Tensors) -> Tensors:
    """Give our names to the nested ones that are known."""
    if norm(tensors, f"{OUTER}0") == "instance":
        tensors = without_statistics(tensors)
    ours = unet_pairs(count_levels(tensors))
    split = ((*key.rpartition("."), value) for key, value in tensors.items())
    return {f"{ours.get(stem, stem)}{dot}{leaf}": value for stem, dot, leaf, value in split}


LAYOUTS = {
    "cyclegan": Layout(
        card="cyclegan",
        build=cyclegan.CycleGAN,
        settings=residual_settings,
        rename=rename_residual,
        checked=True,
        terms=TERMS,
    ),
    "pix2pix-unet": Layout(
        card="cyclegan-unet128",
        build=cyclegan.UNet,
        settings=unet_settings,
        rename=rename_unet,
        checked=True,
        terms=TERMS,
    ),
}

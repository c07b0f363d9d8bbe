"""The generators of pytorch-CycleGAN-and-pix2pix: `cyclegan` (residual) and `pix2pix-unet`.

A residual generator is one sequence, `model.<place>`, and our keys are its keys. A U-Net is nested: each level holds
the next one between its two convolutions. Convolutions have a bias exactly where instance norms follow; those norms
learn nothing, but old files hold running statistics of them, which are dropped.
"""

from collections.abc import Iterable

from models import cyclegan
from models.conversion import layout
from models.conversion.layout import Layout, Settings, Tensors

BLOCK = r"model\.(\d+)\.conv_block\."
FIRST = 10  # place of the first residual block
OUTER, NEXT, DEEPER = "model.model.", "1.model.", "3.model."
TERMS = "BSD-2-Clause code; ask its authors for the terms of the weights"


def norm(tensors: Tensors, convs: Iterable[str], default: str) -> str:
    """Tell the normalisation after convolutions by most of their biases, or gains: of batch norms, one place on."""
    scores = []
    for conv in convs:
        path, _, place = conv.rpartition(".")
        scores.append((f"{conv}.bias" in tensors) - (f"{path}.{int(place) + 1}.weight" in tensors))
    return default if sum(scores) == 0 else "instance" if sum(scores) > 0 else "batch"


def tidy(tensors: Tensors) -> Tensors:
    """Leave out running means and variances of norms without gains: instance norms, which do not use them."""
    learned = {key.rpartition(".")[0] for key in tensors if key.endswith((".weight", ".bias"))}
    return {key: value for key, value in tensors.items() if ".running_" not in key or key.rpartition(".")[0] in learned}


def residual_settings(tensors: Tensors) -> Settings:
    """Read blocks, normalisation and dropout of a residual generator."""
    blocks = layout.length({place - FIRST for place in layout.numbers(tensors, BLOCK)})
    second, dropped = (sum(key.endswith(f"conv_block.{place}.weight") for key in tensors) for place in (5, 6))
    return {
        "blocks": blocks or 9,
        "norm": norm(tensors, [f"model.{place}" for place in (1, 4, 7)], "instance"),
        "dropout": dropped > second,  # which moves the second convolution from 5 to 6
    }


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
    """Read depth and normalisation of a U-Net; dropout leaves no trace."""
    depth = count_levels(tensors)
    convs = [f"{prefix(level)}{1 if level else 0}" for level in range(depth)]
    return {"depth": depth if depth > 1 else 7, "norm": norm(tensors, convs, "batch")}


def unet_pairs(depth: int) -> dict[str, str]:
    """Pair the stems of our names with the nested ones.

    Args:
        depth: Number of levels.
    """
    found = {}
    for level in range(depth):
        path, first, last = prefix(level), level == 0, level == depth - 1
        found[f"down.{level}.1"] = f"{path}{0 if first else 1}"
        found[f"up.{level}.1"] = f"{path}{3 if first or last else 5}"
        if not first:
            found[f"up.{level}.2"] = f"{path}{4 if last else 6}"
        if not (first or last):
            found[f"down.{level}.2"] = f"{path}2"
    return found


def official_unet(state: Tensors, tensors: Tensors) -> Tensors:
    """Give the nested names to our tensors."""
    nested = unet_pairs(layout.length(layout.numbers(state, r"down\.(\d+)\.")))
    split = ((*key.rpartition("."), value) for key, value in state.items())
    return {f"{nested[stem]}{dot}{leaf}": value for stem, dot, leaf, value in split}


LAYOUTS = {
    "cyclegan": Layout(
        card="cyclegan",
        build=cyclegan.CycleGAN,
        settings=residual_settings,
        sizes={"channels": "."},
        tidy=tidy,
        checked={"norm": "instance", "dropout": False},
        terms=TERMS,
    ),
    "pix2pix-unet": Layout(
        card="cyclegan-unet128",
        build=cyclegan.UNet,
        settings=unet_settings,
        sizes={"channels": "."},
        tidy=tidy,
        official=official_unet,
        checked={"norm": "batch"},
        terms=TERMS,
    ),
}

"""AnimeGANv2: the PyTorch port of the released weights (bryandlee/animegan2-pytorch).

Its blocks are `block_a` to `block_e`; in each of them 1 is the convolution and 2 the norm. Unlike the released graph it
aligns corners when it doubles a map, and its norms add 1e-5.
"""

import re

from models import animegan
from models.conversion.layout import Layout, Tensors

BLOCK = re.compile(r"block_([a-e])\.(\d+)\.(.+)")
PARTS = {"1": "conv", "2": "norm"}
INVERTED = {"layers.0": "widen", "layers.1": "depth", "layers.2": "narrow.0", "layers.3": "narrow.1"}
DOUBLED = "de"  # these two begin with a doubling, which has no weights


def rename(tensors: Tensors) -> Tensors:
    """Give our names to the port's; unknown ones stay as they are."""
    return {_name(key): value for key, value in tensors.items()}


def _name(key: str) -> str:
    if key == "out_layer.0.weight":
        return "paint.weight"
    match = BLOCK.fullmatch(key)
    if match is None:
        return key
    letter, number, rest = match.groups()
    stem = f"{letter}.{int(number) + (letter in DOUBLED)}"
    for theirs, ours in INVERTED.items():
        if rest.startswith(f"{theirs}."):
            rest = rest.removeprefix(f"{theirs}.")
            return f"{stem}.{ours}.{rest if ours.startswith('narrow') else _part(rest)}"
    return f"{stem}.{_part(rest)}"


def _part(rest: str) -> str:
    number, _, kind = rest.partition(".")
    return f"{PARTS.get(number, number)}.{kind}"


LAYOUTS = {
    "animeganv2": Layout(
        card="animeganv2",
        build=animegan.AnimeGANv2,
        settings=lambda _: {"upsample": "aligned"},
        rename=rename,
        options={"epsilon": 1e-5},
        terms="non-commercial; ask the authors of AnimeGANv2 before anything else",
    ),
    "animeganv2-half-pixel": Layout(
        card="animeganv2",
        build=animegan.AnimeGANv2,
        settings=lambda _: {"upsample": "half-pixel"},
        rename=rename,
        options={"epsilon": 1e-5},
        terms="non-commercial; ask the authors of AnimeGANv2 before anything else",
    ),
}

"""DTGAN: the variables of a released AnimeGANv3 graph, under their TensorFlow names.

In the encoder (`base`) and the tail (`main`) convolutions are numbered `Conv`, `Conv_1`, ...: even ones convolve, each
odd one is the LADE matrix of the one before it. Kernels are HWIO.
"""

import re

from torch import Tensor

from models import dtgan
from models.conversion import layout
from models.conversion.layout import Layout, LayoutError, Tensors

ENCODER = ("x0", "x1.0", "x1.1", "x2.0", "x2.1", "x3.0", "x3.1")
TAIL = ("up2", "fuse2", "up1", "fuse1", "up0", "fuse0")
ATTENTION = ("enter.weight", "leave.weight")
NORM = ("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
STEM = re.compile(r"(?:generator(?:_\d+)?/)?((?:base|main)/.+?)(?:/weights|/w)?(?::0)?")


def pairs() -> dict[str, str]:
    """Pair the graph's names, without prefix and suffix, with the keys of our state dict."""
    found = {"main/External_attention/kernel": "main.attention.memory", "main/Conv_12": "main.paint.weight"}
    for scope, ours, blocks in (("base", "encoder", ENCODER), ("main", "main", TAIL)):
        for number, block in enumerate(blocks):
            found[numbered(f"{scope}/Conv", 2 * number)] = f"{ours}.{block}.conv.weight"
            found[numbered(f"{scope}/Conv", 2 * number + 1)] = f"{ours}.{block}.norm.mix.weight"
    for scope, names in (("Conv", ATTENTION), ("Variable", NORM)):
        for number, name in enumerate(names):
            found[numbered(f"main/External_attention/{scope}", number)] = f"main.attention.{name}"
    return found


def numbered(name: str, number: int) -> str:
    """Count as TensorFlow does: Conv, Conv_1, Conv_2."""
    return f"{name}_{number}" if number else name


def full(stem: str) -> str:
    """Give the whole name of a variable in the released graph."""
    if "/Variable" in stem:
        return f"generator_1/{stem}"
    return f"generator/{stem}" if stem.endswith("/kernel") else f"generator/{stem}/weights"


def tidy(tensors: Tensors) -> Tensors:
    """Give whole names to the variables that are known, which exports cut.

    Raises:
        LayoutError: Two variables claim one place.
    """
    known, found = pairs(), {}
    for key, tensor in tensors.items():
        match = STEM.fullmatch(key)
        name = full(match[1]) if match and match[1] in known else key
        if name in found:
            raise LayoutError(f"{name} is given twice, the second time as {key}; keep the inference graph's")
        found[name] = tensor
    return found


def official(state: Tensors, tensors: Tensors) -> Tensors:
    """Name our tensors as the graph does, and lay them as it does."""
    return {full(stem): lay(state[key]) for stem, key in pairs().items()}


def lay(tensor: Tensor) -> Tensor:
    """Turn a kernel from OIHW to HWIO, and the attention memory (C, slots) to (1, C, slots)."""
    if tensor.ndim == 4:
        return layout.hwio(tensor)
    return tensor[None] if tensor.ndim == 2 else tensor


LAYOUTS = {
    "dtgan": Layout(
        card="dtgan",
        build=dtgan.DTGAN,
        tidy=tidy,
        official=official,
        options={"lade_epsilon": 1e-5},
        checked={},
        terms="non-commercial; ask the authors of AnimeGANv3 before anything else",
    )
}

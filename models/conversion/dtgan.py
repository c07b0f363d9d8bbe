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


def reorder(tensor: Tensor) -> Tensor:
    """Turn a kernel from HWIO to OIHW, and the attention memory (1, C, slots) to (C, slots)."""
    if tensor.ndim == 4:
        return layout.oihw(tensor)
    return tensor.squeeze(0) if tensor.ndim == 3 else tensor


def rename(tensors: Tensors) -> Tensors:
    """Give our names to the variables that are known.

    Raises:
        LayoutError: Two variables claim one place.
    """
    ours, renamed = pairs(), {}
    for key, tensor in tensors.items():
        match = STEM.fullmatch(key)
        name = ours.get(match[1], key) if match else key
        if name in renamed:
            raise LayoutError(
                f"{match and match[1]} is given twice, the second time as {key}; keep the inference graph's"
            )
        renamed[name] = reorder(tensor)
    return renamed


LAYOUTS = {
    "dtgan": Layout(
        card="dtgan",
        build=dtgan.DTGAN,
        rename=rename,
        options={"lade_epsilon": 1e-5},
        checked=True,
        terms="non-commercial; ask the authors of AnimeGANv3 before anything else",
    )
}

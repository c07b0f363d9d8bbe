"""Time and peak memory of one large picture, in a process of its own: `python -m tests.models.large NAME SIDE [COUNT]`.

A card without a checkpoint gets random weights. The picture is noise of every size, so that no tile is flat. It stops
after COUNT tiles: all the memory is taken by then but for what they would still write into. Where pixels are optimised,
COUNT is the number of evaluations, by default so many that L-BFGS has all the updates it remembers.
"""

import contextlib
import resource
import sys
import time

import torch
from torch import Tensor

from models import image, nst, registry, tiling
from models.registry import Model


def picture(height: int, width: int) -> Tensor:
    """Make a picture with coarse and fine structure, RGB in [-1, 1]."""
    noise = torch.Generator().manual_seed(height)
    made = torch.rand(1, 3, height, width, generator=noise).sub_(0.5).mul_(0.2)
    for parts in (4, 32, 256):
        coarse = torch.rand(1, 3, parts, parts, generator=noise) - 0.5
        made += torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return made.clamp_(-1, 1)


def load(name: str, *, steps: int) -> Model:
    """Load a model, with random weights where it has no others; `steps` are for those that optimise pixels."""
    entry = registry.find(name)
    if entry.checkpoint:
        return registry.load(name)
    torch.manual_seed(0)
    settings = {"features": "random", "steps": steps} if entry.build is nst.NST else {}
    return Model(entry, entry.build(**settings)).eval()


class Enough(Exception):
    """As many tiles are made as were wanted."""


def main(name: str, side: int, count: int | None = None) -> None:
    """Write one line of figures."""
    model, given = load(name, steps=count or 2 * nst.HISTORY), picture(side, side)
    style = image.resize(given, height=256, width=256) if model.card.task == "stylize" else None
    seen = "in one piece"

    def progress(done: int, total: int) -> None:
        nonlocal seen
        seen = f"{done} of {total} tiles"
        if done == count:
            raise Enough

    start = time.perf_counter()
    with contextlib.suppress(Enough):
        tiling.predict(model, given, style=style, progress=progress)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{name}, {side} x {side} px, {seen}: {seconds:.1f} s, {peak:.0f} MiB\n")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

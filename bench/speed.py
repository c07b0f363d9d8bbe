"""How long one photo takes."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import torch

from models.image import Images

MINIMUM_REPEATS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Wall time of one forward pass with a batch of one.

    Attributes:
        latency_ms: Median.
        fast_ms: 10th percentile.
        slow_ms: 90th percentile.
        repeats: Timed passes.
        threads: CPU threads of torch.
        device: Name of the device.
    """

    latency_ms: float
    fast_ms: float
    slow_ms: float
    repeats: int
    threads: int
    device: str


def measure(
    model: Callable[[Images], Images], *, size: int = 256, device: str = "cpu", repeats: int = 20, warm_up: int = 3
) -> Timing:
    """Time a model on a random picture that lies on the device already.

    Args:
        model: In eval mode, on the device.
        size: Height and width, in pixels.
        device: Where it runs.
        repeats: Timed passes, at least 10.
        warm_up: Passes before them.

    Raises:
        ValueError: Fewer than 10 repeats.
    """
    if repeats < MINIMUM_REPEATS:
        raise ValueError(f"{repeats} repeats; a median needs at least {MINIMUM_REPEATS}")
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = images.to(device)
    with torch.inference_mode():
        times = [_time(model, images) for _ in range(warm_up + repeats)][warm_up:]
    fast, median, slow = np.percentile(times, [10, 50, 90])
    name = torch.cuda.get_device_name(device) if images.is_cuda else device
    return Timing(
        latency_ms=float(median),
        fast_ms=float(fast),
        slow_ms=float(slow),
        repeats=repeats,
        threads=torch.get_num_threads(),
        device=name,
    )


def _time(model: Callable[[Images], Images], images: Images) -> float:
    _wait(images)
    start = time.perf_counter()
    model(images)
    _wait(images)
    return (time.perf_counter() - start) * 1000


def _wait(images: Images) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)

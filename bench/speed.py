"""How long one photo takes."""

import dataclasses
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from models import card
from models.image import Images

if TYPE_CHECKING:
    import onnxruntime

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """One network, run eagerly by torch and by ONNX Runtime, in turns.

    Attributes:
        size: Height and width, in pixels.
        torch_ms: Median of plain eager float32.
        onnx_ms: Median of ONNX Runtime on the exported graph, with as many threads.
        ratio: Median of the ratios torch / onnx, pair by pair.
        difference: Largest absolute difference of the two predictions, in [0, 2].
        threads: CPU threads of both.
    """

    size: int
    torch_ms: float
    onnx_ms: float
    ratio: float
    difference: float
    threads: int


def against_onnx(network: torch.nn.Module, *, size: int, repeats: int = 20, warm_up: int = 3) -> Comparison:
    """Time a network beside ONNX Runtime on the CPU; pairs in turn, so that a drifting machine hits both alike.

    Args:
        network: In eval mode, on the CPU, float32; takes one image.
        size: Height and width, in pixels; a multiple that the network takes.
        repeats: Timed pairs, at least 10.
        warm_up: Pairs before them.

    Raises:
        ValueError: Fewer than 10 repeats.
    """
    if repeats < MINIMUM_REPEATS:
        raise ValueError(f"{repeats} repeats; a median needs at least {MINIMUM_REPEATS}")
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    session = onnx_session(network, images)

    def run_onnx(x: Images) -> Images:
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])

    with torch.inference_mode():
        difference = float((network(images) - run_onnx(images)).abs().max())
        pairs = [(_time(network, images), _time(run_onnx, images)) for _ in range(warm_up + repeats)][warm_up:]
    times = np.array(pairs)
    torch_ms, onnx_ms = np.median(times, axis=0)
    return Comparison(
        size=size,
        torch_ms=float(torch_ms),
        onnx_ms=float(onnx_ms),
        ratio=float(np.median(times[:, 0] / times[:, 1])),
        difference=difference,
        threads=torch.get_num_threads(),
    )


def onnx_session(network: torch.nn.Module, images: Images) -> "onnxruntime.InferenceSession":
    """Export a network for one input shape and open it with as many threads as torch has."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(network, (images,), path, dynamo=True, external_data=False, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def main(arguments: list[str]) -> int:
    """Compare a model with ONNX Runtime: `python -m bench.speed NAME [SIZE ...]`."""
    from models import registry

    if not arguments:
        sys.stderr.write("usage: python -m bench.speed NAME [SIZE ...]; NAME is a card or a checkpoint folder.\n")
        return 2
    if importlib.util.find_spec("onnxruntime") is None:
        sys.stderr.write("the comparison needs onnxruntime: pip install -r requirements-dev.txt\n")
        return 2
    try:
        network = registry.load(arguments[0]).network
    except (card.UnknownModel, registry.CheckpointError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("| size | torch eager, ms | ONNX Runtime, ms | ratio | largest difference | threads |\n")
    sys.stdout.write("|--:|--:|--:|--:|--:|--:|\n")
    for size in [int(text) for text in arguments[1:]] or [256, 512]:
        row = against_onnx(network, size=size)
        values = f"{row.torch_ms:.1f} | {row.onnx_ms:.1f} | {row.ratio:.2f} | {row.difference:.1e} | {row.threads}"
        sys.stdout.write(f"| {row.size} | {values} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A model as an ONNX graph for pictures of any size: `python -m models.export NAME OUT.onnx`.

It needs the packages of requirements-dev.txt; to run a graph takes onnxruntime alone.
"""

import contextlib
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from models import card, probe, registry, runners
from models.card import ModelCard
from models.registry import CheckpointError, Model

LARGEST = 4096  # longest side that a graph promises to take, in pixels


def example(entry: ModelCard) -> tuple[tuple[Tensor, ...], tuple[dict[int, Any], ...], list[str]]:
    """Make the inputs that a network is traced with, two images that are not square.

    Args:
        entry: What the network takes.

    Returns:
        The inputs, which of their sides may vary and how, and their names.
    """
    batch = torch.export.Dim("batch", min=1, max=64)
    if entry.task == "generate":
        return (torch.zeros(2, entry.latent),), ({0: batch},), ["noise"]
    least = -(-entry.min_side // entry.multiple)
    rows, columns = (torch.export.Dim(name, min=least, max=LARGEST // entry.multiple) for name in ("rows", "columns"))
    height, width = (entry.multiple * (least + extra) for extra in (3, 5))
    sides = {0: batch, 2: entry.multiple * rows, 3: entry.multiple * columns}
    pictures = torch.rand(2, 3, height, width) * 2 - 1
    if entry.task == "stylize":
        return (pictures, probe.inputs(entry)[1]), (sides, {}), ["images", "style"]
    return (pictures,), (sides,), ["images"]


def trace(model: Model) -> Any:
    """Turn a network into an ONNX model.

    Args:
        model: In eval mode, float32, on the CPU.

    Raises:
        CheckpointError: It cannot be written as a graph; says why.
    """
    inputs, shapes, names = example(model.card)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")  # the exporter's own, about its own packages
            program = torch.onnx.export(
                model.network,
                inputs,
                dynamo=True,
                verbose=False,
                optimize=True,
                dynamic_shapes=shapes,
                input_names=names,
                output_names=["made"],
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{model.card.name} cannot be written as a graph: {reason}") from error
    assert program is not None
    made = program.model_proto
    for part in (*made.graph.node, *made.graph.input, *made.graph.output, *made.graph.initializer):
        part.ClearField("metadata_props")  # stack traces, with this machine's paths
        part.ClearField("doc_string")
    del made.graph.value_info[:]
    return made


def check(model: Model, graph: runners.Graph) -> float:
    """Compare a graph with its network on other sizes than it was traced with.

    Returns:
        Largest difference, in [0, 2].

    Raises:
        CheckpointError: It is beyond `runners.TOLERANCE`.
    """
    inputs, _, _ = example(model.card)
    if model.card.task == "generate":
        first = torch.randn(1, model.card.latent, generator=torch.Generator().manual_seed(0))
    else:
        height, width = (side - model.card.multiple for side in inputs[0].shape[-2:])
        first = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        difference = float((model.network(first, *inputs[1:]) - graph(first, *inputs[1:])).abs().max())
    if not difference <= runners.TOLERANCE:
        raise CheckpointError(f"the graph of {model.card.name} differs by {difference:.1e}; it was not written.")
    return difference


def export(model: Model, out: Path) -> float:
    """Write a model's graph.

    Args:
        model: In eval mode, float32, on the CPU.
        out: File for it, in a folder that exists.

    Returns:
        Largest difference from the network that was seen, in [0, 2].

    Raises:
        CheckpointError: There can be no graph, it computes something else, or it cannot be written.
    """
    content = trace(model).SerializeToString()
    difference = check(model, runners.Graph(content))
    try:
        out.write_bytes(content)
    except OSError as error:
        raise CheckpointError(f"{out} cannot be written: {error.strerror}; name a file in a folder.") from error
    return difference


def main(*, name: tyro.conf.Positional[str], out: tyro.conf.Positional[Path]) -> None:
    """Write a model as an ONNX graph.

    Args:
        name: A card with a checkpoint, or a checkpoint folder.
        out: File to write.
    """
    difference = export(registry.load(name), out)
    sys.stdout.write(f"{out}: {out.stat().st_size:,} bytes, largest difference {difference:.1e}\n")


def command() -> None:
    """Run `main`; refuse what cannot be done in one line, with exit status 2."""
    try:
        tyro.cli(main, prog="python -m models.export")
    except (CheckpointError, card.UnknownModel) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    command()

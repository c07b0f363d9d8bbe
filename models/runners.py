"""Ways to run a model faster: the same weights and, within 1e-3, the same images.

The quickest one on a CPU is ONNX Runtime, on a graph that lies beside the weights (`python -m models.export`). A graph
holds no weights of its own: they are lent to it when it is opened.
"""

import hashlib
import importlib.util
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import registry
from models.registry import CheckpointError, Model

logger = logging.getLogger(__name__)

GRAPH = "graph.onnx"
TOLERANCE = 1e-3  # largest difference of a runner's image, in [0, 2]; bfloat16 alone is beyond it


class Graph(nn.Module):
    """A network as ONNX Runtime runs it, on the CPU; takes and gives the same tensors.

    Args:
        content: The graph, ONNX.
        weights: What it misses, by name.
        threads: Of the CPU; those of torch by default.

    Raises:
        CheckpointError: The graph cannot be opened, or misses other weights.
    """

    def __init__(self, content: bytes, weights: dict[str, Tensor], *, threads: int | None = None) -> None:
        super().__init__()
        import onnxruntime

        self.lent = {name: np.ascontiguousarray(tensor.float().numpy()) for name, tensor in weights.items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in self.lent.values()]
        options.add_external_initializers(list(self.lent), values)
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no public class of their own
            raise CheckpointError(f"the graph cannot be opened: {str(error).splitlines()[0]}") from error
        self.names = [each.name for each in self.session.get_inputs()]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the graph on float32 tensors."""
        given = [np.ascontiguousarray(tensor.detach().cpu().float().numpy()) for tensor in inputs]
        (made,) = self.session.run(None, dict(zip(self.names, given, strict=True)))
        return torch.from_numpy(made)


def load(name: str) -> Model:
    """Load a model the quickest way that is at hand; without onnxruntime or a graph as `registry.load` does.

    Args:
        name: As of `registry.load`.

    Raises:
        UnknownModel: See `registry.load`.
        CheckpointError: See `registry.load`, or the graph is damaged.
    """
    model, folder = registry.load(name), registry.locate(name)
    if not (folder / GRAPH).is_file():
        return model
    if importlib.util.find_spec("onnxruntime") is None:
        logger.info("%s runs in torch; with onnxruntime it would be quicker.", name)
        return model
    return with_graph(model, folder)


def with_graph(model: Model, folder: Path) -> Model:
    """Let ONNX Runtime run a model.

    Args:
        model: In float32 on the CPU.
        folder: Its checkpoint, which `models.export` has added a graph to.

    Raises:
        CheckpointError: The graph is missing, damaged or made for other weights.
    """
    marks = registry.read_config(folder).get("nijigen", {}).get("graph")
    if not isinstance(marks, dict) or not (folder / GRAPH).is_file():
        raise CheckpointError(f"{folder} has no {GRAPH}; make one with `python -m models.export {folder}`.")
    content = (folder / GRAPH).read_bytes()
    if hashlib.sha256(content).hexdigest() != marks["sha256"]:
        raise CheckpointError(f"{folder / GRAPH} was changed; make it anew with `python -m models.export {folder}`.")
    state = model.network.state_dict()
    missing = sorted(set(marks["weights"]) - set(state))
    if missing:
        raise CheckpointError(f"{folder / GRAPH} wants weights that the network lacks: {', '.join(missing[:3])}.")
    graph = Graph(content, {name: state[name] for name in marks["weights"]})
    return Model(model.card, graph, sha256=model.sha256).eval()


def channels_last(model: Model) -> Model:
    """Lay the weights out as the CPU's convolutions like them; images follow by themselves. Changes the model."""
    model.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return model


def compiled(model: Model) -> Model:
    """Let torch compile the network on its first call, which takes a minute or two."""
    return Model(model.card, torch.compile(model.network), sha256=model.sha256).eval()  # pyright: ignore[reportArgumentType]


class Bfloat16(nn.Module):
    """A network under bfloat16 autocast with channels last.

    Args:
        network: Changed to channels last.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run it; gives float32."""
        with torch.autocast(inputs[0].device.type, torch.bfloat16):
            return self.network(*inputs).float()


def bfloat16(model: Model) -> Model:
    """Compute in bfloat16: quick on CPUs that know it, but further from float32 than `TOLERANCE`."""
    return Model(model.card, Bfloat16(model.network), sha256=model.sha256).eval()


RUNNERS: dict[str, Callable[[Model], Model]] = {
    "eager": lambda model: model,
    "channels_last": channels_last,
    "bfloat16": bfloat16,
    "compiled": compiled,
}


def marks(content: bytes, weights: list[str]) -> dict[str, Any]:
    """What a checkpoint's settings say of its graph."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "weights": weights}


def mark(folder: Path, content: bytes, weights: list[str]) -> None:
    """Put a graph into a checkpoint folder, and what belongs to it into the settings."""
    (folder / GRAPH).write_bytes(content)
    config = registry.read_config(folder)
    config["nijigen"]["graph"] = marks(content, weights)
    (folder / registry.CONFIG).write_text(json.dumps(config, indent=2) + "\n")

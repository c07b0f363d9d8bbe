"""Ways to run a model: the same weights and, but for `bfloat16`, images within `TOLERANCE` of those of plain torch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from models import fast, registry
from models.registry import CheckpointError, Model

TOLERANCE = 1e-3  # largest difference of a runner's image, in [0, 2]; bfloat16 alone is beyond it


def load(name: str) -> Model:
    """Load a model the quickest way for a CPU.

    Args:
        name: As of `registry.load`.

    Raises:
        UnknownModel: See `registry.load`.
        CheckpointError: See `registry.load`.
    """
    return rearranged(registry.load(name))


def rearranged(model: Model) -> Model:
    """Exchange what has a quicker form; see `models.fast`."""
    return Model(model.card, fast.rearrange(model.network), sha256=model.sha256).eval()


def channels_last(model: Model) -> Model:
    """Lay the weights out as the CPU's convolutions like them; images follow by themselves. Changes the model."""
    model.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return model


def compiled(model: Model) -> Model:
    """Let torch compile the network on its first call, which takes a minute or two."""
    return Model(model.card, torch.compile(model.network), sha256=model.sha256).eval()  # pyright: ignore[reportArgumentType]


def bfloat16(model: Model) -> Model:
    """Compute in bfloat16: quick on CPUs that know it, but further from float32 than `TOLERANCE`."""
    return Model(model.card, Bfloat16(model.network), sha256=model.sha256).eval()


RUNNERS: dict[str, Callable[[Model], Model]] = {
    "eager": lambda model: model,
    "fast": rearranged,
    "channels_last": channels_last,
    "bfloat16": bfloat16,
    "compiled": compiled,
}


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


class Graph(nn.Module):
    """A network that `models.export` wrote, as ONNX Runtime runs it on the CPU; takes and gives the same tensors.

    Args:
        content: The graph, ONNX.
        threads: Of the CPU; those of torch by default.

    Raises:
        CheckpointError: The graph cannot be opened.
        ImportError: There is no onnxruntime.
    """

    def __init__(self, content: bytes, *, threads: int | None = None) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
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

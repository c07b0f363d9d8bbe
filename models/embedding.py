"""A face embedding that gradients pass through: MobileFace V2, read from its ONNX file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models import download
from models.image import Images
from models.registry import CheckpointError

FILE = "mobileface_v2.onnx"
SIDE = 112
# Where the embedder's 112 x 112 square lies in a portrait framed by `models.faces.square`, in the portrait's sides.
LEFT, TOP, REACH = 0.12, 0.12, 0.77


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, group: int, pads: Any, strides: Any) -> Tensor:
    """ONNX Conv with the same padding on both sides of an axis."""
    return F.conv2d(x, weight, bias, stride=strides, padding=pads[:2], groups=group)


def normalize(x: Tensor, gain: Tensor, offset: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float) -> Tensor:
    """ONNX BatchNormalization, as at inference."""
    return F.batch_norm(x, mean, variance, gain, offset, eps=epsilon)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "BatchNormalization": normalize,
    "Conv": convolve,
    "Flatten": lambda x, *, axis: x.flatten(axis),
    "Gemm": lambda x, weight, *, transB: x @ weight.T if transB else x @ weight,
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Mul": torch.mul,
    "Sub": torch.sub,
}


class Embedding(nn.Module):
    """Runs the nodes of an ONNX graph one after the other; frozen.

    Args:
        path: MobileFace Identification V2, .onnx.

    Raises:
        CheckpointError: The onnx package is missing, or the file has an operation that is not known here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnx
            from onnx import helper, numpy_helper
        except ImportError as error:
            raise CheckpointError(
                f"Reading {path.name} needs the onnx package; install it: pip install onnx."
            ) from error
        graph = onnx.load(path).graph
        self.weights = nn.ParameterDict(
            {
                entry.name: nn.Parameter(torch.from_numpy(numpy_helper.to_array(entry).copy()), requires_grad=False)
                for entry in graph.initializer
            }
        )
        self.enters, self.leaves = graph.input[0].name, graph.output[0].name
        self.nodes = []
        for node in graph.node:
            if node.op_type not in OPERATIONS:
                known = ", ".join(OPERATIONS)
                raise CheckpointError(f"{path} has an operation {node.op_type!r}; expected one of: {known}.")
            options = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
            options.pop("kernel_shape", None)
            self.nodes.append((OPERATIONS[node.op_type], list(node.input), node.output[0], options))

    def embed(self, aligned: Float[Tensor, "batch 3 112 112"]) -> Float[Tensor, "batch 256"]:
        """Give unit-length embeddings of aligned faces, RGB in [0, 255]."""
        with torch.autocast(aligned.device.type, enabled=False):
            values = {**self.weights, self.enters: aligned.float()}
            for operation, inputs, output, options in self.nodes:
                values[output] = operation(*(values[name] for name in inputs), **options)
            return F.normalize(values[self.leaves])

    def forward(self, portraits: Images) -> Float[Tensor, "batch 256"]:
        """Give embeddings of portraits framed by `models.faces.square`, RGB in [-1, 1], of at least 64 px a side.

        The square is cut at a fixed place, not by landmarks: enough to compare a photo with its own prediction.
        """
        height, width = portraits.shape[-2:]
        top, left = round(TOP * height), round(LEFT * width)
        faces = portraits[..., top : top + round(REACH * height), left : left + round(REACH * width)]
        resized = F.interpolate(faces.float(), (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        return self.embed(127.5 * (resized + 1))


def load() -> Embedding:
    """Read the embedding from the folder that NIJIGEN_WEIGHTS names.

    Raises:
        CheckpointError: It is not there; it has no official address to download it from.
    """
    path = download.local(FILE)
    if path is None:
        raise CheckpointError(f"{FILE} was not found; put it into a folder and name that folder with NIJIGEN_WEIGHTS.")
    return Embedding(path)

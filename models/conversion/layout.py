"""What a converter must know of a foreign checkpoint, and what all of them share."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
Settings = dict[str, Any]
WRAPPERS = ("params_ema.", "params.", "state_dict.", "module.")
COUNTER = "num_batches_tracked"


class LayoutError(ValueError):
    """A file that does not fit its layout; says which key and what was expected."""


def nothing(tensors: Tensors) -> Settings:
    """Settings of a layout without any: the network's defaults."""
    return {}


def unchanged(tensors: Tensors) -> Tensors:
    """Names of a layout whose keys are ours."""
    return tensors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """One kind of official checkpoint.

    Attributes:
        card: Name under which the result is saved; None for a discriminator, which no card offers.
        build: Makes our network from its settings.
        settings: Reads them (width, blocks) from the shapes of the given tensors; raises LayoutError.
        rename: Turns the given tensors into ours, names and axes; unknown names stay as they are.
        options: Settings that no file tells and the command may give, with their defaults.
        checked: Whether numbers were compared with the reference; else only names and shapes ("layout only").
        terms: Licence of the official weights, and where they are found.
    """

    card: str | None
    build: Callable[..., nn.Module]
    settings: Callable[[Tensors], Settings] = nothing
    rename: Callable[[Tensors], Tensors] = unchanged
    options: Settings = dataclasses.field(default_factory=dict)
    checked: bool = False
    terms: str = "terms of the original weights"


def flatten(value: Any, prefix: str = "") -> Tensors:
    """Gather the tensors of nested dictionaries under dotted names; anything else is left out.

    Args:
        value: What a checkpoint file holds.
        prefix: Of the names.
    """
    if isinstance(value, Tensor):
        return {prefix: value.float() if value.is_floating_point() else value}
    if not isinstance(value, Mapping):
        return {}
    found: Tensors = {}
    for key, item in value.items():
        found |= flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def unwrap(tensors: Tensors) -> Tensors:
    """Take off what training frameworks put around a state dict: `params.`, `state_dict.`, `module.`."""
    for wrapper in WRAPPERS:
        inside = {key.removeprefix(wrapper): value for key, value in tensors.items() if key.startswith(wrapper)}
        tensors = inside or tensors
    return tensors


def shape(tensors: Tensors, key: str) -> torch.Size:
    """Size of the tensor that tells a setting.

    Raises:
        LayoutError: It is not there.
    """
    if key not in tensors:
        first = ", ".join(sorted(tensors)[:3]) or "nothing"
        raise LayoutError(f"{key} is missing; the file holds {first}")
    return tensors[key].shape


def oihw(kernel: Tensor) -> Tensor:
    """Turn TensorFlow's kernel (height, width, in, out) into (out, in, height, width)."""
    return kernel.permute(3, 2, 0, 1).contiguous()

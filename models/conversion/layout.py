"""What a converter must know of a foreign checkpoint, and what all of them share."""

import collections
import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
Settings = dict[str, Any]
Replacement = str | Callable[[re.Match[str]], str]
WRAPPERS = ("params_ema.", "params.", "state_dict.", "module.")
COUNTER = "num_batches_tracked"


class LayoutError(ValueError):
    """A file that does not fit its layout; says which key and what was expected."""


def nothing(tensors: Tensors) -> Settings:
    """Settings of a layout without any: the network's defaults."""
    return {}


def unchanged(tensors: Tensors) -> Tensors:
    """Take a file as it is."""
    return tensors


def same(state: Tensors, tensors: Tensors) -> Tensors:
    """Official form of a network whose keys and axes are the official ones."""
    return state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """One kind of official checkpoint.

    Attributes:
        card: Name under which the result is saved; None for a discriminator, which no card offers.
        build: Makes our network from its settings, all of which have defaults.
        settings: Reads the kinds and numbers of layers from a file's names; what nothing tells keeps its default.
        sizes: Settings that the shapes tell, such as widths, each with a pattern of the official names that tell it.
        tidy: Takes from a file what its network has no place for, and unites what has several names.
        official: Gives our state dict as the official file would hold it: views of it by official name. The second
            argument is the file, which shows where names differ between releases.
        options: Settings that no file tells and the command may give, with their defaults.
        checked: Settings of the networks whose numbers were compared with the reference; None where none were.
        terms: Licence of the official weights, and where they are found.
    """

    card: str | None
    build: Callable[..., nn.Module]
    settings: Callable[[Tensors], Settings] = nothing
    sizes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tidy: Callable[[Tensors], Tensors] = unchanged
    official: Callable[[Tensors, Tensors], Tensors] = same
    options: Settings = dataclasses.field(default_factory=dict)
    checked: Settings | None = None
    terms: str = "terms of the original weights"


def flatten(value: Any, prefix: str = "") -> Tensors:
    """Gather the tensors of nested dictionaries under dotted names; anything else is left out.

    Args:
        value: What a checkpoint file holds.
        prefix: Of the names.
    """
    if isinstance(value, Tensor):
        plain = value.layout is torch.strided and not (value.is_meta or value.is_quantized or value.is_complex())
        return {prefix: value.float() if value.is_floating_point() else value} if plain else {}
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


def renamed(*pairs: tuple[str, Replacement]) -> Callable[[Tensors, Tensors], Tensors]:
    """Make a `Layout.official` that turns our names into official ones by replacing patterns, all in this order."""

    def official(state: Tensors, tensors: Tensors) -> Tensors:
        return {substitute(key, pairs): value for key, value in state.items()}

    return official


def substitute(key: str, pairs: Iterable[tuple[str, Replacement]]) -> str:
    """Replace patterns in a name, all in this order."""
    for pattern, replacement in pairs:
        key = re.sub(pattern, replacement, key)
    return key


def numbers(tensors: Iterable[str], pattern: str) -> set[int]:
    """Gather the numbers that the first group of a pattern finds at the start of names."""
    found = re.compile(pattern)
    return {int(match[1]) for key in tensors if (match := found.match(key))}


def length(found: Collection[int]) -> int:
    """Tell how long a sequence counted from 0 is, also where a few of its numbers are missing or do not belong.

    Returns:
        The length with the most numbers below it that are there, less those that are not.
    """
    scores = {0: 0}
    for number in range(2 * len(found)):
        scores[number + 1] = scores[number] + (1 if number in found else -1)
    return max(scores, key=lambda end: (scores[end], end))


def votes(tensors: Tensors, pattern: str, axis: int, *, share: int = 1) -> list[int]:
    """Read one axis of every tensor whose whole name matches, divided by `share`; what cannot be read is left out."""
    found = re.compile(pattern)
    chosen = [value for key, value in tensors.items() if value.ndim > axis and found.fullmatch(key)]
    lengths = [value.shape[axis] for value in chosen]
    return [size // share for size in lengths if size and size % share == 0]


def majority(found: Iterable[int], default: int) -> int:
    """Give the most frequent number, the first of several; the default where there is none."""
    ranked = collections.Counter(found).most_common(1)
    return ranked[0][0] if ranked else default


def hwio(kernel: Tensor) -> Tensor:
    """View a kernel (out, in, height, width) as TensorFlow's (height, width, in, out)."""
    return kernel.permute(2, 3, 1, 0)

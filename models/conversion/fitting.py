"""Compare a file with the network that it should hold, name by official name, before anything of its size is made."""

import collections
import inspect
import re
from fractions import Fraction

import torch
from torch import nn

from models.conversion.layout import COUNTER, Layout, LayoutError, Settings, Tensors

NAMED = 3
# What constructors raise where settings do not go together, or make a size beyond any tensor's.
SENSELESS = (ArithmeticError, RuntimeError, TypeError, ValueError)


def official(kind: Layout, network: nn.Module, tensors: Tensors) -> Tensors:
    """Give a network's tensors as the file should hold them: views of them by official name, without counters."""
    state = {key: value for key, value in network.state_dict().items() if not key.endswith(COUNTER)}
    return kind.official(state, tensors)


def expected(kind: Layout, tensors: Tensors, settings: Settings) -> Tensors:
    """Give the same of a network that is not made: tensors without memory."""
    with torch.device("meta"):
        return official(kind, kind.build(**settings), tensors)


def settings(kind: Layout, tensors: Tensors, file: Tensors, options: Settings) -> tuple[Settings, Tensors]:
    """Read all settings of a file; those that make no network are replaced by the defaults.

    Args:
        kind: Its layout.
        tensors: What `kind.tidy` left of the file.
        file: All of it.
        options: Those of the layout, as they were chosen.

    Returns:
        The settings, and what the file should hold.

    Raises:
        LayoutError: There is no network with these options.
    """
    try:
        found = kind.settings(file) | options
        found |= sizes(kind, tensors, found)
        return found, expected(kind, tensors, found)
    except SENSELESS:
        try:
            return options, expected(kind, tensors, options)
        except SENSELESS as error:
            raise LayoutError(str(error).rstrip(".")) from error


def sizes(kind: Layout, tensors: Tensors, found: Settings) -> Settings:
    """Read the sizes from all shapes: of each the value that most tensors tell, so that a wrong one stands out.

    A size is doubled; the axes that grow tell it, unless they depend on a second one.
    """
    parameters = inspect.signature(kind.build).parameters
    starts = {name: parameters[name].default for name in kind.sizes}
    if not starts:
        return {}
    small = expected(kind, tensors, found)
    large = {name: expected(kind, tensors, found | {name: 2 * start}) for name, start in starts.items()}
    told = {name: collections.Counter[Fraction]() for name in starts}
    for key in small.keys() & tensors.keys():
        shape = tensors[key].shape
        for axis, length in enumerate(small[key].shape if len(shape) == small[key].ndim else ()):
            rises = {name: made[key].shape[axis] - length for name, made in large.items()}
            growing = [name for name, rise in rises.items() if rise]
            if len(growing) == 1 and re.search(kind.sizes[growing[0]], key):
                start = Fraction(starts[growing[0]])
                told[growing[0]][start + (shape[axis] - length) * start / rises[growing[0]]] += 1
    usual = {}
    for name, counts in told.items():
        whole = isinstance(starts[name], int)
        fair = {value: count for value, count in counts.items() if value > 0 and not (whole and value.denominator > 1)}
        if fair:
            usual[name] = type(starts[name])(max(fair, key=lambda value: (fair[value], value)))
    return usual


def mismatches(tensors: Tensors, wanted: Tensors) -> str:
    """Say where a file differs from what is wanted; empty where it does not.

    Returns:
        The first three names, those that are missing or of another shape before those that are surplus.
    """
    found = []
    for key, value in wanted.items():
        if key not in tensors:
            found.append(f"{key} missing, expected {tuple(value.shape)}")
        elif tensors[key].shape != value.shape:
            found.append(f"{key} has shape {tuple(tensors[key].shape)}, expected {tuple(value.shape)}")
    surplus = [key for key in tensors if key not in wanted and not key.endswith(COUNTER)]
    found += [f"{key} surplus, has shape {tuple(tensors[key].shape)}" for key in surplus]
    rest = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return "; ".join(found[:NAMED]) + rest

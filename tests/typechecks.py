"""The type checker that runs behind jaxtyping's shape checks, under pytest only."""

from collections.abc import Callable

import beartype

# PEP 484: where a float is asked for, an int will do.
_CONF = beartype.BeartypeConf(is_pep484_tower=True)


def check(function: Callable) -> Callable:
    """Wrap a function so that every call compares its arguments and its return value with their annotations."""
    return beartype.beartype(conf=_CONF)(function)

"""The zoo: photos to anime, one file per family.

Importing this package, `names` and `card` need no torch; `load` imports it.
"""

import os
from typing import TYPE_CHECKING

from models import card

if TYPE_CHECKING:
    from models.registry import Model

__all__ = ["card", "load", "names"]

# Threads of torch's OpenMP that wait in a loop for long take the cores from those of NNPACK (see `models.fast`); read
# when torch is imported, so it has to be set before.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def names() -> tuple[str, ...]:
    """Names of all cards, trained or not; `card.offered()` has those with weights."""
    return tuple(entry.name for entry in card.catalogue())


def load(name: str, *, device: str = "cpu") -> "Model":
    """Load a trained model by name, folder or Hub repository; see `models.registry.load`."""
    from models import registry

    return registry.load(name, device=device)

"""The zoo: photos to anime, one file per family.

Importing this package, `names` and `card` need no torch; `load` imports it.
"""

from typing import TYPE_CHECKING

from models import card

if TYPE_CHECKING:
    from models.registry import Model

__all__ = ["card", "load", "names"]


def names() -> tuple[str, ...]:
    """Names of all cards, trained or not; `card.offered()` has those with weights."""
    return tuple(entry.name for entry in card.catalogue())


def load(name: str, *, device: str = "cpu") -> "Model":
    """Load a trained model by name, folder or Hub repository; see `models.registry.load`."""
    from models import registry

    return registry.load(name, device=device)

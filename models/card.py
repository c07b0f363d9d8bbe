"""What a model is: the card of a variant, and the catalogue that menus and reports read without torch."""

import dataclasses
import difflib
import functools
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Task = Literal["translate", "stylize", "generate", "upscale", "restore"]
CATALOGUE = Path(__file__).with_name("catalogue.json")
SOURCE = re.compile(r"((?:(?!://).)+), (https://\S+?)(?:; |$)")


class UnknownModel(ValueError):
    """A name that no card has."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or made for another network."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One named variant of an architecture.

    Attributes:
        name: Name in menus, reports and commands.
        title: One line for people.
        task: What it does.
        build: Makes the network with random weights; keyword arguments are its settings.
        multiple: Height and width the network takes are multiples of this, in pixels.
        min_side: Shortest side that is accepted, in pixels.
        scale: How many times larger a prediction is than its input; 1 but for upscalers.
        latent: Length of the noise vector that a generating model takes; 0 for all others.
        checkpoint: Folder in models/checkpoints or "owner/name" on the Hub; None while untrained.
        paper: "Title (authors, year), https://..." of the source; several are joined by "; ".
        licence: Terms of the weights, or of the architecture where there are none.
        released: Terms of the official weights that `models.convert` reads, and whose they are; "" without any. They
            stay with what is converted: who converts is bound by them.
        note: What differs from the source and why.
    """

    name: str
    title: str
    task: Task
    build: "Callable[..., nn.Module]"
    multiple: int
    min_side: int = 64
    scale: int = 1
    latent: int = 0
    checkpoint: str | None = None
    paper: str
    licence: str
    released: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A card without its code: what `catalogue.json` holds of it, with the exact parameter count.

    `multiply_adds` is of one forward pass that makes 256 x 256 px, or what a generator makes; None where pixels are
    optimised.
    """

    name: str
    title: str
    task: Task
    parameters: int
    multiply_adds: int | None
    multiple: int
    min_side: int
    scale: int
    latent: int
    checkpoint: str | None
    paper: str
    licence: str
    released: str
    note: str


def sources(paper: str) -> list[tuple[str, str]]:
    """Give titles and links of a card's sources.

    Raises:
        ValueError: The text is not as `ModelCard.paper` should be.
    """
    found = SOURCE.findall(paper)
    if not found or "; ".join(f"{title}, {link}" for title, link in found) != paper:
        raise ValueError(f"{paper!r} is no source; expected 'Title (authors, year), https://...', joined by '; '.")
    return found


@functools.cache
def catalogue() -> tuple[CatalogueEntry, ...]:
    """Read the committed catalogue; needs no torch.

    Returns:
        One entry per card, in the order of the families.
    """
    return tuple(CatalogueEntry(**entry) for entry in json.loads(CATALOGUE.read_text()))


def offered() -> tuple[CatalogueEntry, ...]:
    """Entries with a checkpoint: the only ones that visitors meet and that are ranked."""
    return tuple(entry for entry in catalogue() if entry.checkpoint is not None)


def unknown(name: str, names: Iterable[str]) -> UnknownModel:
    """Make the error for a name that does not exist, with the nearest one that does."""
    known = sorted(names)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(known)}."
    return UnknownModel(f"no model is called {name!r}; {hint} `python -m models` lists them all.")

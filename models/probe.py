"""What a card takes, made up: for counting, exporting and timing. And the catalogue, which is such a count."""

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models import layers, registry
from models.card import CatalogueEntry, ModelCard

STYLE_SIDE = 256


def inputs(entry: ModelCard, *, side: int = 256, count: int = 1) -> tuple[Tensor, ...]:
    """Make what `registry.Model` takes: noise, pictures, or pictures and a style; always the same.

    Args:
        entry: The card.
        side: Of the predictions, in pixels; generators have their own.
        count: Images in the batch.
    """
    generator = torch.Generator().manual_seed(0)
    if entry.task == "generate":
        return (torch.randn(count, entry.latent, generator=generator),)
    height = side // entry.scale
    pictures = torch.rand(count, 3, height, height, generator=generator) * 2 - 1
    if entry.task == "stylize":
        return pictures, torch.rand(1, 3, STYLE_SIDE, STYLE_SIDE, generator=generator) * 2 - 1
    return (pictures,)


def multiply_adds(entry: ModelCard, *, side: int = 256) -> int | None:
    """Count the multiplications with addition of one forward pass: convolutions and matrix products.

    Args:
        entry: The card.
        side: Of the prediction, in pixels.

    Returns:
        The count; None where pixels are optimised, so that it depends on the steps.
    """
    with torch.device("meta"):
        network = entry.build().eval()
        learned = [parameter.requires_grad for parameter in network.parameters()]
        if learned and not any(learned):
            return None
        given = tuple(torch.empty_like(each, device="meta") for each in inputs(entry, side=side))
        with FlopCounterMode(display=False) as counter:
            registry.Model(entry, network)(*given)
    return counter.get_total_flops() // 2


def entries() -> tuple[CatalogueEntry, ...]:
    """Compute the catalogue from the cards; the networks are built without memory, only to count."""
    shared = CatalogueEntry.__dataclass_fields__.keys() & ModelCard.__dataclass_fields__.keys()
    return tuple(
        CatalogueEntry(
            parameters=parameters(entry),
            multiply_adds=multiply_adds(entry),
            **{field: getattr(entry, field) for field in shared},
        )
        for entry in registry.CARDS.values()
    )


def parameters(entry: ModelCard) -> int:
    """Number of learned values of a card's network, frozen ones included."""
    with torch.device("meta"):
        return layers.parameter_count(entry.build())

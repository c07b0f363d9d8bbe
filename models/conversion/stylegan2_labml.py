"""StyleGAN2 in labml's form: generator, discriminator and mapping are three files with names of their own.

Equalised kernels lie one level deeper there (`conv.weight.weight`), the layers of a discriminator block are numbered,
and every smoothing stores its constant kernel, which is checked and dropped.
"""

import torch
from torch import Tensor

from models import stylegan2_labml
from models.conversion import layout
from models.conversion.layout import Layout, LayoutError, Settings, Tensors

SMOOTH = "smooth.kernel"
KERNEL = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
NAMES = (
    (r"weight$", "weight.weight"),
    (r"^from_rgb\.", "from_rgb.0."),
    (r"^(blocks\.\d+)\.conv1\.", r"\1.block.0."),
    (r"^(blocks\.\d+)\.conv2\.", r"\1.block.2."),
    (r"^(blocks\.\d+)\.residual\.", r"\1.residual.1."),
)


def tidy(tensors: Tensors) -> Tensors:
    """Leave out the smoothing kernels.

    Raises:
        LayoutError: One is not the known one.
    """
    for key, kernel in tensors.items():
        if key.endswith(SMOOTH) and not known(kernel):
            given = f"{key} of shape {tuple(kernel.shape)}"
            raise LayoutError(f"{given} is another kernel than [1, 2, 1] x [1, 2, 1] / 16, expected (1, 1, 3, 3)")
    return {key: tensor for key, tensor in tensors.items() if not key.endswith(SMOOTH)}


def known(kernel: Tensor) -> bool:
    """Tell whether a smoothing kernel is [1, 2, 1] on each axis, normalised."""
    return kernel.shape[-2:] == (3, 3) and torch.allclose(kernel.float(), KERNEL.expand(kernel.shape))


def resolution(tensors: Tensors) -> tuple[int, Settings]:
    """Count the blocks, one of which doubles or halves a side."""
    count = layout.length(layout.numbers(tensors, r"blocks\.(\d+)\."))
    return count, {"resolution": 4 << count} if count else {}


def first(tensors: Tensors, *places: tuple[str, int]) -> int | None:
    """Read the number that most of the places tell, patterns with axes; None where there are none."""
    return layout.majority([vote for place in places for vote in layout.votes(tensors, *place)], 0) or None


def generator_settings(tensors: Tensors) -> Settings:
    """Read the generator's size from its blocks, and the channels at both ends."""
    count, found = resolution(tensors)
    last = rf"blocks\.{count - 1}\.style_block[12]"
    ends = {
        "narrowest": first(tensors, (rf"{last}\.bias", 0), (rf"{last}\.conv\.weight\.weight", 0)),
        "widest": first(tensors, ("initial_constant", 1), (r"style_block\.(?:bias|conv\.weight\.weight)", 0)),
    }
    return found | {name: size for name, size in ends.items() if size}


def discriminator_settings(tensors: Tensors) -> Settings:
    """Read the discriminator's size from its blocks, and the channels at both ends."""
    count, found = resolution(tensors)
    last = rf"blocks\.{count - 1}\.(?:residual\.1|block\.2)"
    ends = {
        "narrowest": first(tensors, (r"from_rgb\.0\.(?:bias|weight\.weight)", 0), (r"blocks\.0\.block\.0\.bias", 0)),
        "widest": first(tensors, (rf"{last}\.(?:bias|weight\.weight)", 0)),
    }
    return found | {name: size for name, size in ends.items() if size}


def mapping_settings(tensors: Tensors) -> Settings:
    """Count the mapping's layers; activations stand between them."""
    numbers = layout.numbers(tensors, r"net\.(\d+)\.")
    return {"depth": layout.length({number // 2 for number in numbers}) or 8}


LAYOUTS = {
    "stylegan2-labml": Layout(
        card=None,
        build=stylegan2_labml.Generator,
        settings=generator_settings,
        sizes={"width": "."},
        tidy=tidy,
        official=layout.renamed(*NAMES),
        checked={},
    ),
    "stylegan2-labml-discriminator": Layout(
        card=None,
        build=stylegan2_labml.Discriminator,
        settings=discriminator_settings,
        tidy=tidy,
        official=layout.renamed(*NAMES),
        checked={},
    ),
    "stylegan2-labml-mapping": Layout(
        card=None,
        build=stylegan2_labml.Mapping,
        settings=mapping_settings,
        sizes={"width": "."},
        tidy=tidy,
        official=layout.renamed(*NAMES),
    ),
}

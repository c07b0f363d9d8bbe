"""U-Net: the annotated implementation of labml (padded, transposed convolutions), with three channels in and out.

It ends without the tanh that ours has.
"""

import re

from models import unet
from models.conversion import layout
from models.conversion.layout import Layout, Settings, Tensors

NAMES = (
    (r"down_conv\.(\d+)\.(first|second)", r"down.\1.\2"),
    (r"middle_conv\.(first|second)", r"middle.\1"),
    (r"up_sample\.(\d+)\.up", r"up.\1"),
    (r"up_conv\.(\d+)\.(first|second)", r"fuse.\1.\2"),
    (r"final_conv", r"paint"),
)
PLACES = (("first", "0"), ("second", "2"))


def settings(tensors: Tensors) -> Settings:
    """Read the width."""
    return {"width": layout.shape(tensors, "down_conv.0.first.weight")[0]}


def rename(tensors: Tensors) -> Tensors:
    """Give our names to its tensors."""
    return {translate(key): tensor for key, tensor in tensors.items()}


def translate(key: str) -> str:
    """Give our name of one tensor; an unknown name stays as it is."""
    for pattern, ours in NAMES:
        found, changes = re.subn(rf"^{pattern}\.(?=weight$|bias$)", f"{ours}.", key)
        if changes:
            for place, number in PLACES:
                found = found.replace(f".{place}.", f".{number}.")
            return found
    return key


LAYOUTS = {
    "unet": Layout(
        card="unet",
        build=unet.UNet,
        settings=settings,
        rename=rename,
        terms="MIT code (labmlai/annotated_deep_learning_paper_implementations); ask for the weights' own terms",
    )
}

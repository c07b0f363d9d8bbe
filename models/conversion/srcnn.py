"""Small upscalers: `srcnn`, `espcn` (both forms) and `fsrcnn`; layers are numbered `conv1`, `prelu1`, ... from 1."""

from models import srcnn
from models.conversion import layout
from models.conversion.layout import Layout, Settings, Tensors

CONVS = (r"^convs\.(\d+)\.", lambda match: f"conv{int(match[1]) + 1}.")
FSRCNN = (
    (r"^offset$", "out.bias"),
    (r"^stages\.(\d+)\.0\.", lambda match: f"conv{int(match[1]) + 1}."),
    (r"^stages\.(\d+)\.1\.", lambda match: f"prelu{int(match[1]) + 1}."),
)


def is_luma(tensors: Tensors, *, last: str, share: int, default: int) -> bool:
    """Tell whether a network takes brightness alone, from its first kernel and what the last layer makes."""
    made = layout.votes(tensors, rf"{last}\.(?:weight|bias)", 0, share=share)
    return layout.majority([*layout.votes(tensors, r"conv1\.weight", 1), *made], default) == 1


def srcnn_settings(tensors: Tensors) -> Settings:
    """Read the side of the middle kernel, and luma or RGB."""
    sides = [side for axis in (2, 3) for side in layout.votes(tensors, r"conv2\.weight", axis) if side in (1, 3, 5)]
    return {"middle": layout.majority(sides, 5), "luma": is_luma(tensors, last="conv3", share=1, default=3)}


def espcn_settings(tensors: Tensors) -> Settings:
    """Read the form, and luma or RGB."""
    deep = any(key.startswith("conv4.") for key in tensors)
    last = "conv4" if deep else "conv3"
    return {"deep": deep, "luma": is_luma(tensors, last=last, share=srcnn.SCALE**2, default=1)}


def fsrcnn_settings(tensors: Tensors) -> Settings:
    """Count the mapping convolutions, four fewer than all and three fewer than those that an activation follows."""
    convs, activations = (
        layout.length({number - 1 for number in layout.numbers(tensors, rf"{kind}(\d+)\.")})
        for kind in ("conv", "prelu")
    )
    count = max(convs, activations + 1)
    return {"mapping": count - 4 if count >= 4 else 4}


def official_fsrcnn(state: Tensors, tensors: Tensors) -> Tensors:
    """Name each convolution and its PReLU; the last one is numbered after them."""
    last = layout.length(layout.numbers(state, r"stages\.(\d+)\.")) + 1
    return layout.renamed(*FSRCNN, (r"^leave\.", f"conv{last}."))(state, tensors)


SIZES = {"channels": ".", "narrow": "."}
LAYOUTS = {
    "srcnn": Layout(
        card="srcnn", build=srcnn.SRCNN, settings=srcnn_settings, sizes=SIZES, official=layout.renamed(CONVS)
    ),
    "espcn": Layout(
        card="espcn",
        build=srcnn.ESPCN,
        settings=espcn_settings,
        sizes=SIZES,
        official=layout.renamed(CONVS),
        checked={"deep": False, "luma": True},
        terms="Apache-2.0 (TF-ESPCN) or BSD-3-Clause (PyTorch's examples)",
    ),
    "fsrcnn": Layout(
        card="fsrcnn",
        build=srcnn.FSRCNN,
        settings=fsrcnn_settings,
        sizes=SIZES,
        official=official_fsrcnn,
        checked={},
        terms="Apache-2.0 (FSRCNN_Tensorflow)",
    ),
}

"""Restormer: the state dicts of swz30/Restormer, whose settings stand in the shapes of their tensors."""

import math
import re

from models import restormer
from models.conversion import layout
from models.conversion.layout import Layout, LayoutError, Settings, Tensors

STAGES = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
NAMES = (
    (r"^patch_embed\.proj\.", "enter."),
    (r"^output\.", "leave."),
    (r"^down(\d)_\d\.body\.", r"down.\1."),
    (r"^up\d_(\d)\.body\.", r"up.\1."),
    (r"^(en|de)coder_level(\d)\.", r"\1coder.\2."),
    (r"^reduce_chan_level(\d)\.", r"reduce.\1."),
    (r"\.attn\.qkv_dwconv\.", ".attention.depth."),
    (r"\.attn\.project_out\.", ".attention.leave."),
    (r"\.attn\.", ".attention."),
    (r"\.ffn\.project_in\.", ".gate.enter."),
    (r"\.ffn\.dwconv\.", ".gate.depth."),
    (r"\.ffn\.project_out\.", ".gate.leave."),
    (r"\.norm1\.body\.", ".attention_norm."),
    (r"\.norm2\.body\.", ".gate_norm."),
)
LEVEL = re.compile(r"^(encoder|decoder|down|up|reduce)\.(\d)\.")


def settings(tensors: Tensors) -> Settings:
    """Read width, blocks, heads, kind of norm and channels.

    Raises:
        LayoutError: A level is missing, or the network takes two views at once (dual-pixel deblurring).
    """
    dim, channels = layout.shape(tensors, "patch_embed.proj.weight")[:2]
    made = layout.shape(tensors, "output.weight")[0]
    if made != channels:
        raise LayoutError(f"it takes {channels} channels and makes {made}; only single pictures can be restored here")
    return {
        "dim": dim,
        "channels": channels,
        "blocks": [count(tensors, stage) for stage in STAGES],
        "refinement": count(tensors, "refinement"),
        "heads": [layout.shape(tensors, f"{stage}.0.attn.temperature")[0] for stage in STAGES],
        "expansion": expansion(tensors),
        "norm": "with-bias" if "encoder_level1.0.norm1.body.bias" in tensors else "bias-free",
    }


def count(tensors: Tensors, stage: str) -> int:
    """Number of blocks of a stage."""
    found = re.compile(rf"{stage}\.(\d+)\.")
    return len({match[1] for key in tensors if (match := found.match(key))})


def expansion(tensors: Tensors) -> float:
    """Find the factor whose products with the four widths, rounded down, are the widths of the feed-forwards.

    Returns:
        Two decimals where they suffice, as in all published networks.
    """
    pairs = [tuple(layout.shape(tensors, f"{stage}.0.ffn.project_out.weight")[:2]) for stage in STAGES]
    lowest = max(hidden / width for width, hidden in pairs)
    rounded = math.ceil(100 * lowest) / 100
    fits = all(int(rounded * width) == hidden for width, hidden in pairs)
    return rounded if fits else lowest + 1e-9


def rename(tensors: Tensors) -> Tensors:
    """Give our names to all tensors; official levels count from one, ours from zero."""
    renamed: Tensors = {}
    for key, tensor in tensors.items():
        for pattern, name in NAMES:
            key = re.sub(pattern, name, key)
        renamed[LEVEL.sub(lambda match: f"{match[1]}.{int(match[2]) - 1}.", key)] = tensor
    return renamed


LAYOUTS = {
    "restormer": Layout(
        card="ufrgan-full",
        build=restormer.Restormer,
        settings=settings,
        rename=rename,
        checked=True,
        terms="academic, non-commercial use only: the licence of https://github.com/swz30/Restormer",
    )
}

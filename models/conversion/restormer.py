"""Restormer: the state dicts of swz30/Restormer, whose settings stand in the shapes of their tensors."""

import math

from models import restormer
from models.conversion import layout
from models.conversion.layout import Layout, Settings, Tensors

# Blocks that are alike: their stages, how many times wider than the first ones they are, and the level of their heads.
BLOCKS = (
    ("encoder_level1", 1, 0),
    ("(?:decoder_level1|refinement)", 2, 0),
    ("(?:en|de)coder_level2", 2, 1),
    ("(?:en|de)coder_level3", 4, 2),
    ("latent", 8, 3),
)
STAGES = ("(?:en|de)coder_level1", "(?:en|de)coder_level2", "(?:en|de)coder_level3", "latent")  # levels, top down
USUAL = {"blocks": (4, 6, 6, 8), "heads": (1, 2, 4, 8), "refinement": 4, "dim": 48, "expansion": 2.66}
NAMES = (
    (r"^enter\.", "patch_embed.proj."),
    (r"^leave\.", "output."),
    (r"^down\.(\d)\.", lambda match: f"down{int(match[1]) + 1}_{int(match[1]) + 2}.body."),
    (r"^up\.(\d)\.", lambda match: f"up{int(match[1]) + 2}_{int(match[1]) + 1}.body."),
    (r"^(en|de)coder\.(\d)\.", lambda match: f"{match[1]}coder_level{int(match[2]) + 1}."),
    (r"^reduce\.(\d)\.", lambda match: f"reduce_chan_level{int(match[1]) + 1}."),
    (r"\.attention\.depth\.", ".attn.qkv_dwconv."),
    (r"\.attention\.leave\.", ".attn.project_out."),
    (r"\.attention\.", ".attn."),
    (r"\.gate\.enter\.", ".ffn.project_in."),
    (r"\.gate\.depth\.", ".ffn.dwconv."),
    (r"\.gate\.leave\.", ".ffn.project_out."),
    (r"\.attention_norm\.", ".norm1.body."),
    (r"\.gate_norm\.", ".norm2.body."),
)


def settings(tensors: Tensors) -> Settings:
    """Read width, blocks, heads, kind of norm and channels; a number that several blocks tell is that of most."""
    dim = layout.majority(read(tensors, r"norm\d\.body\.weight", 0), USUAL["dim"])
    gains, offsets = (sum(f".body.{leaf}" in key for key in tensors if ".norm" in key) for leaf in ("weight", "bias"))
    counts = [count(tensors, stage) for stage in STAGES]
    made = layout.votes(tensors, r"output\.weight", 0) + layout.votes(tensors, r"patch_embed\.proj\.weight", 1)
    return {
        "dim": dim,
        "channels": 1 if set(made) == {1} else 3,
        "blocks": [found or usual for found, usual in zip(counts, USUAL["blocks"], strict=True)],
        "refinement": count(tensors, "refinement") if any(counts) else USUAL["refinement"],
        "heads": [heads(tensors, level, dim << level) for level in range(len(STAGES))],
        "expansion": expansion(tensors, dim),
        "norm": "with-bias" if 2 * offsets >= gains else "bias-free",
    }


def read(tensors: Tensors, leaf: str, axis: int) -> list[int]:
    """Read an axis of a tensor of every block, as it would be in the first stage."""
    found = (layout.votes(tensors, rf"{stages}\.\d+\.{leaf}", axis, share=wider) for stages, wider, _ in BLOCKS)
    return [vote for votes in found for vote in votes]


def count(tensors: Tensors, stage: str) -> int:
    """Number of blocks of a stage."""
    return layout.length(layout.numbers(tensors, rf"{stage}\.(\d+)\."))


def heads(tensors: Tensors, level: int, width: int) -> int:
    """Number of heads of a level, which divide its channels."""
    stages = "|".join(stages for stages, _, of in BLOCKS if of == level)
    found = layout.votes(tensors, rf"(?:{stages})\.\d+\.attn\.temperature", 0)
    return layout.majority([number for number in found if width % number == 0], USUAL["heads"][level])


def expansion(tensors: Tensors, dim: int) -> float:
    """Find the factor whose products with the four widths, rounded down, are the widths of the feed-forwards.

    Returns:
        Two decimals where they suffice, as in all published networks.
    """
    pairs = []
    for stages, wider, _ in BLOCKS:
        found = layout.votes(tensors, rf"{stages}\.\d+\.ffn\.project_out\.weight", 1)
        found += layout.votes(tensors, rf"{stages}\.\d+\.ffn\.(?:project_in|dwconv)\.weight", 0, share=2)
        if found:
            pairs.append((dim * wider, layout.majority(found, 0)))
    lowest = max((hidden / width for width, hidden in pairs), default=USUAL["expansion"])
    rounded = math.ceil(100 * lowest) / 100
    fits = all(int(rounded * width) == hidden for width, hidden in pairs)
    return rounded if fits else lowest + 1e-9


LAYOUTS = {
    "restormer": Layout(
        card="ufrgan-full",
        build=restormer.Restormer,
        settings=settings,
        official=layout.renamed(*NAMES),
        checked={"norm": "with-bias", "channels": 3},
        terms="academic, non-commercial use only: the licence of https://github.com/swz30/Restormer",
    )
}

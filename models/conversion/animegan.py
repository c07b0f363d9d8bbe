"""AnimeGANv2: the PyTorch port of the released weights (bryandlee/animegan2-pytorch).

Its blocks are `block_a` to `block_e`; in each of them 1 is the convolution and 2 the norm. Unlike the released graph it
aligns corners when it doubles a map, and its norms add 1e-5.
"""

from models import animegan
from models.conversion import layout
from models.conversion.layout import Layout

NAMES = (
    (r"^paint\.", "out_layer.0."),
    (r"\.widen\.", ".layers.0."),
    (r"\.depth\.", ".layers.1."),
    (r"\.narrow\.0\.", ".layers.2."),
    (r"\.narrow\.1\.", ".layers.3."),
    (r"\.conv\.", ".1."),
    (r"\.norm\.", ".2."),
    (r"^([abc])\.", r"block_\1."),
    # These two begin with a doubling, which has no weights.
    (r"^([de])\.(\d)\.", lambda match: f"block_{match[1]}.{int(match[2]) - 1}."),
)


def port(upsample: str) -> Layout:
    """Make the layout for one way of doubling maps."""
    return Layout(
        card="animeganv2",
        build=animegan.AnimeGANv2,
        settings=lambda _: {"upsample": upsample},
        official=layout.renamed(*NAMES),
        options={"epsilon": 1e-5},
        terms="non-commercial; ask the authors of AnimeGANv2 before anything else",
    )


LAYOUTS = {"animeganv2": port("aligned"), "animeganv2-half-pixel": port("half-pixel")}

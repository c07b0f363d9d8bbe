"""U-Net: the annotated implementation of labml (padded, transposed convolutions), with three channels in and out.

It ends without the tanh that ours has.
"""

from models import unet
from models.conversion import layout
from models.conversion.layout import Layout

NAMES = (
    (r"^down\.(\d+)\.", r"down_conv.\1."),
    (r"^middle\.", "middle_conv."),
    (r"^up\.(\d+)\.", r"up_sample.\1.up."),
    (r"^fuse\.(\d+)\.", r"up_conv.\1."),
    (r"^paint\.", "final_conv."),
    (r"^(down_conv\.\d+|middle_conv|up_conv\.\d+)\.0\.", r"\1.first."),
    (r"^(down_conv\.\d+|middle_conv|up_conv\.\d+)\.2\.", r"\1.second."),
)

LAYOUTS = {
    "unet": Layout(
        card="unet",
        build=unet.UNet,
        sizes={"width": "."},
        official=layout.renamed(*NAMES),
        terms="MIT code (labmlai/annotated_deep_learning_paper_implementations); ask for the weights' own terms",
    )
}

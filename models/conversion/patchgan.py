"""`patchgan`, the discriminator of pytorch-CycleGAN-and-pix2pix, and `srresnet`, the generator of SRGAN-PyTorch."""

from models import discriminators, patchgan_sr
from models.conversion import cyclegan, layout
from models.conversion.layout import Layout, Settings, Tensors

SRRESNET = (
    (r"^enter\.", "conv1."),
    (r"^(trunk\.\d+)\.body\.", r"\1.rcb."),
    (r"^fuse\.", "conv2."),
    (r"^up\.(\d+)\.", r"upsampling.\1.upsample_block."),
    (r"^leave\.", "conv3."),
)


def patchgan_settings(tensors: Tensors) -> Settings:
    """Read depth and normalisation; after the first convolution, each stage takes three places from the second on."""
    places = layout.numbers(tensors, r"model\.(\d+)\.")
    convs = layout.length({(place - 2) // 3 for place in places if place % 3 == 2})
    stages = [f"model.{2 + 3 * stage}" for stage in range(convs - 1)]
    return {"depth": len(stages) or 3, "norm": cyclegan.norm(tensors, stages, "instance")}


def srresnet_settings(tensors: Tensors) -> Settings:
    """Count the blocks."""
    return {"blocks": layout.length(layout.numbers(tensors, r"trunk\.(\d+)\.")) or 16}


LAYOUTS = {
    "patchgan": Layout(
        card=None,
        build=discriminators.PatchGAN,
        settings=patchgan_settings,
        sizes={"inputs": ".", "channels": "."},
        tidy=cyclegan.tidy,
        checked={"norm": "instance"},
        terms=cyclegan.TERMS,
    ),
    "srresnet": Layout(
        card="patchgan-sr",
        build=patchgan_sr.SRResNet,
        settings=srresnet_settings,
        sizes={"channels": "."},
        official=layout.renamed(*SRRESNET),
        terms="Apache-2.0 (SRGAN-PyTorch)",
    ),
}

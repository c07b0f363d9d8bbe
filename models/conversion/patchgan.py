"""`patchgan`, the discriminator of pytorch-CycleGAN-and-pix2pix, and `srresnet`, the generator of SRGAN-PyTorch."""

import re

from models import discriminators, patchgan_sr
from models.conversion import cyclegan, layout
from models.conversion.layout import Layout, Settings, Tensors

CONV = re.compile(r"model\.\d+\.weight")
BLOCK = re.compile(r"trunk\.\d+\.rcb\.0\.weight")
# in order: each name is replaced once, at the start of a key
SRRESNET = (
    (re.compile(r"conv1\."), "enter."),
    (re.compile(r"(trunk\.\d+)\.rcb\."), r"\1.body."),
    (re.compile(r"conv2\."), "fuse."),
    (re.compile(r"upsampling\.(\d+)\.upsample_block\."), r"up.\1."),
    (re.compile(r"conv3\."), "leave."),
)


def patchgan_settings(tensors: Tensors) -> Settings:
    """Read channels in, width, depth and normalisation; the stages stand between two convolutions without one."""
    channels, inputs = layout.shape(tensors, "model.0.weight")[:2]
    convs = [key for key, value in tensors.items() if CONV.fullmatch(key) and value.ndim == 4]
    norm = cyclegan.norm(tensors, "model.2")
    return {"inputs": inputs, "channels": channels, "depth": len(convs) - 2, "norm": norm}


def rename_patchgan(tensors: Tensors) -> Tensors:
    """Keep the names; leave out what instance norms do not need."""
    instance = cyclegan.norm(tensors, "model.2") == "instance"
    return cyclegan.without_statistics(tensors) if instance else tensors


def srresnet_settings(tensors: Tensors) -> Settings:
    """Read width and blocks."""
    channels = layout.shape(tensors, "conv1.0.weight")[0]
    return {"channels": channels, "blocks": sum(BLOCK.fullmatch(key) is not None for key in tensors)}


def rename_srresnet(tensors: Tensors) -> Tensors:
    """Give our names to the parts of the network."""
    found = {}
    for key, value in tensors.items():
        match = next(((pattern, ours) for pattern, ours in SRRESNET if pattern.match(key)), None)
        found[match[0].sub(match[1], key, count=1) if match else key] = value
    return found


LAYOUTS = {
    "patchgan": Layout(
        card=None,
        build=discriminators.PatchGAN,
        settings=patchgan_settings,
        rename=rename_patchgan,
        checked=True,
        terms=cyclegan.TERMS,
    ),
    "srresnet": Layout(
        card="patchgan-sr",
        build=patchgan_sr.SRResNet,
        settings=srresnet_settings,
        rename=rename_srresnet,
        terms="Apache-2.0 (SRGAN-PyTorch)",
    ),
}

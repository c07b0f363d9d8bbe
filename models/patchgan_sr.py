"""The PatchGAN upscaler: SRResNet as generator, 64 to 256 px, against a 70 x 70 PatchGAN.

Source: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network (Ledig et al., 2017),
section 2.1 and figure 4 (generator); Image-to-Image Translation with Conditional Adversarial Networks (Isola et al.,
2017), sections 3.1 and 3.2.2 (discriminator, and the conditional form of it).
"""

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn

from models import discriminators, image
from models.card import ModelCard
from models.image import Images
from models.layers import Features

SCALE = 4
LargeImages = Float[Tensor, "batch 3 4*height 4*width"]


class Residual(nn.Module):
    """Two 3 x 3 convolutions without bias, batch norm after each, PReLU between them, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*fuse(channels), nn.PReLU(), *fuse(channels))

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        return x + self.body(x)


class SRResNet(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["super-resolution"]):
    """Residual blocks at the small size, then two doublings by pixel shuffle (1,547,350 parameters).

    Args:
        channels: Channels of the blocks.
        blocks: How many.
    """

    def __init__(self, *, channels: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), nn.PReLU())
        self.trunk = nn.Sequential(*(Residual(channels) for _ in range(blocks)))
        self.fuse = nn.Sequential(*fuse(channels))
        self.up = nn.Sequential(*(double(channels) for _ in range(2)))
        self.leave = nn.Conv2d(channels, 3, 9, padding=4)

    def native(self, small: Float[Tensor, "batch 3 height width"]) -> LargeImages:
        """Enlarge RGB in [0, 1] four times."""
        entered = self.enter(small)
        return self.leave(self.up(entered + self.fuse(self.trunk(entered)))).float()

    def forward(self, images: Images) -> LargeImages:
        """Map images (B, 3, H, W) to (B, 3, 4H, 4W), RGB in about [-1, 1]."""
        return 2 * self.native((images + 1) / 2) - 1


def fuse(channels: int) -> tuple[nn.Module, nn.Module]:
    """Make a 3 x 3 convolution without bias and its batch norm."""
    return nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)


def double(channels: int) -> nn.Sequential:
    """Make a stage that doubles a map: 3 x 3 to the four pixels under each one, shuffle, PReLU."""
    return nn.Sequential(nn.Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())


def discriminator(*, conditional: bool = True) -> discriminators.PatchGAN:
    """Make the judge of enlarged images.

    Args:
        conditional: It also sees the small image, through `condition` (2,767,809 parameters); else the enlarged one
            alone (2,764,737).
    """
    return discriminators.PatchGAN(inputs=6 if conditional else 3)


def condition(
    images: Float[Tensor, "batch 3 large_height large_width"], small: Images
) -> Float[Tensor, "batch 6 large_height large_width"]:
    """Show a conditional discriminator an enlarged image together with what it was made of.

    Args:
        images: Real or generated, RGB in [-1, 1].
        small: The generator's input; it is enlarged by `image.resize`, bicubically.

    Returns:
        The enlargement's channels, then the image's.
    """
    height, width = images.shape[-2:]
    return torch.cat([image.resize(small, height=height, width=width), images], dim=1)


CARDS = (
    ModelCard(
        name="patchgan-sr",
        title="PatchGAN upscaler (SRResNet)",
        task="upscale",
        build=SRResNet,
        multiple=1,
        scale=SCALE,
        min_side=32,
        paper="Photo-Realistic Single Image Super-Resolution Using a GAN (Ledig et al., 2017), "
        "https://arxiv.org/abs/1609.04802",
        licence="architecture only",
        released="Apache-2.0 (SRGAN-PyTorch)",
        note="SRResNet judged by pix2pix's 70 x 70 PatchGAN instead of SRGAN's whole-image discriminator, because that "
        "is the experiment repeated here. RGB in [0, 1] on both sides, as in the port whose weights fit; the paper "
        "makes [-1, 1].",
    ),
)

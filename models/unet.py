"""U-Net as a translator, with transposed convolutions or three ways of nearest-neighbour upsampling: an ablation.

Source: U-Net (Ronneberger, Fischer and Brox, 2015), section 2 and figure 1, padded so that the size is kept.
"""

import functools

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn
from torch.nn import functional as F

from models import layers
from models.card import ModelCard
from models.image import Images
from models.layers import Features

UPSAMPLES = ("transposed", "nearest", "nearest1", "nearest-concat")
DEPTH = 4


class UNet(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "anime"]):
    """Four halvings by max pooling, four doublings, skips that are concatenated (31,031,875 parameters).

    Args:
        width: Channels at full size; every halving doubles them.
        upsample: How a doubling halves the channels: "transposed" by a 2 x 2 transposed convolution; after a
            nearest-neighbour enlargement, "nearest" by a 3 x 3 convolution (34,513,475) and "nearest1" by a 1 x 1 one
            (28,942,915); "nearest-concat" not at all, so that the next block sees more channels (31,379,075).

    Raises:
        ValueError: The way of upsampling is unknown.
    """

    def __init__(self, *, width: int = 64, upsample: str = "transposed") -> None:
        super().__init__()
        if upsample not in UPSAMPLES:
            raise ValueError(f"upsample is {upsample!r}; expected one of {', '.join(UPSAMPLES)}.")
        widths = [width * 2**number for number in range(DEPTH + 1)]
        inputs = [3, *widths]
        self.down = nn.ModuleList(convolve_twice(inputs[i], inputs[i + 1]) for i in range(DEPTH))
        self.middle = convolve_twice(widths[-2], widths[-1])
        upper = widths[DEPTH - 1 :: -1]
        kept = 2 if upsample == "nearest-concat" else 1
        self.up = nn.ModuleList(double(2 * channels, upsample) for channels in upper)
        self.fuse = nn.ModuleList(convolve_twice((kept + 1) * channels, channels) for channels in upper)
        self.paint = nn.Conv2d(width, 3, 1)
        self.apply(layers.initialize_he)

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), H and W multiples of 16, RGB in [-1, 1], to its anime version, the same shape."""
        x, skips = photo, []
        for block in self.down:
            skips.append(block(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.middle(x)
        for up, fuse in zip(self.up, self.fuse, strict=True):
            x = fuse(torch.cat([up(x), skips.pop()], dim=1))
        return self.paint(x).float().tanh()


def convolve_twice(inputs: int, outputs: int) -> nn.Sequential:
    """Make two padded 3 x 3 convolutions, each with a ReLU."""
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


def double(channels: int, upsample: str) -> nn.Module:
    """Make a layer that doubles height and width, and halves the channels unless `upsample` is "nearest-concat"."""
    if upsample == "transposed":
        return nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
    nearest = nn.Upsample(scale_factor=2)
    if upsample == "nearest-concat":
        return nearest
    kernel = 3 if upsample == "nearest" else 1
    return nn.Sequential(nearest, nn.Conv2d(channels, channels // 2, kernel, padding=kernel // 2))


def checkerboard(features: Features, *, margin: int = 4) -> float:
    """Measure the checkerboard that a layer draws when it doubles a constant map.

    Such a map should be constant again. Whatever tells its pixels apart by even or odd row and column is an artefact.

    Args:
        features: Map (B, C, 2H, 2W), made from one whose pixels are all alike.
        margin: Pixels to leave out along each border, an even number: padding is seen there.

    Returns:
        Share of the map's energy that lies in the differences between the four phases, in [0, 1]; 0 without artefact,
        0.75 where the phases have nothing in common.
    """
    inner = features[..., margin:-margin, margin:-margin]
    phases = torch.stack([inner[..., row::2, column::2] for row in (0, 1) for column in (0, 1)])  # (4, B, C, h, w)
    return ((phases - phases.mean(dim=0)).square().sum() / phases.square().sum()).item()


PAPER = "U-Net (Ronneberger, Fischer and Brox, 2015), https://arxiv.org/abs/1505.04597"
CARDS = (
    ModelCard(
        name="unet",
        title="U-Net, transposed convolutions",
        task="translate",
        build=UNet,
        multiple=16,
        paper=PAPER,
        licence="architecture only",
        released="MIT code (annotated deep learning papers, labml.ai)",
        note="A segmentation network as a translator, to compare ways of doubling: padded, so that the size is kept, "
        "and RGB through a tanh. Its transposed convolutions draw checkerboards while untrained.",
    ),
    ModelCard(
        name="unet-nn",
        title="U-Net, nearest neighbour",
        task="translate",
        build=functools.partial(UNet, upsample="nearest"),
        multiple=16,
        paper=PAPER,
        licence="architecture only",
        note="As `unet`, with nearest-neighbour upsampling and a 3 x 3 convolution, which starts without a "
        "checkerboard. That takes more parameters, not fewer: the transposed convolutions that it replaces are only 2 "
        "x 2.",
    ),
    ModelCard(
        name="unet-small",
        title="U-Net, nearest neighbour, small",
        task="translate",
        build=functools.partial(UNet, width=10, upsample="nearest"),
        multiple=16,
        paper=PAPER,
        licence="architecture only",
        note="As `unet-nn` with 10 channels instead of 64 at full size, small enough to be shipped.",
    ),
)

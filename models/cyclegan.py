"""CycleGAN's residual generator, and the U-Net of pix2pix, which can take its place.

Source: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu et al., 2017),
appendix 7.2; Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017), appendix 6.1; and
the released code for padding and biases. A translation has two such generators and two `discriminators.PatchGAN`.
"""

import functools
import itertools
from collections.abc import Callable

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn
from torch.nn import functional as F

from models import discriminators, image, layers
from models.card import ModelCard
from models.image import Images
from models.layers import Features

Norm = Callable[[int], nn.Module]
NORMS: dict[str, Norm] = {"instance": layers.InstanceNorm, "batch": nn.BatchNorm2d}
UPSAMPLES = ("transposed", "nearest")
SLOPE = 0.2
WIDEST = 8  # the U-Net's channels stop doubling here
DROPOUT = 0.5


class Residual(nn.Module):
    """Two reflection-padded 3 x 3 convolutions, added to the input; no activation follows the sum.

    Args:
        channels: Channels in and out.
        norm: A name in NORMS; a convolution before a batch norm has no bias.
        dropout: Drop half of the values between the convolutions, in training.
    """

    def __init__(self, channels: int, *, norm: str = "instance", dropout: bool = False) -> None:
        super().__init__()
        convolve = functools.partial(nn.Conv2d, channels, channels, 3, bias=norm == "instance")
        self.conv_block = nn.Sequential(
            *(nn.ReflectionPad2d(1), convolve(), NORMS[norm](channels), nn.ReLU(inplace=True)),
            *([nn.Dropout(DROPOUT)] if dropout else []),
            *(nn.ReflectionPad2d(1), convolve(), NORMS[norm](channels)),
        )

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        return x + self.conv_block(x)


class CycleGAN(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "anime"]):
    """The residual generator of one direction: 11,378,179 parameters with nine blocks, 7,837,699 with six.

    Keys are those of the released code.

    Args:
        channels: Channels at full size; they double at each of two halvings.
        blocks: Residual blocks at a quarter of the size: the paper takes six for 128 px and nine from 256 px up.
        norm: A name in NORMS; the paper's is "instance", without gain and offset.
        upsample: The paper's "transposed" convolutions, or "nearest" neighbours and a convolution, which leave no
            checkerboard and have as many parameters.
        dropout: Of the residual blocks, in training.

    Raises:
        ValueError: A name is unknown, or a number is not positive.
    """

    def __init__(
        self,
        *,
        channels: int = 64,
        blocks: int = 9,
        norm: str = "instance",
        upsample: str = "transposed",
        dropout: bool = False,
    ) -> None:
        super().__init__()
        if norm not in NORMS or upsample not in UPSAMPLES:
            known = f"{', '.join(NORMS)} and {', '.join(UPSAMPLES)}"
            raise ValueError(f"norm is {norm!r} and upsample {upsample!r}; expected one each of {known}.")
        if min(channels, blocks) < 1:
            raise ValueError(f"channels is {channels} and blocks {blocks}; expected at least 1 of each.")
        change = functools.partial(resize, norm=norm)
        enter = nn.Conv2d(3, channels, 7, bias=norm == "instance")
        self.model = nn.Sequential(
            *(nn.ReflectionPad2d(3), enter, NORMS[norm](channels), nn.ReLU(inplace=True)),
            *(*change(channels, 2 * channels), *change(2 * channels, 4 * channels)),
            *(Residual(4 * channels, norm=norm, dropout=dropout) for _ in range(blocks)),
            *change(4 * channels, 2 * channels, upsample=upsample),
            *change(2 * channels, channels, upsample=upsample),
            *(nn.ReflectionPad2d(3), nn.Conv2d(channels, 3, 7)),
        )
        self.apply(discriminators.initialize)

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), H and W multiples of 4, RGB in [-1, 1], to its translation of the same shape."""
        return self.model(photo).float().tanh()


def resize(inputs: int, outputs: int, *, norm: str, upsample: str = "") -> tuple[nn.Module, nn.Module, nn.Module]:
    """Make a stage that halves a map, or doubles it where `upsample` says how: convolution, normalisation, ReLU."""
    bias = norm == "instance"
    if not upsample:
        conv: nn.Module = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=bias)
    elif upsample == "transposed":
        conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=bias)
    else:
        conv = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias))
    return conv, NORMS[norm](outputs), nn.ReLU(inplace=True)


class UNet(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "anime"]):
    """The generator of pix2pix: halve until one pixel is left, double again, concatenate at every size.

    41,828,995 parameters with seven levels (U-Net-128), 54,413,955 with eight (U-Net-256).

    Args:
        channels: Channels after the first halving.
        depth: Halvings; sides that are no multiples of 2**depth are extended by their last pixel and cropped back.
        norm: A name in NORMS; the released U-Nets have "batch".
        dropout: Of the innermost decoder levels, in training; pix2pix keeps it as its noise when it predicts, too.

    Raises:
        ValueError: The norm is unknown, or there are fewer than two levels.
    """

    def __init__(self, *, channels: int = 64, depth: int = 7, norm: str = "batch", dropout: bool = False) -> None:
        super().__init__()
        if norm not in NORMS or depth < 2:
            raise ValueError(f"norm is {norm!r} and depth {depth}; expected {' or '.join(NORMS)}, and at least 2.")
        widths = [3, *(channels * min(2**level, WIDEST) for level in range(depth))]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (outer, inner) in enumerate(itertools.pairwise(widths)):
            last = level == depth - 1
            rate = DROPOUT if dropout and level >= 4 and not last else 0.0
            self.down.append(halve(outer, inner, norm=norm, first=level == 0, last=last))
            self.up.append(double(inner if last else 2 * inner, outer, norm=norm, first=level == 0, rate=rate))
        self.apply(discriminators.initialize)

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), RGB in [-1, 1], to its translation of the same shape."""
        height, width = photo.shape[-2:]
        multiple = 2 ** len(self.down)
        y = F.pad(photo, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        skips = []
        for stage in self.down:
            skips.append(y)
            y = stage(y)
        for stage in reversed(self.up[1:]):
            y = torch.cat([skips.pop(), stage(y)], dim=1)
        return image.crop(self.up[0](y).float(), (height, width)).tanh()


def halve(inputs: int, outputs: int, *, norm: str, first: bool, last: bool) -> nn.Sequential:
    """Make an encoder level: LeakyReLU but for the first, strided convolution, normalisation between the two ends."""
    stages = [
        nn.Identity() if first else nn.LeakyReLU(SLOPE),
        nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=norm == "instance"),
    ]
    return nn.Sequential(*stages, *([] if first or last else [NORMS[norm](outputs)]))


def double(inputs: int, outputs: int, *, norm: str, first: bool, rate: float) -> nn.Sequential:
    """Make a decoder level: ReLU, transposed convolution; but for the first, which paints, normalisation, dropout."""
    bias = first or norm == "instance"
    stages = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)]
    return nn.Sequential(*stages, *([] if first else [NORMS[norm](outputs), nn.Dropout(rate)]))


PAPER = "Unpaired Image-to-Image Translation using CycleGAN (Zhu et al., 2017), https://arxiv.org/abs/1703.10593"
RELEASED = "BSD-2-Clause (pytorch-CycleGAN-and-pix2pix)"
CARDS = (
    ModelCard(
        name="cyclegan",
        title="CycleGAN",
        task="translate",
        build=CycleGAN,
        multiple=4,
        paper=PAPER,
        licence="architecture only",
        released=RELEASED,
        note="One direction. Padding and biases, which the paper leaves open, are those of the released code, so that "
        "its weights fit.",
    ),
    ModelCard(
        name="cyclegan-resnet6",
        title="CycleGAN, six blocks",
        task="translate",
        build=functools.partial(CycleGAN, blocks=6),
        multiple=4,
        paper=PAPER,
        licence="architecture only",
        released=RELEASED,
        note="As `cyclegan`, with the six residual blocks that the paper takes at 128 px.",
    ),
    ModelCard(
        name="cyclegan-unet128",
        title="CycleGAN, U-Net",
        task="translate",
        build=UNet,
        multiple=128,
        min_side=128,
        paper="Image-to-Image Translation with Conditional GANs (Isola et al., 2017), https://arxiv.org/abs/1611.07004",
        licence="architecture only",
        released=RELEASED,
        note="The U-Net-128 of pix2pix in the generator's place, an option of the released code. Unlike pix2pix it "
        "predicts without dropout, so that the same photo always gives the same picture.",
    ),
    ModelCard(
        name="cyclegan-small",
        title="CycleGAN, small",
        task="translate",
        build=functools.partial(CycleGAN, channels=24, blocks=6),
        multiple=4,
        paper=PAPER,
        licence="architecture only",
        note="24 channels instead of 64 and six blocks instead of nine: small enough to be shipped, and to train on a "
        "CPU.",
    ),
)

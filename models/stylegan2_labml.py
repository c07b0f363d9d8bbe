"""StyleGAN2 as labml annotates it: no gains, LeakyReLU on the images too, bilinear resizing smoothed by [1, 2, 1].

Source: Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020), and the annotated implementation
(labml.ai) for what differs from the paper. Its networks are separate and made for [0, 1]: `native` is their own call.
"""

import itertools
from collections.abc import Sequence

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models import modulation
from models.image import Images
from models.layers import Features
from models.modulation import HALF, SLOPE, Vectors

GROUP = 4

Styles = Float[Tensor, "_blocks batch _width"]
Noise = Sequence[tuple[Tensor | None, Tensor | None]]  # of both convolutions of each block; the first block has one


def smooth(x: Features) -> Features:
    """Filter a map (B, C, H, W) by [1, 2, 1] / 4 on each axis, the border pixels repeated outside."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    rows = (padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]) / 4
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4


def upsample(x: Features) -> Features:
    """Double a map bilinearly, then smooth it."""
    return smooth(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


def downsample(x: Features) -> Features:
    """Smooth a map, then halve it bilinearly, which is the mean of each 2 x 2 pixels."""
    return F.avg_pool2d(smooth(x), 2)


def widths(resolution: int, *, narrowest: int, widest: int) -> list[int]:
    """Give the channels from the image's side down to 4 pixels: doubled at every halving, up to a limit.

    Raises:
        ValueError: The side is no power of two from 8 up, or there are no channels.
    """
    if resolution < 8 or resolution & (resolution - 1) or min(narrowest, widest) < 1:
        raise ValueError(
            f"resolution is {resolution}, channels {narrowest} to {widest}; expected a power of two from 8, and from 1"
        )
    return [min(narrowest << halvings, widest) for halvings in range(resolution.bit_length() - 2)]


class Mapping(nn.Module, PyTorchModelHubMixin, library_name="nijigen"):
    """Noise to a style (2,101,248 parameters).

    Args:
        width: Length of both.
        depth: Linear layers, each with LeakyReLU.
    """

    def __init__(self, *, width: int = 512, depth: int = 8) -> None:
        super().__init__()
        layers = ((modulation.Dense(width, width), nn.LeakyReLU(SLOPE)) for _ in range(depth))
        self.net = nn.Sequential(*itertools.chain.from_iterable(layers))

    def forward(self, latents: Vectors) -> Vectors:
        """Map noise (B, width), of which only the direction counts, to styles (B, width)."""
        return self.net(F.normalize(latents, dim=1)).float()


class StyleBlock(nn.Module):
    """Modulated 3 x 3 convolution, noise, offset, LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, *, width: int) -> None:
        super().__init__()
        self.to_style = modulation.Dense(width, inputs, bias=1.0)
        self.conv = modulation.EqualizedConvolution(inputs, outputs, 3, bias=False)
        self.scale_noise = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Features, style: Vectors, noise: Tensor | None) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H, W); noise (B, 1, H, W), in training drawn where there is none."""
        weight = self.conv.gain * self.conv.weight
        y = modulation.modulated_convolution(x, weight, self.to_style(style).float())
        if noise is None and self.training:
            noise = torch.randn_like(y[:, :1])
        if noise is not None:
            y = y + self.scale_noise * noise
        return F.leaky_relu(y + self.bias[:, None, None], SLOPE)


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to three channels, not demodulated, and LeakyReLU."""

    def __init__(self, inputs: int, *, width: int) -> None:
        super().__init__()
        self.to_style = modulation.Dense(width, inputs, bias=1.0)
        self.conv = modulation.EqualizedConvolution(inputs, 3, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Features, style: Vectors) -> Images:
        """Map (B, inputs, H, W) to (B, 3, H, W)."""
        weight = self.conv.gain * self.conv.weight
        y = modulation.modulated_convolution(x, weight, self.to_style(style).float(), demodulate=False)
        return F.leaky_relu(y + self.bias[:, None, None], SLOPE).float()


class Block(nn.Module):
    """Two convolutions at one size, and what they show."""

    def __init__(self, inputs: int, outputs: int, *, width: int) -> None:
        super().__init__()
        self.style_block1 = StyleBlock(inputs, outputs, width=width)
        self.style_block2 = StyleBlock(outputs, outputs, width=width)
        self.to_rgb = ToRGB(outputs, width=width)

    def forward(
        self, x: Features, style: Vectors, noise: tuple[Tensor | None, Tensor | None]
    ) -> tuple[Features, Images]:
        """Map (B, inputs, H, W) to (B, outputs, H, W) and an image; one style serves all three layers."""
        y = self.style_block2(self.style_block1(x, style, noise[0]), style, noise[1])
        return y, self.to_rgb(y, style)


class Generator(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-generation", "anime"]):
    """Styles to an image (6,232,312 parameters at 64 pixels, 17,250,562 at 256; the mapping is another network).

    Args:
        resolution: Side of the images, in pixels.
        narrowest: Channels at that side; doubled at every halving.
        widest: Channels at most.
        width: Length of a style.

    Raises:
        ValueError: The side is no power of two from 8 up, or there are no channels.
    """

    def __init__(self, *, resolution: int = 64, narrowest: int = 32, widest: int = 512, width: int = 512) -> None:
        super().__init__()
        channels = widths(resolution, narrowest=narrowest, widest=widest)[::-1]
        self.initial_constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.style_block = StyleBlock(channels[0], channels[0], width=width)
        self.to_rgb = ToRGB(channels[0], width=width)
        pairs = itertools.pairwise(channels)
        self.blocks = nn.ModuleList(Block(inputs, outputs, width=width) for inputs, outputs in pairs)

    def forward(self, styles: Styles, noise: Noise | None = None) -> Images:
        """Map styles to images (B, 3, side, side), meant for [-1, 1] but not clamped; arguments as of `native`."""
        return 2 * self.native(styles, noise) - 1

    def native(self, styles: Styles, noise: Noise | None = None) -> Images:
        """Map styles to images meant for [0, 1].

        Args:
            styles: One for each size (sizes, B, width).
            noise: Standard normal (B, 1, side, side) at each size's two convolutions, the first of which is missing at
                4 pixels. None: drawn in training, else left out.
        """
        given = noise or [(None, None)] * len(styles)
        x = self.initial_constant.expand(styles.shape[1], -1, -1, -1)
        x = self.style_block(x, styles[0], given[0][1])
        image = self.to_rgb(x, styles[0])
        for number, block in enumerate(self.blocks, start=1):
            x, shown = block(upsample(x), styles[number], given[number])
            image = upsample(image) + shown
        return image


class Residual(nn.Module):
    """Two convolutions and a halving, beside a linear path."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = modulation.EqualizedConvolution(inputs, outputs, 1)
        self.conv1 = modulation.EqualizedConvolution(inputs, inputs, 3, padding=1)
        self.conv2 = modulation.EqualizedConvolution(inputs, outputs, 3, padding=1)

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H/2, W/2)."""
        y = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), SLOPE)), SLOPE)
        return HALF * (downsample(y) + self.residual(downsample(x)))


class Discriminator(nn.Module, PyTorchModelHubMixin, library_name="nijigen"):
    """Residual discriminator (9,850,319 parameters at 64 pixels, 19,814,863 at 256).

    Args:
        resolution: Side of the images, in pixels.
        narrowest: Channels at that side, twice the generator's by default; doubled at every halving.
        widest: Channels at most.

    Raises:
        ValueError: The side is no power of two from 8 up, or there are no channels.
    """

    def __init__(self, *, resolution: int = 64, narrowest: int = 64, widest: int = 512) -> None:
        super().__init__()
        channels = widths(resolution, narrowest=narrowest, widest=widest)
        last = channels[-1] + 1
        self.from_rgb = modulation.EqualizedConvolution(3, channels[0], 1)
        self.blocks = nn.Sequential(*(Residual(*pair) for pair in itertools.pairwise(channels)))
        self.conv = modulation.EqualizedConvolution(last, last, 3)
        self.final = modulation.Dense(4 * last, 1)

    def forward(self, images: Images) -> Float[Tensor, "batch 1"]:
        """Map images (B, 3, side, side), RGB in [-1, 1], to logits (B, 1); B is a multiple of 4."""
        return self.native((images + 1) / 2)

    def native(self, images: Images) -> Float[Tensor, "batch 1"]:
        """Map images in [0, 1] to logits (B, 1).

        Raises:
            ValueError: The batch is no multiple of 4.
        """
        x = self.blocks(F.leaky_relu(self.from_rgb(images - 0.5), SLOPE))
        return self.final(self.conv(append_deviation(x)).flatten(1)).float()


def append_deviation(x: Features) -> Features:
    """Append one value to a batch, as one more channel: how much every fourth part differs from the other three.

    Args:
        x: Map (B, C, H, W).

    Returns:
        Map (B, C + 1, H, W); the last channel is the sample standard deviation, averaged over the whole batch.

    Raises:
        ValueError: The batch is no multiple of 4.
    """
    count, _, height, width = x.shape
    if count % GROUP:
        raise ValueError(f"the batch has {count} images; expected a multiple of {GROUP}.")
    deviation = (x.float().reshape(GROUP, -1).var(dim=0) + modulation.TINY).sqrt().mean()
    return torch.cat([x, deviation.expand(count, 1, height, width)], dim=1)

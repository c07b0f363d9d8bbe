"""What style-based generators are made of: equalised layers, modulated convolutions, low-pass resampling."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models.image import Images
from models.layers import Features

SLOPE = 0.2
GAIN = math.sqrt(2)  # of a LeakyReLU, so that it keeps the second moment
HALF = math.sqrt(0.5)  # of a sum of two branches, likewise
TINY = 1e-8
TAPS = (1.0, 3.0, 3.0, 1.0)

Vectors = Float[Tensor, "batch _width"]
Taps = Float[Tensor, "4 4"]
NoiseMode = Literal["const", "random", "none"]


def activate(x: Tensor) -> Tensor:
    """LeakyReLU 0.2 with its gain."""
    return GAIN * F.leaky_relu(x, SLOPE)


def normalize(x: Vectors) -> Vectors:
    """Divide each vector by its root mean square."""
    return x * (x.square().mean(dim=1, keepdim=True) + TINY).rsqrt()


class Dense(nn.Module):
    """Linear layer with an equalised learning rate: weights start at N(0, 1) and are scaled when used.

    Args:
        rate: Learning rate of the layer, relative to the optimiser's.
        bias: What all offsets start at.

    Source:
        Progressive Growing of GANs (Karras et al., 2018), section 4.1.
    """

    def __init__(self, inputs: int, outputs: int, *, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.rate, self.gain = rate, rate / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))

    def forward(self, x: Vectors) -> Vectors:
        """Map (B, inputs) to (B, outputs)."""
        return F.linear(x, self.gain * self.weight, self.rate * self.bias)


class EqualizedConvolution(nn.Module):
    """Convolution with an equalised learning rate.

    Args:
        kernel: Side of the kernel, in pixels.
        padding: Zeros around the map.
        bias: Add a learned offset.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, padding: int = 0, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.padding, self.stride, self.gain = padding, stride, 1 / math.sqrt(inputs * kernel**2)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, (H + 2 * padding - kernel) // stride + 1, ...)."""
        return F.conv2d(x, self.gain * self.weight, self.bias, stride=self.stride, padding=self.padding)


class SynthesisLayer(nn.Module):
    """Modulated convolution, noise, offset, LeakyReLU.

    Args:
        width: Length of the style.
        side: Of the output, in pixels; the input has half of it where `double` is on.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int, side: int, double: bool = False) -> None:
        super().__init__()
        self.doubles = double
        self.affine = Dense(width, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.noise_const: Tensor
        self.resample_filter: Tensor
        self.register_buffer("noise_const", torch.randn(side, side))
        self.register_buffer("resample_filter", resample_filter())

    def forward(self, x: Features, style: Vectors, *, noise: NoiseMode) -> Features:
        """Map (B, inputs, ...) to (B, outputs, side, side)."""
        taps = self.resample_filter if self.doubles else None
        y = modulated_convolution(x, self.weight, self.affine(style).float(), taps=taps)
        if noise == "random":
            y = y + self.noise_strength * torch.randn_like(y[:, :1])
        elif noise == "const":
            y = y + self.noise_strength * self.noise_const
        return activate(y + self.bias[:, None, None])


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to three channels, neither demodulated nor bounded."""

    def __init__(self, inputs: int, *, width: int) -> None:
        super().__init__()
        self.gain = 1 / math.sqrt(inputs)
        self.affine = Dense(width, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Features, style: Vectors) -> Images:
        """Map (B, inputs, H, W) to (B, 3, H, W)."""
        styles = self.gain * self.affine(style).float()
        y = modulated_convolution(x, self.weight, styles, demodulate=False)
        return (y + self.bias[:, None, None]).float()


def modulated_convolution(
    x: Features, weight: Tensor, styles: Vectors, *, taps: Taps | None = None, demodulate: bool = True
) -> Features:
    """Convolve with a kernel whose input channels each image scales by its style.

    Scaling the map before and after is the same as a kernel per image, and takes one convolution for the batch.

    Args:
        x: Map (B, I, H, W).
        weight: Kernel (O, I, k, k), k odd; the map is padded with zeros.
        styles: Scales (B, I).
        taps: The filter that follows the doubling of the map; None keeps its size. A doubling kernel is 3 x 3, and
            mirrored with respect to the others, as in the released code.
        demodulate: Divide each output channel by the norm of its scaled kernel.

    Returns:
        Map (B, O, H, W), or (B, O, 2H, 2W).

    Source:
        Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020), equations 1 and 3.
    """
    scaled = x * styles[:, :, None, None]
    if taps is None:
        y = F.conv2d(scaled, weight, padding=weight.shape[-1] // 2)
    else:
        y = F.conv_transpose2d(scaled, weight.transpose(0, 1), stride=2)  # (B, O, 2H+1, 2W+1)
        y = blur(y, taps, padding=1, gain=4)
    if not demodulate:
        return y
    energy = weight.square().sum(dim=(2, 3))  # (O, I)
    norms = (styles.square()[:, None] * energy).sum(dim=2) + TINY  # (B, O)
    return y * norms.rsqrt()[:, :, None, None]


def resample_filter() -> Taps:
    """Make the low-pass filter of all resampling: [1, 3, 3, 1] on each axis, sum 1."""
    taps = torch.tensor(TAPS)
    return taps.outer(taps) / sum(TAPS) ** 2


def blur(x: Features, taps: Taps, *, padding: int, stride: int = 1, gain: float = 1.0) -> Features:
    """Convolve every channel of a map (B, C, H, W) with the filter; `gain` 4 makes up for zeros between the pixels."""
    channels = x.shape[1]
    kernel = (gain * taps.flip(0, 1)).expand(channels, 1, -1, -1)
    return F.conv2d(x, kernel, padding=padding, stride=stride, groups=channels)


def upsample(x: Features, taps: Taps) -> Features:
    """Double a map (B, C, H, W): put a zero after every pixel, filter: 3/4 of the nearest, 1/4 of the next."""
    channels = x.shape[1]
    kernel = (4 * taps).expand(channels, 1, -1, -1)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


def append_deviation(x: Features, group: int) -> Features:
    """Append how much the images of a group differ, as one more channel.

    Args:
        x: Map (B, C, H, W); group k of n holds the images k, k + n, k + 2n, ...
        group: Images in each group; all of them where the batch is smaller.

    Returns:
        Map (B, C + 1, H, W); the last channel is the standard deviation over the group, averaged over all else.

    Raises:
        ValueError: The batch is no multiple of the group.

    Source:
        Progressive Growing of GANs (Karras et al., 2018), section 3.
    """
    count, _, height, width = x.shape
    group = min(group, count)
    if count % group:
        raise ValueError(f"the batch has {count} images; expected a multiple of {group}, the group of the statistic.")
    variances = x.float().unflatten(0, (group, -1)).var(dim=0, correction=0)  # (n, C, H, W)
    deviations = (variances + TINY).sqrt().mean(dim=(1, 2, 3))
    return torch.cat([x, deviations.repeat(group)[:, None, None, None].expand(-1, 1, height, width)], dim=1)

"""Networks that read the manner of a picture as a few numbers: MobileNetV2 and Inception-v3. Blocks, no family."""

import functools
import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models import layers
from models.layers import Features

Styles = Float[Tensor, "styles 3 rows columns"]
Bottleneck = Float[Tensor, "styles _numbers"]
Norm = Literal["batch", "folded"]
Chain = tuple[tuple[int, int, int], ...]  # channels out, height and width of each kernel

EPSILON = 1e-3
# MobileNetV2, table 2: times wider inside, channels out, blocks, stride of the first of them.
MOBILE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# Inception-v3 before its modules: channels out, side of the kernel, stride, padding.
STEM = ((32, 3, 2, 0), (32, 3, 1, 0), (64, 3, 1, 1), (80, 1, 1, 0), (192, 3, 1, 0))
POOLED = (2, 4)  # a 3 x 3 pooling of stride 2 follows these


class OffsetNorm(nn.BatchNorm2d):
    """Batch norm with a learned offset and no gain."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON)
        del self.weight
        self.register_buffer("weight", torch.ones(channels), persistent=False)


class NormedConvolution(nn.Conv2d):
    """A convolution and its batch norm, or with a bias into which the norm was folded.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Sides of the kernel.
        stride: Step, in pixels.
        groups: As many as channels for a depthwise convolution.
        padding: Pixels of zeros on each side; "same" pads as TensorFlow does: the odd pixel below and to the right.
        norm: "batch" with a gain, "offset" without one, or "folded".
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: tuple[int, int],
        stride: int = 1,
        groups: int = 1,
        padding: tuple[int, int] | Literal["same"] = "same",
        norm: Literal["batch", "offset", "folded"],
    ) -> None:
        fixed = (0, 0) if padding == "same" else padding
        folded = norm == "folded"
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, padding=fixed, bias=folded)
        self.same = padding == "same"
        self.norm = nn.Identity()
        if not folded:
            self.norm = OffsetNorm(outputs) if norm == "offset" else nn.BatchNorm2d(outputs, eps=EPSILON)

    def forward(self, input: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride), rounded as the padding has it."""
        return self.norm(super().forward(self.pad(input) if self.same else input))

    def pad(self, x: Features) -> Features:
        """Pad so that the output has ceil(side / stride) pixels a side."""
        margins: list[int] = []
        for side, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
            margins += [total // 2, total - total // 2]
        return F.pad(x, margins) if any(margins) else x


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow without activation; the input is added where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, wider: int, stride: int, norm: Norm) -> None:
        super().__init__()
        inside = inputs * wider
        one = functools.partial(NormedConvolution, kernel=(1, 1), norm=norm)
        self.expand = one(inputs, inside) if wider > 1 else None
        self.depthwise = NormedConvolution(inside, inside, kernel=(3, 3), stride=stride, groups=inside, norm=norm)
        self.project = one(inside, outputs)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.skip else y


class Mobile(nn.Module):
    """MobileNetV2 up to its 1280 channels, their mean, and 100 numbers.

    Args:
        width: Multiplies the channels, rounded to multiples of 8; the last ones stay 1280 below 1.
        numbers: Length of the bottleneck.
        norm: "folded" for the released form, "batch" to train.
    """

    def __init__(self, *, width: float = 1.0, numbers: int = 100, norm: Norm = "folded") -> None:
        super().__init__()
        channels, count = eights(32 * width), 0
        self.stem = NormedConvolution(3, channels, kernel=(3, 3), stride=2, norm=norm)
        for wider, outputs, blocks, first in MOBILE:
            for number in range(blocks):
                made = eights(outputs * width)
                stride = first if number == 0 else 1
                block = InvertedResidual(channels, made, wider=wider, stride=stride, norm=norm)
                self.add_module(f"block{count}", block)
                channels, count = made, count + 1
        self.blocks = count
        last = eights(1280 * max(1.0, width))
        self.head = NormedConvolution(channels, last, kernel=(1, 1), norm=norm)
        self.bottleneck = nn.Conv2d(last, numbers, 1)
        self.apply(layers.initialize_he)

    def forward(self, styles: Styles) -> Bottleneck:
        """Map style pictures (B, 3, H, W), RGB in [0, 1], to bottlenecks (B, numbers)."""
        x = F.relu6(self.stem(styles))
        for number in range(self.blocks):
            x = self.get_submodule(f"block{number}")(x)
        return self.bottleneck(F.relu6(self.head(x)).mean(dim=(2, 3), keepdim=True)).flatten(1)


class Branches(nn.Module):
    """Inception module: several chains of convolutions side by side, concatenated.

    Args:
        inputs: Channels in.
        chains: Convolutions of each branch.
        pool: Whether the last branch averages 3 x 3 pixels first, the border's from fewer.
        halve: The last convolution of each branch has stride 2 and no padding, and so has the pooling of maxima.
        norm: "folded" or "batch", then without gains.
    """

    def __init__(
        self,
        inputs: int,
        chains: tuple[Chain, ...],
        *,
        pool: bool = False,
        halve: bool = False,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.pool, self.halve = pool, halve
        self.branches = nn.ModuleList()
        for chain in chains:
            branch, channels = nn.Sequential(), inputs
            for number, (outputs, height, width) in enumerate(chain):
                last = halve and number == len(chain) - 1
                margin = (0, 0) if last else (height // 2, width // 2)
                branch.append(
                    unit(channels, outputs, kernel=(height, width), stride=1 + last, padding=margin, norm=norm)
                )
                channels = outputs
            self.branches.append(branch)
        self.outputs = sum(chain[-1][0] for chain in chains) + (inputs if halve else 0)

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H, W), or to half of H and W."""
        pooled = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False) if self.pool else x
        last = len(self.branches) - 1
        made = [branch(pooled if number == last else x) for number, branch in enumerate(self.branches)]
        return torch.cat([*made, F.max_pool2d(x, 3, stride=2)] if self.halve else made, dim=1)


class Inception(nn.Module):
    """Inception-v3 up to Mixed_6e, the mean of its 768 channels, and 100 numbers; ReLU6, as in the released network.

    Args:
        numbers: Length of the bottleneck.
        norm: "batch" (without gains) to train, or "folded".
    """

    def __init__(self, *, numbers: int = 100, norm: Norm = "batch") -> None:
        super().__init__()
        self.stem = nn.ModuleList()
        channels = 3
        for outputs, side, stride, margin in STEM:
            conv = unit(channels, outputs, kernel=(side, side), stride=stride, padding=(margin, margin), norm=norm)
            self.stem.append(conv)
            channels = outputs
        self.mixed = nn.Sequential()
        for chains, pool, halve in mixed():
            module = Branches(channels, chains, pool=pool, halve=halve, norm=norm)
            self.mixed.append(module)
            channels = module.outputs
        self.bottleneck = nn.Conv2d(channels, numbers, 1)
        self.apply(layers.initialize_he)

    def forward(self, styles: Styles) -> Bottleneck:
        """Map style pictures (B, 3, H, W), RGB in [0, 1], sides of at least 75 px, to bottlenecks (B, numbers)."""
        x = styles
        for number, conv in enumerate(self.stem):
            x = conv(x)
            x = F.max_pool2d(x, 3, stride=2) if number in POOLED else x
        return self.bottleneck(self.mixed(x).mean(dim=(2, 3), keepdim=True)).flatten(1)


def unit(
    inputs: int, outputs: int, *, kernel: tuple[int, int], stride: int, padding: tuple[int, int], norm: Norm
) -> nn.Sequential:
    """Make a convolution of the Inception trunk, with its norm (no gain) and ReLU6."""
    kind = "offset" if norm == "batch" else "folded"
    conv = NormedConvolution(inputs, outputs, kernel=kernel, stride=stride, padding=padding, norm=kind)
    return nn.Sequential(conv, nn.ReLU6())


def mixed() -> list[tuple[tuple[Chain, ...], bool, bool]]:
    """List the inception modules 5b to 6e: their chains, whether one branch pools, whether they halve the map.

    Source:
        Rethinking the Inception Architecture for Computer Vision (Szegedy et al., 2015), figures 5, 6 and 10.
    """
    found = []
    for pooled in (32, 64, 64):
        five, three = ((48, 1, 1), (64, 5, 5)), ((64, 1, 1), (96, 3, 3), (96, 3, 3))
        found.append(((((64, 1, 1),), five, three, ((pooled, 1, 1),)), True, False))
    found.append(((((384, 3, 3),), ((64, 1, 1), (96, 3, 3), (96, 3, 3))), False, True))
    for c in (128, 160, 160, 192):
        short = ((c, 1, 1), (c, 1, 7), (192, 7, 1))
        long = ((c, 1, 1), (c, 7, 1), (c, 1, 7), (c, 7, 1), (192, 1, 7))
        found.append(((((192, 1, 1),), short, long, ((192, 1, 1),)), True, False))
    return found


def eights(channels: float) -> int:
    """Round to the nearest multiple of 8, at least 8, and not below nine tenths."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8

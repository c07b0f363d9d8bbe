"""The same networks arranged for a CPU: fewer multiplications and fewer trips through memory, equal within rounding.

Four things cost most in eager torch, and each has an exact way around:

- Convolutions: NNPACK computes those of 3 x 3 by Winograd's minimal filtering, larger ones by Fourier transforms.
- A bilinear doubling before a convolution: both are linear, so one convolution of the small map makes all four pixels.
- LADE's statistics of a linear mix of the channels: they follow from the covariance, so the mix need not be made.
- Maps that are written and read again between a convolution and its activation: they are changed in place.

Source: Fast Algorithms for Convolutional Neural Networks (Lavin and Gray, 2015), for the first.
"""

import copy
import functools
import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import animegan, dtgan, layers
from models.layers import Features, Moments

AnyBlock = dtgan.ConvBlock | animegan.ConvBlock
WORKSPACE = 512 * 2**20  # bytes that NNPACK may take for one image; the plain convolution takes none
TILE_GROWTH = (8 / 6) ** 2  # its tiles of 8 x 8 values overlap by two
LARGEST_KERNEL = 7  # of those that were measured
# Shares of a kernel's three values (columns) in those for the small map (rows), for an even and for an odd output: the
# doubling copies at even places and averages two neighbours at odd ones.
DOUBLED = (((0.5, 0, 0), (0.5, 1, 0.5), (0, 0, 0.5)), ((0, 0, 0), (1, 0.5, 0), (0, 0.5, 1)))


def rearrange(network: nn.Module) -> nn.Module:
    """Copy a network and exchange the parts that have a quicker form; the copy shares the weights.

    Args:
        network: In eval mode, float32, on the CPU. The copy is only good for that, too.
    """
    shared = itertools.chain(network.parameters(), network.buffers())
    copied = copy.deepcopy(network, {id(tensor): tensor for tensor in shared})
    for part in [*copied.modules()]:
        fold_doublings(part)
    for part in reversed([*copied.modules()]):  # the inner ones first
        for name, child in part.named_children():
            setattr(part, name, exchange(child))
    return copied


def fold_doublings(part: nn.Module) -> None:
    """Join each legacy doubling of a part with the block after it."""
    if isinstance(part, dtgan.Tail | animegan.AnimeGANv2Lite) and part.upsample is layers.upsample_legacy:
        part.upsample = nn.Identity()
        for name in ("up2", "up1", "up0"):
            setattr(part, name, DoublingBlock(getattr(part, name)))
    if isinstance(part, nn.Sequential):
        for number, (first, second) in enumerate(itertools.pairwise(part)):
            legacy = isinstance(first, animegan.Upsample) and first.mode == "legacy"
            if legacy and isinstance(second, animegan.ConvBlock):
                part[number], part[number + 1] = nn.Identity(), DoublingBlock(second)


def exchange(part: nn.Module) -> nn.Module:
    """Give the quicker form of a part, or the part itself."""
    if type(part) is nn.Conv2d and Convolution.suits(part):
        return Convolution(part)
    if isinstance(part, dtgan.LADE):
        return LADE(part)
    if type(part) is layers.InstanceNorm:
        return InstanceNorm(part)
    if isinstance(part, dtgan.ConvBlock | animegan.ConvBlock):
        return Block(part)
    return part


@functools.cache
def available() -> bool:
    """Whether torch has NNPACK and the processor suits it. The question also starts it, which has to come first."""
    return hasattr(torch, "_nnpack_spatial_convolution") and torch.backends.nnpack.is_available()


class Convolution(nn.Module):
    """A convolution by NNPACK, one image after the other: several at once it computes in the plain way.

    Args:
        conv: One that suits.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert not isinstance(conv.padding, str)
        self.conv, self.padding = conv, conv.padding

    @staticmethod
    def suits(conv: nn.Conv2d) -> bool:
        """Whether NNPACK is there and takes such a convolution."""
        plain = conv.stride == conv.dilation == (1, 1) and conv.groups == 1
        padded = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
        square = conv.kernel_size[0] == conv.kernel_size[1] and 3 <= conv.kernel_size[0] <= LARGEST_KERNEL
        return plain and padded and square and available()

    def forward(self, x: Features) -> Features:
        """Do what the convolution does."""
        conv, channels = self.conv, self.conv.in_channels + self.conv.out_channels
        if 4 * channels * x.shape[2] * x.shape[3] * TILE_GROWTH > WORKSPACE:
            return conv(x)
        compute = functools.partial(
            torch._nnpack_spatial_convolution, weight=conv.weight, bias=conv.bias, padding=self.padding
        )
        made = [compute(image) for image in x.contiguous().split(1)]
        return made[0] if len(made) == 1 else torch.cat(made)


class LADE(layers.WholeImage):
    """Linearly adaptive denormalisation by way of the channels' covariance; it changes the map that it is given.

    Args:
        norm: What it stands for.
    """

    def __init__(self, norm: dtgan.LADE) -> None:
        super().__init__()
        self.epsilon, self.mix = norm.epsilon, norm.mix

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        shift = x.mean(dim=(2, 3), keepdim=True)  # small values lose less in the products
        both = functools.cache(functools.partial(mixed_moments, x.sub_(shift), shift, mix=self.mix.weight[:, :, 0, 0]))
        variance_t, mean_t = self.whole(lambda: both()[0])
        variance, mean = self.whole(lambda: both()[1])
        gain = ((variance_t + self.epsilon) / (variance + self.epsilon)).sqrt()
        return x.mul_(gain).add_(mean_t - (mean - shift) * gain)


def mixed_moments(centred: Features, mean: Features, *, mix: Tensor) -> tuple[Moments, Moments]:
    """Take moments over all pixels: of mixed channels, which are not made, and of the channels themselves.

    Args:
        centred: Map (B, C, H, W) without its means.
        mean: The means (B, C, 1, 1).
        mix: What would mix the channels (C', C).

    Returns:
        Variances and means, (B, C', 1, 1) and (B, C, 1, 1).
    """
    flat = centred.flatten(2)  # (B, C, H*W)
    covariance = flat @ flat.transpose(1, 2) / flat.shape[2]  # (B, C, C)
    variance = (mix @ covariance * mix).sum(dim=2).clamp(min=0)  # rounding may leave a little less than nothing
    mixed = Moments(variance[..., None, None], (mix @ mean[..., 0])[..., None])
    return mixed, Moments(covariance.diagonal(dim1=1, dim2=2)[..., None, None], mean)


class InstanceNorm(layers.InstanceNorm):
    """Instance norm as a group norm of single channels, for which torch has the quicker code.

    Args:
        norm: What it stands for.
    """

    def __init__(self, norm: layers.InstanceNorm) -> None:
        super().__init__(norm.num_features, eps=norm.eps, affine=norm.affine)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, input: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        if self.memory is not None:
            return super().forward(input)
        return F.group_norm(input, input.shape[1], self.weight, self.bias, self.eps)


class Block(nn.Module):
    """Reflection padding, convolution, normalisation, LeakyReLU, the last in place.

    Args:
        block: What it stands for.
    """

    def __init__(self, block: AnyBlock) -> None:
        super().__init__()
        self.before, self.after, self.conv, self.norm = block.before, block.after, block.conv, block.norm

    def forward(self, x: Features) -> Features:
        """Do what the block does."""
        padded = layers.pad_reflect(x, left_top=self.before, right_bottom=self.after)
        return F.leaky_relu_(self.norm(self.conv(padded)), dtgan.SLOPE)


class DoublingBlock(nn.Module):
    """A legacy doubling and the block after it.

    Args:
        block: With a plain convolution of 3 x 3.
    """

    def __init__(self, block: AnyBlock) -> None:
        super().__init__()
        kernels, shares = block.conv.weight, torch.tensor(DOUBLED)
        outputs, inputs = kernels.shape[:2]
        folded = torch.einsum("pak,qbl,oikl->opqiab", shares, shares, kernels.detach())
        self.conv = nn.Conv2d(inputs, 4 * outputs, 3, bias=False).requires_grad_(False)
        self.conv.weight.copy_(folded.reshape(4 * outputs, inputs, 3, 3))
        self.norm = block.norm

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, 2H, 2W)."""
        padded = F.pad(F.pad(x, (1, 0, 1, 0), mode="reflect"), (0, 1, 0, 1), mode="replicate")
        return F.leaky_relu_(self.norm(F.pixel_shuffle(self.conv(padded), 2)), dtgan.SLOPE)

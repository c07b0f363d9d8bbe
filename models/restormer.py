"""Restormer, and UFR-GAN: two of them that learn from unpaired pictures to restore degraded photos.

Source: Restormer: Efficient Transformer for High-Resolution Image Restoration (Zamir et al., 2022), section 3; UFR-GAN
(Nguyen et al., 2025) for the pair of generators and its 45.4 million parameters.
"""

import functools
from collections.abc import Sequence

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models import discriminators, layers
from models.card import ModelCard
from models.image import Images
from models.layers import Features

LEVELS = 4
NORMS = ("with-bias", "bias-free")
Correlations = Float[Tensor, "batch heads group _group"]


class PixelNorm(nn.Module):
    """Layer norm over the channels of each pixel; needs no other pixel.

    Args:
        channels: Channels of the map.
        kind: "with-bias" whitens and learns gain and offset; "bias-free" divides by the deviation without taking
            the mean away, and learns the gain alone.

    Source:
        Restormer's released forms. Population variance, 1e-5 added.
    """

    def __init__(self, channels: int, *, kind: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if kind == "with-bias" else None

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        if self.bias is None:
            variance = torch.var(x, dim=1, correction=0, keepdim=True)
            return x * (variance + 1e-5).rsqrt() * self.weight[:, None, None]
        pixels = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        return F.layer_norm(pixels, self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


class ChannelAttention(layers.WholeImage):
    """Attention between channels instead of pixels (MDTA): its map is C/heads x C/heads for any size of image.

    The map holds cosines of channels taken over all pixels, so the number of pixels cancels out of it: what a whole
    picture gives, or a smaller copy of it, may stand in for what a tile gives.

    Args:
        channels: Channels in and out.
        heads: Groups of channels that attend among themselves.

    Source:
        Restormer, section 3.1, equation 1.
    """

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.depth = depthwise(3 * channels)
        self.leave = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        product, power_q, power_k = self.whole(lambda: self.correlate(x))
        lengths = power_q.clamp(min=1e-24).sqrt() @ power_k.clamp(min=1e-24).sqrt().mT
        shares = (product / lengths * self.temperature).softmax(dim=-1)
        value = self.project(x, slice(2 * x.shape[1], None))  # (B, C, H, W)
        mixed = shares.type_as(value) @ value.unflatten(1, (self.heads, -1)).flatten(3)  # (B, heads, C/heads, H*W)
        return self.leave(mixed.reshape(x.shape))

    def correlate(self, x: Features) -> tuple[Correlations, Correlations, Correlations]:
        """Give means over the pixels: query times key, for each pair of channels of a head, query² and key²."""
        queries_and_keys = self.project(x, slice(2 * x.shape[1]))
        q, k = queries_and_keys.unflatten(1, (2, self.heads, -1)).flatten(4).unbind(1)  # (B, heads, C/heads, H*W)
        power_q, power_k = (m.square().mean(dim=-1, keepdim=True) for m in (q, k))
        return q @ k.mT / q.shape[-1], power_q, power_k

    def project(self, x: Features, rows: slice) -> Features:
        """Compute some channels of query, key and value, so that no more of them are held at once than are needed."""
        entered = F.conv2d(x, self.qkv.weight[rows])
        return F.conv2d(entered, self.depth.weight[rows], padding=1, groups=entered.shape[1])


class GatedFeedForward(nn.Module):
    """Widen twice over, filter each channel, let one half gate the other, narrow (GDFN).

    Args:
        channels: Channels in and out.
        expansion: Width of each half, in channels.

    Source:
        Restormer, section 3.2, equation 2; the exact GELU.
    """

    def __init__(self, channels: int, *, expansion: float) -> None:
        super().__init__()
        hidden = int(expansion * channels)
        self.enter = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.depth = depthwise(2 * hidden)
        self.leave = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        gate, value = self.depth(self.enter(x)).chunk(2, dim=1)
        return self.leave(F.gelu(gate) * value)


class Block(nn.Module):
    """Transformer block: attention, then the feed-forward, each after a norm and added to what came in."""

    def __init__(self, channels: int, *, heads: int, expansion: float, norm: str) -> None:
        super().__init__()
        self.attention_norm = PixelNorm(channels, kind=norm)
        self.attention = ChannelAttention(channels, heads=heads)
        self.gate_norm = PixelNorm(channels, kind=norm)
        self.gate = GatedFeedForward(channels, expansion=expansion)

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.gate(self.gate_norm(x))


class Restormer(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "restoration"]):
    """Four levels of transformer blocks that predict what to add to a degraded picture; no convolution has a bias.

    Args:
        dim: Channels of the first level; each one below has twice as many.
        blocks: Blocks of the four levels; the decoder has as many as the encoder.
        refinement: Blocks after the decoder, at full size.
        heads: Attention heads of the four levels.
        expansion: Width of the feed-forwards, in channels of their level.
        norm: "with-bias" (deraining, deblurring) or "bias-free" (denoising).
        channels: 3, or 1 for a network that sees and makes grey.

    Raises:
        ValueError: Settings that do not fit together.
    """

    def __init__(
        self,
        *,
        dim: int = 48,
        blocks: Sequence[int] = (4, 6, 6, 8),
        refinement: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        expansion: float = 2.66,
        norm: str = "with-bias",
        channels: int = 3,
    ) -> None:
        super().__init__()
        check(dim=dim, blocks=blocks, heads=heads, norm=norm, channels=channels)
        self.channels = channels
        block = functools.partial(Block, expansion=expansion, norm=norm)
        d1, d2, d3, d4 = (dim * 2**level for level in range(LEVELS))

        def stage(width: int, level: int, *, count: int) -> nn.Sequential:
            return nn.Sequential(*(block(width, heads=heads[level]) for _ in range(count)))

        self.enter = conv3(channels, d1)
        self.encoder = nn.ModuleList(stage(width, n, count=blocks[n]) for n, width in enumerate((d1, d2, d3)))
        self.down = nn.ModuleList(halve(width) for width in (d1, d2, d3))
        self.latent = stage(d4, 3, count=blocks[3])
        self.up = nn.ModuleList(double(width) for width in (d2, d3, d4))
        self.reduce = nn.ModuleList((nn.Identity(), nn.Conv2d(d3, d2, 1, bias=False), nn.Conv2d(d4, d3, 1, bias=False)))
        self.decoder = nn.ModuleList(stage(width, n, count=blocks[n]) for n, width in enumerate((d2, d2, d3)))
        self.refinement = stage(d2, 0, count=refinement)
        self.leave = conv3(d2, channels)

    def forward(self, images: Images) -> Images:
        """Map degraded images (B, 3, H, W), H and W multiples of 8, RGB in [-1, 1], to clean ones, around [-1, 1]."""
        degraded = (images + 1) / 2
        if self.channels == 1:
            degraded = layers.luma(degraded)
        return (2 * self.restore(degraded) - 1).expand_as(images)

    def restore(self, degraded: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch _c height width"]:
        """Do the same for values in [0, 1], as the paper's network does; the result is not clamped."""
        y, maps = self.enter(degraded), []
        for stage, down in zip(self.encoder, self.down, strict=True):
            y = stage(y)
            maps.append(y)
            y = down(y)
        y = self.latent(y)
        for up, reduce, stage in zip(*map(reversed, (self.up, self.reduce, self.decoder)), strict=True):
            y = stage(reduce(torch.cat([up(y), maps.pop()], dim=1)))
        return self.leave(self.refinement(y)).float() + degraded


class UFRGAN(nn.Module):
    """All that UFR-GAN trains: a generator each way, a discriminator for each side.

    Args:
        dim: As of `Restormer`, like the next two.
        blocks: The default makes 45,407,146 parameters, which is the paper's 45.4 million.
        refinement: Blocks at the end of each generator.

    Source:
        UFR-GAN. The paper does not give the generators' size; the default is the one natural size that fits its total.
    """

    def __init__(self, *, dim: int = 48, blocks: Sequence[int] = (2, 4, 4, 6), refinement: int = 4) -> None:
        super().__init__()
        make = functools.partial(Restormer, dim=dim, blocks=blocks, refinement=refinement)
        self.degraded_to_clean, self.clean_to_degraded = make(), make()
        self.degraded_discriminator, self.clean_discriminator = discriminators.PatchGAN(), discriminators.PatchGAN()

    def forward(self, degraded: Images, clean: Images) -> tuple[Images, Images]:
        """Give the restored form of degraded images and the degraded form of clean ones, RGB around [-1, 1]."""
        return self.degraded_to_clean(degraded), self.clean_to_degraded(clean)


def check(*, dim: int, blocks: Sequence[int], heads: Sequence[int], norm: str, channels: int) -> None:
    """Refuse settings that do not fit together."""
    if len(blocks) != LEVELS or len(heads) != LEVELS:
        raise ValueError(f"blocks are {list(blocks)} and heads {list(heads)}; expected four numbers each.")
    odd = [2**level * dim % count for level, count in enumerate(heads)]
    if dim % 2 or any(odd):
        raise ValueError(f"dim is {dim} and heads {list(heads)}; dim must be even and each level divide by its heads.")
    if norm not in NORMS or channels not in (1, 3):
        raise ValueError(f"norm is {norm!r}, channels {channels}; expected one of {', '.join(NORMS)}, and 1 or 3.")


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """Make a 3 x 3 convolution with zero padding, without bias."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def depthwise(channels: int) -> nn.Conv2d:
    """Make a 3 x 3 convolution of every channel by itself."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def halve(channels: int) -> nn.Sequential:
    """Make (B, C, H, W) -> (B, 2C, H/2, W/2): half the channels, then four pixels to four channels."""
    return nn.Sequential(conv3(channels, channels // 2), nn.PixelUnshuffle(2))


def double(channels: int) -> nn.Sequential:
    """Make (B, C, H, W) -> (B, C/2, 2H, 2W): twice the channels, then four channels to four pixels."""
    return nn.Sequential(conv3(channels, 2 * channels), nn.PixelShuffle(2))


RESTORMER = "Restormer (Zamir et al., 2022), https://arxiv.org/abs/2111.09881"
UFR = "UFR-GAN (Nguyen et al., 2025), https://doi.org/10.1016/j.patrec.2025.08.008"
entry = functools.partial(ModelCard, task="restore", multiple=8, min_side=32, licence="architecture only")
CARDS = (
    entry(
        name="ufrgan-paper-size",
        title="UFR-GAN, size of the paper",
        build=functools.partial(Restormer, blocks=(2, 4, 4, 6)),
        paper=UFR,
        note="The paper gives no configuration, only 45.4 million parameters in all; of the natural sizes of Restormer "
        "this one fits them, so it is inferred.",
    ),
    entry(
        name="ufrgan-full",
        title="UFR-GAN with the full Restormer",
        build=Restormer,
        paper=f"{RESTORMER}; {UFR}",
        released="academic, non-commercial use only (Restormer)",
        note="Restormer's published size, so that its weights fit, the bias-free ones, too; it is larger than the UFR- "
        "GAN paper's total allows.",
    ),
    entry(
        name="ufrgan-tiny-24",
        title="UFR-GAN, half width",
        build=functools.partial(Restormer, dim=24, blocks=(2, 3, 3, 4), refinement=2),
        paper=UFR,
        note="As `ufrgan-paper-size` with half the width and fewer blocks: a fifth of the computation, to run on a "
        "CPU.",
    ),
    entry(
        name="ufrgan-tiny-16",
        title="UFR-GAN, third width",
        build=functools.partial(Restormer, dim=16, blocks=(1, 1, 1, 2), refinement=1),
        paper=UFR,
        note="As `ufrgan-paper-size` with a third of the width and one or two blocks a level: a twentieth of the "
        "computation, to train on a CPU, too.",
    ),
    entry(
        name="ufrgan-tiny-8",
        title="UFR-GAN, smallest",
        build=functools.partial(Restormer, dim=8, blocks=(1, 1, 1, 1), refinement=1),
        paper=UFR,
        note="As `ufrgan-paper-size` with a sixth of the width and one block a level, for tests and very large "
        "pictures.",
    ),
)

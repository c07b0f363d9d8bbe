"""DTGAN (AnimeGANv3): one encoder, a support tail that meets the anime domain, a main tail that paints.

Source: A Novel Double-Tail Generative Adversarial Network for Fast Photo Animation (Liu, Li and Dong, 2024, IEICE
Transactions E107-D no. 1), figures 1, 2 and 8, and the released graphs for what the figures leave open.
"""

import functools
import math
from collections.abc import Callable

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from models import layers
from models.card import ModelCard
from models.image import Images
from models.layers import Features

Norm = Callable[[int], nn.Module]
SLOPE = 0.2


class LADE(layers.WholeImage):
    """Linearly adaptive denormalisation: whiten a map, then give it the statistics of a linear mix of its channels.

    Args:
        channels: Channels of the map.
        epsilon: Added to both variances; 1e-5 in the code, 1e-12 in the released Hayao weights.
        spectral: Normalise the mixing matrix spectrally, as the discriminators do.

    Source:
        DTGAN, figure 1. The C x C matrix is all that is learned.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-5, spectral: bool = False) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.mix = convolution(channels, channels, 1, spectral=spectral)

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape; mean and variance are taken per image and channel, over pixels."""
        variance_t, mean_t = self.whole(lambda: layers.measure(self.mix(x), (2, 3)))
        variance, mean = self.moments(x, (2, 3))
        gain = ((variance_t + self.epsilon) / (variance + self.epsilon)).sqrt()
        return x * gain + (mean_t - mean * gain)


class ConvBlock(nn.Module):
    """Reflection padding, convolution without bias, LADE (or another normalisation), LeakyReLU 0.2.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel, in pixels.
        stride: 1, or 2: then the single pixel of padding is above and to the left.
        norm: Makes the normalisation for a number of channels.
        spectral: Normalise the convolution spectrally.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        norm: Norm = LADE,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        self.before, self.after = kernel // 2, kernel // 2 if stride == 1 else 0
        self.conv = convolution(inputs, outputs, kernel, stride=stride, spectral=spectral)
        self.norm = norm(outputs)

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        padded = layers.pad_reflect(x, left_top=self.before, right_bottom=self.after)
        return F.leaky_relu(self.norm(self.conv(padded)), SLOPE)


def upsample_half_pixel(features: Features) -> Features:
    """Double height and width bilinearly, as PyTorch does: what `layers.upsample_legacy` is compared with."""
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


NORMS: dict[str, Norm] = {
    "lade": LADE,
    "instance": functools.partial(layers.InstanceNorm, affine=True),
    "layer": layers.LayerNorm,
}
UPSAMPLES = {"legacy": layers.upsample_legacy, "half-pixel": upsample_half_pixel}


class PixelSoftmax(layers.WholeImage):
    """Softmax over all pixels of an image; of a tile of it, the values that these pixels have in the whole."""

    def forward(self, keys: Float[Tensor, "batch tokens slots"]) -> Float[Tensor, "batch tokens slots"]:
        """Map keys to shares that add up to 1 over the pixels, or to a tile's part of that."""
        if self.memory is None:
            return keys.softmax(dim=1)
        count = keys.shape[1]
        level = self.whole(lambda: keys.logsumexp(dim=1, keepdim=True) - math.log(count))  # of the mean exponential
        return (keys - level).exp() * (self.share / count)


class ExternalAttention(nn.Module):
    """Attention of every pixel to a learned memory shared by all images.

    Args:
        channels: Channels in and out.
        slots: Rows of the memory.

    Source:
        DTGAN, figure 8; Beyond Self-attention (Guo et al., 2021). One memory serves as keys and, transposed, as values.
    """

    def __init__(self, channels: int, *, slots: int = 128) -> None:
        super().__init__()
        self.enter = convolution(channels, channels, 1)
        self.memory = nn.Parameter(torch.empty(channels, slots))
        self.leave = convolution(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.001)
        self.softmax = PixelSoftmax()
        nn.init.xavier_uniform_(self.memory)

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape; the softmax runs over all H * W pixels."""
        tokens = self.enter(x).flatten(2).transpose(1, 2)  # (B, H*W, C)
        attention = self.softmax((tokens @ self.memory).float())  # (B, H*W, slots)
        attention = attention / (1e-9 + attention.sum(dim=2, keepdim=True))
        mixed = (attention @ self.memory.T).transpose(1, 2).reshape(x.shape)  # (B, C, H, W)
        return F.leaky_relu(self.norm(self.leave(mixed)) + x, SLOPE)


class Encoder(nn.Module):
    """Photo to four maps, each half the size of the one before (497,248 parameters)."""

    def __init__(self, *, norm: Norm = LADE) -> None:
        super().__init__()
        block = functools.partial(ConvBlock, norm=norm)
        self.x0 = block(3, 32, kernel=7)
        self.x1 = nn.Sequential(block(32, 32, stride=2), block(32, 64))
        self.x2 = nn.Sequential(block(64, 64, stride=2), block(64, 128))
        self.x3 = nn.Sequential(block(128, 128, stride=2), block(128, 128))

    def forward(self, photo: Images) -> tuple[Features, Features, Features, Features]:
        """Give x0 (B, 32, H, W), x1 (B, 64, H/2, W/2), x2 (B, 128, H/4, W/4) and x3 (B, 128, H/8, W/8)."""
        x0 = self.x0(photo)
        x1 = self.x1(x0)
        x2 = self.x2(x1)
        return x0, x1, x2, self.x3(x2)


class Tail(nn.Module):
    """Encoder maps to an image (530,272 parameters); skips are added after the first block of each scale."""

    def __init__(self, *, norm: Norm = LADE, upsample: Callable[[Features], Features] = layers.upsample_legacy) -> None:
        super().__init__()
        block = functools.partial(ConvBlock, norm=norm)
        self.upsample = upsample
        self.attention = ExternalAttention(128)
        self.up2, self.fuse2 = block(128, 128), block(128, 128)
        self.up1, self.fuse1 = block(128, 64), block(64, 64)
        self.up0, self.fuse0 = block(64, 32), block(32, 32)
        self.paint = convolution(32, 3, 7)

    def forward(self, maps: tuple[Features, Features, Features, Features]) -> Images:
        """Give an image (B, 3, H, W), RGB in (-1, 1)."""
        x0, x1, x2, x3 = maps
        y = self.attention(x3)
        y = self.fuse2(self.up2(self.upsample(y)) + x2)
        y = self.fuse1(self.up1(self.upsample(y)) + x1)
        y = self.fuse0(self.up0(self.upsample(y)) + x0)
        return self.paint(layers.pad_reflect(y, left_top=3, right_bottom=3)).float().tanh()


class DTGAN(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "anime"]):
    """The generator that converts: encoder and main tail (1,027,520 parameters).

    Args:
        lade_epsilon: Added to the variances of every LADE.
        norm: A name in NORMS; the paper's is "lade", the others are what it is compared with.
        upsample: A name in UPSAMPLES; the paper's is "legacy".

    Raises:
        ValueError: One of the names is unknown, or the epsilon is not between 0 and 1.
    """

    def __init__(self, *, lade_epsilon: float = 1e-5, norm: str = "lade", upsample: str = "legacy") -> None:
        super().__init__()
        if not 0 < lade_epsilon < 1:
            raise ValueError(f"LADE epsilon is {lade_epsilon:g}; expected a small positive number such as 1e-5")
        if norm not in NORMS or upsample not in UPSAMPLES:
            known = f"{', '.join(NORMS)} and {', '.join(UPSAMPLES)}"
            raise ValueError(f"norm is {norm!r} and upsample {upsample!r}; expected one each of {known}.")
        make = functools.partial(LADE, epsilon=lade_epsilon) if norm == "lade" else NORMS[norm]
        self.encoder = Encoder(norm=make)
        self.main = Tail(norm=make, upsample=UPSAMPLES[upsample])

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), H and W multiples of 8, RGB in [-1, 1], to its anime version of the same shape."""
        return self.main(self.encoder(photo))


class DoubleTail(nn.Module):
    """The generator in training: one encoder, two tails that never feed each other (1,557,792 parameters).

    Args:
        norm: As of `DTGAN`.
        upsample: As of `DTGAN`.
    """

    def __init__(self, *, norm: str = "lade", upsample: str = "legacy") -> None:
        super().__init__()
        self.painter = DTGAN(norm=norm, upsample=upsample)
        self.support = Tail(norm=NORMS[norm], upsample=UPSAMPLES[upsample])

    def forward(self, photo: Images) -> tuple[Images, Images]:
        """Give the raw support image G_s0 (before the guided filter) and the main image G_m, both (B, 3, H, W)."""
        maps = self.painter.encoder(photo)
        return self.support(maps), self.painter.main(maps)


class Discriminator(nn.Module):
    """Judge patches of an image; support and main tail have one each (693,088 parameters).

    Source:
        DTGAN, section 2 of the released code's facts: LADE throughout, spectral normalisation of every convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enter = convolution(3, 32, 7, spectral=True)
        block = functools.partial(ConvBlock, norm=functools.partial(LADE, spectral=True), spectral=True)
        self.blocks = nn.Sequential(
            *(block(32, 32, stride=2), block(32, 64)),
            *(block(64, 64, stride=2), block(64, 128)),
            *(block(128, 128, stride=2), block(128, 256)),
        )
        self.leave = convolution(256, 1, 1, spectral=True)

    def forward(self, images: Images) -> Float[Tensor, "batch 1 rows columns"]:
        """Map images (B, 3, H, W), RGB in [-1, 1], to logits (B, 1, H/8, W/8)."""
        entered = F.leaky_relu(self.enter(layers.pad_reflect(images, left_top=3, right_bottom=3)), SLOPE)
        return self.leave(self.blocks(entered)).float()


def convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1, spectral: bool = False) -> nn.Conv2d:
    """Make an unpadded convolution without bias, Xavier-uniform, spectrally normalised on request."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, bias=False)
    nn.init.xavier_uniform_(conv.weight)
    if spectral:
        parametrizations.spectral_norm(conv)
    return conv


def guided_filter(images: Images, *, radius: int = 2, epsilon: float = 0.01) -> Images:
    """Smooth an image by itself, keeping edges; differentiable.

    Args:
        images: RGB, meant for [-1, 1]; values outside are clipped.
        radius: Box of 2 * radius + 1 pixels a side, cut at the border and divided by its real size.
        epsilon: Variance under which a window counts as flat, for values in [0, 1].

    Returns:
        Image of the same shape, in [-1, 1].

    Source:
        Guided image filtering (He, Sun and Tang, 2010), equations 5, 6 and 8 with guide = input, per channel.
    """
    u = ((images + 1) / 2).clamp(0, 1)

    def mean(x: Images) -> Images:
        return F.avg_pool2d(x, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)

    mean_u = mean(u)
    variance = mean(u * u) - mean_u * mean_u
    a = variance / (variance + epsilon)
    b = mean_u * (1 - a)
    return (2 * (mean(a) * u + mean(b)) - 1).clamp(-1, 1)


PAPER = "DTGAN / AnimeGANv3 (Liu, Li and Dong, 2024), https://doi.org/10.1587/transinf.2023EDP7061"
CARDS = (
    ModelCard(
        name="dtgan",
        title="DTGAN (AnimeGANv3)",
        task="translate",
        build=DTGAN,
        multiple=8,
        paper=PAPER,
        licence="architecture only",
        released="non-commercial; ask the authors of AnimeGANv3 before anything else",
        note="Encoder and main tail, as the paper predicts; the support tail exists in training alone. The attention's "
        "batch norm predicts with the statistics of training, which the released graphs leave at their start.",
    ),
    ModelCard(
        name="dtgan-portrait",
        title="DTGAN, portraits",
        task="translate",
        build=DTGAN,
        multiple=8,
        checkpoint="dtgan-portrait",
        paper=PAPER,
        licence="research use only (the anime training set is research-only)",
        note="As `dtgan`, trained on faces for a few thousand steps, in which the paper's losses alone made no "
        "drawing: the revision image, from which the main tail learns, is flattened more and gets drawn lines.",
    ),
    ModelCard(
        name="dtgan-illust",
        title="DTGAN, open illustrations",
        task="translate",
        build=DTGAN,
        multiple=8,
        paper=PAPER,
        checkpoint="dtgan-illust",
        licence="CC BY 4.0 (credits in the model card)",
        note="As `dtgan-portrait`, trained on public-domain photos and openly licensed illustrations alone, so that "
        "its weights are free to use; draws more gently.",
    ),
)

"""Blocks that several families share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Features = Float[Tensor, "batch _channels _height _width"]  # underscores: sizes may change on the way through

# Of RGB in [0, 1] over ImageNet, as torchvision's weights expect it.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RED, GREEN, BLUE = 0.299, 0.587, 0.114  # shares of the brightness


class Moments(NamedTuple):
    """Population variance and mean of each channel, or of all together; the axes they were taken over have length 1."""

    variance: Tensor
    mean: Tensor


def measure(features: Features, dims: tuple[int, ...]) -> Moments:
    """Take the moments of a map over some axes."""
    return Moments(*torch.var_mean(features, dim=dims, correction=0, keepdim=True))


class WholeImage(nn.Module):
    """Base of layers that look at all pixels of an image at once, which a tile of it cannot do.

    Attributes:
        memory: Called with the computation of a statistic, in the order of the forward pass; gives the statistic to
            use. `models.tiling` sets it; None computes.
        share: Share of the whole image's pixels that the network was given: 1 but for a tile.
    """

    memory: Callable[[Callable[[], Any]], Any] | None = None
    share: float = 1.0

    def whole(self, compute: Callable[[], Any]) -> Any:
        """Give a statistic over all pixels: of this map, or of the whole image where this map is a tile of it.

        Args:
            compute: Makes it from this map. Means, not sums, so that it holds for any number of pixels. `Moments` can
                be pooled, so `models.tiling` can take them from the tiles; of other statistics it knows the overview's.
        """
        return compute() if self.memory is None else self.memory(compute)

    def moments(self, features: Features, dims: tuple[int, ...]) -> Moments:
        """Give the moments of the whole image over some axes of this map."""
        return self.whole(lambda: measure(features, dims))

    def whiten(self, features: Features, dims: tuple[int, ...], norm: nn.InstanceNorm2d | nn.GroupNorm) -> Features:
        """Normalise with `moments`, then give the learned gain and offset of `norm`, where it has them."""
        variance, mean = self.moments(features, dims)
        gain = (variance + norm.eps).rsqrt()
        offset = -mean * gain
        if norm.affine:
            weight, bias = norm.weight[:, None, None], norm.bias[:, None, None]
            gain, offset = gain * weight, offset * weight + bias
        return features * gain + offset


class InstanceNorm(nn.InstanceNorm2d, WholeImage):
    """Whiten every channel of every image over its pixels; `affine=True` adds a learned gain and offset.

    Source:
        Instance Normalization (Ulyanov et al., 2016). Population variance, no running statistics.
    """

    def forward(self, input: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        return super().forward(input) if self.memory is None else self.whiten(input, (2, 3), self)


class LayerNorm(nn.GroupNorm, WholeImage):
    """Whiten every image over channels and pixels at once, then give every channel a learned gain and offset.

    Args:
        channels: Channels of the map.
        eps: Added to the variance.

    Source:
        Layer Normalization (Ba, Kiros and Hinton, 2016), over all values of a map as AnimeGANv2 has it.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__(1, channels, eps=eps)

    def forward(self, input: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        return super().forward(input) if self.memory is None else self.whiten(input, (1, 2, 3), self)


def pad_reflect(features: Features, *, left_top: int, right_bottom: int) -> Features:
    """Reflect-pad both axes, the same on each, without repeating the border pixel.

    Args:
        features: Map (B, C, H, W), H and W larger than the padding.
        left_top: Pixels before the first column and row.
        right_bottom: Pixels after the last column and row.

    Returns:
        Map (B, C, H + left_top + right_bottom, W + left_top + right_bottom).
    """
    return F.pad(features, (left_top, right_bottom, left_top, right_bottom), mode="reflect")


def upsample_legacy(features: Features) -> Features:
    """Double height and width as TensorFlow 1 did: neither half-pixel nor aligned corners.

    Even outputs copy the input, odd ones average two neighbours, and the last pixel is repeated. One replicated
    row and column make this an aligned-corners resize whose step is exactly one half.

    Args:
        features: Map (B, C, H, W).

    Returns:
        Map (B, C, 2H, 2W).

    Source:
        tf.image.resize_bilinear of TensorFlow 1.x, align_corners=False, half_pixel_centers=False.
    """
    height, width = features.shape[-2:]
    padded = torch.cat([features, features[..., -1:, :]], dim=-2)
    padded = torch.cat([padded, padded[..., -1:]], dim=-1)
    doubled = F.interpolate(padded, size=(2 * height + 1, 2 * width + 1), mode="bilinear", align_corners=True)
    return doubled[..., : 2 * height, : 2 * width]


def luma(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Give the brightness of RGB images; the range stays.

    Source:
        ITU-R BT.601, full range as in JPEG.
    """
    red, green, blue = images.split(1, dim=1)
    return RED * red + GREEN * green + BLUE * blue


def initialize_he(module: nn.Module) -> None:
    """Start a convolution, transposed or not, with normal weights that keep the scale of maps, and biases at zero.

    Source:
        Delving Deep into Rectifiers (He et al., 2015), section 2.2: variance 2 / fan-in.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def parameter_count(network: nn.Module) -> int:
    """Number of learned values; buffers do not count."""
    return sum(parameter.numel() for parameter in network.parameters())

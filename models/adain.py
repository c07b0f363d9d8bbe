"""Cross-domain style transfer in one pass: encode both pictures, give the photo's map the style's statistics, decode.

Source: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization (Huang and Belongie, 2017), section
6.1 and the released decoder; the cross-domain method trains it against a 70 x 70 PatchGAN of `models.discriminators`.
"""

import functools

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models import layers, vgg
from models.card import ModelCard
from models.image import Images
from models.layers import Features

Styles = Float[Tensor, "styles 3 rows columns"]
StyleMap = Float[Tensor, "styles _channels _rows _columns"]

EPSILON = 1e-5
# Channels out of the decoder's convolutions, in units of the width; the map is doubled before those in DOUBLED.
DECODER = (4, 4, 4, 4, 2, 2, 1, 1)
DOUBLED = (1, 5, 7)


class AdaIN(layers.WholeImage):
    """Whiten each channel of a map and give it mean and deviation of the same channel of another one."""

    def forward(self, content: Features, style: StyleMap) -> Features:
        """Map (B, C, H, W), with statistics of (B or 1, C, h, w), to (B, C, H, W).

        Source:
            Huang and Belongie, equation 8; the released code for the unbiased variance and its epsilon of 1e-5.
        """
        mean, deviation = self.statistics(content)
        wanted_mean, wanted_deviation = statistics(style)
        return (content.float() - mean) / deviation * wanted_deviation + wanted_mean

    def statistics(self, content: Features) -> tuple[Features, Features]:
        """Give mean and deviation (B, C, 1, 1) of the whole image of which this map may be a tile."""
        variance, mean = self.moments(content.float(), (2, 3))
        count = content[0, 0].numel() / self.share
        return mean, (variance * (count / (count - 1)) + EPSILON).sqrt()


def statistics(features: StyleMap) -> tuple[Tensor, Tensor]:
    """Give mean and deviation (B, C, 1, 1) of each channel: the root of the unbiased variance plus 1e-5."""
    features = features.float()
    deviation = (features.var(dim=(2, 3), correction=1, keepdim=True) + EPSILON).sqrt()
    return features.mean(dim=(2, 3), keepdim=True), deviation


class Decoder(nn.Module, PyTorchModelHubMixin, library_name="nijigen"):
    """Turn a map of relu4 back into a picture: nine 3 x 3 convolutions with reflection padding, three doublings.

    Args:
        width: Channels of the last stage, before RGB; maps of 8 times as many come in. 64 as released.
        upsample: "nearest" repeats pixels before the convolution; "transposed" makes that convolution a transposed
            one of stride 2, with as many parameters, for comparison.

    Raises:
        ValueError: There is no such upsampling.
    """

    def __init__(self, *, width: int = 64, upsample: str = "nearest") -> None:
        super().__init__()
        if upsample not in ("nearest", "transposed"):
            raise ValueError(f"upsample is {upsample!r}; expected nearest or transposed.")
        self.transposed = upsample == "transposed"
        self.convs = nn.ModuleList()
        channels = 8 * width
        for number, outputs in enumerate([*(growth * width for growth in DECODER), 3]):
            double = self.transposed and number in DOUBLED
            kind = functools.partial(nn.ConvTranspose2d, stride=2, padding=1, output_padding=1) if double else nn.Conv2d
            self.convs.append(kind(channels, outputs, 3))
            channels = outputs
        self.apply(layers.initialize_he)
        last = self.convs[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.constant_(last.bias, 0.5)

    def forward(self, features: Features) -> Images:
        """Map (B, 8 width, H, W) to pictures (B, 3, 8H, 8W), RGB meant for [0, 1] but not bounded."""
        x = features
        for number, conv in enumerate(self.convs):
            if not (self.transposed and number in DOUBLED):
                x = F.interpolate(x, scale_factor=2, mode="nearest") if number in DOUBLED else x
                x = layers.pad_reflect(x, left_top=1, right_bottom=1)
            x = conv(x)
            x = F.relu(x) if number < len(self.convs) - 1 else x
        return x.float()


class CrossDomain(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "style-transfer"]):
    """Encoder, adaptive instance normalisation and decoder.

    Args:
        encoder: "vgg19" is torchvision's, frozen; "normalised" the released one, frozen, with reflection padding and
            rounding-up pools; "own" has that form, too, and is trained with the decoder.
        layer: Where pictures are encoded: relu4_1 or relu4_2.
        width: Channels of the first stage, of encoder and decoder.
        upsample: Of the decoder.
        strength: Share of the restyled map; the rest is the photo's own.
    """

    def __init__(
        self,
        *,
        encoder: str = "vgg19",
        layer: str = "relu4_2",
        width: int = 64,
        upsample: str = "nearest",
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        if encoder not in ("vgg19", "normalised", "own") or layer not in ("relu4_1", "relu4_2"):
            raise ValueError(
                f"no encoder {encoder!r} to {layer!r}; expected vgg19, normalised or own, relu4_1 or relu4_2."
            )
        self.strength = strength
        self.encoder = vgg.Trunk("vgg19", layer, width=width, reflect=encoder != "vgg19")
        self.encoder.requires_grad_(encoder == "own")
        self.adain = AdaIN()
        self.decoder = Decoder(width=width, upsample=upsample)

    def forward(self, photo: Images, style: Styles) -> Images:
        """Paint photos (B, 3, H, W), H and W multiples of 8, like styles (B or 1, 3, H', W'), RGB in [-1, 1].

        The decoder's output is not bounded; clamp it to [-1, 1].
        """
        return self.stylize(photo, style, strength=self.strength)

    def stylize(self, photo: Images, style: Styles, *, strength: float = 1.0) -> Images:
        """Do what `forward` does with another strength: 0 gives the photo as the decoder sees it."""
        content = self.encode(photo)
        restyled = self.adain(content, self.encode(style))
        return self.decode(restyled if strength == 1 else strength * restyled + (1 - strength) * content)

    def mix(self, photo: Images, styles: list[Tensor], *, shares: list[float]) -> Images:
        """Paint photos like several styles at once, each with its share of their sum.

        Args:
            photo: RGB in [-1, 1].
            styles: Pictures (1, 3, H, W), each of its own size, RGB in [-1, 1].
            shares: One per style.

        Raises:
            ValueError: There is not one share per style, or they do not add up to something.
        """
        if len(shares) != len(styles) or sum(shares) <= 0:
            raise ValueError(
                f"{len(styles)} styles were given the shares {shares}; expected a positive sum of as many."
            )
        content = self.encode(photo)
        maps = [share * self.adain(content, self.encode(style)) for share, style in zip(shares, styles, strict=True)]
        return self.decode(torch.stack(maps).sum(dim=0) / sum(shares))

    def encode(self, pictures: Styles) -> StyleMap:
        """Map pictures (B, 3, H, W), RGB in [-1, 1], to (B, 8 width, H/8, W/8)."""
        return self.encoder((pictures + 1) / 2)[self.encoder.deepest]

    def decode(self, features: Features) -> Images:
        """Map (B, 8 width, H, W) to pictures (B, 3, 8H, 8W), RGB around [-1, 1]."""
        return 2 * self.decoder(features) - 1


PAPER = (
    "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization (Huang and Belongie, 2017), "
    "https://arxiv.org/abs/1703.06868"
)
CARDS = (
    ModelCard(
        name="adain-gan",
        title="AdaIN, cross-domain GAN",
        task="stylize",
        build=CrossDomain,
        multiple=8,
        paper=PAPER,
        licence="architecture only",
        released="MIT (pytorch-AdaIN)",
        note="Encodes at relu4_2 of torchvision's frozen VGG-19 (5,865,536 of its parameters), where the paper takes "
        "relu4_1, and a PatchGAN judges it in training, where the paper has none: both are the cross-domain method's. "
        "Released weights load with the encoder that the paper's port uses.",
    ),
    ModelCard(
        name="adain-small",
        title="AdaIN, small",
        task="stylize",
        build=functools.partial(CrossDomain, encoder="own", layer="relu4_1", width=24),
        multiple=8,
        paper=PAPER,
        checkpoint="adain-small",
        licence="research use only (the anime training set is research-only)",
        note="Encodes at relu4_1, as the paper, with three eighths of the width. Its encoder is its own, trained with "
        "the decoder on portraits and anime faces, so that it needs no VGG-19.",
    ),
)

"""UNIT: two domains that share one latent space, in the form of 2017 (shared weights) and of 2018 (none shared).

Source: Unsupervised Image-to-Image Translation Networks (Liu, Breuel and Kautz, 2017), and the networks of its first
release and of the second one of 2018, for all that the text leaves open.
"""

import functools
from typing import Literal

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models import discriminators, layers
from models.card import ModelCard
from models.image import Images
from models.layers import Features

Domain = Literal["photo", "anime"]
DOMAINS: tuple[Domain, Domain] = ("photo", "anime")
Logits = Float[Tensor, "batch 1 _rows _columns"]
SLOPE_2017, SLOPE_2018 = 0.01, 0.2


class Residual(nn.Module):
    """Two 3 x 3 convolutions with instance norm, a ReLU between them, none after the sum.

    Args:
        channels: Channels in and out.
        padding: "zeros" in 2017, "reflect" in 2018.
        dropout: Share of the values that training drops before the sum.
    """

    def __init__(self, channels: int, *, padding: Literal["zeros", "reflect"] = "zeros", dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding)
        self.norm1 = layers.InstanceNorm(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding)
        self.norm2 = layers.InstanceNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        y = F.relu(self.norm1(self.first(x)))
        return x + self.dropout(self.norm2(self.second(y)))


class Noise(nn.Module):
    """Sample a code in training: N(0, 1) is added, for the posterior has unit variance."""

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape; outside training it stays as it is."""
        return x + torch.randn_like(x) if self.training else x


class LayerNorm(layers.WholeImage):
    """Whiten an image over channels and pixels at once; gain and offset per channel are learned.

    Source:
        The networks of 2018. Unlike in `layers.LayerNorm` the deviation is the unbiased one, and epsilon is added to
        it, not to the variance.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        variance, mean = self.moments(x, (1, 2, 3))
        count = x[0].numel() / self.share
        deviation = (variance * (count / (count - 1))).sqrt()
        return (x - mean) / (deviation + 1e-5) * self.weight[:, None, None] + self.bias[:, None, None]


class UNIT(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "anime"]):
    """The form of 2017: both directions, through one shared encoder and one shared decoder (18,017,286 parameters).

    A direction uses 10,188,803 of them: the encoder of its source, both shared parts, the decoder of its target.
    The shared parts exist once, so that both directions and both reconstructions train the same tensors.

    Args:
        width: Channels after the first convolution; every halving doubles them.
        halvings: Strided convolutions of an encoder, transposed ones of a decoder.
        encoder_residuals: Residual blocks that each domain's encoder ends with.
        encoder_shared: Residual blocks of the shared encoder.
        decoder_shared: Residual blocks of the shared decoder.
        decoder_residuals: Residual blocks that each domain's decoder starts with.
        dropout: Of all residual blocks, in training; the paper's street scenes have 0.5.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        halvings: int = 2,
        encoder_residuals: int = 3,
        encoder_shared: int = 1,
        decoder_shared: int = 1,
        decoder_residuals: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widest = width * 2**halvings

        def residuals(count: int) -> list[nn.Module]:
            return [Residual(widest, dropout=dropout) for _ in range(count)]

        self.encoders = nn.ModuleDict(
            {domain: nn.Sequential(*descend(width, halvings), *residuals(encoder_residuals)) for domain in DOMAINS}
        )
        self.shared_encoder = nn.Sequential(*residuals(encoder_shared), Noise())
        self.shared_decoder = nn.Sequential(*residuals(decoder_shared))
        self.decoders = nn.ModuleDict(
            {domain: nn.Sequential(*residuals(decoder_residuals), *ascend(widest, halvings)) for domain in DOMAINS}
        )
        self.apply(discriminators.initialize)

    def direction(self, source: Domain, target: Domain) -> nn.Sequential:
        """Give the network from one domain to another, or to itself: the modules of this one, nothing copied."""
        return nn.Sequential(
            self.encoders[source], self.shared_encoder, self.shared_decoder, self.decoders[target], nn.Tanh()
        )

    def encode(self, images: Images, domain: Domain) -> Features:
        """Map images of a domain to the shared code (B, 4 * width, H/4, W/4): its mean, in training a sample of it."""
        return self.shared_encoder(self.encoders[domain](images))

    def decode(self, code: Features, domain: Domain) -> Float[Tensor, "batch 3 _rows _columns"]:
        """Map a code to images of a domain, RGB in [-1, 1]."""
        return self.decoders[domain](self.shared_decoder(code)).float().tanh()

    def translate(self, images: Images, source: Domain, target: Domain) -> Images:
        """Map images of one domain to another; where they are the same, reconstruct them."""
        return self.decode(self.encode(images, source), target)

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), H and W multiples of 4, RGB in [-1, 1], to its anime version of the same shape.

        This trains the encoder of the photos, the decoder of the anime pictures and the shared parts; `translate` has
        all four ways.
        """
        return self.translate(photo, "photo", "anime")


def descend(width: int, halvings: int) -> list[nn.Module]:
    """Make the convolutions of a 2017 encoder: from RGB to width * 2**halvings channels, LeakyReLU, no norm."""
    stages = [nn.Sequential(nn.Conv2d(3, width, 7, padding=3), nn.LeakyReLU(SLOPE_2017))]
    for channels in (width * 2**number for number in range(halvings)):
        conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        stages.append(nn.Sequential(conv, nn.LeakyReLU(SLOPE_2017)))
    return [*stages]


def ascend(channels: int, doublings: int) -> list[nn.Module]:
    """Make the transposed convolutions of a 2017 decoder: from `channels`, halved at each doubling, to RGB."""
    stages: list[nn.Module] = []
    for _ in range(doublings):
        conv = nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)
        stages.append(nn.Sequential(conv, nn.LeakyReLU(SLOPE_2017)))
        channels //= 2
    return [*stages, nn.ConvTranspose2d(channels, 3, 1)]


class ConvBlock(nn.Module):
    """Reflection padding, convolution, normalisation and ReLU of the 2018 form.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel, in pixels; 4 halves the map.
        norm: "instance" in the encoder, "layer" in the decoder.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, norm: Literal["instance", "layer"]) -> None:
        super().__init__()
        stride, padding = (2, 1) if kernel == 4 else (1, kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, padding_mode="reflect")
        self.norm = layers.InstanceNorm(outputs) if norm == "instance" else LayerNorm(outputs)

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H, W), or half of H and W."""
        return F.relu(self.norm(self.conv(x)))


class UNIT2018(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "anime"]):
    """The form of 2018, one auto-encoder; nothing is shared (11,140,483 parameters).

    Training has one of them per domain. A translator is the encoder of one and the decoder of the other.

    Args:
        width: Channels after the first convolution; every halving doubles them.
        halvings: Strided convolutions of the encoder, doublings of the decoder.
        residuals: Residual blocks at the end of the encoder, and as many at the start of the decoder.
    """

    def __init__(self, *, width: int = 64, halvings: int = 2, residuals: int = 4) -> None:
        super().__init__()
        widest = width * 2**halvings
        down = [ConvBlock(width * 2**i, width * 2 ** (i + 1), kernel=4, norm="instance") for i in range(halvings)]
        up: list[nn.Module] = []
        for channels in (widest // 2**number for number in range(halvings)):
            up += [nn.Upsample(scale_factor=2), ConvBlock(channels, channels // 2, kernel=5, norm="layer")]
        residual = functools.partial(Residual, widest, padding="reflect")
        self.encoder = nn.Sequential(
            ConvBlock(3, width, kernel=7, norm="instance"), *down, *(residual() for _ in range(residuals))
        )
        self.noise = Noise()
        paint = nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect")
        self.decoder = nn.Sequential(*(residual() for _ in range(residuals)), *up, paint)
        self.apply(layers.initialize_he)

    def encode(self, images: Images) -> Features:
        """Map images (B, 3, H, W), RGB in [-1, 1], to the mean of their code, (B, 4 * width, H/4, W/4)."""
        return self.encoder(images)

    def decode(self, code: Features) -> Float[Tensor, "batch 3 _rows _columns"]:
        """Map a code to images, RGB in [-1, 1]."""
        return self.decoder(code).float().tanh()

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), H and W multiples of 4, RGB in [-1, 1], to its anime version of the same shape.

        In training the code is a sample: N(0, 1) is added to its mean.
        """
        return self.decode(self.noise(self.encode(photo)))


def halve(width: int, depth: int, *, kernel: int, padding: Literal["zeros", "reflect"], slope: float) -> nn.Sequential:
    """Make the judge of one scale: `depth` strided convolutions from RGB, LeakyReLU, no norm, 1 x 1 to a logit."""
    stages: list[nn.Module] = []
    for number in range(depth):
        inputs = width * 2 ** (number - 1) if number else 3
        conv = nn.Conv2d(inputs, width * 2**number, kernel, stride=2, padding=1, padding_mode=padding)
        stages += [conv, nn.LeakyReLU(slope)]
    return nn.Sequential(*stages, nn.Conv2d(width * 2 ** (depth - 1), 1, 1))


class SharedDiscriminator(nn.Module, PyTorchModelHubMixin):
    """Judge both domains, with separate first layers and one tail for both: 2017 (25,240,065 parameters).

    Args:
        width: Channels after the first convolution; every further one doubles them.
        front: Strided convolutions of each domain.
        shared: Strided convolutions of the tail.
    """

    def __init__(self, *, width: int = 64, front: int = 2, shared: int = 4) -> None:
        super().__init__()

        def halvings(first: int, last: int) -> list[nn.Module]:
            found: list[nn.Module] = []
            for channels in (width * 2**number for number in range(first, last)):
                conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
                found += [conv, nn.LeakyReLU(SLOPE_2017)]
            return found

        self.fronts = nn.ModuleDict()
        for domain in DOMAINS:
            enter = nn.Conv2d(3, width, 7, stride=2, padding=3)
            self.fronts[domain] = nn.Sequential(enter, nn.LeakyReLU(SLOPE_2017), *halvings(0, front - 1))
        deepest = front + shared - 1
        self.tail = nn.Sequential(*halvings(front - 1, deepest), nn.Conv2d(width * 2**deepest, 1, 1))
        self.apply(discriminators.initialize)

    def forward(self, images: Images, domain: Domain) -> Logits:
        """Map images of a domain, RGB in [-1, 1], to logits, one per 64 x 64 px with the default depths."""
        return self.tail(self.fronts[domain](images)).float()


class GaussianDiscriminator(nn.Module, PyTorchModelHubMixin):
    """Judge both domains at several scales, each half of the one before, nothing shared: 2017 (9,308,934 parameters).

    A 3 x 3 binomial filter smooths before every second pixel is taken. The released code cuts wide pictures to squares
    on that way; here they are kept whole.

    Args:
        width: Channels after the first convolution; every further one doubles them.
        depth: Strided convolutions at each scale.
        scales: How many scales.
    """

    kernel: Tensor

    def __init__(self, *, width: int = 64, depth: int = 4, scales: int = 3) -> None:
        super().__init__()
        make = functools.partial(halve, width, depth, kernel=3, padding="zeros", slope=SLOPE_2017)
        self.judges = nn.ModuleDict({domain: nn.ModuleList(make() for _ in range(scales)) for domain in DOMAINS})
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", torch.outer(line, line).expand(3, 1, 3, 3).clone(), persistent=False)
        self.apply(discriminators.initialize)

    def shrink(self, images: Images) -> Float[Tensor, "batch 3 _rows _columns"]:
        """Smooth and take every second row and column, the first ones included."""
        return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), self.kernel, groups=3)[..., ::2, ::2]

    def forward(self, images: Images, domain: Domain) -> tuple[Logits, ...]:
        """Map images of a domain, RGB in [-1, 1], to logits (B, 1, H/16, W/16) and so on, the finest scale first."""
        found = []
        for judge in self.judges[domain].children():
            found.append(judge(images).float())
            images = self.shrink(images)
        return tuple(found)


class MultiScaleDiscriminator(nn.Module, PyTorchModelHubMixin):
    """Judge one domain at several scales, each half of the one before: 2018 (8,271,171 parameters).

    Args:
        width: Channels after the first convolution; every further one doubles them.
        depth: Strided convolutions at each scale.
        scales: How many scales; the default three need 64 px.
    """

    def __init__(self, *, width: int = 64, depth: int = 4, scales: int = 3) -> None:
        super().__init__()
        make = functools.partial(halve, width, depth, kernel=4, padding="reflect", slope=SLOPE_2018)
        self.judges = nn.ModuleList(make() for _ in range(scales))
        self.apply(discriminators.initialize)

    def forward(self, images: Images) -> tuple[Logits, ...]:
        """Map images, RGB in [-1, 1], to logits (B, 1, H/16, W/16) and so on, the finest scale first."""
        found = []
        for judge in self.judges:
            found.append(judge(images).float())
            images = F.avg_pool2d(images, 3, stride=2, padding=1, count_include_pad=False)
        return tuple(found)


PAPER = (
    "Unsupervised Image-to-Image Translation Networks (Liu, Breuel and Kautz, 2017), https://arxiv.org/abs/1703.00848"
)
RELEASED = "CC BY-NC-SA 4.0 (UNIT, NVIDIA)"
CARDS = (
    ModelCard(
        name="unit",
        title="UNIT (2017)",
        task="translate",
        build=UNIT,
        multiple=4,
        paper=PAPER,
        licence="architecture only",
        released=RELEASED,
        note="As in the paper and its first code, with which its weights fit: both directions, through shared blocks "
        "that are the same tensors. Photo to anime uses 10,188,803 of its parameters.",
    ),
    ModelCard(
        name="unit2018",
        title="UNIT (2018)",
        task="translate",
        build=UNIT2018,
        multiple=4,
        paper=PAPER,
        licence="architecture only",
        released=RELEASED,
        note="The authors' second code, which unlike the paper shares no weights; it is here for the weights released "
        "with it. One direction: the encoder of the photos and the decoder of the anime pictures.",
    ),
    ModelCard(
        name="unit-small",
        title="UNIT (2017), small",
        task="translate",
        build=functools.partial(UNIT, width=16),
        multiple=4,
        paper=PAPER,
        licence="architecture only",
        note="As `unit` with 16 channels instead of 64 at full size, small enough to be shipped.",
    ),
)

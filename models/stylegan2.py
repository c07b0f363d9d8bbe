"""StyleGAN2 as NVIDIA released it for PyTorch: faces from noise through styles; plain PyTorch, no compiled parts.

Source: Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020), figure 2 and sections 2 to 4;
Training Generative Adversarial Networks with Limited Data (Karras et al., 2020) for the released configurations.
Modules carry the released names (`mapping.fc0`, `synthesis.b8.conv1`, `b4.fc`), so that official state dicts load.
"""

import functools
import math

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn

from models import modulation
from models.card import ModelCard
from models.image import Images
from models.layers import Features
from models.modulation import NoiseMode, Vectors

MAPPING_RATE = 0.01
AVERAGE_DECAY = 0.995
WIDEST = 512
HALF_WIDTH = 16384  # channels times side; full width is twice that

Styles = Float[Tensor, "batch _layers _width"]
Labels = Float[Tensor, "batch _classes"]


def widths(resolution: int, *, base: int, widest: int) -> dict[int, int]:
    """Give the channels at every side from 4 pixels up to the image's.

    Args:
        resolution: Side of the images, in pixels.
        base: Channels times side, where `widest` does not limit them.
        widest: Channels at most.

    Raises:
        ValueError: The side is no power of two from 8 up, or no channel is left at it.
    """
    if resolution < 8 or resolution & (resolution - 1) or min(base // resolution, widest) < 1:
        raise ValueError(
            f"resolution is {resolution}, base {base} and widest {widest}; expected a power of two from 8, "
            "at most the base, and from 1"
        )
    return {1 << power: min(base >> power, widest) for power in range(2, resolution.bit_length())}


class Mapping(nn.Module):
    """Noise, a label or both, to a style.

    Args:
        latent: Length of the noise; 0 in a discriminator, which maps labels alone.
        width: Length of the style.
        depth: Linear layers.
        classes: Length of the labels; 0 without.
    """

    def __init__(self, latent: int, width: int, *, depth: int = 8, classes: int = 0) -> None:
        super().__init__()
        self.classes = classes
        if classes:
            self.embed = modulation.Dense(classes, width)
        inputs = latent + (width if classes else 0)
        self.names = [f"fc{number}" for number in range(depth)]
        for name in self.names:
            self.add_module(name, modulation.Dense(inputs, width, rate=MAPPING_RATE))
            inputs = width
        self.w_avg: Tensor | None
        self.register_buffer("w_avg", torch.zeros(width) if latent else None)

    def forward(self, noise: Vectors | None, labels: Labels | None = None) -> Vectors:
        """Map noise (B, latent) and labels (B, classes) to styles (B, width); in training their average follows.

        Raises:
            ValueError: Labels are missing.
        """
        if self.classes and labels is None:
            raise ValueError(f"the network knows {self.classes} classes; expected labels (batch, {self.classes}).")
        given = [] if noise is None else [modulation.normalize(noise)]
        given += [modulation.normalize(self.embed(labels).float())] if self.classes else []
        styles = torch.cat(given, dim=1)
        for name in self.names:
            styles = modulation.activate(self.get_submodule(name)(styles))
        if self.training and self.w_avg is not None:
            self.w_avg.lerp_(styles.detach().float().mean(dim=0), 1 - AVERAGE_DECAY)
        return styles.float()


class SynthesisBlock(nn.Module):
    """All that the generator does at one size.

    Args:
        inputs: Channels of the map of half the side; 0 in the first block, which starts from a learned map.
        outputs: Channels out.
        width: Length of the style.
        side: In pixels.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int, side: int) -> None:
        super().__init__()
        if inputs:
            self.conv0 = modulation.SynthesisLayer(inputs, outputs, width=width, side=side, double=True)
        else:
            self.const = nn.Parameter(torch.randn(outputs, side, side))
        self.conv1 = modulation.SynthesisLayer(outputs, outputs, width=width, side=side)
        self.torgb = modulation.ToRGB(outputs, width=width)
        self.resample_filter: Tensor
        self.register_buffer("resample_filter", modulation.resample_filter())

    def forward(
        self, x: Features | None, image: Features | None, styles: Styles, *, noise: NoiseMode
    ) -> tuple[Features, Features]:
        """Double the map, and add what it shows to the doubled image; the last of its styles is for that."""
        start = self.const.expand(len(styles), -1, -1, -1) if x is None else self.conv0(x, styles[:, 0], noise=noise)
        made = self.conv1(start, styles[:, -2], noise=noise)
        shown = self.torgb(made, styles[:, -1])
        if image is None:
            return made, shown
        return made, modulation.upsample(image, self.resample_filter).float() + shown


class Synthesis(nn.Module):
    """Styles to an image, from 4 x 4 pixels up; each size adds an image to the doubled one of the size before.

    Args:
        channels: At every side, in pixels.
        width: Length of the style.
    """

    def __init__(self, channels: dict[int, int], *, width: int) -> None:
        super().__init__()
        self.sides = list(channels)
        for side in self.sides:
            block = SynthesisBlock(channels.get(side // 2, 0), channels[side], width=width, side=side)
            self.add_module(f"b{side}", block)
        self.layers = 2 * len(self.sides)

    def forward(self, styles: Styles, *, noise: NoiseMode | None = None) -> Images:
        """Map styles (B, layers, width), one per convolution and one for the last image, to images, not clamped.

        An image inside takes the style of the convolution that comes next.

        Args:
            styles: From `StyleGAN2.styles`.
            noise: "random" is drawn anew, "const" is stored, "none" is no noise; None: random in training, else stored.
        """
        mode: NoiseMode = noise or ("random" if self.training else "const")
        x = image = None
        for number, side in enumerate(self.sides):
            first, last = max(2 * number - 1, 0), 2 * number + 2
            x, image = self.get_submodule(f"b{side}")(x, image, styles[:, first:last], noise=mode)
        assert image is not None
        return image


class StyleGAN2(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-generation", "anime"]):
    """The generator, mapping included (24,767,458 parameters at 256 pixels and half width).

    Args:
        resolution: Side of the images, in pixels.
        base: Channels times side, where `widest` does not limit them: 16,384 at half width, 32,768 at full.
        widest: Channels at most.
        depth: Layers of the mapping; 8, or 2 as the released training has it unless told otherwise.
        latent: Length of the noise.
        width: Length of a style.
        classes: Length of the labels of a conditional generator; 0 without.

    Raises:
        ValueError: The side is no power of two from 8 up, or no channel is left at it.
    """

    def __init__(
        self,
        *,
        resolution: int = 256,
        base: int = HALF_WIDTH,
        widest: int = WIDEST,
        depth: int = 8,
        latent: int = 512,
        width: int = 512,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.synthesis = Synthesis(widths(resolution, base=base, widest=widest), width=width)
        self.mapping = Mapping(latent, width, depth=depth, classes=classes)

    def forward(
        self, latents: Vectors, labels: Labels | None = None, *, truncation: float = 1.0, noise: NoiseMode | None = None
    ) -> Images:
        """Map standard normal noise (B, latent) to images (B, 3, side, side), meant for [-1, 1] but not clamped."""
        return self.synthesis(self.styles(latents, labels, truncation=truncation), noise=noise)

    def styles(
        self, latents: Vectors, labels: Labels | None = None, *, truncation: float = 1.0, cutoff: int | None = None
    ) -> Styles:
        """Map noise to one style, repeated for every layer.

        Args:
            latents: Standard normal noise (B, latent).
            labels: One-hot (B, classes), of a conditional generator.
            truncation: How far from the average style to go: 1 all the way, less for fewer but likelier images.
            cutoff: Layers to truncate, from the coarsest; None for all.

        Returns:
            Styles (B, layers, width).
        """
        repeated = self.mapping(latents, labels)[:, None].expand(-1, self.synthesis.layers, -1)
        if truncation == 1:
            return repeated
        average = self.mapping.w_avg
        assert average is not None
        limit = self.synthesis.layers if cutoff is None else cutoff
        return torch.cat([average.lerp(repeated[:, :limit], truncation), repeated[:, limit:]], dim=1)

    def mix(self, coarse: Vectors, fine: Vectors, *, crossover: int, truncation: float = 1.0) -> Images:
        """Make images (B, 3, side, side) of two noises (B, latent) each: layers from `crossover` on take the second."""
        first, second = (self.styles(latents, truncation=truncation) for latents in (coarse, fine))
        return self.synthesis(torch.cat([first[:, :crossover], second[:, crossover:]], dim=1))


class Layer(modulation.EqualizedConvolution):
    """Convolution of the discriminator, of the halved map where asked for; LeakyReLU follows wherever `bias` is on."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, halve: bool = False, bias: bool = True) -> None:
        padding, stride = (0, 1 + kernel // 2) if halve else (kernel // 2, 1)
        super().__init__(inputs, outputs, kernel, padding=padding, stride=stride, bias=bias)
        self.halve = halve
        self.resample_filter: Tensor
        self.register_buffer("resample_filter", modulation.resample_filter())

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H, W), or half the size."""
        if self.halve:  # filter, then skip pixels: in the filter before a 1 x 1 kernel, else in the convolution
            x = modulation.blur(x, self.resample_filter, padding=self.stride, stride=3 - self.stride)
        y = super().forward(x)
        return y if self.bias is None else modulation.activate(y)


class DiscriminatorBlock(nn.Module):
    """Two convolutions that halve a map, beside a linear path.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        first: Takes an image.
    """

    def __init__(self, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
        if first:
            self.fromrgb = Layer(3, inputs, 1)
        self.conv0 = Layer(inputs, inputs, 3)
        self.conv1 = Layer(inputs, outputs, 3, halve=True)
        self.skip = Layer(inputs, outputs, 1, halve=True, bias=False)
        self.register_buffer("resample_filter", modulation.resample_filter())  # the released networks store it, unused
        self.first = first

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W), or an image, to (B, outputs, H/2, W/2)."""
        if self.first:
            x = self.fromrgb(x)
        return modulation.HALF * (self.skip(x) + self.conv1(self.conv0(x)))


class Epilogue(nn.Module):
    """End of the discriminator: from 4 x 4 pixels to `outputs` values.

    Args:
        channels: Channels in.
        outputs: 1, or the length of a label's style, which is then compared with them.
        group: Images whose deviation is appended.
    """

    def __init__(self, channels: int, outputs: int, *, group: int) -> None:
        super().__init__()
        self.group = group
        self.conv = Layer(channels + 1, channels, 3)
        self.fc = modulation.Dense(16 * channels, channels)
        self.out = modulation.Dense(channels, outputs)

    def forward(self, x: Features) -> Vectors:
        """Map (B, channels, 4, 4) to (B, outputs)."""
        y = self.conv(modulation.append_deviation(x, self.group))
        return self.out(modulation.activate(self.fc(y.flatten(1)))).float()


class Discriminator(nn.Module, PyTorchModelHubMixin, library_name="nijigen"):
    """Residual discriminator (24,001,089 parameters at 256 pixels and half width).

    Args:
        resolution: Side of the images, in pixels.
        base: Channels times side, where `widest` does not limit them.
        widest: Channels at most.
        group: Images whose deviation from each other is shown to the end; the batch is a multiple of it or smaller.
        depth: Layers of the mapping of labels.
        classes: Length of the labels of a conditional discriminator; 0 without.

    Raises:
        ValueError: The side is no power of two from 8 up, or no channel is left at it.
    """

    def __init__(
        self,
        *,
        resolution: int = 256,
        base: int = HALF_WIDTH,
        widest: int = WIDEST,
        group: int = 4,
        depth: int = 8,
        classes: int = 0,
    ) -> None:
        super().__init__()
        channels = widths(resolution, base=base, widest=widest)
        self.sides = list(channels)[:0:-1]  # down to 8
        for side in self.sides:
            block = DiscriminatorBlock(channels[side], channels[side // 2], first=side == resolution)
            self.add_module(f"b{side}", block)
        self.mapping = Mapping(0, channels[4], depth=depth, classes=classes) if classes else None
        self.b4 = Epilogue(channels[4], channels[4] if classes else 1, group=group)

    def forward(self, images: Images, labels: Labels | None = None) -> Float[Tensor, "batch 1"]:
        """Map images (B, 3, side, side), RGB in [-1, 1], and one-hot labels, where there are any, to logits (B, 1)."""
        x: Tensor = images
        for side in self.sides:
            x = self.get_submodule(f"b{side}")(x)
        values = self.b4(x)
        if self.mapping is None:
            return values
        return (values * self.mapping(None, labels)).sum(dim=1, keepdim=True) / math.sqrt(values.shape[1])


PAPER = (
    "Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020a), https://arxiv.org/abs/1912.04958; "
    "Training Generative Adversarial Networks with Limited Data (Karras et al., 2020b), https://arxiv.org/abs/2006.06676"
)
RELEASED = "NVIDIA source code licence: non-commercial (stylegan2-ada-pytorch)"
CARDS = (
    ModelCard(
        name="stylegan2-64",
        title="StyleGAN2, 64 px",
        task="generate",
        build=functools.partial(StyleGAN2, resolution=64),
        multiple=1,
        latent=512,
        paper=PAPER,
        licence="architecture only",
        released=RELEASED,
        note="NVIDIA's released form at half the paper's width, as its configuration for 256 px has it, because the "
        "full one is slow on a CPU. Outside training the stored noise is used, so that one latent always gives one "
        "image.",
    ),
    ModelCard(
        name="stylegan2-256",
        title="StyleGAN2, 256 px",
        task="generate",
        build=functools.partial(StyleGAN2, resolution=256),
        multiple=1,
        latent=512,
        paper=PAPER,
        licence="architecture only",
        released=RELEASED,
        note="NVIDIA's released form at half the paper's width, as its configuration for 256 px has it; full width is "
        "a setting. Activations are not clamped at 256, which only half-precision training needs.",
    ),
    ModelCard(
        name="stylegan2-64-small",
        title="StyleGAN2, 64 px, small",
        task="generate",
        build=functools.partial(StyleGAN2, resolution=64, base=8192, widest=96, depth=2, latent=128, width=128),
        multiple=1,
        latent=128,
        paper=PAPER,
        licence="architecture only",
        note="As `stylegan2-64` with at most 96 channels instead of 512, to be shipped, and a mapping of two layers, "
        "as the released code has it unless told otherwise.",
    ),
)

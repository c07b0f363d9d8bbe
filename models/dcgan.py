"""DCGAN: faces from noise by transposed convolutions alone, at 64 and at 256 pixels.

Source: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks (Radford, Metz and
Chintala, 2016), section 3, figure 1; module paths, strides and widths are those of the 256-pixel networks that the
project's DCGAN study printed.
"""

import functools

from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn

from models import discriminators
from models.card import ModelCard
from models.image import Images

SLOPE = 0.2
DUMPED = 256  # side of the networks whose printout is followed to the letter


def widths(resolution: int, base: int) -> list[int]:
    """Give the channels of the maps of 4, 8, 16, ... pixels a side: each half as many, `base` in the last one.

    Raises:
        ValueError: The side is no power of two from 16 up, or there are no channels.
    """
    if resolution < 16 or resolution & (resolution - 1) or base < 1:
        raise ValueError(f"resolution is {resolution} and base {base}; expected a power of two from 16, and from 1")
    stages = resolution.bit_length() - 3
    return [base << stage for stage in reversed(range(stages))]


class DCGAN(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-generation", "anime"]):
    """The generator (12,817,856 parameters at 256 pixels, 12,658,432 at 64).

    Args:
        resolution: Side of the images, in pixels.
        base: Channels of the last hidden map; the first one has 1024 with the defaults, and with 128 at 64 pixels.
        latent: Length of the noise.

    Raises:
        ValueError: The side is no power of two from 16 up, or `base` is below 1.
    """

    def __init__(self, *, resolution: int = DUMPED, base: int = 32, latent: int = 100) -> None:
        super().__init__()
        self.latent = latent
        first, *rest = widths(resolution, base)
        stages: list[nn.Module] = [nn.ConvTranspose2d(latent, first, 4, bias=False), nn.BatchNorm2d(first), nn.ReLU()]
        inputs = first
        for outputs in rest:
            stages += [
                nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            inputs = outputs
        paint = nn.ConvTranspose2d(inputs, 3, 4, stride=2, padding=1, bias=False)
        self.network = nn.Sequential(*stages, paint, nn.Tanh())
        self.apply(discriminators.initialize)

    def forward(self, noise: Float[Tensor, "batch _latent *_ones"]) -> Images:
        """Map standard normal noise (B, latent), or (B, latent, 1, 1), to images (B, 3, side, side) in (-1, 1)."""
        return self.network(noise.flatten(1)[..., None, None]).float()


class Discriminator(nn.Module, PyTorchModelHubMixin, library_name="nijigen"):
    """Tell real images from generated ones (11,195,776 parameters at 256 pixels, 11,036,160 at 64).

    Args:
        resolution: Side of the images, in pixels; others are refused.
        base: Channels of the first map.
    """

    def __init__(self, *, resolution: int = DUMPED, base: int = 32) -> None:
        super().__init__()
        self.resolution = resolution
        inputs, *rest = reversed(widths(resolution, base))
        stages: list[nn.Module] = [nn.Conv2d(3, inputs, 4, stride=2, padding=1, bias=False), nn.LeakyReLU(SLOPE)]
        for outputs in rest:
            stages += [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(SLOPE),
            ]
            inputs = outputs
        leave = nn.Conv2d(inputs, 1, 4, stride=2 if resolution == DUMPED else 1, bias=False)  # of 4 x 4: no difference
        self.network = nn.Sequential(*stages, leave, nn.Sigmoid())
        self.apply(discriminators.initialize)

    def forward(self, images: Images) -> Float[Tensor, " batch"]:
        """Map images (B, 3, side, side), RGB in [-1, 1], to the probability (B,) that each is real."""
        return self.network[-1](self.logits(images))

    def logits(self, images: Images) -> Float[Tensor, " batch"]:
        """Give what the sigmoid is taken of, which losses should use: (B,).

        Raises:
            ValueError: The images have another size, for which the last convolution is not made.
        """
        if images.shape[-2:] != (self.resolution, self.resolution):
            height, width = images.shape[-2:]
            raise ValueError(f"the images are {width} x {height} px; expected {self.resolution} a side.")
        return self.network[:-1](images).flatten().float()


PAPER = "DCGAN (Radford, Metz and Chintala, 2016), https://arxiv.org/abs/1511.06434"
RELEASED = "none published (PyTorch's example is BSD-3-Clause)"
CARDS = (
    ModelCard(
        name="dcgan-64",
        title="DCGAN, 64 px",
        task="generate",
        build=functools.partial(DCGAN, resolution=64, base=128),
        multiple=1,
        latent=100,
        paper=PAPER,
        licence="architecture only",
        released=RELEASED,
        note="The paper's channels, 1024 at 4 x 4 px, but normal noise instead of uniform, as in PyTorch's example, "
        "whose files have this layout.",
    ),
    ModelCard(
        name="dcgan-256",
        title="DCGAN, 256 px",
        task="generate",
        build=functools.partial(DCGAN, resolution=256, base=32),
        multiple=1,
        latent=100,
        paper=PAPER,
        licence="architecture only",
        released=RELEASED,
        note="Two more doublings than the paper's network, which stops at 64 px: the networks that the project's DCGAN "
        "study printed, to the letter, even the discriminator's last stride of 2, which changes nothing at 4 x 4 px.",
    ),
    ModelCard(
        name="dcgan-64-small",
        title="DCGAN, 64 px, small",
        task="generate",
        build=functools.partial(DCGAN, resolution=64, base=32),
        multiple=1,
        latent=100,
        paper=PAPER,
        licence="architecture only",
        note="As `dcgan-64` with a quarter of the channels, small enough to be shipped.",
    ),
)

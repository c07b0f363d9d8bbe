"""U-NetPlus as a translator: a VGG encoder, and a decoder that doubles by nearest neighbour or transposed convolution.

Source: U-NetPlus (Hasan and Linte, 2019); widths, and the blocks of the transposed form, are those of the released
networks of Automatic Instrument Segmentation in Robot-Assisted Surgery (Shvets et al., 2018), which it takes further.
"""

import functools

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from models import layers
from models.card import ModelCard
from models.image import Images
from models.layers import Features

# Channels of the convolutions before each pooling, then those after each doubling, in units of `width`.
ENCODERS = {
    "vgg11": ((2,), (4,), (8, 8), (16, 16), (16, 16)),
    "vgg16": ((2, 2), (4, 4), (8, 8, 8), (16, 16, 16), (16, 16, 16)),
}
DECODERS = {"vgg11": (8, 8, 4, 2, 1), "vgg16": (8, 8, 8, 2, 1)}
MIDDLES = (16, 16, 16, 8, 4)
UPSAMPLES = ("nearest", "transposed")


class UNetPlus(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "anime"]):
    """Five halvings, five doublings, skips that are concatenated (22,927,459 parameters).

    `encoder` has the keys of torchvision's `vgg11().features` and so on: `encoder.load_state_dict` takes its weights.

    Args:
        encoder: "vgg11" or "vgg16".
        upsample: "nearest" doubles by nearest neighbour, then convolves twice; "transposed" convolves, then doubles by
            a transposed convolution of 4 x 4.
        batch_norm: Normalise every convolution of the encoder, as the paper does; 5,504 more parameters (VGG11).
        width: Channels at the end of the decoder; the encoder starts with twice as many.

    Raises:
        ValueError: The encoder or the way of upsampling is unknown.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, *, encoder: str = "vgg11", upsample: str = "nearest", batch_norm: bool = False, width: int = 32
    ) -> None:
        super().__init__()
        if encoder not in ENCODERS or upsample not in UPSAMPLES:
            known = f"{', '.join(ENCODERS)} and {', '.join(UPSAMPLES)}"
            raise ValueError(f"encoder is {encoder!r} and upsample {upsample!r}; expected one each of {known}.")
        stages = [[width * channels for channels in stage] for stage in ENCODERS[encoder]]
        self.encoder = descend(stages, batch_norm=batch_norm)
        self.decoder = nn.ModuleList()
        inputs = stages[-1][-1]
        skips = [stage[-1] for stage in reversed(stages)]
        for middle, outputs, skip in zip(MIDDLES, DECODERS[encoder], skips, strict=True):
            self.decoder.append(double(inputs, width * middle, width * outputs, upsample=upsample))
            inputs = width * outputs + skip
        self.leave = nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU())
        self.paint = nn.Conv2d(width, 3, 1)
        for name, values in (("mean", layers.IMAGENET_MEAN), ("deviation", layers.IMAGENET_DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.apply(layers.initialize_he)

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), H and W multiples of 32, RGB in [-1, 1], to its anime version, the same shape."""
        x: Features = ((photo + 1) / 2 - self.mean) / self.deviation
        skips = []
        for layer in self.encoder:
            if isinstance(layer, nn.MaxPool2d):
                skips.append(x)
            x = layer(x)
        for block in self.decoder:
            x = torch.cat([block(x), skips.pop()], dim=1)
        return self.paint(self.leave(x)).float().tanh()


def descend(stages: list[list[int]], *, batch_norm: bool) -> nn.Sequential:
    """Make the layers of a VGG network, numbered as torchvision numbers them."""
    found: list[nn.Module] = []
    inputs = 3
    for stage in stages:
        for channels in stage:
            norm = [nn.BatchNorm2d(channels)] if batch_norm else []
            found += [nn.Conv2d(inputs, channels, 3, padding=1), *norm, nn.ReLU()]
            inputs = channels
        found.append(nn.MaxPool2d(2))
    return nn.Sequential(*found)


def double(inputs: int, middle: int, outputs: int, *, upsample: str) -> nn.Sequential:
    """Make a block of the decoder, which doubles height and width."""
    enter = nn.Conv2d(inputs, middle, 3, padding=1)
    if upsample == "transposed":
        leave = nn.ConvTranspose2d(middle, outputs, 4, stride=2, padding=1)
        return nn.Sequential(enter, nn.ReLU(), leave, nn.ReLU())
    leave = nn.Conv2d(middle, outputs, 3, padding=1)
    return nn.Sequential(nn.Upsample(scale_factor=2), enter, nn.ReLU(), leave, nn.ReLU())


PAPER = "U-NetPlus (Hasan and Linte, 2019), https://arxiv.org/abs/1902.08994"
CARDS = (
    ModelCard(
        name="unetplus",
        title="U-NetPlus (VGG11, nearest neighbour)",
        task="translate",
        build=UNetPlus,
        multiple=32,
        paper=PAPER,
        licence="architecture only",
        note="A segmentation network as a translator: RGB through a tanh. The paper's encoder is pre-trained and has "
        "batch norm; all three here start at random and without it (it is a setting), so that the other two differ "
        "from this one in one thing each.",
    ),
    ModelCard(
        name="unetplus-transposed",
        title="U-NetPlus (VGG11, transposed convolutions)",
        task="translate",
        build=functools.partial(UNetPlus, upsample="transposed"),
        multiple=32,
        paper=PAPER,
        licence="architecture only",
        note="As `unetplus`, but with what it replaces, transposed convolutions, for comparison: those of 4 x 4 take "
        "2.4 million parameters more.",
    ),
    ModelCard(
        name="unetplus-vgg16",
        title="U-NetPlus (VGG16, nearest neighbour)",
        task="translate",
        build=functools.partial(UNetPlus, encoder="vgg16"),
        multiple=32,
        paper=PAPER,
        licence="architecture only",
        note="As `unetplus`, with the paper's deeper encoder.",
    ),
)

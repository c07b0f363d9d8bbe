"""Feed-forward style transfer: one network per style paints a photo in one pass, in the two forms that were released.

Source: Perceptual Losses for Real-Time Style Transfer and Super-Resolution (Johnson, Alahi and Fei-Fei, 2016), its
supplement for the layers; PyTorch's examples ("nearest") and fast-style-transfer ("tanh") for what they changed.
"""

import functools

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models import layers
from models.card import ModelCard
from models.image import Images
from models.layers import Features

FORMS = ("nearest", "tanh")
EPSILONS = {"nearest": 1e-5, "tanh": 1e-3}
MIDDLE, REACH = 127.5, 150.0  # of the tanh form's levels
DEVIATION = 0.1  # of its first weights
Levels = Float[Tensor, "batch 3 height width"]  # RGB, 0 to 255


class ConvBlock(nn.Module):
    """Padding, convolution, instance norm with a learned gain and offset.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel, in pixels.
        stride: 1 or 2.
        form: "nearest" pads by reflection and the convolution has a bias; "tanh" pads with zeros as TensorFlow does,
            at stride 2 below and to the right alone, without a bias.
        norm: False leaves the norm out.
    """

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, form: str, norm: bool = True
    ) -> None:
        super().__init__()
        self.form = form
        self.after = kernel // 2
        self.before = self.after if form == "nearest" or stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, bias=form == "nearest")
        self.norm = instance_norm(outputs, form=form) if norm else nn.Identity()

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride); H and W even at stride 2."""
        pads = (self.before, self.after, self.before, self.after)
        return self.norm(self.conv(F.pad(x, pads, mode="reflect" if self.form == "nearest" else "constant")))


class Double(nn.Module):
    """Transposed convolution of stride 2 as TensorFlow crops it, and instance norm; for the tanh form.

    Args:
        inputs: Channels in.
        outputs: Channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, bias=False)
        self.norm = instance_norm(outputs, form="tanh")

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, 2H, 2W): the last row and column are dropped."""
        return self.norm(self.conv(x)[..., :-1, :-1])


class Residual(nn.Module):
    """Two convolutions, a ReLU between them, added to the input; none after the sum."""

    def __init__(self, channels: int, *, form: str) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels, form=form)
        self.second = ConvBlock(channels, channels, form=form)

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        return x + self.second(F.relu(self.first(x)))


class TransformNet(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "style-transfer"]):
    """Two halvings, residuals, two doublings (1,679,235 parameters; 1,677,638 in the tanh form).

    Args:
        width: Channels at full size; they double at each of two halvings.
        blocks: Residual blocks at a quarter of the size.
        form: "nearest" doubles by nearest neighbours and a convolution, and does not bound its output; "tanh" doubles
            by transposed convolutions, normalises the last map, too, and bounds it by 150 tanh + 127.5.

    Raises:
        ValueError: There is no such form.
    """

    def __init__(self, *, width: int = 32, blocks: int = 5, form: str = "nearest") -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form is {form!r}; expected one of {', '.join(FORMS)}.")
        self.form = form
        block = functools.partial(ConvBlock, form=form)
        wider, widest = 2 * width, 4 * width
        self.down = nn.ModuleList(
            (block(3, width, kernel=9), block(width, wider, stride=2), block(wider, widest, stride=2))
        )
        self.residuals = nn.Sequential(*(Residual(widest, form=form) for _ in range(blocks)))
        double = Double if form == "tanh" else block
        self.up = nn.ModuleList((double(widest, wider), double(wider, width)))
        self.paint = block(width, 3, kernel=9, norm=form == "tanh")
        self.apply(functools.partial(initialize, form=form))

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), H and W multiples of 4, RGB in [-1, 1], to a painting, RGB around [-1, 1]."""
        return self.native((photo + 1) * MIDDLE) / MIDDLE - 1

    def native(self, photo: Levels) -> Levels:
        """Do the same for levels from 0 to 255, as the released networks do; the result may lie outside."""
        x: Features = photo
        for conv in self.down:
            x = F.relu(conv(x))
        x = self.residuals(x)
        for conv in self.up:
            x = F.relu(conv(x if self.form == "tanh" else F.interpolate(x, scale_factor=2, mode="nearest")))
        y = self.paint(x).float()
        return REACH * torch.tanh(y) + MIDDLE if self.form == "tanh" else y


def instance_norm(channels: int, *, form: str) -> layers.InstanceNorm:
    """Whiten each channel over the pixels; gain and offset are learned."""
    return layers.InstanceNorm(channels, eps=EPSILONS[form], affine=True)


def initialize(module: nn.Module, *, form: str) -> None:
    """Start the tanh form as released: normal weights of deviation 0.1, cut at two; the other as torch does."""
    if form == "tanh" and isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.trunc_normal_(module.weight, std=DEVIATION, a=-2 * DEVIATION, b=2 * DEVIATION)


JOHNSON = (
    "Perceptual Losses for Real-Time Style Transfer and Super-Resolution (Johnson, Alahi and Fei-Fei, 2016), "
    "https://arxiv.org/abs/1603.08155"
)
CARDS = (
    ModelCard(
        name="johnson",
        title="Johnson's transform net, nearest neighbour",
        task="translate",
        build=TransformNet,
        multiple=4,
        paper=f"{JOHNSON}; Fast neural style (PyTorch's examples, 2017), https://github.com/pytorch/examples",
        licence="architecture only",
        released="BSD-3-Clause (PyTorch's examples)",
        note="One network per style. As in PyTorch's example, instance norm replaces batch norm, every layer pads by "
        "reflection, doublings are nearest-neighbour against checkerboards, and the output is not bounded by a tanh.",
    ),
    ModelCard(
        name="johnson-tanh",
        title="Johnson's transform net, transposed convolutions",
        task="translate",
        build=functools.partial(TransformNet, form="tanh"),
        multiple=4,
        paper=f"{JOHNSON}; Fast Style Transfer (Engstrom, 2016), https://github.com/lengstrom/fast-style-transfer",
        licence="architecture only",
        released="research use only (fast-style-transfer); not to be passed on",
        note="One network per style, with the paper's transposed convolutions and scaled tanh. As in fast-style- "
        "transfer, instance norm replaces batch norm, after the last layer too, and every layer pads with zeros, so "
        "that its weights fit.",
    ),
)

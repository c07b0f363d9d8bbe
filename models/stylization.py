"""Arbitrary stylization: one network reads the manner of a picture as 100 numbers, another paints a photo with them.

Source: Exploring the structure of a real-time, arbitrary neural artistic stylization network (Ghiasi et al., 2017),
figures 1 and 2; the released networks for padding, epsilons and the mobile and separable forms.
"""

import functools
from typing import Literal

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models import layers, predictors
from models.card import ModelCard
from models.image import Images
from models.layers import Features
from models.predictors import Bottleneck, Norm, Styles

Padding = Literal["reflect", "zero"]

STYLE_SIDE = 256
EPSILON = 1e-5
RESIDUALS = 5


class StyledConvolution(layers.WholeImage):
    """Convolution, whitening of each channel, and a gain and offset that the bottleneck decides.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel, in pixels.
        numbers: Length of the bottleneck.
        separable: Filter each channel, then mix them; nothing stands between the two.
        padding: Of half a kernel, by reflection or with zeros.
    """

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, numbers: int, separable: bool, padding: Padding
    ) -> None:
        super().__init__()
        self.reach = kernel // 2
        self.padding: Padding = padding
        self.conv: nn.Module
        if separable:
            depthwise = nn.Conv2d(inputs, inputs, kernel, groups=inputs, bias=False)
            self.conv = nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1, bias=False))
        else:
            self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False)
        self.gamma, self.beta = nn.Linear(numbers, outputs), nn.Linear(numbers, outputs)

    def forward(self, x: Features, bottleneck: Bottleneck) -> Features:
        """Map (B, inputs, H, W) and bottlenecks (B or 1, numbers) to (B, outputs, H, W)."""
        y = self.conv(pad(x, self.reach, self.padding)).float()
        variance, mean = self.moments(y, (2, 3))
        gain = self.gamma(bottleneck)[:, :, None, None] * (variance + EPSILON).rsqrt()
        return (y - mean) * gain + self.beta(bottleneck)[:, :, None, None]


class Residual(nn.Module):
    """Two styled 3 x 3 convolutions, ReLU between them, and the input added; no ReLU after the sum."""

    def __init__(self, channels: int, *, numbers: int, separable: bool, padding: Padding) -> None:
        super().__init__()
        styled = functools.partial(StyledConvolution, kernel=3, numbers=numbers, separable=separable, padding=padding)
        self.conv1, self.conv2 = styled(channels, channels), styled(channels, channels)

    def forward(self, x: Features, bottleneck: Bottleneck) -> Features:
        """Map (B, C, H, W) to the same shape."""
        return x + self.conv2(F.relu(self.conv1(x, bottleneck)), bottleneck)


class Transformer(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image"]):
    """Paint a photo with a bottleneck: three convolutions down, five styled residuals, three styled ones up.

    Args:
        width: Multiplies the 32, 64 and 128 channels; 0.25 is the mobile form.
        numbers: Length of the bottleneck.
        norm: Of the first three convolutions: "batch" (without gains) to train, or "folded".
        separable: Styled convolutions are depthwise, then pointwise.
        padding: "reflect", or "zero" as in the networks released for browsers.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        numbers: int = 100,
        norm: Norm = "batch",
        separable: bool = False,
        padding: Padding = "reflect",
    ) -> None:
        super().__init__()
        self.padding: Padding = padding
        c = [int(width * channels) for channels in (32, 64, 128)]
        options = {"numbers": numbers, "separable": separable, "padding": padding}
        styled = functools.partial(StyledConvolution, **options)
        down = functools.partial(
            predictors.NormedConvolution,
            padding=(0, 0),
            kernel=(3, 3),
            stride=2,
            norm="offset" if norm == "batch" else "folded",
        )
        self.contract = nn.ModuleList(
            [down(3, c[0], kernel=(9, 9), stride=1), down(c[0], c[1]), down(c[1], c[2])],
        )
        self.residuals = nn.ModuleList([Residual(c[2], **options) for _ in range(RESIDUALS)])
        self.expand = nn.ModuleList(
            [styled(c[2], c[1], kernel=3), styled(c[1], c[0], kernel=3), styled(c[0], 3, kernel=9)]
        )
        self.apply(initialize)

    def forward(self, photo: Images, bottleneck: Bottleneck) -> Images:
        """Map photos (B, 3, H, W) in [0, 1], H and W multiples of 4, and bottlenecks (B or 1, numbers) to [0, 1]."""
        x = photo
        for conv, kernel in zip(self.contract, (9, 3, 3), strict=True):
            x = F.relu(conv(pad(x, kernel // 2, self.padding)))
        for residual in self.residuals:
            x = residual(x, bottleneck)
        for conv in self.expand[:2]:
            x = F.relu(conv(F.interpolate(x, scale_factor=2, mode="nearest"), bottleneck))
        return self.expand[2](x, bottleneck).sigmoid().float()


class Stylization(
    layers.WholeImage, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "style-transfer"]
):
    """Style predictor and transformer together.

    Args:
        predictor: "inception" or "mobile".
        width: Of the transformer.
        predictor_width: Of a mobile predictor.
        norm: "batch" to train, "folded" for the released forms.
        separable: Separable styled convolutions.
        padding: Of the transformer.
        strength: Share of the style's bottleneck; the rest is the photo's own, which paints the photo as it is.
        numbers: Length of the bottleneck.
    """

    def __init__(
        self,
        *,
        predictor: Literal["inception", "mobile"] = "inception",
        width: float = 1.0,
        predictor_width: float = 1.0,
        norm: Norm = "batch",
        separable: bool = False,
        padding: Padding = "reflect",
        strength: float = 1.0,
        numbers: int = 100,
    ) -> None:
        super().__init__()
        self.strength = strength
        if predictor == "inception":
            self.predictor: nn.Module = predictors.Inception(numbers=numbers, norm=norm)
        else:
            self.predictor = predictors.Mobile(width=predictor_width, numbers=numbers, norm=norm)
        self.transformer = Transformer(width=width, numbers=numbers, norm=norm, separable=separable, padding=padding)

    def forward(self, photo: Images, style: Styles) -> Images:
        """Paint photos (B, 3, H, W), H and W multiples of 4, like styles (B or 1, 3, H', W'), RGB in [-1, 1]."""
        return self.stylize(photo, style, strength=self.strength)

    def stylize(self, photo: Images, style: Styles, *, strength: float = 1.0) -> Images:
        """Do what `forward` does with another strength: 0 keeps the photo's own manner, 1 takes the style's."""
        bottleneck = self.describe(style)
        if strength != 1:
            own = self.whole(lambda: self.describe(photo))
            bottleneck = strength * bottleneck + (1 - strength) * own
        return self.paint(photo, bottleneck)

    def describe(self, style: Styles) -> Bottleneck:
        """Give the bottlenecks (B, numbers) of pictures of any size, RGB in [-1, 1]; convex sums of them mix styles."""
        return self.predictor((fit(style) + 1) / 2)

    def paint(self, photo: Images, bottleneck: Bottleneck) -> Images:
        """Paint photos, RGB in [-1, 1], with bottlenecks (B or 1, numbers)."""
        return 2 * self.transformer((photo + 1) / 2, bottleneck) - 1


def mix(bottlenecks: Bottleneck, shares: list[float]) -> Float[Tensor, "1 _numbers"]:
    """Mix styles: give the weighted mean (1, numbers) of their bottlenecks (S, numbers).

    Raises:
        ValueError: There is not one share per style, or they do not add up to something.
    """
    if len(shares) != len(bottlenecks) or sum(shares) <= 0:
        raise ValueError(
            f"{len(bottlenecks)} styles were given the shares {shares}; expected one positive sum of as many."
        )
    weights = torch.tensor(shares, dtype=bottlenecks.dtype, device=bottlenecks.device)
    return (weights / weights.sum()) @ bottlenecks[None]


def fit(style: Styles) -> Float[Tensor, "styles 3 256 256"]:
    """Bring style pictures to the 256 x 256 px that predictors were trained on, whatever their proportions."""
    if style.shape[-2:] == (STYLE_SIDE, STYLE_SIDE):
        return style
    size = (STYLE_SIDE, STYLE_SIDE)
    return F.interpolate(style, size=size, mode="bilinear", antialias=True, align_corners=False)


def pad(x: Features, reach: int, padding: Padding) -> Features:
    """Pad each side of a map by `reach` pixels."""
    return F.pad(x, (reach,) * 4, mode="reflect") if padding == "reflect" else F.pad(x, (reach,) * 4)


def initialize(module: nn.Module) -> None:
    """Start with He's normal weights, and with styled convolutions that whiten and do no more than that on average."""
    layers.initialize_he(module)
    if isinstance(module, StyledConvolution):
        nn.init.ones_(module.gamma.bias)
        nn.init.zeros_(module.beta.bias)


PAPER = (
    "Exploring the structure of a real-time, arbitrary neural artistic stylization network (Ghiasi et al., 2017), "
    "https://arxiv.org/abs/1705.06830"
)
RELEASED = "Apache-2.0 (Magenta, Google)"
CARDS = (
    ModelCard(
        name="stylization",
        title="Arbitrary stylization (Inception)",
        task="stylize",
        build=Stylization,
        multiple=4,
        paper=PAPER,
        licence="architecture only",
        released=RELEASED,
        note="Follows Magenta's network, so that its weights fit: ReLU6 in the predictor, and batch norms without gain "
        "there and in the painter's first three layers. Style pictures are brought to 256 x 256 px, as it was "
        "trained.",
    ),
    ModelCard(
        name="stylization-mobile",
        title="Arbitrary stylization (MobileNet)",
        task="stylize",
        build=functools.partial(Stylization, predictor="mobile", width=0.25, norm="folded"),
        multiple=4,
        paper=PAPER,
        licence="architecture only",
        released=RELEASED,
        note="Magenta's form for phones: MobileNetV2 instead of Inception reads the style, a quarter of the channels "
        "paints. Batch norms are folded into biases, as in the released file, so that it converts but is not trained.",
    ),
    ModelCard(
        name="stylization-small",
        title="Arbitrary stylization, small",
        task="stylize",
        build=functools.partial(Stylization, predictor="mobile", width=0.375, predictor_width=0.35),
        multiple=4,
        paper=PAPER,
        licence="architecture only",
        note="Three eighths of the paper's channels, and a MobileNetV2 of 0.35 of its width instead of Inception, to "
        "be shipped; with batch norms, to be trained.",
    ),
)

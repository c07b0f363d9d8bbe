"""AnimeGAN, AnimeGANv2 and its lite generator: photos to anime frames, and the discriminator that they share.

Source: AnimeGAN: A Novel Lightweight GAN for Photo Animation (Chen, Liu and Chen, 2020), section 3, figure 2, and
the released networks for padding, normalisation constants and the second version.
"""

import functools
import math
from collections.abc import Callable

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
TRUNCATED = 0.87962566  # deviation of a unit normal cut at two deviations


def instance_norm(channels: int, *, epsilon: float = 1e-5) -> nn.Module:
    """Normalise every channel over its pixels, as the first version does; gain and offset are learned."""
    return layers.InstanceNorm(channels, eps=epsilon, affine=True)


def layer_norm(channels: int, *, epsilon: float = 1e-12) -> nn.Module:
    """Normalise an image over channels and pixels at once, as the second version does; gain and offset per channel."""
    return layers.LayerNorm(channels, eps=epsilon)


class ConvBlock(nn.Module):
    """Reflection padding, convolution, normalisation, LeakyReLU 0.2.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        norm: Makes the normalisation for a number of channels.
        kernel: Side of the kernel, in pixels.
        stride: 1, or 2: then the single pixel of padding is below and to the right.
        groups: As many as channels for a depthwise convolution.
        bias: Give the convolution one.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        norm: Norm,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.before, self.after = kernel // 2 if stride == 1 else 0, kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, groups=groups, bias=bias)
        self.norm = norm(outputs)

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        padded = layers.pad_reflect(x, left_top=self.before, right_bottom=self.after)
        return F.leaky_relu(self.norm(self.conv(padded)), SLOPE)


class InvertedResidual(nn.Module):
    """Widen twofold, filter each channel, narrow without activation; the input is added where the shapes agree.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        norm: Makes the normalisations.
        bias: Of the depthwise convolution; only the second version has it.
    """

    def __init__(self, inputs: int, outputs: int, *, norm: Norm, bias: bool = False) -> None:
        super().__init__()
        wide = 2 * inputs
        self.widen = ConvBlock(inputs, wide, norm=norm, kernel=1)
        self.depth = ConvBlock(wide, wide, norm=norm, groups=wide, bias=bias)
        self.narrow = nn.Sequential(nn.Conv2d(wide, outputs, 1, bias=False), norm(outputs))
        self.skip = inputs == outputs

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        y = self.narrow(self.depth(self.widen(x)))
        return x + y if self.skip else y


class Separable(nn.Module):
    """Depthwise 3 x 3, pointwise, instance norm, LeakyReLU; nothing stands between the convolutions.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: 1, or 2: then the single pixel of padding is below and to the right.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.before = 1 if stride == 1 else 0
        self.depth = nn.Conv2d(inputs, inputs, 3, stride=stride, groups=inputs, bias=False)
        self.point = ConvBlock(inputs, outputs, kernel=1, norm=functools.partial(instance_norm, epsilon=1e-6))

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return self.point(self.depth(layers.pad_reflect(x, left_top=self.before, right_bottom=1)))


class Down(nn.Module):
    """Halve a map in two learned ways and add them: a strided block, and a block on every second pixel.

    TensorFlow's legacy bilinear resize to one half is exactly that decimation.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.strided = Separable(inputs, outputs, stride=2)
        self.decimated = Separable(inputs, outputs)

    def forward(self, x: Features) -> Features:
        """Map (B, inputs, H, W) to (B, outputs, H/2, W/2); H and W even."""
        return self.strided(x) + self.decimated(x[..., ::2, ::2])


class Upsample(nn.Module):
    """Bilinear doubling as a layer.

    Args:
        mode: "legacy" as TensorFlow 1 did it, "aligned" corners or "half-pixel" as PyTorch's two ways.
    """

    def __init__(self, mode: str = "legacy") -> None:
        super().__init__()
        if mode not in ("legacy", "aligned", "half-pixel"):
            raise ValueError(f"upsample is {mode!r}; expected legacy, aligned or half-pixel")
        self.mode = mode

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to (B, C, 2H, 2W)."""
        if self.mode == "legacy":
            return layers.upsample_legacy(x)
        size = (2 * x.shape[-2], 2 * x.shape[-1])
        return F.interpolate(x, size=size, mode="bilinear", align_corners=self.mode == "aligned")


class Bottleneck(nn.Module):
    """Narrow fourfold, filter, widen without normalisation or activation, add the input."""

    def __init__(self, channels: int, *, norm: Norm) -> None:
        super().__init__()
        self.narrow = ConvBlock(channels, channels // 4, norm=norm, kernel=1)
        self.filter = ConvBlock(channels // 4, channels // 4, norm=norm)
        self.widen = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, x: Features) -> Features:
        """Map (B, C, H, W) to the same shape."""
        return x + self.widen(self.filter(self.narrow(x)))


class AnimeGAN(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "anime"]):
    """The first version: instance norm, separable convolutions, eight inverted residuals (3,956,096 parameters)."""

    def __init__(self) -> None:
        super().__init__()
        block = functools.partial(ConvBlock, norm=instance_norm)
        residuals = (InvertedResidual(256, 256, norm=instance_norm) for _ in range(8))
        self.down1 = nn.Sequential(block(3, 64), block(64, 64), Down(64, 128))
        self.down2 = nn.Sequential(block(128, 128), Separable(128, 128), Down(128, 256))
        self.middle = nn.Sequential(block(256, 256), *residuals, block(256, 256))
        self.up2 = nn.Sequential(Upsample(), Separable(256, 128), Separable(128, 128), block(128, 128))
        self.up1 = nn.Sequential(Upsample(), Separable(128, 128), block(128, 64), block(64, 64))
        self.paint = nn.Conv2d(64, 3, 1, bias=False)
        self.apply(initialize_xavier)

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), H and W multiples of 4, RGB in [-1, 1], to its anime version of the same shape."""
        return self.paint(self.up1(self.up2(self.middle(self.down2(self.down1(photo)))))).float().tanh()


class AnimeGANv2(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "anime"]):
    """The second version: layer norm, plain convolutions outside the middle (2,143,552 parameters).

    Blocks carry the letters of the released network.

    Args:
        upsample: As of `Upsample`; the PyTorch port of the released weights aligns corners.
        epsilon: Of the norms: 1e-12 as released, 1e-5 in the port.
    """

    def __init__(self, *, upsample: str = "legacy", epsilon: float = 1e-12) -> None:
        super().__init__()
        norm = functools.partial(layer_norm, epsilon=epsilon)
        block = functools.partial(ConvBlock, norm=norm)
        residual = functools.partial(InvertedResidual, norm=norm, bias=True)
        self.a = nn.Sequential(block(3, 32, kernel=7), block(32, 64, stride=2), block(64, 64))
        self.b = nn.Sequential(block(64, 128, stride=2), block(128, 128))
        self.c = nn.Sequential(
            *(block(128, 128), residual(128, 256)), *(residual(256, 256) for _ in range(3)), block(256, 128)
        )
        self.d = nn.Sequential(Upsample(upsample), block(128, 128), block(128, 128))
        self.e = nn.Sequential(Upsample(upsample), block(128, 64), block(64, 64), block(64, 32, kernel=7))
        self.paint = nn.Conv2d(32, 3, 1, bias=False)
        self.apply(initialize_he)

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), H and W multiples of 4, RGB in [-1, 1], to its anime version of the same shape."""
        return self.paint(self.e(self.d(self.c(self.b(self.a(photo)))))).float().tanh()


class AnimeGANv2Lite(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "anime"]):
    """The small second version: three halvings, bottlenecks, skips that are added (698,240 parameters).

    Each skip joins after the first block of its scale, as in DTGAN, whose ancestor this network is.
    """

    def __init__(self) -> None:
        super().__init__()
        block = functools.partial(ConvBlock, norm=layer_norm)
        self.upsample: Callable[[Features], Features] = layers.upsample_legacy
        self.x0 = block(3, 32, kernel=7)
        self.x1 = nn.Sequential(block(32, 32, stride=2), block(32, 64))
        self.x2 = nn.Sequential(block(64, 64, stride=2), block(64, 128))
        self.x3 = nn.Sequential(block(128, 64, stride=2), block(64, 128))
        self.middle = nn.Sequential(*(Bottleneck(128, norm=layer_norm) for _ in range(4)))
        self.up2, self.fuse2 = block(128, 128), block(128, 64)
        self.up1, self.fuse1 = block(64, 64), block(64, 32)
        self.up0, self.fuse0 = block(32, 32), block(32, 32, kernel=7)
        self.paint = nn.Conv2d(32, 3, 1, bias=False)
        self.apply(initialize_he)

    def forward(self, photo: Images) -> Images:
        """Map a photo (B, 3, H, W), H and W multiples of 8, RGB in [-1, 1], to its anime version of the same shape."""
        x0 = self.x0(photo)
        x1 = self.x1(x0)
        x2 = self.x2(x1)
        y = self.middle(self.x3(x2))
        y = self.fuse2(self.up2(self.upsample(y)) + x2)
        y = self.fuse1(self.up1(self.upsample(y)) + x1)
        y = self.fuse0(self.up0(self.upsample(y)) + x0)
        return self.paint(y).float().tanh()


class Discriminator(nn.Module):
    """Judge patches of an image; zero padding, spectral normalisation of every convolution (1,128,800 parameters).

    Args:
        norm: `instance_norm` for the first version, `layer_norm` for the second.
    """

    def __init__(self, *, norm: Norm = layer_norm) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(spectral(3, 32), nn.LeakyReLU(SLOPE)),
            *halve(32, 64, norm=norm),
            *halve(128, 128, norm=norm),
            *(spectral(256, 256), norm(256), nn.LeakyReLU(SLOPE)),
        )
        self.leave = spectral(256, 1)

    def forward(self, images: Images) -> Float[Tensor, "batch 1 rows columns"]:
        """Map images (B, 3, H, W), RGB in [-1, 1], grey ones repeated to three channels, to logits (B, 1, H/4, W/4)."""
        return self.leave(self.blocks(images)).float()


def halve(inputs: int, middle: int, *, norm: Norm) -> tuple[nn.Module, ...]:
    """Make a discriminator stage: a strided convolution, padded above and to the left, then one to 2 * middle."""
    strided = (nn.ZeroPad2d((1, 0, 1, 0)), spectral(inputs, middle, stride=2), nn.LeakyReLU(SLOPE))
    return *strided, spectral(middle, 2 * middle), norm(2 * middle), nn.LeakyReLU(SLOPE)


def spectral(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    """Make a 3 x 3 convolution, spectrally normalised, N(0, 0.02), without bias; one of stride 2 is unpadded."""
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1 if stride == 1 else 0, bias=False)
    nn.init.normal_(conv.weight, std=0.02)
    parametrizations.spectral_norm(conv)
    return conv


def initialize_xavier(module: nn.Module) -> None:
    """Start as the first version: Xavier-uniform, truncated N(0, 0.02) in the residuals' depthwise convolutions."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
    if isinstance(module, InvertedResidual):
        nn.init.trunc_normal_(module.depth.conv.weight, std=0.02, a=-0.04, b=0.04)


def initialize_he(module: nn.Module) -> None:
    """Start as the second version: a normal cut at two deviations, of variance 2 / fan-in; biases at zero."""
    if isinstance(module, nn.Conv2d):
        std = math.sqrt(2 / module.weight[0].numel()) / TRUNCATED
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


V1 = "AnimeGAN (Chen, Liu and Chen, 2020), https://doi.org/10.1007/978-981-15-5577-0_18"
V2 = "AnimeGANv2 (Chen and Liu, 2020), https://github.com/TachibanaYoshino/AnimeGANv2"
CARDS = (
    ModelCard(
        name="animegan",
        title="AnimeGAN",
        task="translate",
        build=AnimeGAN,
        multiple=4,
        paper=V1,
        licence="architecture only",
        note="Follows the released code: one doubling keeps 128 channels, where the paper's figure says 64, as a "
        "comment in that code advises.",
    ),
    ModelCard(
        name="animeganv2",
        title="AnimeGANv2",
        task="translate",
        build=AnimeGANv2,
        multiple=4,
        paper=V2,
        licence="architecture only",
        released="non-commercial; ask the authors of AnimeGANv2 before anything else (the PyTorch port's code is MIT)",
        note="There is no paper; follows the released code, TensorFlow 1's way of doubling maps included. Layer norm "
        "takes the place of the first version's instance norm, against its artefacts.",
    ),
    ModelCard(
        name="animeganv2-lite",
        title="AnimeGANv2 lite",
        task="translate",
        build=AnimeGANv2Lite,
        multiple=8,
        paper=V2,
        licence="architecture only",
        note="There is no paper; follows the released list of layers. Where its added skips join is taken from DTGAN, "
        "their descendant, for the list does not tell.",
    ),
    ModelCard(
        name="animegan-portrait",
        title="AnimeGAN, portraits",
        task="translate",
        build=AnimeGAN,
        multiple=4,
        paper=V1,
        checkpoint="animegan-portrait",
        licence="research use only (the anime training set is research-only)",
        note="As `animegan`, trained on faces for a few thousand steps, too few for the losses alone to make a "
        "drawing: content and colours are compared with a flattened photo that was given lines.",
    ),
    ModelCard(
        name="animeganv2-portrait",
        title="AnimeGANv2, portraits",
        task="translate",
        build=AnimeGANv2,
        multiple=4,
        paper=V2,
        checkpoint="animeganv2-portrait",
        licence="research use only (the anime training set is research-only)",
        note="As `animeganv2`, trained as `animegan-portrait` and for the same reason.",
    ),
    ModelCard(
        name="animeganv2-lite-portrait",
        title="AnimeGANv2 lite, portraits",
        task="translate",
        build=AnimeGANv2Lite,
        multiple=8,
        paper=V2,
        checkpoint="animeganv2-lite-portrait",
        licence="research use only (the anime training set is research-only)",
        note="As `animeganv2-lite`, trained as `animegan-portrait` and for the same reason.",
    ),
)

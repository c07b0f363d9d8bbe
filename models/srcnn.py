"""Small upscalers by four: bicubic interpolation, SRCNN, ESPCN and FSRCNN.

Luma is BT.601 at full range, Y = 0.299 R + 0.587 G + 0.114 B. A network of luma alone gives the brightness; the colour
differences are those of the bicubic enlargement.

Source: the papers of the cards, and the released networks for what they leave open.
"""

from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn

from models import image, layers
from models.card import ModelCard
from models.image import Images

SCALE = 4
Luma = Float[Tensor, "batch 1 height width"]  # in [0, 1]
Planes = Float[Tensor, "batch _planes height width"]  # luma or RGB in [0, 1]
LargePlanes = Float[Tensor, "batch _planes 4*height 4*width"]
LargeImages = Float[Tensor, "batch 3 4*height 4*width"]


def bicubic(images: Images, *, scale: int = SCALE) -> Float[Tensor, "batch 3 {scale}*height {scale}*width"]:
    """Enlarge without learning: what every upscaler must beat.

    The kernel is that of `image.resize`, as of Pillow: Keys' cubic with a = -0.5, half-pixel centres, results cut to
    the range. `downscale`, its opposite, widens it by the factor, so that nothing aliases.

    Args:
        images: RGB in [-1, 1].
        scale: Factor of both sides.

    Source:
        Cubic convolution interpolation for digital image processing (Keys, 1981).
    """
    height, width = images.shape[-2:]
    return image.resize(images, height=scale * height, width=scale * width)


def downscale(images: Images, *, scale: int = SCALE) -> Float[Tensor, "batch 3 height//{scale} width//{scale}"]:
    """Make the small picture of a training or test pair, by the kernel of `bicubic`, antialiased.

    Published networks of other kernels gain little on such pictures: training and test must agree on this one.

    Args:
        images: RGB in [-1, 1], sides multiples of the factor.
        scale: Factor of both sides.
    """
    height, width = images.shape[-2:]
    return image.resize(images, height=height // scale, width=width // scale)


def to_luma(images: Images) -> Luma:
    """Give the brightness in [0, 1] of RGB images in [-1, 1]."""
    return layers.luma((images + 1) / 2)


def with_luma(images: Images, luma: Luma) -> Images:
    """Replace the brightness of images and keep their colour differences.

    Cb and Cr are multiples of B - Y and R - Y, so that a change of Y alone adds the same to R, G and B.

    Args:
        images: RGB in [-1, 1].
        luma: New brightness, meant for [0, 1].

    Returns:
        RGB, outside [-1, 1] where a colour has no such brightness.
    """
    return images + 2 * (luma - to_luma(images))


class Bicubic(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["super-resolution"]):
    """`bicubic` as a network without parameters, so that it can be run and ranked like those that it is beside."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, images: Images) -> LargeImages:
        """Map images (B, 3, H, W) to (B, 3, 4H, 4W), RGB in [-1, 1]."""
        return bicubic(images)


class SRCNN(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["super-resolution"]):
    """Three convolutions on the bicubic enlargement, ReLU between them.

    Parameters of 9-5-5: 69,251 (RGB), 57,281 (luma); of 9-1-5: 20,099 and 8,129; of 9-3-5: 36,483 and 24,513.

    Args:
        channels: Channels of the first layer.
        narrow: Channels of the second one.
        middle: Side of its kernel: 1, 3 or 5, the paper's three sizes.
        luma: Take luma alone, as in the paper, not RGB.

    Raises:
        ValueError: The kernel is none of the three.

    Source:
        Image Super-Resolution Using Deep Convolutional Networks (Dong et al., 2015), sections 3.1 and 4.3. Zero padding
        keeps the size, where the paper trains without any.
    """

    def __init__(self, *, channels: int = 64, narrow: int = 32, middle: int = 5, luma: bool = False) -> None:
        super().__init__()
        if middle not in (1, 3, 5):
            raise ValueError(f"middle is {middle}; expected 1, 3 or 5.")
        self.luma, planes = luma, 1 if luma else 3
        self.convs = chain((planes, 9), (channels, middle), (narrow, 5), outputs=planes)

    def native(self, enlarged: Planes) -> Planes:
        """Sharpen bicubically enlarged luma or RGB in [0, 1]."""
        return run(self.convs, enlarged)

    def forward(self, images: Images) -> LargeImages:
        """Map images (B, 3, H, W) to (B, 3, 4H, 4W), RGB in about [-1, 1]."""
        large = bicubic(images)
        if self.luma:
            return with_luma(large, self.native(to_luma(large)))
        return 2 * self.native((large + 1) / 2) - 1


class ESPCN(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["super-resolution"]):
    """Convolutions at the small size, ReLU between them; the last makes the 16 pixels under each one.

    Parameters: 24,752 (5-3-3, luma); the deep form, 5-3-3-3, has 61,680 (luma) or 74,128 (RGB).

    Args:
        channels: Channels of the first layer; in the deep form of the second one, too.
        narrow: Channels before the last one.
        deep: Four layers and a linear end, as in PyTorch's examples; else three and tanh, as in TF-ESPCN.
        luma: Take luma alone, not RGB.

    Source:
        Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network
        (Shi et al., 2016), section 3, with ReLU in place of tanh between the layers. Zero padding.
    """

    def __init__(self, *, channels: int = 64, narrow: int = 32, deep: bool = False, luma: bool = True) -> None:
        super().__init__()
        self.luma, self.deep, planes = luma, deep, 1 if luma else 3
        middle = [(channels, 3)] * (2 if deep else 1)
        self.convs = chain((planes, 5), *middle, (narrow, 3), outputs=planes * SCALE**2)
        self.shuffle = nn.PixelShuffle(SCALE)

    def native(self, small: Planes) -> LargePlanes:
        """Enlarge luma or RGB in [0, 1] four times."""
        made = self.shuffle(run(self.convs, small))
        return made if self.deep else made.tanh()

    def forward(self, images: Images) -> LargeImages:
        """Map images (B, 3, H, W) to (B, 3, 4H, 4W), RGB in about [-1, 1]."""
        if self.luma:
            return with_luma(bicubic(images), self.native(to_luma(images)))
        return 2 * self.native((images + 1) / 2) - 1


class FSRCNN(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["super-resolution"]):
    """Extract, shrink, map, expand and enlarge, on luma (9,169 parameters); a PReLU after each step but the last.

    Args:
        channels: Channels of the features (the paper's d).
        narrow: Channels while mapping (s).
        mapping: 3 x 3 convolutions there (m).

    Source:
        Accelerating the Super-Resolution Convolutional Neural Network (Dong, Loy and Tang, 2016), section 3.2. The
        end is the released TensorFlow network's: 1 x 1 to 16 pixels, shuffled, and one offset, not a deconvolution.
    """

    def __init__(self, *, channels: int = 56, narrow: int = 12, mapping: int = 4) -> None:
        super().__init__()
        shape = [(1, channels, 5), (channels, narrow, 1), *[(narrow, narrow, 3)] * mapping, (narrow, channels, 1)]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.PReLU(outputs))
                for inputs, outputs, kernel in shape
            )
        )
        self.leave = nn.Conv2d(channels, SCALE**2, 1, bias=False)
        self.shuffle = nn.PixelShuffle(SCALE)
        self.offset = nn.Parameter(self.leave.weight.new_zeros(1))

    def native(self, small: Luma) -> LargePlanes:
        """Enlarge luma in [0, 1] four times."""
        return self.shuffle(self.leave(self.stages(small))).float() + self.offset

    def forward(self, images: Images) -> LargeImages:
        """Map images (B, 3, H, W) to (B, 3, 4H, 4W), RGB in about [-1, 1]."""
        return with_luma(bicubic(images), self.native(to_luma(images)))


def chain(*layers: tuple[int, int], outputs: int) -> nn.ModuleList:
    """Make zero-padded convolutions: (channels in, side of the kernel) of each, and the channels out of the last."""
    widths = [*(inputs for inputs, _ in layers[1:]), outputs]
    return nn.ModuleList(
        nn.Conv2d(inputs, width, kernel, padding=kernel // 2)
        for (inputs, kernel), width in zip(layers, widths, strict=True)
    )


def run(convs: nn.ModuleList, x: Tensor) -> Tensor:
    """Apply convolutions with ReLU between them; the result is float32."""
    for conv in convs[:-1]:
        x = conv(x).relu()
    return convs[-1](x).float()


CARDS = (
    ModelCard(
        name="bicubic",
        title="Bicubic interpolation",
        task="upscale",
        build=Bicubic,
        multiple=1,
        scale=SCALE,
        min_side=32,
        paper="Cubic convolution interpolation for digital image processing (Keys, 1981), "
        "https://doi.org/10.1109/TASSP.1981.1163711",
        checkpoint="bicubic",
        licence="none needed: nothing is learned",
        note="What every upscaler must beat: the paper's kernel with a = -0.5 and half-pixel centres, as Pillow has "
        "it. Results are cut to the range, which the kernel leaves at edges.",
    ),
    ModelCard(
        name="srcnn",
        title="SRCNN 9-5-5",
        task="upscale",
        build=SRCNN,
        multiple=1,
        scale=SCALE,
        min_side=32,
        paper="Image Super-Resolution Using Deep Convolutional Networks (Dong et al., 2015), "
        "https://arxiv.org/abs/1501.00092",
        licence="architecture only",
        released="those of their author (several ports have this layout)",
        note="Works on RGB, to enlarge faces in colour, and keeps the size by zero padding; the paper's networks see "
        "luma alone and are trained without padding.",
    ),
    ModelCard(
        name="espcn",
        title="ESPCN",
        task="upscale",
        build=ESPCN,
        multiple=1,
        scale=SCALE,
        min_side=32,
        paper="Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural "
        "Network (Shi et al., 2016), https://arxiv.org/abs/1609.05158",
        licence="architecture only",
        released="Apache-2.0 (TF-ESPCN); BSD-3-Clause (PyTorch's examples)",
        note="ReLU between the layers and tanh at the end, as in TF-ESPCN, so that its weights fit; the paper has tanh "
        "between them and none at the end. On luma, like the paper.",
    ),
    ModelCard(
        name="fsrcnn",
        title="FSRCNN",
        task="upscale",
        build=FSRCNN,
        multiple=1,
        scale=SCALE,
        min_side=32,
        paper="Accelerating the Super-Resolution Convolutional Neural Network (Dong, Loy and Tang, 2016), "
        "https://arxiv.org/abs/1608.00367",
        licence="architecture only",
        released="Apache-2.0 (FSRCNN_Tensorflow)",
        note="Ends with a pixel shuffle, as the TensorFlow port does, so that its weights fit; the paper ends with a "
        "deconvolution. On luma, like the paper.",
    ),
)

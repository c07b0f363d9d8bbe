"""Discriminators that several families share."""

from typing import Literal

from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.2
WIDEST = 8  # the channels stop doubling here


class PatchGAN(nn.Module, PyTorchModelHubMixin):
    """Judge overlapping patches of an image, 70 px each with the default depth.

    Keys are those of the released code. Convolutions that a batch norm follows have no bias.

    Args:
        inputs: Channels of the images; 6 where the condition is concatenated.
        channels: Channels after the first convolution.
        depth: Stages after the first one; the last of them has stride 1.
        norm: Normalisation of these stages.

    Source:
        Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017), section 3.2.2.
    """

    def __init__(
        self, *, inputs: int = 3, channels: int = 64, depth: int = 3, norm: Literal["instance", "batch"] = "instance"
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth is {depth}; expected at least 1.")
        stages: list[nn.Module] = [nn.Conv2d(inputs, channels, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        width = channels
        for number in range(1, depth + 1):
            wider = channels * min(2**number, WIDEST)
            stride = 2 if number < depth else 1
            stages += [
                nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=norm == "instance"),
                nn.InstanceNorm2d(wider) if norm == "instance" else nn.BatchNorm2d(wider),
                nn.LeakyReLU(SLOPE),
            ]
            width = wider
        self.model = nn.Sequential(*stages, nn.Conv2d(width, 1, 4, padding=1))
        self.apply(initialize)

    def forward(self, images: Float[Tensor, "batch _inputs height width"]) -> Float[Tensor, "batch 1 rows columns"]:
        """Map images in [-1, 1] to logits; 256 px give 30 x 30 of them at the default depth."""
        return self.model(images).float()


def initialize(module: nn.Module) -> None:
    """Start as DCGAN and its successors do: weights N(0, 0.02), gains N(1, 0.02), biases at zero."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
        nn.init.zeros_(module.bias)

"""VGG trunks whose layers have names, with their preprocessing beside their weights. A building block, no family."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models import download, layers
from models.card import CheckpointError
from models.conversion import files, fitting
from models.download import Download
from models.layers import Features

Kind = Literal["vgg16", "vgg19"]
STAGES: dict[str, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
OFFICIAL = {
    kind: Download(
        file=f"{kind}-{sha256}.pth", url=f"https://download.pytorch.org/models/{kind}-{sha256}.pth", sha256=sha256
    )
    for kind, sha256 in (("vgg16", "397923af"), ("vgg19", "dcbb9e9d"))
}
GROWTH = (1, 2, 4, 8, 8)


def indices(kind: str) -> dict[str, int]:
    """Number the ReLUs as torchvision's `features` does: relu1_1 is layer 1 in both networks."""
    found, index = {}, 1
    for stage, depth in enumerate(STAGES[kind], start=1):
        for conv in range(1, depth + 1):
            found[f"relu{stage}_{conv}"] = index
            index += 2
        index += 1  # the pooling
    return found


class Trunk(nn.Module):
    """VGG up to a ReLU, frozen, with torchvision's keys; random until it is filled.

    The buffers `matrix` and `offset` turn RGB in [0, 1] into what the weights were trained on (torchvision's mean and
    deviation, or BGR in 0..255 for Caffe's), and travel with them; `filled` tells trained weights from random ones.

    Args:
        kind: "vgg16" or "vgg19".
        deepest: Last layer that is kept, such as "relu4_2".
        width: Channels of the first stage; 64 in the papers.
        reflect: Reflection padding and rounding-up pools, as in AdaIN's encoder, instead of zeros and rounding down.

    Raises:
        ValueError: There is no such layer.

    Source:
        Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan and Zisserman, 2014), table 1.
    """

    matrix: Tensor
    offset: Tensor
    filled: Tensor

    def __init__(self, kind: Kind, deepest: str, *, width: int = 64, reflect: bool = False) -> None:
        super().__init__()
        self.kind, self.deepest, self.standard = kind, deepest, width == 64 and not reflect
        self.indices = indices(kind)
        if deepest not in self.indices:
            raise ValueError(f"{kind} has no layer {deepest!r}; expected one of {', '.join(self.indices)}.")
        stages: list[nn.Module] = []
        channels, padding = 3, "reflect" if reflect else "zeros"
        for growth, depth in zip(GROWTH, STAGES[kind], strict=True):
            for _ in range(depth):
                stages += [nn.Conv2d(channels, growth * width, 3, padding=1, padding_mode=padding), nn.ReLU()]
                channels = growth * width
            stages.append(nn.MaxPool2d(2, ceil_mode=reflect))
        self.features = nn.Sequential(*stages[: self.indices[deepest] + 1])
        statistics = zip(layers.IMAGENET_MEAN, layers.IMAGENET_DEVIATION, strict=True)
        self.register_buffer("matrix", torch.tensor([1 / deviation for deviation in layers.IMAGENET_DEVIATION]).diag())
        self.register_buffer("offset", torch.tensor([-mean / deviation for mean, deviation in statistics]))
        self.register_buffer("filled", torch.tensor(False))
        self.apply(layers.initialize_he)
        self.requires_grad_(False)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], wanted: tuple[str, ...] = ()
    ) -> dict[str, Features]:
        """Give the maps after the ReLUs called `wanted` (by default the deepest) of RGB in [0, 1]."""
        names = {self.indices[name]: name for name in wanted or (self.deepest,)}
        x = F.conv2d(images, self.matrix[:, :, None, None], self.offset)
        maps = {}
        for index in range(max(names) + 1):
            x = self.features[index](x)
            if index in names:
                maps[names[index]] = x
        return maps

    def fill(self) -> None:
        """Take torchvision's ImageNet weights: from the folder NIJIGEN_WEIGHTS names, torch's cache, or by download.

        The local file is called after the trunk, such as vgg16_to_relu2_2.safetensors.

        Raises:
            ValueError: The trunk is none of torchvision's.
            CheckpointError: The weights are missing, damaged or cannot be downloaded.
        """
        if not self.standard:
            raise ValueError("only trunks of width 64 with zero padding have ImageNet weights.")
        file = f"{self.kind}_to_{self.deepest}.safetensors"
        self.features.load_state_dict(read(self.kind, file, self.features.state_dict()))
        self.filled.fill_(True)


def read(kind: str, file: str, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read a trunk from the local file, or else torchvision's (about 550 MB, downloaded once, with a progress bar).

    Args:
        kind: "vgg16" or "vgg19".
        file: Name of the local one.
        wanted: Tensors of the shapes that it must have, by name inside `features`.

    Raises:
        CheckpointError: There is none, or it does not fit.
    """
    try:
        path = download.local(file) or download.fetch(OFFICIAL[kind])
    except OSError as error:
        raise CheckpointError(f"{error} Or put {file} into the folder that NIJIGEN_WEIGHTS names.") from error
    named = {f"features.{key}": value for key, value in wanted.items()}
    found = {key: value for key, value in files.read(path).items() if key in named}
    if problems := fitting.mismatches(found, named):
        raise CheckpointError(f"{path} does not fit {kind}: {problems}; get it again.")
    return {key: found[f"features.{key}"] for key in wanted}

"""Frozen perceptual networks, each behind its own preprocessing and one interface."""

import abc
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from models import layers
from models.image import Images
from models.layers import Features
from models.registry import CheckpointError

# Where layers end in torchvision's vgg19().features: "conv" is a map before its ReLU.
VGG19_LAYERS = {
    **{"relu1_1": 1, "relu2_1": 6, "conv2_2": 7, "relu3_1": 11},
    **{"conv3_3": 14, "relu4_1": 20, "relu4_2": 22, "conv4_4": 25},
}
SHALLOW = {"relu1_1": 1, "relu2_1": 6, "conv2_2": 8, "relu3_1": 11, "conv3_3": 11}  # of the stand-in
DEEP = ("relu4_1", "relu4_2", "conv4_4")


class Perceptual(nn.Module, abc.ABC):
    """A frozen network that answers for layers of VGG-19.

    Attributes:
        name: What stands in every record that this network made.
        sha256: Hash of its weights.
        grid: Stride of its first layer, in pixels. A gradient through a stride above 1 prints a pattern of that
            period on the image, unless `move` shifts it at random within one period.
    """

    name: str
    grid: int = 1
    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.place = (slice(0, None), slice(0, None))
        self.register_buffer("mean", torch.tensor(layers.IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        deviation = torch.tensor(layers.IMAGENET_DEVIATION).view(1, 3, 1, 1)
        self.register_buffer("deviation", deviation, persistent=False)

    @property
    def sha256(self) -> str:
        """Hash of all weights, in the order of their names."""
        digest = hashlib.sha256()
        for _, tensor in sorted(self.state_dict().items()):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def provenance(self) -> dict[str, str]:
        """What a record says of this network."""
        return {"features": self.name, "features_sha256": self.sha256}

    def move(self) -> None:
        """Choose at random where the grid lies from now on, the same place for all images: once per training step."""
        top, left = torch.randint(self.grid, (2,)).tolist()
        self.place = (slice(top, None), slice(left, None))

    def normalize(self, images: Images) -> Float[Tensor, "batch 3 rows columns"]:
        """Bring RGB in [-1, 1] to the statistics of ImageNet, as torchvision does, cut where the grid lies."""
        return ((images[..., *self.place] + 1) / 2 - self.mean) / self.deviation

    @abc.abstractmethod
    def forward(self, images: Images, wanted: tuple[str, ...]) -> dict[str, Features]:
        """Give the maps called `wanted`, computing no layer that they do not need.

        Args:
            images: RGB in [-1, 1], sides of at least 64 px.
            wanted: Names in VGG19_LAYERS.

        Returns:
            Map (B, C, h, w) by name.
        """


class VGG19(Perceptual):
    """Torchvision's ImageNet VGG-19 up to conv4_4.

    Args:
        trunk: `torchvision.models.vgg19().features[:26]`.

    Source:
        DTGAN's losses use these layers of the Caffe VGG-19; the scale of every map differs, see `training.losses`.
    """

    name = "vgg19-imagenet1k-v1"

    def __init__(self, trunk: nn.Sequential) -> None:
        super().__init__()
        self.trunk = out_of_place(trunk)

    def forward(self, images: Images, wanted: tuple[str, ...]) -> dict[str, Features]:
        """See `Perceptual.forward`."""
        return tap(self.trunk, self.normalize(images), {VGG19_LAYERS[name]: name for name in wanted})


class Local(Perceptual):
    """The offline stand-in: VGG-19 to relu3_1, and AlexNet's last three layers where VGG-19 would go on.

    relu2_2 answers for conv2_2, relu3_1 for conv3_3, and relu3, relu4 and relu5 of AlexNet, one above the other,
    for whatever lies deeper (896 channels, stride 16).

    Args:
        vgg: `torchvision.models.vgg19().features[:12]`.
        alexnet: `torchvision.models.alexnet().features[:12]`.
    """

    name = "vgg19-to-relu3_1+alexnet-relu3-5"
    grid = 4

    def __init__(self, vgg: nn.Sequential, alexnet: nn.Sequential) -> None:
        super().__init__()
        self.vgg, self.alexnet = out_of_place(vgg), out_of_place(alexnet)

    def forward(self, images: Images, wanted: tuple[str, ...]) -> dict[str, Features]:
        """See `Perceptual.forward`."""
        inputs = self.normalize(images)
        shallow = {name: str(SHALLOW[name]) for name in wanted if name in SHALLOW}
        found = tap(self.vgg, inputs, {int(index): index for index in shallow.values()})
        maps = {name: found[index] for name, index in shallow.items()}
        deep = [name for name in wanted if name in DEEP]
        if deep:
            layers = tap(self.alexnet, inputs, {7: "relu3", 9: "relu4", 11: "relu5"})
            maps |= dict.fromkeys(deep, torch.cat(list(layers.values()), dim=1))
        return maps


def tap(trunk: nn.Sequential, x: Features, wanted: dict[int, str]) -> dict[str, Features]:
    """Run a sequence and keep the outputs of the layers numbered in `wanted`; stop after the last of them."""
    maps = {}
    for index in range(max(wanted, default=-1) + 1):
        x = trunk[index](x)
        if index in wanted:
            maps[wanted[index]] = x
    return maps


def out_of_place(trunk: nn.Sequential) -> nn.Sequential:
    """Freeze a trunk and stop its ReLUs from overwriting the maps before them."""
    for layer in trunk:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return trunk.eval().requires_grad_(False)


def load_vgg19() -> Perceptual:
    """Take torchvision's VGG-19 from its cache, or download it (548 MiB, with a progress bar).

    Raises:
        CheckpointError: It is not in the cache and cannot be downloaded.
    """
    from torchvision.models import VGG19_Weights, vgg19

    try:
        return VGG19(trunk_of(vgg19(weights=VGG19_Weights.IMAGENET1K_V1))[:26])
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the VGG-19 weights are not in torch's cache ({torch.hub.get_dir()}) and cannot be downloaded: {error}. "
            "Connect once, or choose the offline stand-in with --features local and NIJIGEN_WEIGHTS set."
        ) from error


def load_local() -> Perceptual:
    """Read the stand-in from the folder that NIJIGEN_WEIGHTS names.

    Raises:
        CheckpointError: The variable is not set, or a file is missing or does not fit.
    """
    from torchvision.models import alexnet, vgg19

    return Local(
        trunk_from("vgg19_to_relu3_1.safetensors", trunk_of(vgg19(weights=None))[:12]),
        trunk_from("alexnet_features.safetensors", trunk_of(alexnet(weights=None))[:12]),
    )


def trunk_of(classifier: nn.Module) -> nn.Sequential:
    """The convolutional part of a torchvision classifier."""
    trunk = classifier.get_submodule("features")
    assert isinstance(trunk, nn.Sequential)
    return trunk


def trunk_from(file: str, trunk: nn.Sequential) -> nn.Sequential:
    """Fill a torchvision trunk from a local file whose keys start with `features.`."""
    folder = os.environ.get("NIJIGEN_WEIGHTS")
    if not folder:
        raise CheckpointError(f"{file} was asked for, but NIJIGEN_WEIGHTS is not set: name the folder that holds it.")
    path = Path(folder) / file
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; NIJIGEN_WEIGHTS must name a folder that holds {file}.")
    weights = {key.removeprefix("features."): value for key, value in load_file(path).items()}
    try:
        trunk.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit torchvision's layout: {str(error).splitlines()[-1]}") from error
    return trunk


PERCEPTUAL: dict[str, Callable[[], Perceptual]] = {"vgg19": load_vgg19, "local": load_local}


def load(name: str) -> Perceptual:
    """Make a perceptual network by its option name.

    Args:
        name: "vgg19" (the default everywhere) or "local".

    Raises:
        CheckpointError: The name is unknown, or the weights cannot be had.
    """
    if name not in PERCEPTUAL:
        raise CheckpointError(f"no perceptual network is called {name!r}; expected one of {sorted(PERCEPTUAL)}.")
    return PERCEPTUAL[name]()

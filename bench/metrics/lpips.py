"""Learned perceptual distance: LPIPS with AlexNet, version 0.1."""

import warnings
from pathlib import Path

import lpips
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from models.image import ImageError, Images

MINIMUM_SIDE = 32


def load(trunk: Path | None) -> nn.Module:
    """Build the LPIPS network; its linear heads ship inside the lpips package.

    Args:
        trunk: Torchvision's AlexNet, as .pth or .safetensors; None leaves it random, for tests.

    Returns:
        A frozen network in eval mode.

    Raises:
        RuntimeError: The file lacks a layer of the trunk.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips still calls torchvision by its deprecated arguments
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    if trunk is not None:
        weights = load_file(trunk) if trunk.suffix == ".safetensors" else torch.load(trunk, weights_only=True)
        # lpips calls them slice<k>.<index>.<name>, torchvision features.<index>.<name>
        network.net.load_state_dict({key: weights[_torchvision_name(key)] for key in network.net.state_dict()})
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _torchvision_name(key: str) -> str:
    return "features." + key.split(".", 1)[1]


def distance(predictions: Images, photos: Images, *, network: nn.Module) -> Float[Tensor, "batch"]:
    """Measure how different each prediction looks from its photo.

    Args:
        predictions: RGB in [-1, 1], (batch, 3, height, width), already quantised to 8 bits.
        photos: What they are compared with, the same shape.
        network: What `load` returned.

    Returns:
        One value per image, (batch,).

    Raises:
        ImageError: Values lie outside [-1, 1], or a side is shorter than 32 px.

    Range: [0, about 1]; 0 where the two are equal.
    Direction: lower is better.
    Reference: the example pictures of the LPIPS repository, published as 0.722 and 0.138; 1e-3.

    Source:
        The Unreasonable Effectiveness of Deep Features (Zhang et al., 2018), equation 1.
    """
    for images in (predictions, photos):
        if images.abs().max() > 1.0001:
            raise ImageError(f"LPIPS was given values up to {images.abs().max():.3g}; expected RGB in [-1, 1].")
        if min(images.shape[-2:]) < MINIMUM_SIDE:
            raise ImageError(f"LPIPS was given {tuple(images.shape[-2:])}; sides must be {MINIMUM_SIDE} px or more.")
    with torch.inference_mode():
        return network(predictions, photos).flatten()

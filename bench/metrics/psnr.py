"""Peak signal-to-noise ratio over the three colour channels."""

import torch
from jaxtyping import Float
from torch import Tensor

from models.image import Images

PEAK = 2.0  # Images span [-1, 1]


def psnr(predictions: Images, photos: Images) -> Float[Tensor, "batch"]:
    """Measure the pixel error of each prediction in decibels.

    Args:
        predictions: RGB in [-1, 1], (batch, 3, height, width), already quantised to 8 bits.
        photos: What they are compared with, the same shape.

    Returns:
        One value per image, (batch,), float64; infinite where the two are equal.

    Range: [0, inf] dB.
    Direction: higher is better.
    Reference: skimage.metrics.peak_signal_noise_ratio, 1e-6.
    """
    error = (predictions.double() - photos.double()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(PEAK**2 / error)

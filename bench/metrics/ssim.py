"""Structural similarity with a gaussian window, over the three colour channels."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from models.image import ImageError, Images

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def ssim(predictions: Images, photos: Images) -> Float[Tensor, "batch"]:
    """Compare local means, variances and correlation under an 11 px gaussian, without the padded border.

    Args:
        predictions: RGB in [-1, 1], (batch, 3, height, width), already quantised to 8 bits.
        photos: What they are compared with, the same shape.

    Returns:
        One value per image, (batch,), float64: the mean over valid positions and channels.

    Raises:
        ImageError: A side is shorter than the window.

    Range: [-1, 1]; 1 where the two are equal.
    Direction: higher is better.
    Reference: skimage.metrics.structural_similarity with gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, 1e-6.

    Source:
        Image Quality Assessment (Wang et al., 2004), equations 13 to 16.
    """
    if min(predictions.shape[-2:]) < WINDOW:
        raise ImageError(f"SSIM was given {tuple(predictions.shape[-2:])}; both sides must be {WINDOW} px or more.")
    x, y = (predictions.double() + 1) / 2, (photos.double() + 1) / 2  # means matter: black must be 0
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    contrast = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * contrast).mean(dim=(1, 2, 3))


def _blur(x: Tensor) -> Tensor:
    """Convolve with the window as two 1-D passes; only positions where all of it fits remain."""
    positions = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    weights = torch.exp(-(positions**2) / (2 * SIGMA**2))
    weights = (weights / weights.sum()).expand(x.shape[1], 1, WINDOW)
    rows = functional.conv2d(x, weights[:, :, :, None], groups=x.shape[1])
    return functional.conv2d(rows, weights[:, :, None, :], groups=x.shape[1])

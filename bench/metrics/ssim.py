"""Structural similarity with a gaussian window, over the three colour channels."""

import torch
from jaxtyping import Float
from torch import Tensor

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
    """Average under the window, rows and columns apart; only positions where all of it fits remain."""
    height, width = x.shape[-2:]
    return _band(height, x) @ x @ _band(width, x).T  # (B, C, H - 10, W - 10)


def _band(size: int, like: Tensor) -> Tensor:
    """Write the 1-D window as a matrix (size - 10, size): float64 products are faster than convolutions."""
    positions = torch.arange(WINDOW, dtype=like.dtype, device=like.device) - WINDOW // 2
    weights = torch.exp(-(positions**2) / (2 * SIGMA**2))
    offsets = torch.arange(size, device=like.device) - torch.arange(size - WINDOW + 1, device=like.device)[:, None]
    inside = (offsets >= 0) & (offsets < WINDOW)
    return torch.where(inside, (weights / weights.sum())[offsets.clamp(0, WINDOW - 1)], 0)

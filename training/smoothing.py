"""How a picture is flattened and given lines, a batch at a time: L0 gradient minimisation, and ink."""

import functools

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from models import image
from models.image import Images
from training import segmentation


def l0_smooth(images: Images, *, strength: float = 0.005, growth: float = 2.0, ceiling: float = 1e5) -> Images:
    """Flatten an image into regions by counting, not weighing, its gradients.

    Args:
        images: RGB in [-1, 1].
        strength: Price of one non-zero gradient, for RGB in [0, 1].
        growth: Factor of beta from one iteration to the next.
        ceiling: beta stops below it: 24 iterations with the defaults.

    Returns:
        Smoothed image of the same shape, in [-1, 1]; carries no gradient.

    Source:
        Image Smoothing via L0 Gradient Minimization (Xu et al., 2011), algorithm 1, circular differences.
    """
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        s = (images.float() + 1) / 2
        spectrum = torch.fft.rfft2(s)
        denominator = gradient_spectrum(s.shape[-2], s.shape[-1], s.device)
        beta = 2 * strength
        while beta < ceiling:
            s = l0_step(s, spectrum, denominator, beta=beta, strength=strength)
            beta *= growth
        return (2 * s - 1).clamp(-1, 1)


def l0_step(s: Images, spectrum: Tensor, denominator: Tensor, *, beta: float, strength: float) -> Images:
    """Threshold the gradients (equation 12), then solve for the image in the Fourier domain (equation 8)."""
    h, v = s.roll(-1, dims=-1) - s, s.roll(-1, dims=-2) - s
    keep = (h.square() + v.square()).sum(dim=1, keepdim=True) >= strength / beta
    h, v = h * keep, v * keep
    divergence = (h.roll(1, dims=-1) - h) + (v.roll(1, dims=-2) - v)
    solved = (spectrum + beta * torch.fft.rfft2(divergence)) / (1 + beta * denominator)
    return torch.fft.irfft2(solved, s=s.shape[-2:])


@functools.lru_cache(maxsize=4)
def gradient_spectrum(height: int, width: int, device: torch.device) -> Float[Tensor, "rows columns"]:
    """Squared magnitude of the Fourier transform of both circular differences, the half that rfft2 keeps."""
    vertical = torch.arange(height, device=device) / height
    horizontal = torch.arange(width // 2 + 1, device=device) / width
    return (2 - 2 * (2 * torch.pi * vertical).cos())[:, None] + (2 - 2 * (2 * torch.pi * horizontal).cos())[None, :]


def ink(images: Images, amount: float) -> Images:
    """Darken an image where its luminance has a valley or the dark side of an edge, as a pen would.

    Args:
        images: RGB in [-1, 1].
        amount: Share of the brightness that the darkest line loses, in [0, 1]; 0 returns the image.

    Returns:
        Image of the same shape, in [-1, 1]; carries no gradient.

    Source:
        Real-time video abstraction (Winnemoller, Olsen and Gooch, 2006), section 3.2: difference of Gaussians, sigma 1
        and 1.6 px, weight 0.98, soft threshold tanh(0.25 (d + 1)) of 8-bit luminance: fainter edges, such as
        shading on skin, are not drawn.
    """
    if amount == 0:
        return images
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        rgb = (images.float() + 1) / 2
        luminance = 255 * (rgb * rgb.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        difference = blur(luminance, 1.0) - 0.98 * blur(luminance, 1.6)
        pen = 1 + (0.25 * (difference + 1).clamp(max=0)).tanh()
        return 2 * rgb * (1 - amount + amount * pen) - 1


def draw(
    pixels: UInt8[np.ndarray, "height width 3"], *, flatten: float, amount: float, denoised: tuple[int, int] = (10, 10)
) -> UInt8[np.ndarray, "height width 3"]:
    """Turn a photo into a flat picture with lines, without any learning: denoise, `l0_smooth`, `ink`.

    Args:
        pixels: RGB, (H, W, 3).
        flatten: Strength of the L0 smoothing.
        amount: Of the ink.
        denoised: Strength of the non-local means for luminance and colour.
    """
    quiet = image.from_uint8(segmentation.denoise(pixels, denoised)[None])
    return image.to_uint8(ink(l0_smooth(quiet, strength=flatten), amount))[0]


def blur(gray: Float[Tensor, "batch 1 height width"], sigma: float) -> Float[Tensor, "batch 1 height width"]:
    """Gaussian blur over four sigmas, separable, reflected at the border."""
    reach = round(4 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=gray.device, dtype=gray.dtype)
    kernel = (-(offsets**2) / (2 * sigma**2)).exp()
    kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
    padded = F.pad(gray, (reach, reach, reach, reach), mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel), kernel.transpose(2, 3))

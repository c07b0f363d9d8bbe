"""PSNR and SSIM against scikit-image."""

import numpy as np
import pytest
from skimage import data, metrics

from bench.metrics import psnr, ssim
from models import image


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    photo = data.astronaut()[:120, 100:252]
    noise = np.random.default_rng(1).normal(0, 12, photo.shape)
    return photo, np.clip(photo + noise, 0, 255).round().astype(np.uint8)


def test_psnr_equals_skimage(pair: tuple[np.ndarray, np.ndarray]) -> None:
    photo, noisy = pair
    value = psnr.psnr(image.from_uint8(noisy), image.from_uint8(photo))
    assert float(value) == pytest.approx(metrics.peak_signal_noise_ratio(photo, noisy), abs=1e-5)


def test_psnr_of_equal_images_is_infinite_and_each_image_counts_alone() -> None:
    black, gray = np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 16, 16, 3), np.uint8)
    gray[1] = 51  # a fifth of the range: 10 log10(25) dB
    first, second = psnr.psnr(image.from_uint8(gray), image.from_uint8(black)).tolist()
    assert first == float("inf")
    assert second == pytest.approx(10 * np.log10(25), abs=1e-5)


def test_ssim_equals_skimage(pair: tuple[np.ndarray, np.ndarray]) -> None:
    photo, noisy = pair
    expected = metrics.structural_similarity(
        photo, noisy, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2, data_range=255
    )
    assert float(ssim.ssim(image.from_uint8(noisy), image.from_uint8(photo))) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_equal_images_is_one_and_small_ones_are_refused(pair: tuple[np.ndarray, np.ndarray]) -> None:
    images = image.from_uint8(pair[0])
    assert float(ssim.ssim(images, images)) == pytest.approx(1, abs=1e-12)
    with pytest.raises(image.ImageError, match="11 px"):
        ssim.ssim(images[:, :, :10], images[:, :, :10])

"""L0 smoothing and the classical steps of the revision and superpixel images."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from models import faces
from training import segmentation, smoothing


def reference_l0(picture: np.ndarray, strength: float = 0.005) -> np.ndarray:
    """L0 minimisation of one (H, W, 3) image in [0, 1], in float64, straight from the paper's equations."""
    height, width = picture.shape[:2]
    kernel_h, kernel_v = np.zeros((height, width)), np.zeros((height, width))
    kernel_h[0, 0] = kernel_v[0, 0] = -1
    kernel_h[0, -1] = kernel_v[-1, 0] = 1
    power = np.abs(np.fft.fft2(kernel_h)) ** 2 + np.abs(np.fft.fft2(kernel_v)) ** 2
    s, spectrum, beta = picture.copy(), np.fft.fft2(picture, axes=(0, 1)), 2 * strength
    while beta < 1e5:
        h, v = np.roll(s, -1, 1) - s, np.roll(s, -1, 0) - s
        drop = (h**2 + v**2).sum(2) < strength / beta
        h[drop], v[drop] = 0, 0
        divergence = np.roll(h, 1, 1) - h + np.roll(v, 1, 0) - v
        top = spectrum + beta * np.fft.fft2(divergence, axes=(0, 1))
        s = np.real(np.fft.ifft2(top / (1 + beta * power)[..., None], axes=(0, 1)))
        beta *= 2
    return s


@pytest.mark.parametrize("shape", [(24, 24), (17, 32), (32, 19)])
def test_l0_equals_the_paper_in_float64(shape: tuple[int, int]) -> None:
    # Smooth regions and one strong edge: far from the threshold, where float32 and float64 could decide differently.
    picture = np.tile(np.linspace(0.2, 0.3, shape[1])[None, :, None], (shape[0], 1, 3))
    picture[shape[0] // 2 :] += 0.5
    given = torch.from_numpy(picture * 2 - 1).float().permute(2, 0, 1)[None]
    ours = (smoothing.l0_smooth(given)[0].permute(1, 2, 0).numpy() + 1) / 2
    assert np.abs(ours - reference_l0(picture).clip(0, 1)).max() < 2e-3


def test_l0_keeps_constants_and_high_steps() -> None:
    flat = torch.full((1, 3, 16, 16), 0.25)
    assert torch.allclose(smoothing.l0_smooth(flat), flat, atol=1e-5)
    step = flat.clone()
    step[..., 8:] = -0.75
    smoothed = smoothing.l0_smooth(step)
    assert (smoothed[..., 2:6] - smoothed[..., 10:14]).mean().item() == pytest.approx(1.0, abs=0.05)


def test_l0_removes_noise_and_treats_images_alone() -> None:
    noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.02
    smoothed = smoothing.l0_smooth(noise)
    assert smoothed.std() < 0.3 * noise.std()
    assert torch.allclose(smoothing.l0_smooth(noise[:1]), smoothed[:1], atol=1e-5)


def test_superpixels_are_region_means() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 16:] = (200, 100, 50)
    pixels[:, :16] += np.random.default_rng(0).integers(0, 3, (32, 16, 3)).astype(np.uint8)
    flat = segmentation.superpixels(pixels, min_size=50)
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) <= 4
    assert np.abs(flat[:, 20:].astype(int) - (200, 100, 50)).max() <= 2


def test_edge_smoothing_touches_edges_alone() -> None:
    pixels = np.full((40, 40, 3), 30, np.uint8)
    pixels[:, 20:] = 220
    smooth = segmentation.smooth_edges(pixels)
    assert np.array_equal(smooth[:, :12], pixels[:, :12])
    assert np.array_equal(smooth[:, 30:], pixels[:, 30:])
    assert not np.array_equal(smooth[:, 18:22], pixels[:, 18:22])
    assert np.array_equal(segmentation.smooth_edges(pixels[:, :18]), pixels[:, :18])


def test_white_noise_is_seeded_and_about_its_share() -> None:
    pixels = np.full((64, 64, 3), 30, np.uint8)
    noisy = segmentation.smooth_edges(pixels, white_noise=0.1)
    assert (noisy == 255).all(axis=2).mean() == pytest.approx(0.095, abs=0.01)
    assert np.array_equal(noisy, segmentation.smooth_edges(pixels, white_noise=0.1))


def test_one_job_gives_both_images() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    segments, denoised = segmentation.segment_and_denoise(pixels, pixels, 20, (5, 6))
    assert np.array_equal(segments, segmentation.superpixels(pixels, 20))
    assert np.array_equal(denoised, segmentation.denoise(pixels, (5, 6)))


def test_ink_draws_on_the_dark_side_of_an_edge_and_nowhere_else() -> None:
    picture = torch.full((1, 3, 32, 32), 0.3)
    assert torch.allclose(smoothing.ink(picture, 0.8), picture, atol=1e-6)
    picture[..., 16:] = -0.6
    drawn = smoothing.ink(picture, 0.8)[0, 0, 16]
    assert torch.allclose(drawn[:16], torch.tensor(0.3), atol=1e-6)
    assert torch.allclose(drawn[22:], torch.tensor(-0.6), atol=1e-3)
    assert drawn[16:18].max() < -0.85
    assert smoothing.ink(picture, 0.0) is picture
    assert smoothing.ink(picture, 1.0).min() >= -1


def test_blur_equals_scikit_image() -> None:
    from skimage.filters import gaussian

    picture = np.random.default_rng(0).random((24, 31)).astype(np.float32)
    ours = smoothing.blur(torch.from_numpy(picture)[None, None], 1.6)[0, 0].numpy()
    assert np.abs(ours - gaussian(picture, 1.6, mode="mirror", truncate=4.0)).max() < 1e-5


def test_a_drawn_photo_is_flatter_and_has_lines() -> None:
    pixels = np.full((64, 64, 3), 200, np.uint8)
    pixels[:, 32:] = 90
    noisy = np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    drawn = smoothing.draw(noisy, flatten=0.01, amount=0.8)
    assert drawn.shape == pixels.shape
    assert drawn[:, 4:24].std() < 1 < noisy[:, 4:24].std()
    assert drawn[32, 32].max() < 60  # the pen, on the dark side


def test_eyes_and_mouth_are_marked(weights_dir: Path) -> None:
    portrait = skimage.data.astronaut()[:256, 96:352]
    marks = segmentation.features_of_face(portrait)
    assert marks.shape == portrait.shape
    face = faces.find(portrait, detector=faces.yunet(weights_dir / "face_detection_yunet.onnx"))[0]
    assert face.points is not None
    for x, y in face.points[:2]:
        assert marks[int(y), int(x)].min() > 240
    assert marks[:40].max() == 0
    assert segmentation.features_of_face(np.zeros((96, 96, 3), np.uint8)).max() == 0

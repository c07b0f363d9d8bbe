"""Loss terms against hand-computed values, at their optimum, and where they used to break."""

import math

import numpy as np
import pytest
import torch
from skimage import color

from training import losses


def images(*, seed: int = 0, side: int = 16) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_lsgan_is_the_mean_square_to_the_target() -> None:
    logits = torch.tensor([[0.9, 0.4]])
    assert losses.lsgan(logits, 0.9).item() == pytest.approx(0.125)
    assert losses.lsgan(torch.full((2, 1, 4, 4), 0.1), 0.1).item() == pytest.approx(0, abs=1e-12)


def test_content_is_the_mean_absolute_difference() -> None:
    real = torch.zeros(1, 2, 1, 2)
    fake = torch.tensor([[[[1.0, -2.0]], [[0.0, 3.0]]]])
    assert losses.content_loss(real, fake).item() == pytest.approx(1.5)
    assert losses.content_loss(fake, fake).item() == 0


def test_some_places_may_count_more() -> None:
    real, fake = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    fake[..., 0, 0] = 1
    places = torch.ones(1, 1, 4, 4)
    assert losses.content_loss(real, fake, places=places).item() == pytest.approx(0.25)
    places[..., :2, :2] = 5
    assert losses.content_loss(real, fake, places=places).item() == pytest.approx(5 / 8)
    assert losses.content_loss(fake, fake, places=places).item() == 0


def test_gram_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # C = 2, H * W = 2
    assert torch.allclose(losses.gram(features), torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 4)


def test_gram_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = losses.gram(images().bfloat16())
    assert result.dtype == torch.float32


def test_style_does_not_see_brightness() -> None:
    features = images()
    assert losses.style_loss(features, features + 0.7).item() == pytest.approx(0, abs=1e-6)
    assert losses.style_loss(features, 2 * features).item() > 0.01


def test_gray_of_the_primaries() -> None:
    primaries = torch.eye(3).view(3, 3, 1, 1)
    gray = losses.gray(primaries)
    assert torch.allclose(gray[:, 0, 0, 0], torch.tensor(losses.GRAY))
    assert torch.equal(gray[:, 0], gray[:, 2])


def test_lab_equals_scikit_image() -> None:
    picture = images(side=32)
    ours = losses.lab(picture).permute(0, 2, 3, 1).numpy()
    theirs = color.rgb2lab(((picture + 1) / 2).permute(0, 2, 3, 1).double().numpy())
    assert np.abs(ours - theirs).max() < 0.02


def test_color_loss_of_black_against_white() -> None:
    black, white = torch.full((1, 3, 4, 4), -1.0), torch.full((1, 3, 4, 4), 1.0)
    assert losses.color_loss(black, white).item() == pytest.approx(2.0, abs=1e-3)
    assert losses.color_loss(images(), images()).item() == 0


@pytest.mark.parametrize("level", [-1.0, 1.0, 0.0, -0.9191])
def test_color_gradient_is_finite_at_black_white_and_the_threshold(level: float) -> None:
    fake = torch.full((1, 3, 4, 4), level, requires_grad=True)
    losses.color_loss(images(side=4)[:1], fake).backward()
    assert fake.grad is not None
    assert torch.isfinite(fake.grad).all()


def test_cast_loss_sees_the_colour_of_an_area_and_not_of_its_pixels() -> None:
    gray = torch.zeros(1, 3, 32, 32)
    assert losses.cast_loss(gray, gray, gray).item() == 0
    stripes = gray.clone()
    stripes[..., ::2], stripes[..., 1::2] = 0.1, -0.1
    yellow = gray.clone()
    yellow[:, 2] = -0.4
    assert losses.cast_loss(gray, gray, stripes).item() < 0.1 * losses.cast_loss(gray, gray, yellow).item()
    # Lightness is the drawing's, the colour the photo's.
    dark_gray = torch.full((1, 3, 32, 32), -0.5)
    assert losses.cast_loss(gray, dark_gray, dark_gray).item() == pytest.approx(0, abs=1e-4)
    assert losses.cast_loss(yellow, gray, gray).item() > 0.05


def test_total_variation_of_a_ramp() -> None:
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 3, 8, 8)
    assert losses.total_variation(ramp).item() == pytest.approx(0.5)
    assert losses.total_variation(torch.ones(1, 3, 8, 8)).item() == 0


def test_calibration_gives_the_reference_over_its_window_and_then_stays() -> None:
    calibration = losses.Calibration({"content": 0.3, "style": 2.0}, window=4)
    raw = [torch.tensor(value) for value in (1.0, 3.0, 2.0, 6.0)]
    for value in raw:
        calibration("content", value)
    scaled = [float(value) * calibration.scale("content") for value in raw]
    assert np.mean(scaled) == pytest.approx(0.3)
    before = calibration.scale("content")
    calibration("content", torch.tensor(100.0))
    assert calibration.scale("content") == before
    assert calibration.scale("style") == 1.0


def test_calibration_survives_a_round_trip_and_does_not_learn_in_eval() -> None:
    calibration = losses.Calibration({"content": 0.3}, window=4)
    calibration("content", torch.tensor(2.0))
    other = losses.Calibration({"content": 0.3}, window=4)
    other.load_state_dict(calibration.state_dict())
    assert other.scale("content") == pytest.approx(0.15)
    other.eval()("content", torch.tensor(50.0))
    assert other.scale("content") == pytest.approx(0.15)


def test_gradient_of_a_scaled_term_is_scaled() -> None:
    calibration = losses.Calibration({"content": 0.5})
    value = torch.tensor(4.0, requires_grad=True)
    calibration("content", value).backward()
    assert value.grad is not None
    assert math.isclose(value.grad.item(), 0.125)


def test_yuv_equals_scikit_image() -> None:
    picture = images(side=32)
    ours = losses.yuv(picture).permute(0, 2, 3, 1).numpy()
    theirs = color.rgb2yuv(((picture + 1) / 2).permute(0, 2, 3, 1).double().numpy())
    assert np.abs(ours - theirs).max() < 1e-5


def test_yuv_loss_by_hand() -> None:
    black, white = -torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    assert losses.yuv_loss(black, white).item() == pytest.approx(1, abs=1e-5)
    assert losses.yuv_loss(white, white).item() == 0
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert losses.yuv_loss(black, red).item() == pytest.approx(0.299 + 0.14714119**2 / 2 + 0.61497538**2 / 2, rel=1e-5)


def test_plain_gram_matrices_see_brightness() -> None:
    features = images()
    assert losses.style_loss(features, features + 0.7, center=False).item() > 0.01
    assert losses.style_loss(features, features, center=False).item() == 0


def test_identity_is_one_minus_the_cosine() -> None:
    photo, fake = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    assert losses.identity_loss(photo, fake).item() == pytest.approx(0.2)
    assert losses.identity_loss(photo, photo).item() == 0

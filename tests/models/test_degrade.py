"""Degradations: decided by the seed alone, inside their ranges, in physical order, each doing what its name says."""

import dataclasses
import io
import json
import math

import pytest
import torch
from PIL import Image
from torch import Tensor

from models import degrade, image


def smooth(height: int = 64, width: int = 80, *, count: int = 1) -> Tensor:
    """Pictures with soft structure in all colours."""
    coarse = torch.rand(count, 3, 8, 10, generator=torch.Generator().manual_seed(7)) * 1.6 - 0.8
    return image.resize(coarse, height=height, width=width)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_order_is_physical():
    assert degrade.KINDS == ("low_light", "haze", "rain", "motion_blur", "noise", "jpeg")


def test_a_seed_decides_everything():
    clean = smooth(count=2)
    first, settings = degrade.degrade(clean, seeds=[3, 4])
    again, same = degrade.degrade(clean, seeds=[3, 4])
    assert torch.equal(first, again)
    assert settings == same
    assert first.shape == clean.shape
    assert not torch.equal(first, degrade.degrade(clean, seeds=[3, 5])[0])


def test_the_recorded_settings_make_the_same_pixels():
    clean = smooth()
    made, (settings,) = degrade.degrade(clean, seeds=[11], chance=1)
    assert torch.equal(degrade.apply(clean, settings), made)
    record = json.loads(json.dumps(dataclasses.asdict(settings)))
    assert degrade.Settings(**record | {"kinds": tuple(record["kinds"])}) == settings
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 1


def test_images_of_a_batch_do_not_meet():
    clean = smooth(count=3)
    together, _ = degrade.degrade(clean, seeds=[1, 2, 3])
    alone, _ = degrade.degrade(clean[1:2], seeds=[2])
    assert torch.equal(together[1:2], alone)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    degrade.degrade(smooth(), seeds=[1], chance=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_all_steps_together_are_the_steps_in_order():
    clean = smooth()
    made, (settings,) = degrade.degrade(clean, seeds=[8], chance=1)
    assert settings.kinds == degrade.KINDS
    by_hand = clean
    for kind in ["low_light", "haze", "rain", "motion_blur", "noise", "jpeg"]:
        by_hand = degrade.step(by_hand, kind, settings=settings)
    assert torch.equal(by_hand, made)
    reversed_kinds = dataclasses.replace(settings, kinds=settings.kinds[::-1])
    assert torch.equal(degrade.apply(clean, reversed_kinds), made)


def test_values_stay_in_their_ranges_and_fill_them():
    drawn = [degrade.draw(seed) for seed in range(400)]
    for name, (low, high) in degrade.RANGES.items():
        values = [getattr(settings, name) for settings in drawn]
        assert low <= min(values) <= low + 0.03 * (high - low), name
        assert high - 0.03 * (high - low) <= max(values) <= high, name
    assert all(settings.kinds for settings in drawn)
    for kind in degrade.KINDS:
        assert 0.4 < sum(kind in settings.kinds for settings in drawn) / len(drawn) < 0.65, kind


def test_the_ranges_are_those_of_the_specification():
    ranges = degrade.RANGES
    assert (ranges["light_gain"], ranges["light_gamma"]) == ((0.3, 0.9), (1.5, 3))
    assert (ranges["haze_airlight"], ranges["haze_density"]) == ((0.7, 1), (0.4, 1.6))
    assert (ranges["rain_length_px"], ranges["rain_angle_degrees"]) == ((10, 40), (-20, 20))
    assert ranges["blur_length_px"] == (7, 31)
    assert [255 * sigma for sigma in ranges["noise_sigma"]] == [5, 50]
    assert ranges["jpeg_quality"] == (10, 60)


def test_leaving_steps_out_changes_no_value():
    everything, rain = degrade.draw(6, chance=1), degrade.draw(6, kinds=["rain"])
    assert rain.kinds == ("rain",)
    assert dataclasses.replace(rain, kinds=everything.kinds) == everything


@pytest.mark.parametrize("kind", degrade.KINDS)
@pytest.mark.parametrize("level", [-1.0, 1.0])
def test_every_step_stays_in_range(kind: str, level: float):
    for seed in range(2):
        settings = degrade.draw(seed, kinds=[kind])
        made = degrade.apply(torch.full((1, 3, 65, 70), level), settings)
        assert made.shape == (1, 3, 65, 70)
        assert made.dtype == torch.float32
        assert made.isfinite().all()
        assert made.abs().max() <= 1


def test_low_light_is_its_formula():
    made = degrade.low_light(torch.zeros(1, 3, 2, 2), gain=0.8, gamma=2)
    torch.testing.assert_close(made, torch.full((1, 3, 2, 2), 2 * 0.8 * 0.25 - 1))
    assert (degrade.apply(smooth(), degrade.draw(0, kinds=["low_light"])) < smooth()).all()


def test_haze_veils_what_is_far():
    clean = smooth()
    depth = torch.linspace(0, 1, 80).expand(1, 1, 64, 80)
    made = degrade.haze(clean, depth, airlight=0.9, density=1.5)
    torch.testing.assert_close(made[..., 0], clean[..., 0])
    t = math.exp(-1.5)
    torch.testing.assert_close((made[..., -1] + 1) / 2, (clean[..., -1] + 1) / 2 * t + 0.9 * (1 - t))
    assert made[..., 60:].std() < clean[..., 60:].std()


def test_depth_is_smooth_and_farthest_above():
    depth = torch.cat([degrade.depth_field(64, 80, generator=stream(seed)) for seed in range(8)])
    assert depth.amin() == 0
    assert depth.amax() == 1
    assert depth.diff(dim=2).abs().max() < 0.1
    assert depth[:, :, :16].mean() > depth[:, :, -16:].mean() + 0.2


def test_rain_brightens_along_its_direction():
    clean = torch.full((1, 3, 128, 128), -0.5)
    settings = dataclasses.replace(degrade.draw(2, kinds=["rain"]), rain_angle_degrees=0.0, rain_length_px=40.0)
    made = degrade.apply(clean, settings)
    assert (made >= clean).all()
    assert 0.02 < (made > clean + 0.1).float().mean() < 0.4
    assert made.diff(dim=2).abs().mean() < 0.2 * made.diff(dim=3).abs().mean()


@pytest.mark.parametrize(("length", "degrees"), [(10.0, 20.0), (40.0, -20.0), (7.0, 90.0), (31.0, 45.0), (12.5, 0.0)])
def test_lines_have_their_length_and_tilt(length: float, degrees: float):
    kernel = degrade.line(length, degrees=degrees)
    torch.testing.assert_close(kernel.sum(), torch.tensor(1.0))
    torch.testing.assert_close(kernel, kernel.flip(0, 1))
    place = torch.arange(len(kernel)) - len(kernel) // 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    spread = 12 * (kernel * (x**2 + y**2)).sum()  # a line of length L has the variance L^2 / 12
    assert spread.sqrt().item() == pytest.approx(length, abs=1)
    tilt = 0.5 * math.degrees(math.atan2(-2 * (kernel * x * y).sum(), (kernel * (y**2 - x**2)).sum()))
    assert (tilt - degrees + 90) % 180 - 90 == pytest.approx(0, abs=1.5)


def test_blur_smears_along_its_path_only():
    stripes = (torch.arange(64) % 8 < 4).float().mul(2).sub(1).expand(1, 3, 64, 64)  # vertical stripes
    upright = degrade.motion_blur(stripes, degrade.line(15, degrees=0))
    across = degrade.motion_blur(stripes, degrade.line(16, degrees=90))
    torch.testing.assert_close(upright, stripes)
    assert across.std() < 0.2 * stripes.std()
    torch.testing.assert_close(across.mean(), stripes.mean(), atol=0.05, rtol=0)


def test_noise_has_the_variance_of_both_parts():
    grey = torch.zeros(1, 3, 128, 128)
    made = degrade.noise(grey, sigma=0.05, photons=200, generator=stream())
    deviation = ((made - grey) / 2).std().item()
    assert deviation == pytest.approx(math.sqrt(0.05**2 + 0.5 / 200), rel=0.03)
    assert abs(made.mean().item()) < 0.01
    dark = degrade.noise(grey - 0.8, sigma=0.001, photons=200, generator=stream())
    assert dark.std() < 0.5 * degrade.noise(grey, sigma=0.001, photons=200, generator=stream()).std()


@pytest.mark.parametrize("quality", [10, 35, 60])
def test_jpeg_is_what_an_encoder_does(quality: int):
    clean = image.from_uint8(image.to_uint8(smooth(70, 87, count=2) + 0.05 * torch.randn(2, 3, 70, 87)))
    made = degrade.jpeg(clean, quality=quality)
    assert torch.equal(made, degrade.jpeg(clean, quality=quality))
    for number in range(2):
        file = io.BytesIO()
        Image.fromarray(image.to_uint8(clean)[number]).save(file, format="JPEG", quality=quality, subsampling="4:2:0")
        encoded = image.read(file.getvalue())
        assert ((made[number] - encoded).abs().mean() * 127.5).item() < 0.3
        assert ((made[number] - clean[number]).abs().mean() * 127.5).item() > 1


def test_jpeg_loses_more_at_lower_quality():
    clean = smooth() + 0.05 * torch.randn(1, 3, 64, 80)
    lost = [(degrade.jpeg(clean, quality=quality) - clean).abs().mean().item() for quality in (10, 30, 60)]
    assert lost[0] > lost[1] > lost[2] > 0


def test_senseless_requests_are_refused():
    with pytest.raises(ValueError, match="2 images were given 1 seeds"):
        degrade.degrade(smooth(count=2), seeds=[1])
    with pytest.raises(ValueError, match="seed is -1"):
        degrade.draw(-1)
    with pytest.raises(ValueError, match="seed is 536870912"):
        degrade.draw(2**29)
    with pytest.raises(ValueError, match="kinds are"):
        degrade.draw(1, kinds=[])

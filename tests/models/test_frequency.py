"""The frequency module: each step by hand, and the gradient that a hard threshold would not have."""

import math

import pytest
import torch
from torch import Tensor

from models import frequency, layers


def pictures(height: int, width: int, *, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width) * 2 - 1


def test_a_wave_is_two_points_around_the_centre():
    wave = torch.cos(2 * math.pi * 3 * torch.arange(32.0) / 32).expand(1, 1, 32, 32)
    magnitude = frequency.log_magnitude(wave)[0, 0]
    strong = (magnitude > 1).nonzero().tolist()
    assert strong == [[16, 13], [16, 19]]
    assert magnitude[16, 13].item() == pytest.approx(math.log1p(32 * 32 / 2), rel=1e-4)


def test_without_a_shift_zero_is_in_the_corner():
    flat = torch.ones(1, 1, 8, 8)
    assert frequency.log_magnitude(flat)[0, 0].argmax() == 4 * 8 + 4
    assert frequency.log_magnitude(flat, shift=False)[0, 0].argmax() == 0


@pytest.mark.parametrize("threshold", ["mean", "median"])
def test_binary_maps_are_zeros_and_ones_around_their_own_level(threshold: str):
    maps = torch.randn(2, 3, 6, 7).exp() * torch.tensor([1.0, 100.0]).view(2, 1, 1, 1)
    binary = frequency.binarize(maps, threshold=threshold)
    flat = maps.flatten(2)
    level = flat.mean(2) if threshold == "mean" else flat.median(2).values
    assert torch.equal(binary, (maps > level[..., None, None]).float())


def test_binary_maps_have_the_gradient_of_a_sigmoid():
    maps = torch.randn(1, 4, 4, requires_grad=True)
    soft = maps.detach().clone().requires_grad_()
    factor = torch.randn(1, 4, 4)
    (frequency.binarize(maps, temperature=0.3) * factor).sum().backward()
    (torch.sigmoid((soft - soft.mean()) / 0.3) * factor).sum().backward()
    torch.testing.assert_close(maps.grad, soft.grad)
    assert maps.grad is not None
    assert maps.grad.abs().max() > 0


def test_the_crop_keeps_the_centre_and_drops_the_ring():
    marked = torch.zeros(1, 256, 256)
    marked[0, 128, 128], marked[0, 0, :], marked[0, 32, 32], marked[0, 31, 100] = 1, 2, 3, 4
    kept = frequency.crop_center(marked)
    assert kept.shape == (1, 192, 192)
    assert kept[0, 96, 96] == 1
    assert kept[0, 0, 0] == 3
    assert set(kept.unique().tolist()) == {0, 1, 3}


def test_a_disc_around_zero_is_nulled():
    kept = frequency.crop_center(torch.ones(1, 64, 48), null_radius=2)
    holes = (kept[0] == 0).nonzero() - torch.tensor([24, 18])
    assert len(holes) == 13
    assert holes.square().sum(dim=1).max() == 4


def test_192_bins_a_side_make_121_blocks():
    maps = torch.arange(192.0 * 192).view(1, 1, 192, 192)
    cut = frequency.blocks(maps)
    assert cut.shape == (1, 121, 32, 32)
    assert torch.equal(cut[0, 1], maps[0, 0, :32, 16:48])
    assert torch.equal(cut[0, 12], maps[0, 0, 16:48, 16:48])


@pytest.mark.parametrize(("local", "count"), [(False, 121), (True, 225)])
def test_features_are_unit_vectors(local: bool, count: int):  # noqa: FBT001
    network = frequency.FrequencyFeatures(frequency.Bands(local_fft=local, null_radius=2))
    vectors = network(pictures(256, 256))
    assert vectors.shape == (1, count, 128)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(1, count))
    assert [layer.out_features for layer in network.project[::2]] == [256, 128]


@pytest.mark.parametrize("settings", [{}, {"local_fft": True}, {"threshold": "median"}, {"shift": False}])
def test_the_fake_image_gets_a_gradient(settings: dict):
    fake = pictures(64, 96, count=2).requires_grad_()
    vectors = frequency.FrequencyFeatures(frequency.Bands(**settings))(fake)
    (vectors * torch.randn(vectors.shape)).sum().backward()
    assert fake.grad is not None
    assert fake.grad.isfinite().all()
    assert (fake.grad.abs() > 0).float().mean() > 0.99


def test_images_of_a_batch_do_not_meet():
    network = frequency.FrequencyFeatures()
    pair = pictures(64, 64, count=2)
    torch.testing.assert_close(network(pair)[1:], network(pair[1:]))


def test_local_blocks_belong_to_regions():
    bands = frequency.Bands(local_fft=True)
    one = pictures(64, 64)
    other = one.clone()
    other[..., 48:, 48:] = 0
    same = (bands.cut(one) == bands.cut(other)).flatten(2).all(dim=2)[0]
    assert same.tolist() == [True] * 8 + [False]


def test_nothing_is_nulled_where_zero_is_not_in_the_centre():
    with pytest.raises(ValueError, match="null_radius is 2"):
        frequency.Bands(shift=False, null_radius=2)


@pytest.mark.parametrize("wrong", [{"keep": 0.0}, {"keep": 1.1}, {"keep": 0.1, "side": 4}, {"side": 0}, {"stride": 0}])
def test_nothing_to_look_at_is_refused(wrong: dict):
    with pytest.raises(ValueError, match=r"keep is .* expected a share"):
        frequency.Bands(**wrong)


@pytest.mark.parametrize(
    ("settings", "count", "bins"),
    [
        ({}, 9 * 9, 32**2),  # 0.75 of 224 are 168: 9 places of 32, every 16th
        ({"keep": 0.5}, 6 * 6, 32**2),
        ({"keep": 1.0, "side": 16, "stride": 8}, 27 * 27, 16**2),
        ({"local_fft": True}, 13 * 13, 24**2),
        ({"local_fft": True, "keep": 0.5, "side": 20, "stride": 30}, 7 * 7, 10**2),
    ],
)
def test_the_crop_and_the_blocks_are_settings(settings: dict, count: int, bins: int):
    bands = frequency.Bands(**settings)
    assert bands.bins == bins
    assert bands.cut(pictures(224, 224)).flatten(2).shape == (1, count, bins)
    assert frequency.FrequencyFeatures(bands, hidden=5, outputs=7)(pictures(224, 224)).shape == (1, count, 7)


def test_the_whole_spectrum_is_kept_where_asked_for():
    bands = frequency.Bands(keep=1.0, side=64, stride=64, temperature=0.2)
    images = pictures(64, 64)
    gray = (layers.luma(images) + 1) / 2
    assert torch.equal(bands.cut(images)[0, 0], frequency.binarize(frequency.log_magnitude(gray))[0, 0])


def test_chosen_blocks_differ_and_follow_the_seed():
    first = frequency.choose(121, generator=torch.Generator().manual_seed(1))
    again = frequency.choose(121, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, again)
    assert len(first.unique()) == 64
    assert first.max() < 121
    assert len(frequency.choose(9, generator=torch.Generator())) == 9

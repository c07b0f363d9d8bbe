"""Shared blocks against values worked out by hand."""

import pytest
import torch
from torch import nn

from models import layers


def test_legacy_upsampling_of_a_ramp():
    ramp = torch.tensor([0.0, 2.0, 4.0, 10.0]).view(1, 1, 1, 4).expand(1, 1, 2, 4)
    expected = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 7.0, 10.0, 10.0])
    assert torch.equal(layers.upsample_legacy(ramp), expected.expand(1, 1, 4, 8))


def test_legacy_upsampling_copies_even_pixels_and_averages_odd_ones():
    x = torch.randn(2, 3, 5, 7)
    y = layers.upsample_legacy(x)
    assert y.shape == (2, 3, 10, 14)
    torch.testing.assert_close(y[..., ::2, ::2], x)
    torch.testing.assert_close(y[..., 1:-1:2, ::2], (x[..., :-1, :] + x[..., 1:, :]) / 2)
    torch.testing.assert_close(y[..., ::2, 1:-1:2], (x[..., :-1] + x[..., 1:]) / 2)
    centre = (x[..., :-1, :-1] + x[..., 1:, :-1] + x[..., :-1, 1:] + x[..., 1:, 1:]) / 4
    torch.testing.assert_close(y[..., 1:-1:2, 1:-1:2], centre)
    torch.testing.assert_close(y[..., -1, :], y[..., -2, :])
    torch.testing.assert_close(y[..., :, -1], y[..., :, -2])


def test_legacy_upsampling_is_neither_setting_of_interpolate():
    x = torch.randn(1, 1, 6, 6)
    for aligned in (True, False):
        other = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=aligned)
        assert (layers.upsample_legacy(x) - other).abs().max() > 0.1


def test_reflection_leaves_out_the_border_pixel():
    x = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    assert layers.pad_reflect(x, left_top=1, right_bottom=2)[0, 0, 0].tolist() == [1, 0, 1, 2, 3, 2, 1]
    assert layers.pad_reflect(x, left_top=1, right_bottom=0).shape == (1, 1, 5, 5)


@pytest.mark.parametrize("remembers", [False, True])
def test_norms_are_their_formulas(remembers: bool):  # noqa: FBT001
    x = torch.randn(2, 3, 8, 9) * 5 + torch.arange(3.0).view(1, 3, 1, 1)
    for norm, dims in ((layers.InstanceNorm(3, affine=True), (2, 3)), (layers.LayerNorm(3), (1, 2, 3))):
        gain, offset = (nn.init.normal_(value).detach()[:, None, None] for value in (norm.weight, norm.bias))
        if remembers:
            norm.memory = lambda compute: compute()
        variance, mean = torch.var_mean(x, dim=dims, correction=0, keepdim=True)
        torch.testing.assert_close(norm(x), (x - mean) / (variance + 1e-5).sqrt() * gain + offset)


def test_luma_weighs_the_colors_and_keeps_the_range():
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    torch.testing.assert_close(layers.luma(red), torch.full((2, 1, 4, 5), 2 * 0.299 - 1))
    green = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(layers.luma(green), torch.full((1, 1, 1, 1), 0.587))
    torch.testing.assert_close(layers.luma(torch.ones(1, 3, 2, 2)), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_convolutions_start_with_he(kind: type[nn.Conv2d] | type[nn.ConvTranspose2d]):
    conv = kind(64, 64, 3)
    layers.initialize_he(conv)
    assert conv.weight.mean().item() == pytest.approx(0, abs=0.002)
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert conv.bias is not None and conv.bias.abs().max() == 0
    layers.initialize_he(kind(4, 4, 3, bias=False))
    linear = nn.Linear(3, 3)
    before = linear.weight.clone()
    layers.initialize_he(linear)
    assert torch.equal(linear.weight, before)


def test_parameter_count_leaves_buffers_out():
    assert layers.parameter_count(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))) == 3 * 4 * 9 + 4 + 8

"""Shared blocks against values worked out by hand."""

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


def test_spatial_normalisation():
    x = torch.randn(2, 3, 8, 9) * 5 + torch.arange(3.0).view(1, 3, 1, 1)
    whitened, mean, deviation = layers.normalize_spatial(x, 1e-5)
    torch.testing.assert_close(whitened.mean(dim=(2, 3)), torch.zeros(2, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(whitened.var(dim=(2, 3), correction=0), torch.ones(2, 3))
    torch.testing.assert_close(whitened * deviation + mean, x)


def test_parameter_count_leaves_buffers_out():
    assert layers.parameter_count(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))) == 3 * 4 * 9 + 4 + 8

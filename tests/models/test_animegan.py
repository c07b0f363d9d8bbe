"""Structure of AnimeGAN v1, v2 and lite: counts, padding sides, constants, resizing, starting weights."""

import pytest
import torch
from torch import nn

from models import animegan, layers


def counts(network: nn.Module) -> dict[str, int]:
    return {name: layers.parameter_count(child) for name, child in network.named_children()}


@pytest.mark.parametrize(
    ("network", "expected"),
    [(animegan.AnimeGAN, 3_956_096), (animegan.AnimeGANv2, 2_143_552), (animegan.AnimeGANv2Lite, 698_240)],
)
def test_parameter_count_is_the_published_one(network: type[nn.Module], expected: int):
    assert layers.parameter_count(network()) == expected


def test_blocks_of_the_first_version():
    assert counts(animegan.AnimeGAN()) == {
        "down1": 56_896,
        "down2": 234_368,
        "middle": 3_335_168,
        "up2": 200_832,
        "up1": 128_640,
        "paint": 192,
    }


def test_blocks_of_the_second_version():
    assert counts(animegan.AnimeGANv2()) == {
        "a": 60_320,
        "b": 221_696,
        "c": 1_354_752,
        "d": 295_424,
        "e": 211_264,
        "paint": 96,
    }


@pytest.mark.parametrize("norm", [animegan.instance_norm, animegan.layer_norm])
def test_discriminator_count_and_map(norm: animegan.Norm):
    network = animegan.Discriminator(norm=norm).eval()
    assert layers.parameter_count(network) == 1_128_800
    assert network(torch.zeros(1, 3, 64, 96)).shape == (1, 1, 16, 24)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 7
    assert all(hasattr(conv, "parametrizations") and conv.bias is None for conv in convolutions)


def test_discriminator_gives_64_logits_a_side_at_256_px():
    assert animegan.Discriminator()(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 64, 64)


def test_norms_of_the_first_version():
    norms = [module for module in animegan.AnimeGAN().modules() if isinstance(module, nn.InstanceNorm2d)]
    assert sorted(norm.eps for norm in norms) == [1e-6] * 8 + [1e-5] * 32
    assert all(norm.affine and not norm.track_running_stats for norm in norms)


@pytest.mark.parametrize("network", [animegan.AnimeGANv2, animegan.AnimeGANv2Lite])
def test_norms_of_the_second_version(network: type[nn.Module]):
    norms = [module for module in network().modules() if isinstance(module, nn.GroupNorm)]
    assert norms
    assert {(norm.num_groups, norm.eps) for norm in norms} == {(1, 1e-12)}


def test_layer_norm_spans_channels_and_pixels():
    x = torch.randn(2, 6, 5, 7) * torch.tensor([1.0, 9.0]).view(2, 1, 1, 1) + 4
    y = animegan.layer_norm(6)(x)
    torch.testing.assert_close(y.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(y.var(dim=(1, 2, 3), correction=0), torch.ones(2))


def test_biases_are_only_in_the_second_version_depthwise():
    assert [name for name, _ in animegan.AnimeGAN().named_parameters() if name.endswith("conv.bias")] == []
    biased = [name for name, _ in animegan.AnimeGANv2().named_parameters() if name.endswith("conv.bias")]
    assert len(biased) == 4
    assert all(name.endswith("depth.conv.bias") for name in biased)


def first_window(layer: nn.Module, convolution: nn.Conv2d) -> torch.Tensor:
    """Rows of the picture that the first output sees, for a kernel of ones and a picture of row numbers."""
    nn.init.ones_(convolution.weight)
    rows = torch.arange(1.0, 9.0).view(1, 1, 8, 1).expand(1, convolution.in_channels, 8, 8)
    seen = []
    convolution.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0][0, 0, :, 1]))
    layer(rows.contiguous())
    return seen[0]


def test_strided_block_pads_below_and_right_only():
    block = animegan.ConvBlock(3, 4, norm=animegan.layer_norm, stride=2)
    assert first_window(block, block.conv).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 7]


def test_strided_separable_pads_below_and_right_only():
    layer = animegan.Separable(3, 4, stride=2)
    assert first_window(layer, layer.depth).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 7]


def test_unstrided_layers_reflect_on_both_sides():
    layer = animegan.Separable(3, 4)
    assert first_window(layer, layer.depth).tolist() == [2, 1, 2, 3, 4, 5, 6, 7, 8, 7]
    wide = animegan.ConvBlock(3, 4, norm=animegan.layer_norm, kernel=7)
    assert first_window(wide, wide.conv).tolist() == [4, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5]


def test_discriminator_pads_with_zeros_above_and_left_when_it_halves():
    padding = next(module for module in animegan.Discriminator().modules() if isinstance(module, nn.ZeroPad2d))
    padded = padding(torch.ones(1, 1, 4, 4))
    assert padded.shape == (1, 1, 5, 5)
    assert padded[0, 0, 0].sum() == 0
    assert padded[0, 0, :, 0].sum() == 0


def test_down_reads_every_second_pixel_in_its_second_path():
    layer = animegan.Down(2, 3).eval()
    x = torch.randn(1, 2, 8, 8)
    expected = layer.strided(x) + layer.decimated(x[:, :, [0, 2, 4, 6]][..., [0, 2, 4, 6]])
    assert torch.equal(layer(x), expected)


def test_separable_has_nothing_between_its_convolutions():
    layer = animegan.Separable(3, 5)
    x = torch.randn(1, 3, 8, 8)
    depth = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"), layer.depth.weight, groups=3)
    mixed = torch.einsum("oi,bihw->bohw", layer.point.conv.weight[:, :, 0, 0], depth)
    expected = nn.functional.leaky_relu(nn.functional.instance_norm(mixed, eps=1e-6), 0.2)
    torch.testing.assert_close(layer(x), expected)


def test_inverted_residual_ends_linear_and_skips_only_equal_shapes():
    same = animegan.InvertedResidual(8, 8, norm=animegan.layer_norm)
    nn.init.zeros_(same.get_parameter("narrow.0.weight"))
    x = torch.randn(1, 8, 6, 6)
    assert torch.equal(same(x), x)
    wider = animegan.InvertedResidual(8, 16, norm=animegan.layer_norm)
    assert not wider.skip
    assert (wider(x) < 0).float().mean() > 0.3


def test_lite_skips_are_added():
    network = animegan.AnimeGANv2Lite().eval()
    photo = torch.rand(1, 3, 64, 64) * 2 - 1
    before = network(photo)
    for block in (network.up2, network.up1, network.up0):
        nn.init.zeros_(block.get_parameter("norm.weight"))
        nn.init.zeros_(block.get_parameter("norm.bias"))
    x0 = network.x0(photo)
    expected = network.paint(network.fuse0(x0)).tanh()
    torch.testing.assert_close(network(photo), expected)
    assert not torch.allclose(before, expected)


def test_first_version_starts_with_xavier_and_small_depthwise():
    network = animegan.AnimeGAN()
    thin = [module.depth.conv.weight for module in network.modules() if isinstance(module, animegan.InvertedResidual)]
    assert len(thin) == 8
    assert max(weight.abs().max() for weight in thin) <= 0.04
    bound = (6 / (9 * 64 + 9 * 64)) ** 0.5
    weight = network.get_parameter("down1.1.conv.weight")
    assert 0.95 * bound < weight.abs().max() <= bound


def test_second_version_starts_with_he():
    weight = animegan.AnimeGANv2().get_parameter("b.1.conv.weight")
    assert weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.01)
    assert weight.abs().max() <= 2 * (2 / (9 * 128)) ** 0.5 / 0.8796


def test_discriminator_starts_with_small_normals():
    weight = animegan.Discriminator().get_parameter("blocks.0.parametrizations.weight.original")
    assert weight.std().item() == pytest.approx(0.02, rel=0.1)

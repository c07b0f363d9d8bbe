"""StyleGAN2: counts, the arithmetic by hand, what styles and noise do, and the names of the released networks."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import convert, layers, modulation, registry, stylegan2
from models.registry import CheckpointError

FULL = 32768


def small(**settings: int) -> Any:
    chosen = {"resolution": 16, "base": 64, "widest": 12, "depth": 2, "latent": 6, "width": 10} | settings
    return stylegan2.StyleGAN2(**chosen)


def critic(**settings: int) -> Any:
    return stylegan2.Discriminator(**{"resolution": 16, "base": 64, "widest": 12} | settings)


def shaken(network: nn.Module) -> Any:
    """Move every tensor off its start, so that offsets, noise strengths and averages count."""
    for key, tensor in network.state_dict().items():
        if not key.endswith("resample_filter"):
            tensor.add_(0.3 * torch.randn_like(tensor))
    return network.eval()


COUNTS = {
    (64, stylegan2.HALF_WIDTH): (23_819_544, 23_407_361),
    (256, stylegan2.HALF_WIDTH): (24_767_458, 24_001_089),
    (64, FULL): (27_032_600, 26_488_833),
    (256, FULL): (30_034_338, 28_864_129),
}


@pytest.mark.parametrize(("resolution", "base"), COUNTS)
def test_parameter_counts(resolution: int, base: int):
    with torch.device("meta"):
        pair = (
            stylegan2.StyleGAN2(resolution=resolution, base=base),
            stylegan2.Discriminator(resolution=resolution, base=base),
        )
    assert tuple(map(layers.parameter_count, pair)) == COUNTS[resolution, base]


def test_parameter_counts_of_the_options():
    with torch.device("meta"):
        assert layers.parameter_count(stylegan2.StyleGAN2(depth=2)) == 23_191_522
        assert layers.parameter_count(registry.build("stylegan2-64-small")) == 956_760
        assert stylegan2.StyleGAN2().synthesis.layers == 14


def stuffed(x: np.ndarray) -> np.ndarray:
    """Put a zero after every pixel."""
    found = np.zeros((2 * x.shape[0], 2 * x.shape[1]))
    found[::2, ::2] = x
    return found


def convolve(x: np.ndarray, kernel: np.ndarray, *, before: int, after: int) -> np.ndarray:
    """True convolution, pixel by pixel, of a zero-padded map."""
    padded, side = np.pad(x, (before, after)), len(kernel)
    rows, columns = (size - side + 1 for size in padded.shape)
    flipped = kernel[::-1, ::-1]
    return np.array(
        [[(padded[i : i + side, j : j + side] * flipped).sum() for j in range(columns)] for i in range(rows)]
    )


LOPSIDED = np.outer([1, 2, 4, 1], [3, 1, 1, 3]) / 64.0  # tells convolution from correlation


@pytest.mark.parametrize("taps", [modulation.resample_filter().double().numpy(), LOPSIDED])
def test_resampling_is_zeros_filter_and_skipping(taps: np.ndarray):
    x = np.random.default_rng(0).normal(size=(5, 6))
    given, kernel = torch.from_numpy(x)[None, None].float(), torch.from_numpy(taps).float()
    doubled = modulation.upsample(given, kernel)[0, 0]
    np.testing.assert_allclose(doubled, 4 * convolve(stuffed(x), taps, before=2, after=1), atol=1e-6)
    halved = modulation.blur(given[..., :4, :], kernel, padding=1, stride=2)[0, 0]
    np.testing.assert_allclose(halved, convolve(x[:4], taps, before=1, after=1)[::2, ::2], atol=1e-6)


def test_doubling_mixes_three_quarters_and_one_quarter():
    row = torch.tensor([4.0, 8.0, 0.0]).expand(1, 1, 3, 3)
    doubled = modulation.upsample(row, modulation.resample_filter())[0, 0, 2]
    assert doubled.tolist() == [3, 5, 7, 6, 2, 0]


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_is_a_kernel_per_image(*, demodulate: bool):
    x, weight, styles = torch.randn(3, 4, 5, 7), torch.randn(2, 4, 3, 3), torch.randn(3, 4)
    made = modulation.modulated_convolution(x, weight, styles, demodulate=demodulate)
    for image, style, found in zip(x, styles, made, strict=True):
        kernel = weight * style[:, None, None]
        if demodulate:
            kernel = kernel / (kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        torch.testing.assert_close(found, F.conv2d(image[None], kernel, padding=1)[0])


def test_modulation_that_doubles_stuffs_zeros_convolves_and_filters():
    x, weight, styles = torch.randn(2, 1, 4, 4), torch.randn(1, 1, 3, 3), torch.tensor([[1.5], [-0.5]])
    taps = torch.from_numpy(LOPSIDED).float()
    made = modulation.modulated_convolution(x, weight, styles, taps=taps)
    for image, style, found in zip(x.double(), styles.double(), made, strict=True):
        kernel = (weight[0, 0] * style / (weight * style).square().sum().sqrt()).double().numpy()
        filtered = 4 * convolve(stuffed(image[0].numpy()), LOPSIDED, before=3, after=2)
        np.testing.assert_allclose(found[0], convolve(filtered, kernel, before=0, after=0), atol=1e-5)


def test_demodulated_maps_keep_unit_variance():
    styles, weight = 5 * torch.rand(2, 32) + 0.1, torch.randn(8, 32, 3, 3)
    made = modulation.modulated_convolution(torch.randn(2, 32, 40, 40), weight, styles)
    assert made[..., 1:-1, 1:-1].std(dim=(2, 3)).sub(1).abs().max() < 0.12


def test_equalised_layers_scale_when_used():
    dense = modulation.Dense(16, 3, rate=0.01, bias=2.0)
    x = torch.randn(2, 16)
    torch.testing.assert_close(dense(x), x @ dense.weight.T * 0.01 / 4 + 0.01 * 2)
    assert modulation.Dense(400, 400, rate=0.01).weight.std().item() == pytest.approx(100, rel=0.02)
    conv = modulation.EqualizedConvolution(4, 2, 3)
    pixels = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(conv(pixels), F.conv2d(pixels, conv.weight / 6))


def test_the_deviation_of_a_group_by_hand():
    x = torch.zeros(6, 1, 1, 2)
    x[:, 0, 0, 0] = torch.tensor([0.0, 5.0, 2.0, 5.0, 4.0, 5.0])  # groups of three: images 0, 2, 4 and 1, 3, 5
    made = modulation.append_deviation(x, 3)
    expected = (math.sqrt(8 / 3) + 1e-4) / 2  # half of the pixels are all equal: the root of epsilon
    torch.testing.assert_close(made[:, 1, 0, 1], torch.tensor([expected, 1e-4, expected, 1e-4, expected, 1e-4]))
    assert torch.equal(made[:, :1], x)
    assert modulation.append_deviation(x[:2], 4)[0, 1, 0, 0].item() == pytest.approx((2.5 + 1e-4) / 2)
    with pytest.raises(ValueError, match="the batch has 6 images; expected a multiple of 4"):
        modulation.append_deviation(x, 4)


def test_the_mapping_by_hand():
    network = small().mapping.eval()
    z = torch.randn(3, 6)
    x = z / z.square().mean(dim=1, keepdim=True).sqrt()
    for layer in (network.fc0, network.fc1):
        x = F.leaky_relu(x @ layer.weight.T * 0.01 / math.sqrt(x.shape[1]) + 0.01 * layer.bias, 0.2) * math.sqrt(2)
    torch.testing.assert_close(network(z), x)
    torch.testing.assert_close(network(7 * z), x)


def test_the_average_style_follows_in_training_alone():
    network = small()
    z = torch.randn(5, 6)
    styles = network.mapping(z)
    torch.testing.assert_close(network.mapping.w_avg, 0.005 * styles.mean(dim=0))
    before = network.mapping.w_avg.clone()
    network.eval()(z)
    assert torch.equal(network.mapping.w_avg, before)


@torch.inference_mode()
def test_truncation_goes_part_of_the_way():
    network = shaken(small())
    z = torch.randn(2, 6)
    full, average = network.styles(z), network.mapping.w_avg
    assert full.shape == (2, 6, 10)
    torch.testing.assert_close(network.styles(z, truncation=0.25), average + 0.25 * (full - average))
    cut = network.styles(z, truncation=0.0, cutoff=2)
    torch.testing.assert_close(cut[:, :2], average.expand(2, 2, -1))
    assert torch.equal(cut[:, 2:], full[:, 2:])
    one, other = network(z, truncation=0.0)
    torch.testing.assert_close(one, other)


@torch.inference_mode()
def test_mixing_takes_coarse_layers_from_the_first():
    network = shaken(small())
    first, second = torch.randn(2, 1, 6)
    torch.testing.assert_close(network.mix(first, second, crossover=6), network(first))
    torch.testing.assert_close(network.mix(first, second, crossover=0), network(second))
    mixed = network.mix(first, second, crossover=2)
    styles = torch.cat([network.styles(first)[:, :2], network.styles(second)[:, 2:]], dim=1)
    assert torch.equal(mixed, network.synthesis(styles))
    assert not torch.allclose(mixed, network(first))


@torch.inference_mode()
def test_noise_is_stored_drawn_or_left_out():
    network = shaken(small())
    z = torch.randn(2, 6)
    assert torch.equal(network(z), network(z, noise="const"))
    assert not torch.equal(network(z, noise="random"), network(z, noise="random"))
    silent = copy.deepcopy(network)
    for key, tensor in silent.state_dict().items():
        if key.endswith("noise_strength"):
            tensor.zero_()
    assert torch.equal(network(z, noise="none"), silent(z))
    assert not torch.equal(network(z, noise="none"), network(z))
    network.train()
    assert not torch.equal(network.synthesis(network.styles(z)), network.synthesis(network.styles(z)))


@torch.inference_mode()
def test_layers_take_their_styles_in_order():
    """Of six styles at 16 px: 0 | 1 2 | 3 4 for the convolutions, and 1, 3, 5 for the images of 4, 8 and 16 px."""
    synthesis = shaken(small()).synthesis
    styles = torch.randn(1, 6, 10)
    seen: list[tuple[str, int]] = []
    for name, layer in synthesis.named_modules():
        if name.endswith("affine"):
            layer.register_forward_pre_hook(
                lambda _layer, given, name=name: seen.append((name, int((styles[0] == given[0]).all(dim=1).nonzero())))
            )
    synthesis(styles)
    assert [(name.removesuffix(".affine"), number) for name, number in seen] == [
        *[("b4.conv1", 0), ("b4.torgb", 1)],
        *[("b8.conv0", 1), ("b8.conv1", 2), ("b8.torgb", 3)],
        *[("b16.conv0", 3), ("b16.conv1", 4), ("b16.torgb", 5)],
    ]


@torch.inference_mode()
def test_a_block_by_hand():
    block = shaken(stylegan2.SynthesisBlock(3, 2, width=5, side=8))
    x, image, styles = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.randn(2, 3, 5)

    def styled(layer: Any, x: Tensor, style: Tensor, taps: Tensor | None = None) -> Tensor:
        scales = style @ layer.affine.weight.T / math.sqrt(5) + layer.affine.bias
        y = modulation.modulated_convolution(x, layer.weight, scales, taps=taps)
        return F.leaky_relu(y + layer.noise_const * layer.noise_strength + layer.bias[:, None, None], 0.2) * 2**0.5

    y = styled(block.conv0, x, styles[:, 0], block.resample_filter)
    y = styled(block.conv1, y, styles[:, 1])
    scales = (styles[:, 2] @ block.torgb.affine.weight.T / math.sqrt(5) + block.torgb.affine.bias) / math.sqrt(2)
    shown = torch.einsum("oc,bc,bchw->bohw", block.torgb.weight[:, :, 0, 0], scales, y)
    doubled = modulation.upsample(image, modulation.resample_filter())
    made, painted = block(x, image, styles, noise="const")
    torch.testing.assert_close(made, y)
    torch.testing.assert_close(painted, doubled + shown + block.torgb.bias[:, None, None])


@torch.inference_mode()
def test_a_block_of_the_discriminator_by_hand():
    block = shaken(stylegan2.DiscriminatorBlock(2, 3, first=True))
    images, taps = torch.randn(1, 3, 8, 8), modulation.resample_filter().numpy()

    def active(x: Tensor, layer: Any) -> Tensor:
        return F.leaky_relu(x + layer.bias[:, None, None], 0.2) * 2**0.5

    def filtered(x: Tensor, padding: int) -> Tensor:
        planes = [convolve(plane.numpy(), taps, before=padding, after=padding) for plane in x[0]]
        return torch.from_numpy(np.stack(planes))[None].float()

    x = active(F.conv2d(images, block.fromrgb.weight / math.sqrt(3)), block.fromrgb)
    y = active(F.conv2d(x, block.conv0.weight / math.sqrt(18), padding=1), block.conv0)
    y = active(F.conv2d(filtered(y, 2), block.conv1.weight / math.sqrt(18), stride=2), block.conv1)
    skip = F.conv2d(filtered(x, 1)[..., ::2, ::2], block.skip.weight / math.sqrt(2))
    torch.testing.assert_close(block(images), (y + skip) / math.sqrt(2))
    assert block.skip.bias is None


def test_every_parameter_of_the_discriminators_learns():
    labels = F.one_hot(torch.tensor([0, 2, 1, 2])).float()
    for network, given in ((critic(), ()), (critic(classes=3), (labels,))):
        logits = network(torch.randn(4, 3, 16, 16), *given)
        assert logits.shape == (4, 1)
        logits.square().mean().backward()
        assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


@torch.inference_mode()
def test_labels_count_where_there_are_classes():
    network, judge = shaken(small(classes=3)), shaken(critic(classes=3))
    z, (one, other) = torch.randn(2, 6), F.one_hot(torch.tensor([[0, 1], [2, 1]]), 3).float()
    first, second = network(z, one), network(z, other)
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[1], second[1])
    styles = judge.mapping(None, one)
    values = judge.b4(judge.b8(judge.b16(first)))
    torch.testing.assert_close(judge(first, one), (values * styles).sum(dim=1, keepdim=True) / math.sqrt(12))
    for call in (lambda: network(z), lambda: judge(first)):
        with pytest.raises(ValueError, match="the network knows 3 classes"):
            call()


@pytest.mark.parametrize("settings", [{"resolution": 4}, {"resolution": 48}, {"base": 8}, {"widest": 0}])
def test_senseless_sizes_are_refused(settings: dict[str, int]):
    with pytest.raises(ValueError, match="expected a power of two from 8"):
        small(**settings)


def test_keys_are_the_released_ones():
    keys = set(small(resolution=8, classes=2).state_dict())
    styled = ["weight", "bias", "noise_strength", "noise_const", "resample_filter", "affine.weight", "affine.bias"]
    torgb = ["weight", "bias", "affine.weight", "affine.bias"]
    assert keys == {
        *(f"synthesis.{layer}.{name}" for layer in ("b4.conv1", "b8.conv0", "b8.conv1") for name in styled),
        *(f"synthesis.{side}.torgb.{name}" for side in ("b4", "b8") for name in torgb),
        *("synthesis.b4.const", "synthesis.b4.resample_filter", "synthesis.b8.resample_filter", "mapping.w_avg"),
        *(f"mapping.{layer}.{name}" for layer in ("fc0", "fc1", "embed") for name in ("weight", "bias")),
    }
    filtered = ["weight", "bias", "resample_filter"]
    assert set(critic(resolution=8).state_dict()) == {
        *(f"b8.{layer}.{name}" for layer in ("fromrgb", "conv0", "conv1") for name in filtered),
        *("b8.skip.weight", "b8.skip.resample_filter", "b8.resample_filter"),
        *(f"b4.conv.{name}" for name in filtered),
        *(f"b4.{layer}.{name}" for layer in ("fc", "out") for name in ("weight", "bias")),
    }


SETTINGS = [
    {},
    {"resolution": 32, "base": 1000, "widest": 100, "depth": 8},  # 31, 62, 100, 100: the base itself is not in the file
    {"resolution": 8, "base": 1000, "widest": 16, "depth": 1, "latent": 10},
    {"classes": 4, "latent": 3},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("prefix", ["", "G.", "G_ema."])
@torch.inference_mode()
def test_generators_convert_by_rule(settings: dict[str, int], prefix: str):
    network = shaken(small(**settings))
    noise = torch.randn(2, network.latent)
    labels = (F.one_hot(torch.tensor([0, 3])).float(),) if "classes" in settings else ()
    made = convert.convert({f"{prefix}{key}": value for key, value in network.state_dict().items()}, "stylegan2")
    assert torch.equal(made(noise, *labels), network(noise, *labels))


@pytest.mark.parametrize("settings", [{}, {"resolution": 32, "base": 1000, "widest": 100}, {"classes": 4, "depth": 2}])
@pytest.mark.parametrize("prefix", ["", "D."])
@torch.inference_mode()
def test_discriminators_convert_by_rule(settings: dict[str, int], prefix: str):
    network = shaken(critic(group=2, **settings))
    images = torch.randn(4, 3, *2 * [settings.get("resolution", 16)])
    labels = (F.one_hot(torch.tensor([0, 3, 1, 1])).float(),) if "classes" in settings else ()
    state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    made = convert.convert(state, "stylegan2-discriminator", group=2.0)
    assert torch.equal(made(images, *labels), network(images, *labels))
    assert not torch.allclose(convert.convert(state, "stylegan2-discriminator")(images, *labels), made(images, *labels))


def test_the_averaged_generator_is_taken_out_of_a_dictionary():
    average, last, judge = shaken(small()), shaken(small()), critic()
    state = {"G": last.state_dict(), "D": judge.state_dict(), "G_ema": average.state_dict()}
    flat = convert.layout.flatten(state)
    for layout, network in (("stylegan2", average), ("stylegan2-discriminator", judge)):
        made = convert.convert(flat, layout).state_dict()
        assert all(torch.equal(value, made[key]) for key, value in network.state_dict().items())


@torch.inference_mode()
def test_a_converted_generator_loads_with_its_own_latent(tmp_path: Path):
    network = shaken(small())
    made = convert.convert(network.state_dict(), "stylegan2")
    convert.save(made, tmp_path, family="stylegan2", readme="")
    model = registry.load(str(tmp_path))
    noise = torch.randn(1, 6)
    assert torch.equal(model(noise), network(noise).clamp(-1, 1))


def test_files_of_something_else_are_refused():
    with pytest.raises(
        CheckpointError, match=r"does not fit stylegan2: synthesis\.b4\.const missing, expected \(512, 4, 4\)"
    ):
        convert.convert({"a": torch.zeros(1)}, "stylegan2")
    state = small().state_dict()
    del state["synthesis.b8.conv0.noise_const"]
    with pytest.raises(CheckpointError, match=r"does not fit stylegan2: synthesis\.b8\.conv0\.noise_const missing"):
        convert.convert(state, "stylegan2")

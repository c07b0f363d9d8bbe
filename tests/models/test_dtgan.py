"""DTGAN: counts, the blocks by hand, and parity with the released Hayao network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from models import convert, dtgan, layers


@pytest.fixture(scope="module")
def fixture(conformance_dir: Path) -> dict[str, Tensor]:
    return load_file(conformance_dir / "dtgan_hayao.io.safetensors")


def hayao(conformance_dir: Path, *, lade_epsilon: float = 1e-12) -> dtgan.DTGAN:
    tensors = convert.read(conformance_dir / "dtgan_hayao.weights.safetensors")
    network = convert.convert(tensors, "dtgan", lade_epsilon=lade_epsilon)
    assert isinstance(network, dtgan.DTGAN)
    return network


@pytest.fixture(scope="module")
def released(conformance_dir: Path) -> dtgan.DTGAN:
    return hayao(conformance_dir)


def sine(side: int) -> Tensor:
    i, j, c = np.meshgrid(np.arange(side), np.arange(side), np.arange(3), indexing="ij")
    pixels = np.sin(0.11 * i + 0.07 * j + 1.3 * c + 0.002 * i * j).astype(np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]  # (1, 3, H, W)


def test_parameter_counts():
    double = dtgan.DoubleTail()
    assert layers.parameter_count(double) == 1_557_792
    assert layers.parameter_count(double.painter) == 1_027_520
    assert layers.parameter_count(double.painter.encoder) == 497_248
    assert layers.parameter_count(double.support) == 530_272
    assert layers.parameter_count(double.support.attention) == 49_408
    assert layers.parameter_count(dtgan.Discriminator()) == 693_088


def test_blocks_of_encoder_and_tail():
    encoder, tail = dtgan.Encoder(), dtgan.Tail()
    scales = [encoder.x0, encoder.x1, encoder.x2, encoder.x3]
    assert [layers.parameter_count(scale) for scale in scales] == [5_728, 32_768, 131_072, 327_680]
    blocks = [tail.up2, tail.fuse2, tail.up1, tail.fuse1, tail.up0, tail.fuse0, tail.paint]
    counts = [163_840, 163_840, 77_824, 40_960, 19_456, 10_240, 4_704]
    assert [layers.parameter_count(block) for block in blocks] == counts


def test_lade_takes_the_statistics_of_the_mix():
    lade = dtgan.LADE(6, epsilon=1e-12)
    x = torch.randn(2, 6, 9, 11) * 3 + 1
    y, mix = lade(x), lade.mix(x)
    torch.testing.assert_close(y.mean(dim=(2, 3)), mix.mean(dim=(2, 3)))
    torch.testing.assert_close(y.var(dim=(2, 3), correction=0), mix.var(dim=(2, 3), correction=0))
    assert [parameter.numel() for parameter in lade.parameters()] == [36]


def test_lade_is_its_formula():
    lade = dtgan.LADE(4, epsilon=0.1)
    x = torch.randn(1, 4, 6, 6)
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    wanted_variance, wanted_mean = torch.var_mean(lade.mix(x), dim=(2, 3), correction=0, keepdim=True)
    whitened = (x - mean) / (variance + 0.1).sqrt()
    torch.testing.assert_close(lade(x), whitened * (wanted_variance + 0.1).sqrt() + wanted_mean)


def test_attention_with_an_empty_memory_is_a_leaky_relu():
    attention = dtgan.ExternalAttention(8, slots=5).eval()
    nn.init.zeros_(attention.memory)
    x = torch.randn(2, 8, 4, 6)
    assert torch.equal(attention(x), F.leaky_relu(x, 0.2))


def test_attention_is_its_formula():
    attention = dtgan.ExternalAttention(4, slots=3).eval()
    x = torch.randn(1, 4, 2, 3)
    tokens = torch.einsum("oc,chw->hwo", attention.enter.weight[:, :, 0, 0], x[0]).reshape(6, 4)
    keys = (tokens @ attention.memory).exp()
    share = keys / keys.sum(dim=0)  # over the six pixels
    share = share / (1e-9 + share.sum(dim=1, keepdim=True))
    mixed = (share @ attention.memory.T) @ attention.leave.weight[:, :, 0, 0].T / 1.001**0.5
    expected = F.leaky_relu(mixed.T.reshape(1, 4, 2, 3) + x, 0.2)
    torch.testing.assert_close(attention(x), expected)


def test_stride_two_pads_above_and_left_only():
    block = dtgan.ConvBlock(1, 1, stride=2)
    block.add_module("norm", nn.Identity())
    nn.init.ones_(block.conv.weight)

    def seen(row: int, column: int) -> list[tuple[int, int]]:
        one_hot = torch.zeros(1, 1, 8, 8)
        one_hot[0, 0, row, column] = 1
        return [tuple(place) for place in block(one_hot)[0, 0].nonzero().tolist()]

    assert block(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 4, 4)
    assert seen(0, 0) == [(0, 0)]
    assert seen(1, 1) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert seen(2, 2) == [(1, 1)]
    assert seen(7, 7) == [(3, 3)]


def test_guided_filter_keeps_flat_images():
    flat = torch.tensor([-1.0, 0.3, 1.0]).view(1, 3, 1, 1).expand(1, 3, 12, 10)
    torch.testing.assert_close(dtgan.guided_filter(flat), flat, atol=1e-6, rtol=0)


def box(x: np.ndarray, radius: int) -> np.ndarray:
    """Mean over the window, cut at the border, pixel by pixel."""
    result = np.empty_like(x)
    for i, j in np.ndindex(*x.shape):
        window = x[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]
        result[i, j] = window.mean()
    return result


def test_guided_filter_is_its_definition_up_to_the_border():
    images = torch.rand(1, 3, 9, 11) * 2.4 - 1.2
    u = ((images[0, 1].double().numpy() + 1) / 2).clip(0, 1)
    mean = box(u, 2)
    variance = box(u * u, 2) - mean**2
    a = variance / (variance + 0.01)
    expected = (2 * (box(a, 2) * u + box(mean * (1 - a), 2)) - 1).clip(-1, 1)
    np.testing.assert_allclose(dtgan.guided_filter(images)[0, 1].numpy(), expected, atol=1e-5)


def test_guided_filter_lets_gradients_through():
    images = (torch.rand(1, 3, 8, 8) * 1.6 - 0.8).requires_grad_()
    dtgan.guided_filter(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().min() > 0


def test_discriminator_gives_32_logits_a_side_at_256_px():
    assert dtgan.Discriminator()(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 32, 32)


def test_discriminator_is_spectrally_normalised_throughout():
    network = dtgan.Discriminator()
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 14
    assert all(hasattr(conv, "parametrizations") and conv.bias is None for conv in convolutions)
    for _ in range(20):
        network(torch.randn(1, 3, 16, 16))
    for conv in [conv for conv in convolutions if conv.out_channels <= 64]:
        largest = torch.linalg.matrix_norm(conv.weight.flatten(1), 2)
        assert largest.item() == pytest.approx(1, abs=0.05)


def test_tails_share_the_encoder_and_nothing_else():
    network = dtgan.DoubleTail().eval()
    photo = torch.rand(1, 3, 64, 64) * 2 - 1
    support, main = network(photo)
    torch.testing.assert_close(main, network.painter(photo))
    nn.init.zeros_(network.support.paint.weight)
    again_support, again_main = network(photo)
    assert again_support.abs().max() == 0
    assert torch.equal(again_main, main)
    assert support.abs().max() > 0


@pytest.mark.parametrize("name", ["sin_64", "sin_256", "rand_64", "rand_264x320"])
@torch.inference_mode()
def test_parity_with_the_released_network(released: dtgan.DTGAN, fixture: dict[str, Tensor], name: str):
    assert (released(fixture[f"x_{name}"]) - fixture[f"y_{name}"]).abs().max() < 2e-5


@torch.inference_mode()
def test_parity_inside_the_network(released: dtgan.DTGAN, fixture: dict[str, Tensor]):
    x3 = released.encoder(fixture["x_rand_64"])[3]
    assert (x3 - fixture["enc_rand_64"]).abs().max() < 2e-5
    assert (released.main.attention(x3) - fixture["ea_rand_64"]).abs().max() < 2e-5


GOLDEN = {
    64: (0.002120, 0.622842, (0.19058, 0.57547, 0.05539), (-0.68337, 0.43974, 0.80146), (-0.12447, 0.70871, 0.72784)),
    256: (0.003489, 0.533874, (0.62290, 0.78147, 0.07433), (-0.73755, 0.40934, 0.79842), (0.00856, -0.00809, 0.78704)),
}


@pytest.mark.parametrize("side", GOLDEN)
@torch.inference_mode()
def test_golden_values(released: dtgan.DTGAN, side: int):
    y = released(sine(side))
    mean, std, first, inner, last = GOLDEN[side]
    assert y.mean().item() == pytest.approx(mean, abs=1.05e-5)
    assert y.std(correction=0).item() == pytest.approx(std, abs=1.05e-5)
    assert y[0, :, 0, 0].tolist() == pytest.approx(first, abs=1.5e-5)
    assert y[0, :, 31, 17].tolist() == pytest.approx(inner, abs=1.5e-5)
    assert y[0, :, -1, -1].tolist() == pytest.approx(last, abs=1.5e-5)


@torch.inference_mode()
def test_another_epsilon_is_seen(conformance_dir: Path, fixture: dict[str, Tensor]):
    wrong = hayao(conformance_dir, lade_epsilon=1e-5)
    assert (wrong(fixture["x_rand_64"]) - fixture["y_rand_64"]).abs().max() > 1e-3


@torch.inference_mode()
def test_half_pixel_upsampling_is_seen(released: dtgan.DTGAN, fixture: dict[str, Tensor]):
    other = dtgan.DTGAN(lade_epsilon=1e-12, upsample="half-pixel").eval()
    other.load_state_dict(released.state_dict())
    assert (other(fixture["x_rand_64"]) - fixture["y_rand_64"]).abs().max() > 0.1

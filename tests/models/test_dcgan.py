"""DCGAN: the printed networks' counts, paths and sizes, and the converter's rules."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import convert, dcgan, layers
from models.registry import CheckpointError

PAIRS = {
    (256, 32): (12_817_856, 11_195_776),
    (64, 128): (12_658_432, 11_036_160),
    (64, 64): (3_576_704, 2_765_568),
    (64, 32): (1_100_224, 694_656),
}


def buffers(network: nn.Module) -> int:
    return sum(buffer.numel() for buffer in network.buffers())


@pytest.mark.parametrize(("resolution", "base"), PAIRS)
def test_parameter_counts(resolution: int, base: int):
    with torch.device("meta"):
        generator = dcgan.DCGAN(resolution=resolution, base=base)
        discriminator = dcgan.Discriminator(resolution=resolution, base=base)
    found = layers.parameter_count(generator), layers.parameter_count(discriminator)
    assert found == PAIRS[resolution, base]


def test_the_printed_networks_are_followed_to_the_letter():
    with torch.device("meta"):
        generator, discriminator = dcgan.DCGAN(), dcgan.Discriminator()
    assert (buffers(generator), buffers(discriminator)) == (4_038, 3_973)
    paths = [[name for name, _ in network.named_modules() if "." in name] for network in (generator, discriminator)]
    assert paths == [[f"network.{i}" for i in range(20)], [f"network.{i}" for i in range(19)]]
    assert [str(layer) for layer in (generator.network[0], generator.network[18], discriminator.network[17])] == [
        "ConvTranspose2d(100, 1024, kernel_size=(4, 4), stride=(1, 1), bias=False)",
        "ConvTranspose2d(32, 3, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), bias=False)",
        "Conv2d(1024, 1, kernel_size=(4, 4), stride=(2, 2), bias=False)",
    ]
    assert isinstance(generator.network[19], nn.Tanh)
    assert isinstance(discriminator.network[18], nn.Sigmoid)
    assert not isinstance(discriminator.network[2], nn.BatchNorm2d)


# Channels out, stride and padding of the printed 4 x 4 convolutions, in their order.
GENERATOR = ((1024, 1, 0), (512, 2, 1), (256, 2, 1), (128, 2, 1), (64, 2, 1), (32, 2, 1), (3, 2, 1))
DISCRIMINATOR = ((32, 2, 1), (64, 2, 1), (128, 2, 1), (256, 2, 1), (512, 2, 1), (1024, 2, 1), (1, 2, 0))


def shaken(network: nn.Module) -> dict[str, Tensor]:
    """Fill a network with tensors that keep a signal alive, running statistics included, and give them."""
    for layer in network.eval().modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=(8 * layer.in_channels) ** -0.5)
        if isinstance(layer, nn.BatchNorm2d):
            for value in (layer.weight, layer.running_var):
                nn.init.uniform_(value, 0.5, 1.5)
            for value in (layer.bias, layer.running_mean):
                nn.init.uniform_(value, -0.3, 0.3)
    return network.state_dict()


def normalized(w: dict[str, Tensor], place: int, x: Tensor) -> Tensor:
    gain, offset, mean, variance = (
        w[f"network.{place}.{name}"][:, None, None] for name in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * gain + offset


@torch.inference_mode()
def test_the_generator_is_what_was_printed():
    network = dcgan.DCGAN()
    w, noise = shaken(network), torch.randn(1, 100, 1, 1)
    x = noise
    for number, (channels, stride, padding) in enumerate(GENERATOR):
        weight = w[f"network.{3 * number}.weight"]
        assert weight.shape == (x.shape[1], channels, 4, 4)
        x = F.conv_transpose2d(x, weight, stride=stride, padding=padding)
        x = normalized(w, 3 * number + 1, x).clamp(min=0) if channels > 3 else x.tanh()
    assert x.shape == (1, 3, 256, 256)
    assert x.std() > 0.05
    torch.testing.assert_close(network(noise), x)


@torch.inference_mode()
def test_the_discriminator_is_what_was_printed():
    network = dcgan.Discriminator()
    w, images = shaken(network), torch.rand(2, 3, 256, 256) * 2 - 1
    x, place = images, 0
    for channels, stride, padding in DISCRIMINATOR:
        weight = w[f"network.{place}.weight"]
        assert weight.shape == (channels, x.shape[1], 4, 4)
        x = F.conv2d(x, weight, stride=stride, padding=padding)
        if channels == 1:
            break
        x = normalized(w, place + 1, x) if place else x
        x = torch.where(x > 0, x, 0.2 * x)
        place += 3 if place else 2
    assert x.shape == (2, 1, 1, 1)
    assert x.std() > 0.001
    torch.testing.assert_close(network.logits(images), x.flatten())
    torch.testing.assert_close(network(images), x.flatten().sigmoid())


@pytest.mark.parametrize("resolution", [64, 256])
@torch.inference_mode()
def test_maps_double_from_4_px_to_the_image_and_halve_back(resolution: int):
    sides = [4 << stage for stage in range(resolution.bit_length() - 2)]
    generator, discriminator = dcgan.DCGAN(resolution=resolution, base=2), dcgan.Discriminator(resolution=resolution)
    found: list[int] = []
    for layer in [*generator.modules(), *discriminator.modules()]:
        if isinstance(layer, nn.ConvTranspose2d | nn.Conv2d):
            layer.register_forward_hook(lambda _layer, _given, made: found.append(made.shape[-1]))
    assert discriminator(generator(torch.randn(1, 100))).shape == (1,)
    assert found == [*sides, *sides[-2::-1], 1]


def test_starts_from_narrow_normals():
    network = dcgan.DCGAN(resolution=32, base=32)
    state = network.state_dict()
    assert state["network.3.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    gains = torch.cat([state["network.1.weight"], state["network.4.weight"]])
    assert gains.mean().item() == pytest.approx(1, abs=0.01)
    assert gains.std().item() == pytest.approx(0.02, rel=0.3)
    assert state["network.1.bias"].abs().max() == 0


@torch.inference_mode()
def test_noise_comes_flat_or_as_a_map():
    network = dcgan.DCGAN(resolution=16, base=2, latent=7).eval()
    noise = torch.randn(2, 7)
    images = network(noise)
    assert images.shape == (2, 3, 16, 16)
    assert images.abs().max() < 1
    assert torch.equal(images, network(noise[..., None, None]))


@torch.inference_mode()
def test_probabilities_are_the_sigmoid_of_the_logits():
    network = dcgan.Discriminator(resolution=16, base=4).eval()
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(network(images), network.logits(images).sigmoid())


@pytest.mark.parametrize("shape", [(1, 3, 128, 128), (1, 3, 256, 255), (1, 3, 512, 512)])
def test_the_discriminator_takes_its_own_size_alone(shape: tuple[int, ...]):
    with torch.device("meta"), pytest.raises(ValueError, match=rf"{shape[3]} x {shape[2]} px; expected 256 a side"):
        dcgan.Discriminator()(torch.zeros(shape))


@pytest.mark.parametrize(("resolution", "base"), [(8, 4), (48, 4), (64, 0)])
def test_senseless_sizes_are_refused(resolution: int, base: int):
    with pytest.raises(ValueError, match=f"resolution is {resolution} and base {base}"):
        dcgan.DCGAN(resolution=resolution, base=base)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("sequence", ["network", "main"])
@pytest.mark.parametrize("resolution", [64, 256])
def test_state_dicts_of_any_size_convert(sequence: str, resolution: int):
    pair = dcgan.DCGAN(resolution=resolution, base=2, latent=5), dcgan.Discriminator(resolution=resolution, base=3)
    for network, layout in zip(pair, ("dcgan", "dcgan-discriminator"), strict=True):
        state = network.state_dict()
        made = convert.convert({key.replace("network", sequence, 1): value for key, value in state.items()}, layout)
        assert same(made.state_dict(), state)
        assert not made.training


def test_files_of_something_else_are_refused():
    with pytest.raises(
        CheckpointError, match=r"dcgan: network\.0\.weight has shape \(3,\), expected \(100, 1024, 4, 4\)"
    ):
        convert.convert({"network.0.weight": torch.zeros(3), "conv.weight": torch.zeros(1, 1, 4, 4)}, "dcgan")
    state = dcgan.DCGAN(resolution=16, base=2).state_dict()
    del state["network.4.bias"]
    with pytest.raises(CheckpointError, match=r"does not fit dcgan: network\.4\.bias missing"):
        convert.convert(state, "dcgan")

"""AdaIN: counts, the operation, decoder forms, what is frozen, and the released layouts by their key map."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models import adain, convert, discriminators, image, layers, registry, vgg
from models.registry import CheckpointError

DECODER = (1, 5, 8, 11, 14, 18, 21, 25, 28)  # where the released sequence has its convolutions
ENCODER = (2, 5, 9, 12, 16, 19, 22, 25, 29)


def pictures(height: int, width: int, *, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width) * 2 - 1


def small(**settings: object) -> adain.CrossDomain:
    torch.manual_seed(0)
    return adain.CrossDomain(**{"encoder": "normalised", "layer": "relu4_1", "width": 4, **settings}).eval()


def test_parameter_counts():
    with torch.device("meta"):
        network = registry.build("adain-gan")
        little = registry.build("adain-small")
        transposed = adain.Decoder(upsample="transposed")
        judge = discriminators.PatchGAN()
    assert layers.parameter_count(network.encoder) == 5_865_536
    assert layers.parameter_count(network.decoder) == 3_505_219
    assert layers.parameter_count(transposed) == 3_505_219
    assert layers.parameter_count(judge) == 2_764_737
    assert layers.parameter_count(little) == 987_507


def test_the_encoder_is_frozen_unless_it_is_the_networks_own():
    frozen = {key for key, value in small().named_parameters() if not value.requires_grad}
    assert frozen == {key for key in frozen if key.startswith("encoder.")}
    assert len(frozen) == 18
    assert all(value.requires_grad for value in small(encoder="own").parameters())


def test_parity_of_the_operation(conformance_dir: Path):
    fixture = load_file(conformance_dir / "adain_op.io.safetensors")
    layer = adain.AdaIN()
    made = layer(fixture["content"], fixture["style"])
    assert (made - fixture["out"]).abs().max() < 1e-5
    for both in (layer.statistics(fixture["content"]), adain.statistics(fixture["content"])):
        assert (both[0] - fixture["mean"]).abs().max() < 1e-5
        assert (both[1] - fixture["std"]).abs().max() < 1e-5


def test_the_operation_by_hand():
    content = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]])
    style = torch.tensor([[[[10.0, 12.0]]]])
    deviation, wanted = (20 / 3 + 1e-5) ** 0.5, (2 + 1e-5) ** 0.5  # unbiased variances 20/3 and 2
    expected = (content - 3) / deviation * wanted + 11
    torch.testing.assert_close(adain.AdaIN()(content, style), expected)


def test_a_picture_styled_like_itself_is_unchanged():
    features = torch.randn(2, 5, 6, 7)
    torch.testing.assert_close(adain.AdaIN()(features, features), features, atol=1e-5, rtol=1e-5)


def test_the_photos_statistics_are_those_of_the_whole_image():
    layer, content, style = adain.AdaIN(), torch.randn(1, 3, 8, 8), torch.randn(1, 3, 5, 5)
    expected = layer(content, style)
    known = layers.measure(content, (2, 3))
    layer.memory, layer.share = (lambda compute: known), 0.5
    torch.testing.assert_close(layer(content[..., :4], style), expected[..., :4])


@pytest.mark.parametrize("upsample", ["nearest", "transposed"])
def test_the_decoder_makes_pictures_of_eight_times_the_map(upsample: str):
    decoder = adain.Decoder(width=2, upsample=upsample)
    assert decoder(torch.rand(1, 16, 4, 5)).shape == (1, 3, 32, 40)


def test_only_transposed_convolutions_print_a_checkerboard():
    flat = torch.full((1, 64, 6, 6), 0.7)

    def unevenness(decoder: adain.Decoder) -> float:
        inner = decoder(flat)[..., 16:32, 16:32]  # away from the border, where transposed convolutions see less
        return (inner.amax(dim=(2, 3)) - inner.amin(dim=(2, 3))).max().item()

    assert unevenness(adain.Decoder(width=8)) < 1e-5
    assert unevenness(adain.Decoder(width=8, upsample="transposed")) > 1e-3


@pytest.mark.parametrize("settings", [{"upsample": "bilinear"}, {"encoder": "vgg16"}, {"layer": "relu3_1"}])
def test_unknown_settings_are_refused(settings: dict[str, str]):
    with pytest.raises(ValueError, match="expected"):
        adain.CrossDomain(**settings)


@torch.inference_mode()
def test_strength_and_mixing():
    network = small()
    photo, one, two = pictures(32, 40), pictures(24, 32), pictures(40, 40)
    plain = network.decode(network.encode(photo))
    torch.testing.assert_close(network.stylize(photo, one, strength=0.0), plain)
    torch.testing.assert_close(network.mix(photo, [one, two], shares=[2.0, 0.0]), network(photo, one))
    content = network.encode(photo)
    maps = [network.adain(content, network.encode(style)) for style in (one, two)]
    expected = network.decode(0.25 * maps[0] + 0.75 * maps[1])
    torch.testing.assert_close(network.mix(photo, [one, two], shares=[1.0, 3.0]), expected)
    with pytest.raises(ValueError, match="2 styles were given"):
        network.mix(photo, [one, two], shares=[1.0])


def sequence(network: adain.CrossDomain) -> nn.Sequential:
    """The released encoder, layer by layer, to relu4_1, with one convolution after it."""
    trunk = network.encoder
    color = nn.Conv2d(3, 3, 1)
    color.load_state_dict({"weight": trunk.matrix[:, :, None, None], "bias": trunk.offset})
    stages: list[nn.Module] = [color]
    for layer in trunk.features:
        if isinstance(layer, nn.Conv2d):
            plain = nn.Conv2d(layer.in_channels, layer.out_channels, 3)
            plain.load_state_dict(layer.state_dict())
            stages += [nn.ReflectionPad2d(1), plain]
        else:
            stages.append(layer)
    return nn.Sequential(*stages, nn.ReflectionPad2d(1), nn.Conv2d(8 * 4, 8 * 4, 3))


@pytest.fixture
def network() -> adain.CrossDomain:
    made = small()
    nn.init.uniform_(made.encoder.matrix, 0.5, 1.5)
    nn.init.uniform_(made.encoder.offset)
    return made


def released_decoder(network: adain.CrossDomain) -> nn.Sequential:
    """The released decoder, layer by layer, with the weights of ours where it has its convolutions."""
    stages: list[nn.Module] = []
    for number, conv in enumerate(network.decoder.convs):
        plain = nn.Conv2d(conv.in_channels, conv.out_channels, 3)
        plain.load_state_dict(conv.state_dict())
        stages += [nn.ReflectionPad2d(1), plain]
        if number < 8:
            stages.append(nn.ReLU())
        if number in (0, 4, 6):
            stages.append(nn.Upsample(scale_factor=2, mode="nearest"))
    return nn.Sequential(*stages)


def released(network: adain.CrossDomain) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The two files, under the released names."""
    encoder = {key: value.detach().clone() for key, value in sequence(network).state_dict().items()}
    decoder = {
        f"{index}.{leaf}": getattr(conv, leaf).detach().clone()
        for index, conv in zip(DECODER, network.decoder.convs, strict=True)
        for leaf in ("weight", "bias")
    }
    return encoder, decoder


@torch.inference_mode()
def test_the_encoder_is_the_released_sequence(network: adain.CrossDomain):
    photo = pictures(36, 28)  # sides that are no multiples of 8: pools round up
    layers_to_relu4_1 = sequence(network)[:-2]
    assert [index for index, layer in enumerate(layers_to_relu4_1) if isinstance(layer, nn.Conv2d)] == [0, *ENCODER]
    torch.testing.assert_close(network.encode(photo), layers_to_relu4_1((photo + 1) / 2), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_decoder_is_the_released_sequence(network: adain.CrossDomain):
    layers_to_rgb = released_decoder(network)
    assert [index for index, layer in enumerate(layers_to_rgb) if isinstance(layer, nn.Conv2d)] == [*DECODER]
    features = torch.randn(2, 32, 4, 5)
    expected = layers_to_rgb(features)
    assert expected.min() < 0  # nothing is cut off after the last convolution
    torch.testing.assert_close(network.decoder(features), expected)
    torch.testing.assert_close(network.decode(features), 2 * expected - 1)  # RGB in [0, 1] inside, [-1, 1] outside


@torch.inference_mode()
def test_torchvisions_encoder_pads_with_zeros_and_rounds_down():
    network = small(encoder="vgg19", layer="relu4_2")
    assert network.encode(pictures(36, 28)).shape[-2:] == (4, 3)
    modes = {layer.padding_mode for layer in network.encoder.features if isinstance(layer, nn.Conv2d)}
    assert modes == {"zeros"}


@pytest.mark.parametrize(("count", "height", "width"), [(1, 15, 64), (1, 64, 8), (3, 64, 64)])
def test_a_style_that_cannot_be_used_is_refused(count: int, height: int, width: int):
    model = registry.Model(registry.CARDS["adain-small"], small(encoder="own")).eval()
    with pytest.raises(image.ImageError, match=r"expected one, or one per photo, with sides from 16 px up"):
        model(pictures(64, 64, count=2), pictures(height, width, count=count))
    with torch.inference_mode():
        assert model(pictures(64, 64, count=2), pictures(16, 16, count=2)).isfinite().all()


@torch.inference_mode()
def test_a_folder_of_the_two_files_converts(
    network: adain.CrossDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "official"
    source.mkdir()
    for name, tensors in zip(("vgg_normalised.pth", "decoder.pth"), released(network), strict=True):
        torch.save(tensors, source / name)
    monkeypatch.setattr(sys, "argv", ["convert", "adain", str(source), str(tmp_path / "out")])
    convert.command()
    model = models.load(str(tmp_path / "out"))
    photo, style = pictures(64, 64), pictures(48, 72)
    torch.testing.assert_close(model(photo, style), network(photo, style).clamp(-1, 1))
    assert bool(model.network.encoder.filled)


@torch.inference_mode()
def test_the_training_form_and_the_decoder_alone_convert(network: adain.CrossDomain):
    encoder, decoder = released(network)
    cuts = [0, 4, 11, 18, 31]
    tensors = {f"decoder.{key}": value for key, value in decoder.items()}
    for key, value in encoder.items():
        index, leaf = key.split(".")
        part = next((number for number in range(4) if cuts[number] <= int(index) < cuts[number + 1]), None)
        if part is not None:
            tensors[f"enc_{part + 1}.{int(index) - cuts[part]}.{leaf}"] = value
    made = convert.convert(tensors, "adain")
    photo, style = pictures(32, 32), pictures(32, 32)
    torch.testing.assert_close(made(photo, style), network(photo, style))
    alone = convert.convert(decoder, "adain-decoder")
    features = torch.rand(1, 32, 4, 4)
    torch.testing.assert_close(alone(features), network.decoder(features))


def test_what_does_not_fit_is_refused(network: adain.CrossDomain):
    encoder, decoder = released(network)
    with pytest.raises(CheckpointError, match=r"vgg\.0\.weight missing, expected \(3, 3, 1, 1\); vgg\.0\.bias missing"):
        convert.convert({f"decoder.{key}": value for key, value in decoder.items()}, "adain")
    with pytest.raises(CheckpointError, match=r"decoder\.1\.weight missing, .*; decoder\.1\.bias missing"):
        convert.convert(encoder, "adain")
    with pytest.raises(CheckpointError, match=r"vgg\.0\.weight missing, expected \(3, 3, 1, 1\)"):
        convert.convert({"conv1": torch.zeros(1)}, "adain")


def test_a_zero_padded_trunk_is_torchvisions():
    trunk = vgg.Trunk("vgg19", "relu4_2", width=2)
    x = torch.rand(1, 3, 20, 20)
    y = (x - torch.tensor(layers.IMAGENET_MEAN).view(1, 3, 1, 1)) / torch.tensor(layers.IMAGENET_DEVIATION).view(
        1, 3, 1, 1
    )
    first = trunk.features[0]
    assert isinstance(first, nn.Conv2d)
    expected = F.conv2d(y, first.weight, first.bias, padding=1).relu()
    torch.testing.assert_close(trunk(x, ("relu1_1",))["relu1_1"], expected, atol=1e-5, rtol=1e-5)
    assert trunk(x)["relu4_2"].shape == (1, 16, 2, 2)

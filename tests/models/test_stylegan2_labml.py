"""StyleGAN2 in labml's form: counts, what differs from the paper, and parity with both fixtures."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from models import convert, layers
from models import stylegan2_labml as labml
from models.conversion import stylegan2_labml as names
from models.registry import CheckpointError

PLACES = {"block.0": "conv1", "block.2": "conv2", "residual.1": "residual"}


def small() -> labml.Generator:
    return labml.Generator(resolution=16, narrowest=2, widest=6, width=5)


def noises(io: dict[str, Tensor]) -> list[tuple[Tensor | None, Tensor | None]]:
    later = [(io[f"noise_{block}a"], io[f"noise_{block}b"]) for block in range(1, len(io["w"]))]
    return [(None, io["noise_0"]), *later]


@pytest.mark.parametrize(("resolution", "counts"), [(64, (6_232_312, 9_850_319)), (256, (17_250_562, 19_814_863))])
def test_parameter_counts(resolution: int, counts: tuple[int, int]):
    with torch.device("meta"):
        pair = labml.Generator(resolution=resolution), labml.Discriminator(resolution=resolution)
        assert tuple(map(layers.parameter_count, pair)) == counts
        assert layers.parameter_count(labml.Mapping()) == 2_101_248


@torch.inference_mode()
def test_generator_parity(conformance_dir: Path):
    io = load_file(conformance_dir / "labml_stylegan2_g.io.safetensors")
    network = convert.convert(
        convert.read(conformance_dir / "labml_stylegan2_g.weights.safetensors"), "stylegan2-labml"
    )
    assert isinstance(network, labml.Generator)
    made = network.native(io["w"], noises(io))
    assert (made - io["y"]).abs().max() < 1e-4
    torch.testing.assert_close(network(io["w"], noises(io)), 2 * made - 1)
    assert (network.native(io["w"]) - io["y"]).abs().max() > 1e-2


@torch.inference_mode()
def test_discriminator_parity(conformance_dir: Path):
    io = load_file(conformance_dir / "labml_stylegan2_d.io.safetensors")
    tensors = convert.read(conformance_dir / "labml_stylegan2_d.weights.safetensors")
    network = convert.convert(tensors, "stylegan2-labml-discriminator")
    assert isinstance(network, labml.Discriminator)
    assert (network.native(io["x"]) - io["y"]).abs().max() < 1e-5
    torch.testing.assert_close(network(2 * io["x"] - 1), io["y"], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_command_converts_the_fixture(
    conformance_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = conformance_dir / "labml_stylegan2_g.weights.safetensors"
    monkeypatch.setattr(sys, "argv", ["convert", "stylegan2-labml", str(file), str(tmp_path)])
    convert.command()
    assert "compared with the reference implementation" in capsys.readouterr().out
    io = load_file(conformance_dir / "labml_stylegan2_g.io.safetensors")
    network = labml.Generator.from_pretrained(tmp_path).eval()
    assert (network.native(io["w"], noises(io)) - io["y"]).abs().max() < 1e-4


def test_smoothing_repeats_the_border():
    one_hot = torch.zeros(1, 1, 4, 4)
    one_hot[..., 0, 0] = 16
    assert labml.smooth(one_hot)[0, 0, :2, :2].tolist() == [[9, 3], [3, 1]]
    flat = torch.full((1, 2, 6, 4), 0.7)
    torch.testing.assert_close(labml.downsample(labml.upsample(flat)), flat)


def test_halving_is_the_bilinear_resize():
    x = torch.randn(2, 3, 8, 6)
    resized = F.interpolate(labml.smooth(x), size=(4, 3), mode="bilinear", align_corners=False)
    torch.testing.assert_close(labml.downsample(x), resized)


def test_the_deviation_is_one_value_for_the_batch():
    x = torch.randn(8, 2, 3, 3)
    made = labml.append_deviation(x)
    parts = torch.stack([x[:2], x[2:4], x[4:6], x[6:]])
    torch.testing.assert_close(made[:, 2], parts.std(dim=0).mean().expand(8, 3, 3), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="the batch has 6 images; expected a multiple of 4"):
        labml.append_deviation(x[:6])


def test_only_the_direction_of_the_noise_counts():
    network, latents = labml.Mapping(width=6, depth=2), torch.randn(3, 6)
    torch.testing.assert_close(network(latents), network(9 * latents))
    assert [type(layer).__name__ for layer in network.net] == ["Dense", "LeakyReLU"] * 2


def test_noise_is_drawn_in_training_alone():
    network, styles = small(), torch.randn(3, 2, 5)
    for key, tensor in network.state_dict().items():
        if key.endswith("scale_noise"):
            tensor.fill_(0.5)
    assert not torch.equal(network(styles), network(styles))
    network.eval()
    assert torch.equal(network(styles), network(styles))


def test_every_parameter_learns():
    generator, judge = small(), labml.Discriminator(resolution=16, narrowest=2, widest=6)
    mapping = labml.Mapping(width=5, depth=2)
    styles = mapping(torch.randn(4, 5)).expand(3, -1, -1)
    judge(generator(styles)).square().mean().backward()
    for network in (generator, judge, mapping):
        assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("settings", [{"resolution": 12}, {"narrowest": 0}])
def test_senseless_sizes_are_refused(settings: dict[str, int]):
    with pytest.raises(ValueError, match="expected a power of two from 8"):
        labml.Generator(**settings)


def official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write a state dict of ours under labml's names."""
    found: dict[str, Tensor] = {"up_sample.smooth.kernel": names.KERNEL[None, None]}
    for key, tensor in state.items():
        name = key.replace("weight", "weight.weight").replace("from_rgb.", "from_rgb.0.")
        for theirs, ours in PLACES.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
        found[name] = tensor
    return found


@pytest.mark.parametrize("widest", [4, 6, 8, 100])
def test_names_and_widths_are_read_by_rule(widest: int):
    networks = {
        "stylegan2-labml": labml.Generator(resolution=32, narrowest=2, widest=widest, width=7),
        "stylegan2-labml-discriminator": labml.Discriminator(resolution=32, narrowest=2, widest=widest),
        "stylegan2-labml-mapping": labml.Mapping(width=7, depth=3),
    }
    for layout, network in networks.items():
        made = convert.convert(official(network.state_dict()), layout)
        assert all(torch.equal(value, network.state_dict()[key]) for key, value in made.state_dict().items())


def test_another_smoothing_kernel_is_refused():
    state = official(small().state_dict())
    state["up_sample.smooth.kernel"] = torch.full((1, 1, 3, 3), 1 / 9)
    with pytest.raises(CheckpointError, match=r"up_sample\.smooth\.kernel of shape \(1, 1, 3, 3\) is another kernel"):
        convert.convert(state, "stylegan2-labml")
    with pytest.raises(CheckpointError, match=r"initial_constant missing, expected \(1, 512, 4, 4\)"):
        convert.convert({"a": torch.zeros(1)}, "stylegan2-labml")

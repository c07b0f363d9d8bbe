"""The PatchGAN upscaler: counts, structure, its judge, and the layouts of both."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import models
from models import convert, discriminators, image, layers, patchgan_sr
from models.conversion import fitting
from models.registry import CheckpointError


def pictures(side: int) -> Tensor:
    return torch.rand(2, 3, side, side) * 2 - 1


def randomised(network: nn.Module) -> Any:
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.1, 0.4) if tensor.ndim == 1 else nn.init.normal_(tensor, std=0.1)
    return network.eval()


def official(network: patchgan_sr.SRResNet) -> dict[str, Tensor]:
    """Write a generator under the names of SRGAN-PyTorch."""
    theirs = {}
    for key, value in network.state_dict().items():
        key = re.sub(r"^enter\.", "conv1.", key).replace(".body.", ".rcb.").replace("leave.", "conv3.")
        theirs[re.sub(r"^up\.(\d)\.", r"upsampling.\1.upsample_block.", re.sub(r"^fuse\.", "conv2.", key))] = value
    return theirs


def test_parameter_counts():
    network = patchgan_sr.SRResNet()
    assert layers.parameter_count(network) == 1_547_350
    assert layers.parameter_count(network.trunk) == 16 * 73_985
    assert layers.parameter_count(patchgan_sr.discriminator(conditional=False)) == 2_764_737
    assert layers.parameter_count(patchgan_sr.discriminator()) == 2_767_809


def test_the_generator_enlarges_four_times():
    network, small = patchgan_sr.SRResNet(channels=4, blocks=2).eval(), pictures(16)
    made = network(small)
    assert made.shape == (2, 3, 64, 64)
    torch.testing.assert_close(made, 2 * network.native((small + 1) / 2) - 1)


def test_the_trunk_is_added_to_what_entered_it():
    network = patchgan_sr.SRResNet(channels=4, blocks=2).eval()
    small = torch.rand(1, 3, 8, 8)
    nn.init.zeros_(network.fuse[1].weight)
    torch.testing.assert_close(network.native(small), network.leave(network.up(network.enter(small))))


def test_a_block_is_its_formula():
    block = randomised(patchgan_sr.Residual(3))
    x = torch.randn(2, 3, 5, 6)
    first, norm1, prelu, second, norm2 = block.body
    inner = torch.where(norm1(first(x)) > 0, 1.0, prelu.weight) * norm1(first(x))
    torch.testing.assert_close(block(x), x + norm2(second(inner)))
    assert prelu.weight.shape == (1,)


def test_the_judge_sees_both_pictures():
    small, large = pictures(16), pictures(64)
    shown = patchgan_sr.condition(large, small)
    assert torch.equal(shown[:, 3:], large)
    assert torch.equal(shown[:, :3], image.resize(small, height=64, width=64))


@pytest.mark.parametrize("conditional", [True, False])
def test_the_judge_gives_30_logits_a_side_at_256_px(*, conditional: bool):
    with torch.device("meta"):
        judge = patchgan_sr.discriminator(conditional=conditional)
        assert judge(torch.empty(1, 6 if conditional else 3, 256, 256)).shape == (1, 1, 30, 30)


@torch.inference_mode()
def test_parity_of_the_patchgan(conformance_dir: Path):
    network = convert.convert(convert.read(conformance_dir / "patchgan_in.weights.safetensors"), "patchgan")
    io = load_file(conformance_dir / "patchgan_in.io.safetensors")
    assert (network(io["x"]) - io["y"]).abs().max() < 1e-5


def test_the_command_writes_a_discriminator(conformance_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = conformance_dir / "patchgan_in.weights.safetensors"
    monkeypatch.setattr(sys, "argv", ["convert", "patchgan", str(file), str(tmp_path)])
    convert.command()
    io = load_file(conformance_dir / "patchgan_in.io.safetensors")
    with torch.inference_mode():
        made = discriminators.PatchGAN.from_pretrained(tmp_path).eval()(io["x"])
    assert (made - io["y"]).abs().max() < 1e-5


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize(("inputs", "channels", "depth"), [(3, 4, 1), (6, 4, 3), (3, 2, 5)])
def test_discriminator_settings_are_read_from_the_file(norm: str, inputs: int, channels: int, depth: int):
    settings = {"inputs": inputs, "channels": channels, "depth": depth, "norm": norm}
    network = randomised(discriminators.PatchGAN(**settings))
    state = network.state_dict()
    assert fitting.settings(convert.LAYOUTS["patchgan"], state, state, {})[0] == settings
    old = {} if norm == "batch" else {"model.3.running_mean": torch.ones(2 * channels)}
    made = convert.convert(state | old, "patchgan")
    shown = torch.rand(1, inputs, 128, 128)
    assert torch.equal(made(shown), network(shown))


def test_srresnet_settings_are_read_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network = randomised(patchgan_sr.SRResNet(channels=6, blocks=3))
    file = tmp_path / "g_best.pth"
    torch.save({"epoch": 3, "state_dict": official(network), "optimizer": {}}, file)
    monkeypatch.setattr(sys, "argv", ["convert", "srresnet", str(file), str(tmp_path / "out")])
    convert.command()
    made = models.load(str(tmp_path / "out"))
    small = pictures(64)
    torch.testing.assert_close(made(small), network(small).clamp(-1, 1))


def test_srresnet_keys_are_those_of_the_port():
    with torch.device("meta"):
        keys = official(patchgan_sr.SRResNet()).keys()
    weights = {key for key in keys if key.endswith(".weight")}
    assert {"conv1.0.weight", "conv1.1.weight", "conv2.0.weight", "conv2.1.weight", "conv3.weight"} < weights
    assert {f"trunk.15.rcb.{place}.weight" for place in range(5)} < weights
    assert {f"upsampling.1.upsample_block.{place}.weight" for place in (0, 2)} < weights
    assert len(weights) == 5 + 16 * 5 + 4


@pytest.mark.parametrize(("layout", "key"), [("patchgan", r"model\.0\.weight"), ("srresnet", r"conv1\.0\.weight")])
def test_other_files_are_refused(layout: str, key: str):
    with pytest.raises(CheckpointError, match=f"{key} missing, expected"):
        convert.convert({"x": torch.zeros(1)}, layout)

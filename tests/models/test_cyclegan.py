"""CycleGAN's generators: counts, blocks by hand, and the released key names in every form they come in."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import models
from models import convert, cyclegan, layers
from models.conversion import cyclegan as released
from models.conversion import fitting
from models.conversion.layout import Tensors
from models.registry import CheckpointError


def randomised(network: nn.Module) -> nn.Module:
    """Give every tensor its own values, the statistics of batch norms too, so that no swap of two goes unseen."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.1, 0.4) if tensor.ndim == 1 else nn.init.normal_(tensor, std=0.1)
    return network.eval()


def nested(network: cyclegan.UNet) -> Tensors:
    """Write a U-Net under the released names."""
    theirs = released.unet_pairs(len(network.down))
    split = (key.rpartition(".") for key in network.state_dict())
    return {f"{theirs[stem]}.{leaf}": network.state_dict()[f"{stem}.{leaf}"] for stem, _, leaf in split}


def fitted(tensors: Tensors, layout: str) -> dict:
    return fitting.settings(convert.LAYOUTS[layout], tensors, tensors, {})[0]


def same_outputs(network: nn.Module, made: nn.Module, side: int) -> bool:
    photo = torch.rand(1, 3, side, side) * 2 - 1
    with torch.inference_mode():
        return torch.equal(network(photo), made(photo))


@pytest.mark.parametrize(
    ("build", "settings", "count"),
    [
        (cyclegan.CycleGAN, {}, 11_378_179),
        (cyclegan.CycleGAN, {"blocks": 6}, 7_837_699),
        (cyclegan.CycleGAN, {"upsample": "nearest"}, 11_378_179),
        (cyclegan.CycleGAN, {"channels": 24, "blocks": 6}, 1_107_459),
        (cyclegan.UNet, {}, 41_828_995),
        (cyclegan.UNet, {"depth": 8}, 54_413_955),
        (cyclegan.UNet, {"depth": 8, "norm": "instance"}, 54_409_603),
    ],
)
def test_parameter_counts(build: type[nn.Module], settings: dict, count: int):
    with torch.device("meta"):
        assert layers.parameter_count(build(**settings)) == count


@pytest.mark.parametrize(
    ("fixture", "layout", "tolerance"), [("cyclegan_resnet6", "cyclegan", 2e-5), ("unet128", "pix2pix-unet", 5e-6)]
)
@torch.inference_mode()
def test_parity_with_the_released_code(conformance_dir: Path, fixture: str, layout: str, tolerance: float):
    network = convert.convert(convert.read(conformance_dir / f"{fixture}.weights.safetensors"), layout)
    io = load_file(conformance_dir / f"{fixture}.io.safetensors")
    assert (network(io["x"]) - io["y"]).abs().max() < tolerance


@pytest.mark.parametrize(("fixture", "layout"), [("cyclegan_resnet6", "cyclegan"), ("unet128", "pix2pix-unet")])
def test_the_command_writes_a_folder_that_loads(
    conformance_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fixture: str, layout: str
):
    file = conformance_dir / f"{fixture}.weights.safetensors"
    monkeypatch.setattr(sys, "argv", ["convert", layout, str(file), str(tmp_path)])
    convert.command()
    io = load_file(conformance_dir / f"{fixture}.io.safetensors")
    with torch.inference_mode():
        assert (models.load(str(tmp_path))(io["x"]) - io["y"]).abs().max() < 2e-5


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": 4, "blocks": 9},
        {"channels": 6, "blocks": 1, "dropout": True},
        {"channels": 4, "blocks": 2, "norm": "batch"},
        {"channels": 4, "blocks": 2, "norm": "batch", "dropout": True},
    ],
)
def test_residual_settings_are_read_from_the_file(settings: dict):
    network = randomised(cyclegan.CycleGAN(**settings))
    assert fitted(network.state_dict(), "cyclegan") == {"norm": "instance", "dropout": False} | settings
    assert same_outputs(network, convert.convert(network.state_dict(), "cyclegan"), 32)


def test_residual_keys_of_nine_blocks():
    with torch.device("meta"):
        keys = cyclegan.CycleGAN().state_dict().keys()
    places = [1, 4, 7, *(f"{place}.conv_block.{conv}" for place in range(10, 19) for conv in (1, 5)), 19, 22, 26]
    assert keys == {f"model.{place}.{leaf}" for place in places for leaf in ("weight", "bias")}


@pytest.mark.parametrize("depth", [2, 5, 7, 8])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_unet_settings_are_read_from_the_file(depth: int, norm: str):
    network = randomised(cyclegan.UNet(channels=2, depth=depth, norm=norm))
    theirs = nested(network)
    assert fitted(theirs, "pix2pix-unet") == {"channels": 2, "depth": depth, "norm": norm}
    assert same_outputs(network, convert.convert(theirs, "pix2pix-unet"), 2 ** min(depth, 7))


def test_unet_keys_follow_the_nesting():
    pairs = released.unet_pairs(3)
    assert pairs == {
        "down.0.1": "model.model.0",
        "up.0.1": "model.model.3",
        "down.1.1": "model.model.1.model.1",
        "down.1.2": "model.model.1.model.2",
        "up.1.1": "model.model.1.model.5",
        "up.1.2": "model.model.1.model.6",
        "down.2.1": "model.model.1.model.3.model.1",
        "up.2.1": "model.model.1.model.3.model.3",
        "up.2.2": "model.model.1.model.3.model.4",
    }


def test_old_files_lose_the_statistics_of_their_instance_norms(tmp_path: Path):
    network = randomised(cyclegan.CycleGAN(channels=4, blocks=2))
    old = network.state_dict() | {
        f"model.{place}.{name}": torch.ones(4) for place in (2, 5) for name in ("running_mean", "running_var")
    }
    old["model.2.num_batches_tracked"] = torch.tensor(7)
    torch.save({"state_dict": {f"module.{key}": value for key, value in old.items()}}, tmp_path / "old.pth")
    assert same_outputs(network, convert.convert(convert.read(tmp_path / "old.pth"), "cyclegan"), 16)


def test_old_unets_do_too():
    network = randomised(cyclegan.UNet(channels=2, depth=5, norm="instance"))
    old = nested(network) | {"model.model.1.model.2.running_var": torch.ones(4)}
    assert same_outputs(network, convert.convert(old, "pix2pix-unet"), 32)


def test_a_deep_unet_is_loaded_through_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network = randomised(cyclegan.UNet(channels=1, depth=8))
    save_file(nested(network), tmp_path / "unet256.safetensors")
    arguments = ["convert", "pix2pix-unet", str(tmp_path / "unet256.safetensors"), str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    convert.command()
    made = models.load(str(tmp_path / "out"))
    photo = torch.rand(1, 3, 128, 150) * 2 - 1
    assert made(photo).shape == photo.shape


@pytest.mark.parametrize(
    ("layout", "tensors", "message"),
    [
        ("cyclegan", {}, r"model\.1\.weight missing, expected \(64, 3, 7, 7\)"),
        ("cyclegan", {"model.1.weight": torch.zeros(4, 3, 7, 7)}, r"model\.1\.bias missing, expected \(4,\)"),
        ("pix2pix-unet", {"model.1.weight": torch.zeros(4, 3, 7, 7)}, r"model\.model\.0\.weight missing"),
        (
            "pix2pix-unet",
            {"model.model.0.weight": torch.zeros(4, 3, 4, 4)},
            r"model\.model\.1\.model\.1\.weight missing",
        ),
    ],
)
def test_other_files_are_refused(layout: str, tensors: dict[str, Tensor], message: str):
    with pytest.raises(CheckpointError, match=message):
        convert.convert(tensors, layout)


def test_a_file_for_other_channels_names_the_key():
    state = cyclegan.CycleGAN(channels=2, blocks=1).state_dict() | {"model.1.weight": torch.zeros(2, 1, 7, 7)}
    with pytest.raises(CheckpointError, match=r"model\.1\.weight has shape \(2, 1, 7, 7\), expected \(2, 3, 7, 7\)"):
        convert.convert(state, "cyclegan")


@pytest.mark.parametrize("settings", [{"norm": "layer"}, {"upsample": "bilinear"}, {"blocks": 0}, {"channels": 0}])
def test_residual_settings_are_checked(settings: dict):
    with pytest.raises(ValueError, match="expected"):
        cyclegan.CycleGAN(**settings)


def test_residual_block_is_its_formula():
    block = cyclegan.Residual(3)
    first, second = block.conv_block[1], block.conv_block[5]
    x = torch.randn(2, 3, 6, 7)

    def convolve(conv: nn.Conv2d, features: Tensor) -> Tensor:
        made = conv(layers.pad_reflect(features, left_top=1, right_bottom=1))
        variance, mean = torch.var_mean(made, dim=(2, 3), correction=0, keepdim=True)
        return (made - mean) / (variance + 1e-5).sqrt()

    torch.testing.assert_close(block(x), x + convolve(second, convolve(first, x).relu()))


def test_weights_start_at_a_fiftieth():
    network = cyclegan.CycleGAN(channels=16, blocks=2)
    deep = network.model[10].conv_block[1]
    assert deep.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert deep.bias.abs().max() == 0


@pytest.mark.parametrize(("upsample", "flat"), [("nearest", True), ("transposed", False)])
def test_nearest_neighbours_leave_no_checkerboard(upsample: str, *, flat: bool):
    conv = cyclegan.resize(8, 4, norm="instance", upsample=upsample)[0]
    made = conv(torch.ones(1, 8, 6, 6))[..., 2:-2, 2:-2]  # away from the zero padding
    phases = torch.stack([made[..., row::2, column::2] for row in (0, 1) for column in (0, 1)])
    assert bool(phases.std(dim=0).max() < 1e-6) == flat


def test_dropout_is_for_training_alone():
    photo = torch.rand(1, 3, 64, 64)
    for network in (cyclegan.UNet(channels=4, depth=6, dropout=True), cyclegan.CycleGAN(channels=4, dropout=True)):
        drops = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
        assert max(drops) == 0.5
        assert not torch.equal(network.train()(photo), network(photo))
        assert torch.equal(network.eval()(photo), network(photo))


def test_dropout_of_the_unet_stands_in_its_inner_levels():
    network = cyclegan.UNet(channels=1, depth=8, dropout=True)
    assert [level for level, stage in enumerate(network.up) if level and stage[3].p > 0] == [4, 5, 6]

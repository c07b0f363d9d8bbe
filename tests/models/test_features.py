"""Perceptual networks: the right layers before their ReLU, one preprocessing each, and refusals."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import vgg19

from models import features
from models.registry import CheckpointError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def trunk() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return features.trunk_of(vgg19(weights=None))[:26]


def test_vgg19_maps_are_taken_before_their_relu(images: torch.Tensor, trunk: torch.nn.Sequential) -> None:
    network = features.VGG19(trunk)
    with torch.no_grad():
        maps = network(images, ("conv2_2", "conv3_3", "conv4_4"))
        expected = trunk[:8](network.normalize(images))
    assert [tuple(value.shape[1:]) for value in maps.values()] == [(128, 32, 32), (256, 16, 16), (512, 8, 8)]
    assert torch.equal(maps["conv2_2"], expected)
    assert maps["conv4_4"].min() < 0


def test_only_what_is_wanted_is_computed(images: torch.Tensor, trunk: torch.nn.Sequential) -> None:
    calls: list[int] = []
    network = features.VGG19(trunk)
    handles = [
        layer.register_forward_hook(lambda *_, at=at: calls.append(at)) for at, layer in enumerate(network.trunk)
    ]
    assert list(network(images, ("conv2_2",))) == ["conv2_2"]
    assert network(images, ()) == {}
    for handle in handles:
        handle.remove()
    assert max(calls) == 7


def test_weights_are_frozen_and_gradients_reach_the_image(images: torch.Tensor, trunk: torch.nn.Sequential) -> None:
    network = features.VGG19(trunk)
    images.requires_grad_()
    network(images, ("conv4_4",))["conv4_4"].abs().mean().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in network.parameters())


def test_preprocessing_is_imagenets(trunk: torch.nn.Sequential) -> None:
    gray = torch.zeros(1, 3, 4, 4)
    expected = [(0.5 - mean) / deviation for mean, deviation in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert features.VGG19(trunk).normalize(gray)[0, :, 0, 0].tolist() == pytest.approx(expected)


def test_the_local_stand_in_and_its_name(weights_dir: Path, images: torch.Tensor) -> None:
    network = features.load("local")
    maps = network(images, ("conv2_2", "conv3_3", "conv4_4"))
    assert [tuple(value.shape[1:]) for value in maps.values()] == [(128, 32, 32), (256, 16, 16), (896, 3, 3)]
    assert min(value.min().item() for value in maps.values()) == 0
    assert "vgg19-to-relu3_1" in network.name
    assert "alexnet" in network.name
    assert len(network.sha256) == 64
    assert network.grid == 4


def test_refusals_name_the_file_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="expected one of"):
        features.load("vgg")
    monkeypatch.delenv("NIJIGEN_WEIGHTS", raising=False)
    with pytest.raises(CheckpointError, match="NIJIGEN_WEIGHTS is not set"):
        features.load("local")
    monkeypatch.setenv("NIJIGEN_WEIGHTS", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"vgg19_to_relu3_1\.safetensors does not exist"):
        features.load("local")
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg19_to_relu3_1.safetensors")
    with pytest.raises(CheckpointError, match="does not fit"):
        features.load("local")


def test_an_impossible_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match="--features local"):
        features.load("vgg19")


def test_a_sha256_follows_the_weights(trunk: torch.nn.Sequential) -> None:
    first = features.VGG19(trunk).sha256
    with torch.no_grad():
        next(trunk.parameters()).add_(1)
    assert features.VGG19(trunk).sha256 != first


def test_the_grid_moves_over_one_period_and_stays_until_the_next_move(
    images: torch.Tensor, trunk: torch.nn.Sequential
) -> None:
    network = features.VGG19(trunk)
    network.grid = 4
    places = set()
    for _ in range(200):
        network.move()
        places.add((network.place[0].start, network.place[1].start))
    assert places == {(top, left) for top in range(4) for left in range(4)}
    top, left = network.place[0].start, network.place[1].start
    cut = features.VGG19(trunk)(images[..., top:, left:], ("conv2_2",))
    assert torch.equal(network(images, ("conv2_2",))["conv2_2"], cut["conv2_2"])


def test_layers_by_their_vgg19_names(images: torch.Tensor, weights_dir: Path) -> None:
    network = features.load("local")
    maps = network(images, ("relu1_1", "relu2_1", "relu3_1", "conv3_3", "relu4_1", "relu4_2", "conv4_4"))
    assert [maps[name].shape[1] for name in ("relu1_1", "relu2_1", "relu3_1", "relu4_1")] == [64, 128, 256, 896]
    assert torch.equal(maps["relu3_1"], maps["conv3_3"])
    assert torch.equal(maps["relu4_1"], maps["conv4_4"])
    assert all(found.min() >= 0 for found in maps.values())

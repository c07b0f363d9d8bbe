"""The port of AnimeGANv2: every name of it, its own doubling and epsilon, and what does not fit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models import convert
from models.registry import CheckpointError


def block(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1, bias: bool = False):
    pad = (0, 1, 0, 1) if stride == 2 else kernel // 2
    return nn.Sequential(
        nn.ReflectionPad2d(pad),
        nn.Conv2d(inputs, outputs, kernel, stride=stride, groups=groups, bias=bias),
        nn.GroupNorm(1, outputs),
        nn.LeakyReLU(0.2),
    )


class Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = 2 * inputs
        self.layers = nn.Sequential(
            *(block(inputs, wide, kernel=1), block(wide, wide, groups=wide, bias=True)),
            *(nn.Conv2d(wide, outputs, 1, bias=False), nn.GroupNorm(1, outputs)),
        )
        self.skip = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.skip else self.layers(x)


class Port(nn.Module):
    """The port, written down here from its published key names and shapes, as an independent second forward."""

    def __init__(self) -> None:
        super().__init__()
        self.block_a = nn.Sequential(block(3, 32, kernel=7), block(32, 64, stride=2), block(64, 64))
        self.block_b = nn.Sequential(block(64, 128, stride=2), block(128, 128))
        middle = (Inverted(128, 256), *(Inverted(256, 256) for _ in range(3)))
        self.block_c = nn.Sequential(block(128, 128), *middle, block(256, 128))
        self.block_d = nn.Sequential(block(128, 128), block(128, 128))
        self.block_e = nn.Sequential(block(128, 64), block(64, 64), block(64, 32, kernel=7))
        self.out_layer = nn.Sequential(nn.Conv2d(32, 3, 1, bias=False), nn.Tanh())

    def forward(self, photo: Tensor, *, aligned: bool = True) -> Tensor:
        x = self.block_c(self.block_b(self.block_a(photo)))
        for part in (self.block_d, self.block_e):
            size = [2 * side for side in x.shape[-2:]]
            x = part(F.interpolate(x, size=size, mode="bilinear", align_corners=aligned))
        return self.out_layer(x)


@pytest.fixture(scope="module")
def port() -> Port:
    torch.manual_seed(4)
    made = Port().eval()
    for parameter in made.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return made


@pytest.mark.parametrize(("layout", "aligned"), [("animeganv2", True), ("animeganv2-half-pixel", False)])
def test_the_port_draws_the_same(port: Port, layout: str, aligned: bool, tmp_path: Path) -> None:  # noqa: FBT001
    torch.save(port.state_dict(), tmp_path / "port.pt")
    network = convert.convert(convert.read(tmp_path / "port.pt"), layout)
    photo = torch.rand(2, 3, 64, 72) * 2 - 1
    with torch.inference_mode():
        assert (network(photo) - port(photo, aligned=aligned)).abs().max() < 1e-5
    convert.save(network, tmp_path / "out", family=layout, readme="")
    assert models.load(str(tmp_path / "out")).card.name == "animeganv2"


def test_a_missing_tensor_is_named(port: Port) -> None:
    state = dict(port.state_dict())
    del state["block_c.2.layers.1.1.bias"]
    with pytest.raises(CheckpointError, match=r"block_c\.2\.layers\.1\.1\.bias missing, expected \(512,\)"):
        convert.convert(state, "animeganv2")

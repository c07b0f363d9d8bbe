"""U-Net: counts of the four forms, the checkerboard of untrained layers, and labml's file against its formula."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import convert, layers, unet
from models.registry import CheckpointError


@pytest.mark.parametrize(
    ("upsample", "count"),
    [("transposed", 31_031_875), ("nearest", 34_513_475), ("nearest1", 28_942_915), ("nearest-concat", 31_379_075)],
)
def test_parameter_counts(upsample: str, count: int):
    with torch.device("meta"):
        assert layers.parameter_count(unet.UNet(upsample=upsample)) == count


def test_counts_of_the_parts_and_of_the_preset():
    with torch.device("meta"):
        assert layers.parameter_count(unet.UNet().up) == 2_786_240
        assert layers.parameter_count(unet.CARDS[2].build()) == 843_773


@pytest.mark.parametrize("upsample", unet.UPSAMPLES)
def test_every_form_keeps_the_size_and_trains_everything(upsample: str):
    network = unet.UNet(width=2, upsample=upsample)
    made = network(torch.rand(2, 3, 32, 48) * 2 - 1)
    assert made.shape == (2, 3, 32, 48)
    made.square().mean().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())


def test_an_unknown_way_of_upsampling_is_refused():
    with pytest.raises(
        ValueError, match="upsample is 'bicubic'; expected one of transposed, nearest, nearest1, nearest-concat"
    ):
        unet.UNet(upsample="bicubic")


CONSTANT = torch.ones(1, 32, 16, 16)


def doubling(kind: str) -> nn.Module:
    """A layer with random weights and no bias that doubles a map of 32 channels."""
    made = {
        "k2": lambda: nn.ConvTranspose2d(32, 64, 2, stride=2),
        "k3": lambda: nn.ConvTranspose2d(32, 64, 3, stride=2, padding=1, output_padding=1),
        "k4": lambda: nn.ConvTranspose2d(32, 64, 4, stride=2, padding=1),
        "shuffle": lambda: nn.Sequential(nn.Conv2d(32, 256, 3, padding=1), nn.PixelShuffle(2)),
    }[kind]()
    for module in made.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.1)
            nn.init.zeros_(module.bias)
    return made


@pytest.mark.parametrize("kind", ["k2", "k3", "k4", "shuffle"])
@torch.inference_mode()
def test_layers_that_learn_to_double_start_with_a_checkerboard(kind: str):
    torch.manual_seed(4)
    shares = [unet.checkerboard(doubling(kind)(CONSTANT)) for _ in range(8)]
    assert sum(shares) / len(shares) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("upsample", ["nearest", "nearest1", "nearest-concat"])
@torch.inference_mode()
def test_nearest_neighbour_starts_without_one(upsample: str):
    torch.manual_seed(4)
    assert unet.checkerboard(unet.double(32, upsample)(CONSTANT).double()) == pytest.approx(0, abs=1e-12)
    assert unet.checkerboard(unet.double(32, "transposed")(CONSTANT)) > 0.5


@pytest.mark.parametrize("upsample", ["nearest", "nearest1", "nearest-concat"])
@torch.inference_mode()
def test_nearest_neighbour_repeats_pixels_before_it_convolves(upsample: str):
    layer, x = unet.double(4, upsample), torch.randn(1, 4, 3, 5)
    expected = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    if upsample != "nearest-concat":
        side = 3 if upsample == "nearest" else 1
        assert layer[1].weight.shape == (2, 4, side, side)
        expected = F.conv2d(expected, layer[1].weight, layer[1].bias, padding=side // 2)
    torch.testing.assert_close(layer(x), expected)


def test_the_checkerboard_of_known_maps():
    tile = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert unet.checkerboard(tile.repeat(8, 8)[None, None]) == pytest.approx(1)
    assert unet.checkerboard((tile + 1).repeat(8, 8)[None, None]) == pytest.approx(0.5)
    assert unet.checkerboard(torch.ones(1, 1, 16, 16)) == 0
    spoiled = torch.ones(1, 1, 16, 16)
    spoiled[..., 0, :] = 5
    assert unet.checkerboard(spoiled) == 0


def labml(width: int) -> dict[str, Tensor]:
    """A file in labml's names."""
    generator, file = torch.Generator().manual_seed(1), {}

    def conv(name: str, *shape: int, bias: int) -> None:
        file[f"{name}.weight"] = torch.randn(shape, generator=generator) / (shape[1] * shape[2] ** 2) ** 0.5
        file[f"{name}.bias"] = torch.randn(bias, generator=generator) * 0.1

    def twice(name: str, inputs: int, outputs: int) -> None:
        conv(f"{name}.first", outputs, inputs, 3, 3, bias=outputs)
        conv(f"{name}.second", outputs, outputs, 3, 3, bias=outputs)

    for i in range(4):
        twice(f"down_conv.{i}", width * 2 ** (i - 1) if i else 3, width * 2**i)
        outputs = width * 2 ** (3 - i)
        conv(f"up_sample.{i}.up", 2 * outputs, outputs, 2, 2, bias=outputs)
        twice(f"up_conv.{i}", 2 * outputs, outputs)
    twice("middle_conv", width * 8, width * 16)
    conv("final_conv", 3, width, 1, 1, bias=3)
    return file


def run(w: dict[str, Tensor], x: Tensor) -> Tensor:
    def twice(name: str, y: Tensor) -> Tensor:
        for part in (f"{name}.first", f"{name}.second"):
            y = F.conv2d(y, w[f"{part}.weight"], w[f"{part}.bias"], padding=1).relu()
        return y

    skips = []
    for i in range(4):
        skips.append(twice(f"down_conv.{i}", x))
        x = F.max_pool2d(skips[-1], 2)
    x = twice("middle_conv", x)
    for i in range(4):
        x = F.conv_transpose2d(x, w[f"up_sample.{i}.up.weight"], w[f"up_sample.{i}.up.bias"], stride=2)
        x = twice(f"up_conv.{i}", torch.cat([x, skips.pop()], dim=1))
    return F.conv2d(x, w["final_conv.weight"], w["final_conv.bias"])


@pytest.mark.parametrize("width", [2, 5])
@torch.inference_mode()
def test_labml_converts(width: int):
    photo = torch.rand(1, 3, 32, 48) * 2 - 1
    made = convert.convert(labml(width), "unet")(photo)
    torch.testing.assert_close(made, run(labml(width), photo).tanh(), atol=1e-5, rtol=0)
    assert made.std() > 0.01


def test_files_that_do_not_fit_labml_are_refused():
    with pytest.raises(CheckpointError, match=r"down_conv\.0\.first\.weight missing"):
        convert.convert({}, "unet")
    file = labml(2)
    file["down_conv.0.third.weight"] = file.pop("middle_conv.second.bias")
    with pytest.raises(
        CheckpointError, match=r"middle_conv\.second\.bias missing, .*; down_conv\.0\.third\.weight surplus"
    ):
        convert.convert(file, "unet")

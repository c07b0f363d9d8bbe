"""Small upscalers: counts, the luma arithmetic, bicubic kernel, and parity with the published networks."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import models
from models import convert, image, layers, srcnn
from models.conversion import fitting
from models.registry import CheckpointError

PARITY = [("espcn_x4", "espcn"), ("fsrcnn_x4", "fsrcnn")]


def pictures(height: int = 12, width: int = 10) -> Tensor:
    return torch.rand(2, 3, height, width) * 2 - 1


def numbered(network: nn.Module) -> dict[str, Tensor]:
    """Write an SRCNN or ESPCN under the names of its source."""
    return {
        f"conv{int(key.split('.')[1]) + 1}.{key.split('.')[2]}": value for key, value in network.state_dict().items()
    }


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (srcnn.Bicubic(), 0),
        (srcnn.SRCNN(), 69_251),
        (srcnn.SRCNN(luma=True), 57_281),
        (srcnn.SRCNN(middle=1), 20_099),
        (srcnn.SRCNN(middle=1, luma=True), 8_129),
        (srcnn.SRCNN(middle=3), 36_483),
        (srcnn.SRCNN(middle=3, luma=True), 24_513),
        (srcnn.ESPCN(), 24_752),
        (srcnn.ESPCN(deep=True), 61_680),
        (srcnn.ESPCN(deep=True, luma=False), 74_128),
        (srcnn.FSRCNN(), 9_169),
    ],
)
def test_parameter_counts_and_sizes(network: nn.Module, count: int):
    assert layers.parameter_count(network) == count
    assert network(pictures()).shape == (2, 3, 48, 40)


@pytest.mark.parametrize(("fixture", "layout"), PARITY)
@torch.inference_mode()
def test_parity_with_the_published_networks(conformance_dir: Path, fixture: str, layout: str):
    network: Any = convert.convert(convert.read(conformance_dir / f"{fixture}.weights.safetensors"), layout)
    io = load_file(conformance_dir / f"{fixture}.io.safetensors")
    assert (network.native(io["x"]) - io["y"]).abs().max() < 1e-5


def psnr(made: Tensor, wanted: Tensor) -> float:
    error = (srcnn.to_luma(made) - srcnn.to_luma(wanted))[..., 4:-4, 4:-4]
    return -10 * error.square().mean().log10().item()


@pytest.mark.parametrize(("fixture", "layout"), PARITY)
@torch.inference_mode()
def test_published_networks_are_near_bicubic_on_a_face(
    conformance_dir: Path,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fixture: str,
    layout: str,
):
    file = conformance_dir / f"{fixture}.weights.safetensors"
    monkeypatch.setattr(sys, "argv", ["convert", layout, str(file), str(tmp_path)])
    convert.command()
    photo = image.read(sorted((data_dir / "portraits").glob("*.jpg"))[0])
    large = image.resize(photo, height=256, width=256)
    small = srcnn.downscale(large)
    made = models.load(str(tmp_path))(small)
    assert abs(psnr(made, large) - psnr(srcnn.bicubic(small), large)) < 1
    assert psnr(made, large) > 20


def test_luma_is_that_of_jpeg():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    luma = np.asarray(Image.fromarray(pixels).convert("YCbCr"))[..., 0]
    ours = srcnn.to_luma(image.from_uint8(pixels))[0, 0].numpy() * 255
    np.testing.assert_allclose(ours, luma, atol=1.001, rtol=0)  # Pillow cuts the fraction off


def test_white_black_and_the_three_colours_have_their_luma():
    colors = torch.tensor([[1.0, 1, 1], [-1, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])[..., None, None]
    torch.testing.assert_close(srcnn.to_luma(colors).flatten(), torch.tensor([1, 0, 0.299, 0.587, 0.114]))


def test_new_luma_keeps_the_colour_differences():
    images, luma = pictures(), torch.rand(2, 1, 12, 10)
    made = srcnn.with_luma(images, luma)
    torch.testing.assert_close(srcnn.to_luma(made), luma)
    for channel, divisor in ((0, 1.402), (2, 1.772)):  # Cr and Cb

        def difference(rgb: Tensor, channel: int = channel, divisor: float = divisor) -> Tensor:
            return ((rgb[:, channel : channel + 1] + 1) / 2 - srcnn.to_luma(rgb)) / divisor

        torch.testing.assert_close(difference(made), difference(images))


@pytest.mark.parametrize(("enlarge", "size"), [(srcnn.bicubic, (48, 64)), (srcnn.downscale, (3, 4))])
def test_bicubic_is_the_kernel_of_pillow(enlarge: Callable[[Tensor], Tensor], size: tuple[int, int]):
    images = pictures(16, 12)
    wanted = Image.fromarray(images[0, 1].numpy(), mode="F").resize(size, Image.Resampling.BICUBIC)
    np.testing.assert_allclose(enlarge(images)[0, 1].numpy(), np.asarray(wanted).clip(-1, 1), atol=1e-5)


def test_networks_of_luma_take_colour_from_bicubic():
    network, images = srcnn.ESPCN().eval(), pictures()
    made, plain = network(images), srcnn.bicubic(images)
    shift = made - plain
    torch.testing.assert_close(shift[:, 0], shift[:, 1])
    torch.testing.assert_close(shift[:, 0], shift[:, 2])
    torch.testing.assert_close(srcnn.to_luma(made), network.native(srcnn.to_luma(images)))


@pytest.mark.parametrize("luma", [True, False])
def test_srcnn_sees_the_enlargement(*, luma: bool):
    network = srcnn.SRCNN(luma=luma, middle=1)
    for conv in network.convs:  # the first output copies the first input: red, or luma
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
        conv.weight.data[0, 0, conv.weight.shape[2] // 2, conv.weight.shape[3] // 2] = 1
    images = pictures()
    made, large = network(images), srcnn.bicubic(images)
    torch.testing.assert_close(made if luma else made[:, :1], large if luma else large[:, :1])


def test_espcn_ends_in_tanh_but_for_the_deep_form():
    for deep in (False, True):
        network = srcnn.ESPCN(deep=deep)
        nn.init.constant_(network.convs[-1].bias, 3.0)
        nn.init.zeros_(network.convs[-1].weight)
        made = network.native(torch.rand(1, 1, 4, 4))
        torch.testing.assert_close(made, torch.full_like(made, 3.0 if deep else float(np.tanh(3))))


@pytest.mark.parametrize(
    ("layout", "network"),
    [
        ("srcnn", srcnn.SRCNN(channels=6, narrow=4, middle=3)),
        ("srcnn", srcnn.SRCNN(middle=1, luma=True)),
        ("espcn", srcnn.ESPCN(channels=6, narrow=5)),
        ("espcn", srcnn.ESPCN(channels=6, narrow=5, deep=True)),
        ("espcn", srcnn.ESPCN(deep=True, luma=False)),
    ],
)
def test_settings_are_read_from_the_file(layout: str, network: nn.Module):
    made = convert.convert(numbered(network), layout)
    images = pictures()
    assert torch.equal(made(images), network(images))


def test_fsrcnn_of_other_sizes_converts():
    network = srcnn.FSRCNN(channels=8, narrow=3, mapping=2)
    parts = {"0": "conv", "1": "prelu"}
    theirs = {"conv6.weight": network.leave.weight, "out.bias": network.offset + 0.5}
    for key, value in network.stages.state_dict().items():
        number, part, leaf = key.split(".")
        theirs[f"{parts[part]}{int(number) + 1}.{leaf}"] = value
    found, _ = fitting.settings(convert.LAYOUTS["fsrcnn"], theirs, theirs, {})
    assert found == {"channels": 8, "narrow": 3, "mapping": 2}
    made: Any = convert.convert(theirs, "fsrcnn")
    small = torch.rand(1, 1, 6, 5)
    torch.testing.assert_close(made.native(small), network.native(small) + 0.5)


@pytest.mark.parametrize(
    ("layout", "tensors", "message"),
    [
        ("srcnn", {}, r"conv1\.weight missing, expected \(64, 3, 9, 9\); conv1\.bias missing"),
        ("espcn", {"conv1.weight": torch.zeros(4, 1, 5, 5)}, r"conv2\.weight missing, expected \(32, 4, 3, 3\)"),
        ("fsrcnn", numbered(srcnn.ESPCN()), r"prelu1\.weight missing, expected \(64,\)"),
        ("fsrcnn", {}, r"out\.bias missing, expected \(1,\); conv1\.weight missing, expected \(56, 1, 5, 5\)"),
        ("srcnn", numbered(srcnn.SRCNN()) | {"conv2.weight": torch.zeros(32, 64, 7, 7)}, r"expected \(32, 64, 5, 5\)"),
        ("espcn", numbered(srcnn.ESPCN()) | {"conv3.weight": torch.zeros(9, 32, 3, 3)}, r"expected \(16, 32, 3, 3\)"),
    ],
)
def test_other_files_are_refused(layout: str, tensors: dict[str, Tensor], message: str):
    with pytest.raises(CheckpointError, match=message):
        convert.convert(tensors, layout)

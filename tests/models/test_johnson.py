"""Johnson's transform nets: counts, both forms against plain arithmetic, both official layouts, tiles."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

import models
from models import convert, image, johnson, layers, registry, tiling
from models.registry import CheckpointError, Model

WIDTH, BLOCKS = 4, 2


def levels(height: int = 16, width: int = 24) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(width)) * 255


@pytest.fixture
def official() -> dict[str, Tensor]:
    """A state dict as PyTorch's example names it, of other widths than the released ones."""
    torch.manual_seed(0)
    w = WIDTH
    shapes = {"conv1": (w, 3, 9), "conv2": (2 * w, w, 3), "conv3": (4 * w, 2 * w, 3)}
    shapes |= {f"res{block}.conv{conv}": (4 * w, 4 * w, 3) for block in (1, 2) for conv in (1, 2)}
    shapes |= {"deconv1": (2 * w, 4 * w, 3), "deconv2": (w, 2 * w, 3), "deconv3": (3, w, 9)}
    norms = {"in1": w, "in2": 2 * w, "in3": 4 * w, "in4": 2 * w, "in5": w}
    norms |= {f"res{block}.in{norm}": 4 * w for block in (1, 2) for norm in (1, 2)}
    found = {}
    for name, (outputs, inputs, side) in shapes.items():
        found[f"{name}.conv2d.weight"] = torch.randn(outputs, inputs, side, side) / side
        found[f"{name}.conv2d.bias"] = torch.randn(outputs)
    for name, channels in norms.items():
        found |= {f"{name}.weight": torch.randn(channels), f"{name}.bias": torch.randn(channels)}
    return found


@pytest.fixture
def variables() -> dict[str, Tensor]:
    """Variables as fast-style-transfer numbers them: kernel (HWIO; HWOI where transposed), offset, gain of a layer."""
    torch.manual_seed(0)
    w = WIDTH
    kernels = [(9, 3, w), (3, w, 2 * w), (3, 2 * w, 4 * w), *[(3, 4 * w, 4 * w)] * (2 * BLOCKS)]
    kernels += [(3, 2 * w, 4 * w), (3, w, 2 * w), (9, w, 3)]
    tensors = []
    for number, (side, first, second) in enumerate(kernels):
        outputs = first if number in (7, 8) else second
        tensors += [torch.randn(side, side, first, second) / side, torch.randn(outputs), torch.randn(outputs)]
    return {f"Variable_{number}" if number else "Variable": tensor for number, tensor in enumerate(tensors)}


def whiten(x: Tensor, epsilon: float) -> Tensor:
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + epsilon).sqrt()


def example(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """PyTorch's example, written down once more without modules."""

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, reach = state[f"{name}.conv2d.weight"], state[f"{name}.conv2d.weight"].shape[-1] // 2
        return F.conv2d(F.pad(x, (reach,) * 4, mode="reflect"), weight, state[f"{name}.conv2d.bias"], stride=stride)

    def norm(x: Tensor, name: str) -> Tensor:
        return whiten(x, 1e-5) * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    for number, stride in ((1, 1), (2, 2), (3, 2)):
        x = norm(conv(x, f"conv{number}", stride), f"in{number}").relu()
    for block in (f"res{number + 1}" for number in range(BLOCKS)):
        inside = norm(conv(x, f"{block}.conv1"), f"{block}.in1").relu()
        x = x + norm(conv(inside, f"{block}.conv2"), f"{block}.in2")
    for number in (1, 2):
        doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = norm(conv(doubled, f"deconv{number}"), f"in{number + 3}").relu()
    return conv(x, "deconv3")


def fast_style_transfer(variables: dict[str, Tensor], x: Tensor) -> Tensor:
    """The TensorFlow form, written down once more; a transposed convolution is one of the stuffed map."""
    rest = list(variables.values())

    def layer(x: Tensor, stride: int = 1) -> Tensor:
        kernel, offset, gain = rest.pop(0), rest.pop(0), rest.pop(0)
        if stride < 0:  # kernel (height, width, out, in)
            batch, channels, height, width = x.shape
            stuffed = x.new_zeros(batch, channels, 2 * height, 2 * width)
            stuffed[..., ::2, ::2] = x
            flipped = kernel.permute(2, 3, 0, 1).flip(2, 3)
            made = F.conv2d(F.pad(stuffed, (2, 0, 2, 0)), flipped)
        else:
            side = kernel.shape[0]
            total = max((-(-x.shape[2] // stride) - 1) * stride + side - x.shape[2], 0)
            pads = (total // 2, total - total // 2)
            made = F.conv2d(F.pad(x, pads * 2), kernel.permute(3, 2, 0, 1), stride=stride)
        return gain[:, None, None] * whiten(made, 1e-3) + offset[:, None, None]

    for stride in (1, 2, 2):
        x = layer(x, stride).relu()
    for _ in range(BLOCKS):
        x = x + layer(layer(x).relu())
    x = layer(layer(x, -2).relu(), -2).relu()
    return layer(x).tanh() * 150 + 127.5


@pytest.mark.parametrize(("name", "count"), [("johnson", 1_679_235), ("johnson-tanh", 1_677_638)])
def test_parameter_counts(name: str, count: int):
    with torch.device("meta"):
        network = registry.build(name)
    assert layers.parameter_count(network) == count


def test_the_tanh_form_has_48_variables():
    with torch.device("meta"):
        assert len(registry.build("johnson-tanh").state_dict()) == 48


@torch.inference_mode()
def test_official_names_load_and_paint_what_the_example_paints(official: dict[str, Tensor]):
    network = convert.convert(official, "johnson")
    assert isinstance(network, johnson.TransformNet)
    torch.testing.assert_close(network.native(levels()), example(official, levels()), atol=1e-4, rtol=1e-5)


@torch.inference_mode()
def test_numbered_variables_load_and_paint_what_tensorflow_paints(variables: dict[str, Tensor]):
    network = convert.convert(variables, "johnson-tanh")
    assert isinstance(network, johnson.TransformNet)
    expected = fast_style_transfer(variables, levels())
    torch.testing.assert_close(network.native(levels()), expected, atol=1e-3, rtol=1e-5)
    assert expected.max() > 255, "the tanh reaches beyond the range"


@torch.inference_mode()
def test_levels_are_converted_inside(official: dict[str, Tensor]):
    network = convert.convert(official, "johnson")
    photo = levels() / 127.5 - 1
    torch.testing.assert_close(network(photo), example(official, levels()) / 127.5 - 1, atol=1e-5, rtol=1e-4)


def test_old_files_carry_running_statistics(official: dict[str, Tensor]):
    for name in ("in1", "in5", "res1.in2"):
        channels = len(official[f"{name}.weight"])
        official |= {f"{name}.running_mean": torch.zeros(channels), f"{name}.running_var": torch.ones(channels)}
    with torch.device("meta"):
        expected = johnson.TransformNet(width=WIDTH, blocks=BLOCKS).state_dict()
    assert convert.convert(official, "johnson").state_dict().keys() == expected.keys()


def test_what_training_leaves_behind_is_left_out(variables: dict[str, Tensor]):
    expected = convert.convert(variables, "johnson-tanh").state_dict()
    more = {f"la_muse.{name}:0": tensor for name, tensor in variables.items()}
    more |= {"la_muse.Variable_3_Adam": torch.zeros(2), "la_muse.Variable_3_Adam_1": torch.zeros(2)}
    more |= {"la_muse.beta1_power": torch.tensor(0.9), "la_muse.global_step": torch.tensor(7)}
    found = convert.convert(more, "johnson-tanh").state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_what_does_not_fit_is_refused(official: dict[str, Tensor], variables: dict[str, Tensor]):
    with pytest.raises(CheckpointError, match=r"johnson-tanh: Variable_7 missing, expected \(16,\)\.$"):
        convert.convert({key: value for key, value in variables.items() if key != "Variable_7"}, "johnson-tanh")
    with pytest.raises(CheckpointError, match=r"Variable has shape \(3,\), expected \(9, 9, 3, 4\)\.$"):
        convert.convert(variables | {"Variable": torch.zeros(3)}, "johnson-tanh")
    with pytest.raises(CheckpointError, match="Variable_3 is given twice, the second time as Variable_3:0"):
        convert.convert(variables | {"Variable_3:0": torch.zeros(4)}, "johnson-tanh")
    with pytest.raises(CheckpointError, match=r"johnson: in1\.weight missing, expected \(4,\)\.$"):
        convert.convert({key: value for key, value in official.items() if key != "in1.weight"}, "johnson")
    with pytest.raises(CheckpointError, match=r"conv1\.conv2d\.weight missing, expected \(32, 3, 9, 9\)"):
        convert.convert(variables, "johnson")


def test_the_command_writes_a_folder_that_loads(
    variables: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save_file({key: value.contiguous() for key, value in variables.items()}, tmp_path / "wave.safetensors")
    command = ["convert", "johnson-tanh", str(tmp_path / "wave.safetensors"), str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    convert.command()
    model = models.load(str(tmp_path / "out"))
    assert model.card.name == "johnson-tanh"
    photo = levels(64, 64) / 127.5 - 1
    with torch.inference_mode():
        expected = fast_style_transfer(variables, levels(64, 64)) / 127.5 - 1
        torch.testing.assert_close(model(photo), expected.clamp(-1, 1), atol=1e-4, rtol=0)
    assert "research use only" in (tmp_path / "out" / registry.README).read_text()


@pytest.mark.parametrize("form", johnson.FORMS)
def test_tiles_agree_with_the_whole(form: str):
    torch.manual_seed(0)
    network = johnson.TransformNet(width=WIDTH, blocks=1, form=form).eval()
    model = Model(registry.CARDS["johnson"], network)
    picture = image.resize(levels(24, 40) / 127.5 - 1, height=192, width=320)
    with torch.inference_mode():
        made = tiling.predict(model, picture, tile=192, overlap=64, overview=320)
        assert (made - model(picture)).abs().max() < 1e-3


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="form is 'bilinear'; expected one of nearest, tanh"):
        johnson.TransformNet(form="bilinear")

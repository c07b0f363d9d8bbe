"""Arbitrary stylization: counts, shapes, the style's arithmetic, names by rule, parity with the mobile networks."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models import convert, layers, predictors, registry, stylization
from models.conversion import stylization as conversion
from models.registry import CheckpointError

count = layers.parameter_count


def built(name: str) -> stylization.Stylization:
    with torch.device("meta"):
        network = registry.build(name)
    assert isinstance(network, stylization.Stylization)
    return network


def heads(network: nn.Module) -> int:
    return sum(value.numel() for key, value in network.named_parameters() if ".gamma." in key or ".beta." in key)


def small(**settings: object) -> stylization.Stylization:
    """A network of a few channels, its norms set to something."""
    torch.manual_seed(2)
    options = {"predictor": "mobile", "width": 0.125, "predictor_width": 0.25, "numbers": 7, "norm": "folded"}
    network = stylization.Stylization(**(options | settings)).eval()
    for name, value in network.state_dict().items():
        if name.endswith(("norm.bias", "running_mean")) or (name.endswith(".bias") and "contract" in name):
            nn.init.normal_(value, std=0.1)
        if name.endswith(("running_var", "norm.weight")):
            nn.init.uniform_(value, 0.5, 1.5)
    return network


def test_the_full_network_has_the_published_size():
    full = built("stylization")
    assert count(full) == 10_986_562
    assert count(full.predictor) + heads(full) == 9_311_906
    assert count(full.transformer) - heads(full) == 1_674_656
    bottleneck = count(full.predictor.bottleneck)
    assert bottleneck == 76_900
    assert count(full.predictor) - bottleneck == 8_956_448
    assert heads(full) == 278_558


def test_the_mobile_network_has_the_published_size():
    mobile = built("stylization-mobile")
    assert count(mobile) == 2_512_634
    assert count(mobile.predictor) == 2_334_916
    assert count(mobile.transformer) == 177_718
    assert count(built("stylization-small")) == 868_262


def test_the_separable_transformer_has_the_published_size():
    with torch.device("meta"):
        network = stylization.Transformer(separable=True, padding="zero")
    norms = 32 + 64 + 128
    assert count(network) + 3 * norms == 569_406  # the file also holds gains of 1, running means and variances


def test_inception_maps_256_px_to_14_by_14_of_768():
    with torch.device("meta"):
        network = predictors.Inception()
        x = torch.zeros(1, 3, 256, 256)
        for number, conv in enumerate(network.stem):
            x = conv(x)
            x = F.max_pool2d(x, 3, stride=2) if number in predictors.POOLED else x
        assert x.shape == (1, 192, 29, 29)
        assert network.mixed(x).shape == (1, 768, 14, 14)


@torch.inference_mode()
def test_a_pooling_module_of_inception_is_its_formula():
    module = predictors.Branches(
        5, (((3, 1, 1),), ((4, 1, 1), (6, 1, 7)), ((2, 1, 1),)), pool=True, norm="batch"
    ).eval()
    for name, value in module.state_dict().items():
        if name.endswith("running_var"):
            nn.init.uniform_(value, 0.5, 1.5)
        elif value.ndim:
            nn.init.normal_(value, std=2)
    w, x = module.state_dict(), torch.randn(2, 5, 8, 9)

    def convolve(name: str, y: Tensor) -> Tensor:
        kernel = w[f"{name}.0.weight"]
        mean, variance, offset = (w[f"{name}.0.norm.{part}"] for part in ("running_mean", "running_var", "bias"))
        y = F.conv2d(y, kernel, padding=(kernel.shape[2] // 2, kernel.shape[3] // 2))
        y = (y - mean[:, None, None]) / (variance + 1e-3).sqrt()[:, None, None] + offset[:, None, None]
        return y.clamp(0, 6)

    inside = F.avg_pool2d(F.pad(torch.ones_like(x), (1,) * 4), 3, stride=1)  # share of the window in the picture
    pooled = F.avg_pool2d(F.pad(x, (1,) * 4), 3, stride=1) / inside
    chains = convolve("branches.0.0", x), convolve("branches.1.1", convolve("branches.1.0", x))
    expected = torch.cat([*chains, convolve("branches.2.0", pooled)], dim=1)
    assert (expected == 6).any() and (expected == 0).any()
    torch.testing.assert_close(module(x), expected)


def test_same_padding_puts_the_odd_pixel_below_and_to_the_right():
    conv = predictors.NormedConvolution(1, 1, kernel=(3, 3), stride=2, norm="folded")
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)
    assert conv(torch.ones(1, 1, 8, 8))[0, 0, :, 0].tolist() == [9, 9, 9, 6]
    assert conv(torch.ones(1, 1, 7, 7))[0, 0, :, 0].tolist() == [4, 6, 6, 4]


def test_a_styled_convolution_gives_the_channel_the_wanted_statistics():
    layer = stylization.StyledConvolution(3, 4, kernel=3, numbers=5, separable=False, padding="reflect")
    x, bottleneck = torch.randn(2, 3, 9, 8) * 4 + 1, torch.randn(1, 5)
    y = layer(x, bottleneck)
    mean, deviation = y.mean(dim=(2, 3)), y.std(dim=(2, 3), correction=0)
    torch.testing.assert_close(mean, layer.beta(bottleneck).expand(2, -1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(deviation, layer.gamma(bottleneck).abs().expand(2, -1), atol=1e-4, rtol=1e-4)


def test_a_separable_convolution_has_nothing_between_its_parts():
    layer = stylization.StyledConvolution(3, 4, kernel=3, numbers=5, separable=True, padding="zero")
    depthwise, pointwise = layer.conv[0].weight, layer.conv[1].weight
    plain = stylization.StyledConvolution(3, 4, kernel=3, numbers=5, separable=False, padding="zero")
    plain.load_state_dict(
        {"conv.weight": pointwise * depthwise[None, :, 0]}
        | {key: value for key, value in layer.state_dict().items() if not key.startswith("conv")}
    )
    x, bottleneck = torch.randn(1, 3, 9, 8), torch.randn(1, 5)
    torch.testing.assert_close(layer(x, bottleneck), plain(x, bottleneck), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_strength_goes_from_the_photos_manner_to_the_styles():
    network = small()
    photo, style = torch.rand(1, 3, 32, 36) * 2 - 1, torch.rand(1, 3, 50, 40) * 2 - 1
    own, wanted = network.describe(photo), network.describe(style)
    assert torch.equal(network.stylize(photo, style), network.paint(photo, wanted))
    torch.testing.assert_close(network.stylize(photo, style, strength=0.0), network.paint(photo, own))
    half = network.paint(photo, (own + wanted) / 2)
    torch.testing.assert_close(network.stylize(photo, style, strength=0.5), half)
    network.strength = 0.5
    torch.testing.assert_close(network(photo, style), half)


def test_styles_are_mixed_by_their_shares():
    bottlenecks = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    assert stylization.mix(bottlenecks, [1, 3]).tolist() == [[0.25, 3.0]]
    for shares in ([1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="2 styles were given"):
            stylization.mix(bottlenecks, shares)


def test_style_pictures_are_brought_to_256_px():
    assert stylization.fit(torch.zeros(2, 3, 300, 99)).shape == (2, 3, 256, 256)
    right = torch.zeros(1, 3, 256, 256)
    assert stylization.fit(right) is right


def site(key: str) -> str:
    """TensorFlow's name of the place of a styled convolution, such as residual/residual1/conv1."""
    kind, number, *rest = key.split(".")
    if kind == "residuals":
        return f"residual/residual{int(number) + 1}/{rest[0]}"
    return f"expand/conv{int(number) + 1}/conv"


def variables(network: stylization.Stylization, *, tool: str = "") -> dict[str, Tensor]:
    """Write a network with batch norms as TensorFlow's variables; `tool` is what separable convolutions are called."""
    found: dict[str, Tensor] = {}
    for key, tensor in network.transformer.state_dict().items():
        value = tensor.clone()
        parts = key.split(".")
        kernel = value.permute(2, 3, 1, 0).contiguous() if value.ndim == 4 else value
        if parts[0] == "contract":
            leaf = {"weight": "weights", "norm.bias": "BatchNorm/beta", "norm.running_mean": "BatchNorm/moving_mean",
                    "norm.running_var": "BatchNorm/moving_variance"}.get(".".join(parts[2:]))  # fmt: skip
            if leaf:
                found[f"transformer/contract/conv{int(parts[1]) + 1}/{leaf}"] = kernel
        elif "gamma" in parts or "beta" in parts:
            name = f"style_params/transformer/{site(key)}/StyleNorm/Conv{'_1' if 'gamma' in parts else ''}"
            full = f"{name}/{'weights' if parts[-1] == 'weight' else 'biases'}"
            found[full] = value.T[None, None].contiguous() if value.ndim == 2 else value
        elif tool:
            first = parts[-2] == "0"
            scope, _, conv = site(key).rpartition("/")
            leaf = "depthwise_weights" if first else "pointwise_weights"
            order = (2, 3, 0, 1) if first else (2, 3, 1, 0)
            found[f"transformer/{scope}/{tool}{conv}/{leaf}"] = value.permute(order).contiguous()
        else:
            found[f"transformer/{site(key)}/weights"] = kernel
    return found | {"transformer/contract/conv1/BatchNorm/Const": torch.ones(4)}


def inception_scopes() -> dict[str, str]:
    """TensorFlow's scopes by our units, for the modules whose names are irregular and one that is not."""
    return {
        "stem.0": "Conv2d_1a_3x3",
        "stem.3": "Conv2d_3b_1x1",
        "mixed.1.branches.1.0": "Mixed_5c/Branch_1/Conv2d_0b_1x1",
        "mixed.1.branches.1.1": "Mixed_5c/Branch_1/Conv_1_0c_5x5",
        "mixed.3.branches.0.0": "Mixed_6a/Branch_0/Conv2d_1a_1x1",
        "mixed.3.branches.1.2": "Mixed_6a/Branch_1/Conv2d_1a_1x1",
        "mixed.7.branches.2.4": "Mixed_6e/Branch_2/Conv2d_0e_1x7",
        "mixed.7.branches.3.0": "Mixed_6e/Branch_3/Conv2d_0b_1x1",
    }


def scope_names() -> list[str]:
    """Every convolution of Inception-v3 up to Mixed_6e, as TensorFlow calls them."""
    found = [f"Conv2d_{name}" for name in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")]
    for module, one in (("5b", ("Conv2d_0a_1x1", "Conv2d_0b_5x5")), ("5c", ("Conv2d_0b_1x1", "Conv_1_0c_5x5")),
                        ("5d", ("Conv2d_0a_1x1", "Conv2d_0b_5x5"))):  # fmt: skip
        branches = (("Conv2d_0a_1x1",), one, ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_0c_3x3"), ("Conv2d_0b_1x1",))
        found += [f"Mixed_{module}/Branch_{number}/{name}" for number, chain in enumerate(branches) for name in chain]
    found += ["Mixed_6a/Branch_0/Conv2d_1a_1x1"]
    found += [f"Mixed_6a/Branch_1/{name}" for name in ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_1a_1x1")]
    short = ("Conv2d_0a_1x1", "Conv2d_0b_1x7", "Conv2d_0c_7x1")
    long = ("Conv2d_0a_1x1", "Conv2d_0b_7x1", "Conv2d_0c_1x7", "Conv2d_0d_7x1", "Conv2d_0e_1x7")
    for module in "bcde":
        branches = (("Conv2d_0a_1x1",), short, long, ("Conv2d_0b_1x1",))
        found += [f"Mixed_6{module}/Branch_{number}/{name}" for number, chain in enumerate(branches) for name in chain]
    return [f"InceptionV3/{name}" for name in found]


def scopes() -> dict[str, str]:
    """TensorFlow's scopes by our units."""
    with torch.device("meta"):
        keys = predictors.Inception().state_dict()
    units = [key.removesuffix(".0.weight") for key in keys if key.endswith(".0.weight")]
    return {unit: f"InceptionV3/{conversion.unit(f'{unit}.0')}" for unit in units}


def test_inceptions_scopes_are_those_of_tensorflow():
    assert inception_scopes().items() <= {ours: name.split("/", 1)[1] for ours, name in scopes().items()}.items()
    assert sorted(scopes().values()) == sorted(scope_names())


def test_a_full_checkpoint_converts_with_its_norms():
    with torch.device("meta"):
        shapes = stylization.Stylization(numbers=7, width=0.125).state_dict()
    network = small(norm="batch")
    arrays = variables(network)
    for ours, scope in scopes().items():
        weight = shapes[f"predictor.{ours}.0.weight"]
        arrays[f"{scope}/weights"] = torch.randn(weight.shape[2], weight.shape[3], weight.shape[1], weight.shape[0])
        for leaf in ("beta", "moving_mean", "moving_variance"):
            arrays[f"{scope}/BatchNorm/{leaf}"] = torch.rand(weight.shape[0])
    arrays |= {"Conv/weights": torch.randn(1, 1, 768, 7), "Conv/biases": torch.randn(7), "global_step": torch.ones(1)}
    arrays["InceptionV3/Mixed_5b/concat/axis"] = torch.tensor(3)  # the graph's own number
    made = convert.convert(arrays, "stylization")
    assert isinstance(made, stylization.Stylization)
    assert isinstance(made.predictor, predictors.Inception)
    scope, unit = "InceptionV3/Mixed_6e/Branch_2/Conv2d_0e_1x7", made.predictor.mixed.get_submodule("7.branches.2.4.0")
    assert isinstance(unit, predictors.NormedConvolution)
    x = torch.randn(1, unit.in_channels, 3, 9)
    plain = F.conv2d(x, arrays[f"{scope}/weights"].permute(3, 2, 0, 1), padding=(0, 3))
    beta, mean, variance = (arrays[f"{scope}/BatchNorm/{name}"] for name in ("beta", "moving_mean", "moving_variance"))
    expected = F.batch_norm(plain, mean, variance, None, beta, eps=1e-3)
    torch.testing.assert_close(unit(x), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("tool", ["", "dilate_"])
@torch.inference_mode()
def test_a_transformer_for_browsers_converts(tool: str):
    network = small(norm="batch", separable=bool(tool), padding="zero")
    arrays = variables(network, tool=tool) | {"transformer/contract/Pad/paddings": torch.zeros(4, 2, dtype=torch.int32)}
    made = convert.convert(arrays, "stylization-separable" if tool else "stylization-transformer")
    photo, bottleneck = torch.rand(1, 3, 16, 20), torch.randn(1, 7)
    torch.testing.assert_close(made(photo, bottleneck), network.transformer(photo, bottleneck), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_mobile_variables_convert_with_their_norms():
    network = small(norm="batch")
    arrays = variables(network)
    leaves = {"weight": "weights", "norm.weight": "BatchNorm/gamma", "norm.bias": "BatchNorm/beta"}
    leaves |= {"norm.running_mean": "BatchNorm/moving_mean", "norm.running_var": "BatchNorm/moving_variance"}
    named = {"stem": "MobilenetV2/Conv", "head": "MobilenetV2/Conv_1", "bottleneck": "mobilenet_conv/Conv"}
    for key, value in network.predictor.state_dict().items():
        module, leaf = key.split(".", 1)
        scope = named.get(module)
        kernel = value.permute(2, 3, 1, 0).contiguous() if value.ndim == 4 else value
        if scope is None:
            number = module.removeprefix("block")
            part, leaf = leaf.split(".", 1)
            scope = f"MobilenetV2/expanded_conv{'' if number == '0' else '_' + number}/{part}"
            if part == "depthwise" and leaf == "weight":
                arrays[f"{scope}/depthwise_weights"] = value.permute(2, 3, 0, 1).contiguous()
                continue
        name = "biases" if leaf == "bias" else leaves.get(leaf)
        if name:
            arrays[f"{scope}/{name}"] = kernel
    made = convert.convert(arrays, "stylization-mobile")
    assert isinstance(made, stylization.Stylization)
    style = torch.rand(1, 3, 64, 50)
    torch.testing.assert_close(made.predictor(style), network.predictor(style), atol=1e-4, rtol=1e-3)


def test_a_transformer_without_its_predictor_is_refused():
    with pytest.raises(CheckpointError, match=r"MobilenetV2/Conv/weights missing, expected \(3, 3, 3, 32\)"):
        convert.convert(variables(small(norm="batch")), "stylization-mobile")


FILES = ("stylization_mobile.transformer.safetensors", "stylization_mobile.predictor.safetensors")


@pytest.fixture(scope="module")
def fixture(conformance_dir: Path) -> dict[str, Tensor]:
    return load_file(conformance_dir / "stylization_mobile.io.safetensors")


@pytest.fixture(scope="module")
def released(conformance_dir: Path) -> stylization.Stylization:
    parts = [convert.read(conformance_dir / file) for file in FILES]
    network = convert.convert(parts[0] | parts[1], "stylization-mobile")
    assert isinstance(network, stylization.Stylization)
    return network


@torch.inference_mode()
def test_parity_of_the_predictor(released: stylization.Stylization, fixture: dict[str, Tensor]):
    bottleneck = released.predictor(fixture["style_u8"] / 255)
    assert (bottleneck - fixture["bottleneck_float"]).abs().max() < 1e-3
    assert torch.cosine_similarity(bottleneck, fixture["bottleneck"]).item() > 0.9995
    assert (bottleneck - fixture["bottleneck"]).abs().max() < 0.06


@torch.inference_mode()
def test_parity_of_the_transformer(released: stylization.Stylization, fixture: dict[str, Tensor]):
    made = released.transformer(fixture["content_u8"] / 255, fixture["bottleneck"])
    assert (made - fixture["output"]).abs().max() < 1e-4


@torch.inference_mode()
def test_the_command_reads_a_folder(
    conformance_dir: Path, fixture: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "released"
    source.mkdir()
    for file in FILES:
        shutil.copy(conformance_dir / file, source)
    monkeypatch.setattr(sys, "argv", ["convert", "stylization-mobile", str(source), str(tmp_path / "out")])
    convert.command()
    model = models.load(str(tmp_path / "out"))
    made = model(fixture["content_u8"] / 127.5 - 1, fixture["style_u8"] / 127.5 - 1)
    assert ((made + 1) / 2 - fixture["output"]).abs().mean() < 0.01  # the expected picture has the int8 bottleneck


def test_separable_and_plain_transformers_refuse_each_other():
    for separable, other in ((True, "transformer"), (False, "separable")):
        arrays = variables(small(norm="batch", separable=separable), tool="dilate_" if separable else "")
        with pytest.raises(CheckpointError, match=r"transformer/residual/residual1/\S+weights missing"):
            convert.convert(arrays, f"stylization-{other}")


def test_only_the_kind_that_was_compared_says_so():
    padding = {"transformer/contract/Pad/paddings": torch.zeros(4, 2)}
    arrays = variables(small(norm="batch"))
    assert not convert.compared(arrays, "stylization-transformer")
    assert not convert.compared(arrays | padding, "stylization-transformer")
    state = small(norm="folded").transformer.state_dict()
    short = conversion.official(state, {})
    assert convert.compared(short, "stylization-transformer")
    assert not convert.compared(short, "stylization-separable")
    assert convert.convert(short, "stylization-transformer").state_dict().keys() == state.keys()


def test_the_command_reads_the_transformer_alone(
    conformance_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = conformance_dir / FILES[0]
    monkeypatch.setattr(sys, "argv", ["convert", "stylization-transformer", str(file), str(tmp_path / "out")])
    convert.command()
    assert "compared with the reference" in capsys.readouterr().out
    network = stylization.Transformer.from_pretrained(tmp_path / "out")
    assert count(network) == 177_718


def test_a_folder_without_tensors_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="holds none of"):
        convert.read(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    assert list(convert.read(tmp_path)) == ["one.a"]

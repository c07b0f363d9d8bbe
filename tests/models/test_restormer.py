"""Restormer: counts, the blocks by hand, official names, and parity with the reference."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models import convert, discriminators, image, layers, registry, restormer
from models.conversion import restormer as official
from models.registry import CheckpointError

SMALL = {"dim": 4, "blocks": (1, 2, 1, 1), "refinement": 2, "heads": (1, 2, 2, 4)}
NAMES = (
    (r"^enter\.", "patch_embed.proj."),
    (r"^leave\.", "output."),
    (r"^(down|up|reduce)\.(\d)", ""),
    (r"^(en|de)coder\.(\d)", ""),
    (r"attention_norm\.", "norm1.body."),
    (r"gate_norm\.", "norm2.body."),
    (r"attention\.depth", "attn.qkv_dwconv"),
    (r"attention\.leave", "attn.project_out"),
    (r"attention\.", "attn."),
    (r"gate\.enter", "ffn.project_in"),
    (r"gate\.depth", "ffn.dwconv"),
    (r"gate\.leave", "ffn.project_out"),
)
LEVELS = {
    **{f"encoder.{n}.": f"encoder_level{n + 1}." for n in range(3)},
    **{f"decoder.{n}.": f"decoder_level{n + 1}." for n in range(3)},
    **{f"down.{n}.": f"down{n + 1}_{n + 2}.body." for n in range(3)},
    **{f"up.{n}.": f"up{n + 2}_{n + 1}.body." for n in range(3)},
    **{f"reduce.{n}.": f"reduce_chan_level{n + 1}." for n in range(3)},
}


def official_of(network: nn.Module) -> dict[str, Tensor]:
    """Write a network under the released names."""
    found = {}
    for key, tensor in network.state_dict().items():
        for ours, theirs in LEVELS.items():
            key = theirs + key.removeprefix(ours) if key.startswith(ours) else key
        for pattern, theirs in NAMES:
            key = re.sub(pattern, theirs, key)
        found[key] = tensor.clone()
    return found


def shaken(**settings: Any) -> restormer.Restormer:
    """A small network none of whose tensors is at a value that hides a mistake."""
    network = restormer.Restormer(**SMALL | settings).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def pictures(height: int, width: int, *, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width) * 2 - 1


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ufrgan-paper-size", 19_938_836),
        ("ufrgan-full", 26_126_644),
        ("ufrgan-tiny-24", 3_813_230),
        ("ufrgan-tiny-16", 1_006_739),
        ("ufrgan-tiny-8", 208_225),
    ],
)
def test_parameter_counts(name: str, count: int):
    card = next(card for card in restormer.CARDS if card.name == name)
    with torch.device("meta"):
        assert layers.parameter_count(card.build()) == count


def test_counts_without_bias_and_in_grey():
    with torch.device("meta"):
        assert layers.parameter_count(restormer.Restormer(norm="bias-free")) == 26_111_668
        assert layers.parameter_count(restormer.Restormer(norm="bias-free", channels=1)) == 26_109_076


def test_the_pair_has_the_papers_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(discriminators, "initialize", lambda module: None)  # slow without memory to fill
    with torch.device("meta"):
        pair = restormer.UFRGAN()
    assert layers.parameter_count(pair) == 45_407_146
    assert layers.parameter_count(pair.degraded_to_clean) == layers.parameter_count(pair.clean_to_degraded)
    assert layers.parameter_count(pair.clean_discriminator) == 2_764_737


def test_the_pair_translates_both_ways():
    pair = restormer.UFRGAN(dim=8, blocks=(1, 1, 1, 1), refinement=1)
    degraded, clean = pictures(16, 24), pictures(16, 24)
    restored, spoilt = pair(degraded, clean)
    torch.testing.assert_close(restored, pair.degraded_to_clean(degraded))
    torch.testing.assert_close(spoilt, pair.clean_to_degraded(clean))


def test_norm_with_bias_whitens_each_pixel():
    norm = restormer.PixelNorm(6, kind="with-bias")
    assert norm.bias is not None
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    x = torch.randn(2, 6, 3, 5) * 2 + 1
    whitened = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = torch.einsum("bchw,c->bchw", whitened, norm.weight) + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


def test_norm_without_bias_keeps_the_mean():
    norm = restormer.PixelNorm(6, kind="bias-free")
    x = torch.randn(2, 6, 3, 5) + 3
    expected = x / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), expected)
    assert [key for key, _ in norm.named_parameters()] == ["weight"]


def test_attention_is_its_formula():
    attention = restormer.ChannelAttention(6, heads=2)
    nn.init.uniform_(attention.temperature, 1, 3)
    x = torch.randn(2, 6, 4, 5)
    q, k, v = attention.depth(attention.qkv(x)).reshape(2, 3, 2, 3, 20).unbind(1)
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    mixed = ((q @ k.transpose(-2, -1)) * attention.temperature).softmax(-1) @ v
    torch.testing.assert_close(attention(x), attention.leave(mixed.reshape(2, 6, 4, 5)))


def test_attention_of_nothing_has_a_gradient():
    attention = restormer.ChannelAttention(4, heads=2)
    x = torch.zeros(1, 4, 4, 4, requires_grad=True)
    attention(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_attention_does_not_depend_on_the_number_of_pixels():
    attention = restormer.ChannelAttention(4, heads=2)
    nn.init.zeros_(attention.depth.weight)
    nn.init.ones_(attention.depth.weight[:, :, 1, 1])
    x = torch.randn(1, 4, 6, 6)
    for one, four in zip(attention.correlate(x), attention.correlate(x.repeat(1, 1, 2, 2)), strict=True):
        torch.testing.assert_close(one, four)


def test_parts_make_the_attention_of_the_whole():
    attention = restormer.ChannelAttention(4, heads=2)
    nn.init.zeros_(attention.depth.weight)
    nn.init.ones_(attention.depth.weight[:, :, 1, 1])
    left, right = torch.randn(1, 4, 6, 6), torch.randn(1, 4, 6, 6) + 2
    whole = attention(torch.cat([left, right], dim=3))
    halves = zip(attention.correlate(left), attention.correlate(right), strict=True)
    joined = tuple((a + b) / 2 for a, b in halves)

    def remember(compute: Callable[[], Any], *_: Any) -> Any:
        return joined

    attention.memory = remember
    torch.testing.assert_close(torch.cat([attention(left), attention(right)], dim=3), whole)


def test_one_half_gates_the_other():
    gate = restormer.GatedFeedForward(4, expansion=2.66)
    x = torch.randn(1, 4, 5, 5)
    wide = gate.depth(gate.enter(x))
    assert wide.shape[1] == 20
    torch.testing.assert_close(gate(x), gate.leave(F.gelu(wide[:, :10]) * wide[:, 10:]))


def test_forward_restores_in_the_unit_range():
    network = shaken()
    photo = pictures(16, 24)
    torch.testing.assert_close(network(photo), 2 * network.restore((photo + 1) / 2) - 1)


def test_a_network_that_adds_nothing_changes_nothing():
    network = restormer.Restormer(**SMALL)
    nn.init.zeros_(network.leave.weight)
    photo = pictures(16, 16)
    torch.testing.assert_close(network(photo), photo)


def test_a_grey_network_sees_the_luminance():
    network = shaken(channels=1)
    photo = pictures(16, 16)
    made = network(photo)
    assert torch.equal(made[:, 0], made[:, 2])
    torch.testing.assert_close(made[:, :1], network(layers.luma(photo).repeat(1, 3, 1, 1))[:, :1])


@pytest.mark.parametrize("size", [(250, 333), (33, 47)])
def test_odd_sizes_survive_pad_and_crop(size: tuple[int, int]):
    card = next(card for card in restormer.CARDS if card.name == "ufrgan-tiny-8")
    model = registry.Model(card, restormer.Restormer(**SMALL)).eval()
    photo = pictures(*size)
    with torch.inference_mode():
        made = model(photo)
    assert made.shape == photo.shape
    padded, _ = image.pad(photo, 8)
    assert padded.shape[-1] % 8 == padded.shape[-2] % 8 == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": (1, 1, 1)}, "expected four numbers"),
        ({"dim": 5}, "dim must be even"),
        ({"heads": (3, 1, 1, 1)}, "divide by its heads"),
        ({"norm": "batch"}, "norm is 'batch'"),
        ({"channels": 2}, "channels 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        restormer.Restormer(**SMALL | settings)


def test_settings_are_read_from_the_shapes():
    network = shaken(norm="bias-free", channels=1, expansion=2.0)
    found = official.settings(official_of(network))
    assert found == SMALL | {
        "blocks": [1, 2, 1, 1],
        "heads": [1, 2, 2, 4],
        "norm": "bias-free",
        "channels": 1,
        "expansion": 2.0,
    }


@pytest.mark.parametrize("expansion", [2.66, 2.0, 1.1, 8 / 3, 3.14159])
def test_the_expansion_makes_the_same_widths(expansion: float):
    with torch.device("meta"):
        network = restormer.Restormer(dim=48, blocks=(1, 1, 1, 1), refinement=0, expansion=expansion)
        read = official.expansion(official_of(network), 48)
    assert [int(read * 48 * 2**n) for n in range(4)] == [int(expansion * 48 * 2**n) for n in range(4)]
    assert read == pytest.approx(expansion, abs=0.02)


@pytest.mark.parametrize("settings", [{}, {"norm": "bias-free"}, {"channels": 1}, {"expansion": 1.5, "refinement": 1}])
def test_official_names_make_the_same_network(settings: dict[str, Any]):
    network = shaken(**settings)
    tensors = official_of(network)
    assert "encoder_level2.1.attn.qkv_dwconv.weight" in tensors
    assert {"up4_3.body.0.weight", "down1_2.body.0.weight", "reduce_chan_level3.weight"} <= tensors.keys()
    made = convert.convert(tensors, "restormer")
    photo = pictures(16, 16)
    assert torch.equal(made(photo), network(photo))


def test_two_views_at_once_are_refused():
    tensors = official_of(shaken())
    tensors["patch_embed.proj.weight"] = torch.zeros(4, 6, 3, 3)
    with pytest.raises(CheckpointError, match=r"patch_embed\.proj\.weight .*\(4, 6, 3, 3\), expected \(4, 3, 3, 3\)"):
        convert.convert(tensors, "restormer")


def test_what_is_wrong_is_named_and_not_what_was_read_from_it():
    tensors = official_of(shaken())
    tensors["encoder_level1.0.attn.temperature"] = torch.zeros(2, 1, 1)
    with pytest.raises(CheckpointError) as caught:
        convert.convert(tensors, "restormer")
    wrong = "encoder_level1.0.attn.temperature has shape (2, 1, 1), expected (1, 1, 1)"
    assert str(caught.value) == f"the file does not fit restormer: {wrong}."


@torch.inference_mode()
def test_parity_with_the_reference(conformance_dir: Path):
    network = convert.convert(convert.read(conformance_dir / "restormer_withbias.weights.safetensors"), "restormer")
    fixture = load_file(conformance_dir / "restormer_withbias.io.safetensors")
    assert isinstance(network, restormer.Restormer)
    assert (network.restore(fixture["x"]) - fixture["y"]).abs().max() < 5e-5


def test_the_command_writes_a_folder_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network = shaken()
    save_file({f"params.{key}": tensor for key, tensor in official_of(network).items()}, tmp_path / "a.safetensors")
    monkeypatch.setattr(sys, "argv", ["convert", "restormer", str(tmp_path / "a.safetensors"), str(tmp_path / "out")])
    convert.command()
    model = models.load(str(tmp_path / "out"))
    assert model.card.name == "ufrgan-full"
    photo = pictures(32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(model.network(photo), network(photo))
    assert "non-commercial" in (tmp_path / "out" / "README.md").read_text()

"""Optimisation of pixels: the identities between the conventions, presets, and what the descent promises."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from models import download, layers, nst, vgg
from models.registry import CheckpointError


def pictures(height: int, width: int, *, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width) * 2 - 1


def painter(**settings: object) -> nst.NST:
    """The smallest network, with features that need no file."""
    torch.manual_seed(0)
    return nst.NST(**{"preset": "vgg16-shallow", "features": "random", "steps": 4, **settings})


@pytest.mark.parametrize(("preset", "count"), [("vgg16", 7_635_264), ("vgg19", 12_944_960)])
def test_the_frozen_trunks_have_the_published_sizes(preset: str, count: int):
    with torch.device("meta"):
        network = nst.NST(preset=preset)
    assert layers.parameter_count(network) == count
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_presets_take_the_layers_of_their_papers():
    report, gatys = nst.PRESETS["vgg16"], nst.PRESETS["vgg19"]
    assert (report.content, report.style) == ("relu4_3", ("relu1_2", "relu2_2", "relu3_3", "relu4_3"))
    assert (gatys.content, gatys.style[0], gatys.style[-1]) == ("relu4_2", "relu1_1", "relu5_1")
    assert [vgg.indices("vgg16")[name] for name in report.style] == [3, 8, 15, 22]
    assert [vgg.indices("vgg19")[name] for name in gatys.style] == [1, 6, 11, 20, 29]
    assert vgg.indices("vgg19")["relu4_2"] == 22


def test_style_losses_of_all_conventions_are_multiples_of_one_another():
    a, b = torch.randn(1, 6, 5, 7), torch.randn(1, 6, 5, 7)
    n, m = 6, 35
    g, target = (x.flatten(2) @ x.flatten(2).mT for x in (a, b))  # the papers' undivided G
    literal = (g - target).square().sum() / (4 * n**2 * m**2)
    energy = nst.style_loss(nst.gram(a), nst.gram(b))
    torch.testing.assert_close(energy, literal)
    torch.testing.assert_close(((g / m - target / m) ** 2).mean(), 4 * energy)
    torch.testing.assert_close(nst.style_loss(nst.gram(a), nst.gram(b), reduction="mean"), 4 * energy)
    per_channel = nst.style_loss(nst.gram(a), nst.gram(b), reduction="mean-channels")
    torch.testing.assert_close(per_channel, 4 * energy / n**2)
    torch.testing.assert_close(((g / (n * m) - target / (n * m)) ** 2).mean(), per_channel)


def test_half_the_sum_of_squares_is_nm_over_2_times_the_mean():
    a, b = torch.randn(1, 6, 5, 7), torch.randn(1, 6, 5, 7)
    half = nst.content_loss(a, b)
    torch.testing.assert_close(half, 0.5 * (a - b).square().sum())
    torch.testing.assert_close(half, 6 * 35 / 2 * nst.content_loss(a, b, reduction="mean"))
    assert nst.content_loss(a, a) == 0
    assert nst.style_loss(nst.gram(a), nst.gram(a)) == 0


def test_gram_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # two channels of two pixels
    assert nst.gram(features).tolist() == [[[2.5, 0.5], [0.5, 5.0]]]


def test_the_loss_is_content_plus_weighted_mean_of_styles():
    network = painter(style_weight=3.0)
    photo, style, pixels = pictures(20, 24), pictures(20, 24), pictures(20, 24)
    made, wanted, kept = (network.trunk((x + 1) / 2, network.wanted) for x in (pixels, style, photo))
    styles = [nst.style_loss(nst.gram(made[name]), nst.gram(wanted[name])) for name in network.preset.style]
    expected = nst.content_loss(made["relu2_2"], kept["relu2_2"]) + 3 * sum(styles) / 2
    torch.testing.assert_close(network.objective(network.trunk, photo, style)(pixels), expected)


@pytest.mark.parametrize("reduction", ["gatys", "mean", "mean-channels"])
def test_the_loss_falls_and_progress_is_told(reduction: str):
    told: list[tuple[int, int, float]] = []
    network = painter(reduction=reduction, steps=8)
    network.stylize(pictures(24, 24), pictures(30, 20), progress=lambda *news: told.append(news))
    assert [count for count, _, _ in told] == list(range(1, 9))
    assert {total for _, total, _ in told} == {8}
    assert min(loss for _, _, loss in told) < 0.9 * told[0][2]


def test_one_evaluation_gives_the_photo_back():
    photo = pictures(18, 20)
    torch.testing.assert_close(painter(steps=1)(photo, pictures(16, 16)), photo)


def test_it_works_where_gradients_are_off():
    photo, style = pictures(17, 19), pictures(20, 20)
    expected = painter()(photo, style)
    with torch.inference_mode():
        assert torch.equal(painter()(photo.clone(), style.clone()), expected)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(painter()(photo, style), expected)
    assert not expected.requires_grad


def test_noise_is_drawn_from_the_seed():
    photo, style = pictures(16, 16), pictures(16, 16)
    first, again, other = (painter(start="noise", seed=seed)(photo, style) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_coarse_to_fine_doubles_up_to_the_photos_size():
    network = painter(levels=3, steps=5)
    assert network.passes(torch.zeros(1, 3, 70, 64)) == [(4, 5), (2, 2), (1, 2)]
    assert network.passes(torch.zeros(1, 3, 40, 63)) == [(2, 5), (1, 2)]
    assert network.passes(torch.zeros(1, 3, 16, 16)) == [(1, 5)]
    told: list[tuple[int, int, float]] = []
    made = network.stylize(pictures(33, 41), pictures(20, 20), progress=lambda *news: told.append(news))
    assert made.shape == (1, 3, 33, 41)
    assert [count for count, _, _ in told] == list(range(1, 8))


def test_the_style_picture_is_brought_to_the_photos_number_of_pixels():
    assert nst.resize(torch.zeros(1, 3, 100, 50), 0.5).shape == (1, 3, 50, 25)
    assert nst.resize(torch.zeros(1, 3, 100, 20), 0.1).shape == (1, 3, 16, 16)
    same = torch.zeros(1, 3, 40, 40)
    assert nst.resize(same, 1) is same


def test_the_best_picture_is_kept_where_the_loss_stops_being_a_number():
    def broken(pixels: Tensor) -> Tensor:
        return (pixels * torch.nan).sum()

    start = pictures(16, 16)
    assert torch.equal(nst.descend(broken, start, steps=3, report=lambda *news: None), start)


@pytest.mark.parametrize(
    "settings",
    [{"preset": "vgg11"}, {"reduction": "sum"}, {"features": "none"}, {"start": "style"}, {"steps": 0}, {"levels": 0}],
)
def test_unknown_settings_are_refused(settings: dict[str, object]):
    with pytest.raises(ValueError, match="expected"):
        nst.NST(**settings)


def unreachable(official: download.Download) -> Path:
    raise OSError(f"{official.file} could not be downloaded.")


def test_missing_features_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NIJIGEN_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(download, "fetch", unreachable)
    with pytest.raises(CheckpointError, match=r"vgg16-397923af\.pth could .* Or put vgg16_to_relu2_2\.safetens"):
        painter(features="imagenet")(pictures(16, 16), pictures(16, 16))


def test_local_features_are_taken_once_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = vgg.Trunk("vgg16", "relu2_2")
    save_file({f"features.{key}": value for key, value in source.features.state_dict().items()},
              tmp_path / "vgg16_to_relu2_2.safetensors")  # fmt: skip
    monkeypatch.setenv("NIJIGEN_WEIGHTS", str(tmp_path))
    network = painter(features="imagenet")
    network(pictures(16, 16), pictures(16, 16))
    assert bool(network.trunk.filled)
    network.save_pretrained(tmp_path / "out")
    monkeypatch.delenv("NIJIGEN_WEIGHTS")
    loaded = nst.NST.from_pretrained(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["preset"] == "vgg16-shallow"
    assert torch.equal(loaded.trunk.features[0].weight, source.features[0].weight)
    assert bool(loaded.trunk.filled)


def test_only_torchvisions_trunks_can_be_filled():
    with pytest.raises(ValueError, match="width 64"):
        vgg.Trunk("vgg16", "relu1_1", width=8).fill()
    with pytest.raises(ValueError, match="no layer 'relu6_1'"):
        vgg.Trunk("vgg16", "relu6_1")


def test_preprocessing_is_torchvisions_and_travels_with_the_weights():
    trunk = vgg.Trunk("vgg16", "relu1_1", width=4)
    mean, deviation = torch.tensor(layers.IMAGENET_MEAN), torch.tensor(layers.IMAGENET_DEVIATION)
    x = torch.rand(3)
    torch.testing.assert_close(trunk.matrix @ x + trunk.offset, (x - mean) / deviation)
    assert {"matrix", "offset", "filled"} <= trunk.state_dict().keys()


def test_the_trained_features_are_torchvisions(weights_dir: Path):
    trunk = vgg.Trunk("vgg16", "relu2_2")
    trunk.fill()
    file = load_file(weights_dir / "vgg16_to_relu2_2.safetensors")
    x = torch.rand(1, 3, 24, 20)
    mean, deviation = (
        torch.tensor(value).view(1, 3, 1, 1) for value in (layers.IMAGENET_MEAN, layers.IMAGENET_DEVIATION)
    )
    y = (x - mean) / deviation
    for index in (0, 2, 5, 7):
        y = F.max_pool2d(y, 2) if index == 5 else y
        y = F.conv2d(y, file[f"features.{index}.weight"], file[f"features.{index}.bias"], padding=1).relu()
    torch.testing.assert_close(trunk(x)["relu2_2"], y, atol=1e-5, rtol=1e-5)


def test_official_weights_are_cut_to_the_trunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = vgg.Trunk("vgg16", "relu1_2")
    whole = {f"features.{key}": value for key, value in source.features.state_dict().items()}
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(whole | {"classifier.0.weight": torch.zeros(1)}, cache / "vgg16-397923af.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("NIJIGEN_WEIGHTS", raising=False)
    trunk = vgg.Trunk("vgg16", "relu1_1")
    trunk.fill()
    assert torch.equal(trunk.features[0].weight, source.features[0].weight)

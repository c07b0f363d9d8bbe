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


def losses(network: nst.NST, photo: Tensor, style: Tensor, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Content and style of each layer, unweighted, without the painter's own way through the trunk."""
    made, wanted, kept = (network.trunk((x + 1) / 2, network.wanted) for x in (pixels, style, photo))
    content, reduction = network.preset.content, network.reduction
    styles = [
        nst.style_loss(nst.gram(made[name]), nst.gram(wanted[name]), reduction=reduction)
        for name in network.preset.style
    ]
    return nst.content_loss(made[content], kept[content], reduction=reduction), styles


# What each convention gives content, then style in relu1_2 (64 channels) and relu2_2 (128) for a photo of 20 x 24 px.
GOLDEN = {
    "gatys": (1.0, 64.849854 * 128 * 120 / 2, 64.849854 * 128 * 120 / 2),  # the content map has 10 x 12 pixels
    "mean": (1.0, 1e3 * 57.63**2 / 64**2, 1e3 * 57.63**2 / 128**2),
    "mean-channels": (1e5, 1e10, 1e10),
}


@pytest.mark.parametrize("reduction", GOLDEN)
def test_the_weights_are_those_of_the_conventions(reduction: str):
    network = painter(reduction=reduction)
    photo, style, pixels = pictures(20, 24), pictures(20, 24), pictures(20, 24)
    content, styles = losses(network, photo, style, pixels)
    alpha, *betas = GOLDEN[reduction]
    expected = alpha * content + sum(beta * loss for beta, loss in zip(betas, styles, strict=True))
    torch.testing.assert_close(network.objective(network.trunk, photo, style)(pixels), expected)


def test_given_weights_are_taken_as_they_are():
    network = painter(content_weight=5.0, style_weight=3.0)
    photo, style, pixels = pictures(20, 24), pictures(20, 24), pictures(20, 24)
    content, styles = losses(network, photo, style, pixels)
    expected = 5 * content + 3 * (styles[0] + styles[1]) / 2
    torch.testing.assert_close(network.objective(network.trunk, photo, style)(pixels), expected)


def test_conventions_without_a_choice_of_weights_differ_by_a_factor_only():
    """The literal sums and pytorch/examples agree layer by layer where 1 / N^2 is as on average."""
    literal, per_channel = nst.BALANCES["gatys"], nst.BALANCES["mean-channels"]
    channels, pixels = 512, 1000
    literal_share = [literal.style * channels * pixels / 4 for _ in range(4)]
    theirs = [
        per_channel.style / per_channel.content * channels * pixels / 2 * 4 / count**2 for count in (64, 128, 256, 512)
    ]
    assert sum(literal_share) == pytest.approx(sum(theirs))


def balance(network: nst.NST, side: int) -> float:
    """Gradient of style against that of content, for a photo that is not quite itself."""
    torch.manual_seed(2)
    photo, style, change = (F.interpolate(pictures(8, 8), size=side, mode="bilinear") for _ in range(3))
    gradients = []
    for style_weight, content_weight in ((network.style_weight, 0.0), (0.0, nst.BALANCES[network.reduction].content)):
        other = painter(reduction=network.reduction, style_weight=style_weight, content_weight=content_weight)
        pixels = (photo + 0.1 * change).requires_grad_()
        other.objective(other.trunk, photo, style)(pixels).backward()
        assert pixels.grad is not None
        gradients.append(pixels.grad.norm().item())
    return gradients[0] / gradients[1]


@pytest.mark.parametrize("reduction", GOLDEN)
def test_the_default_balance_does_not_depend_on_the_size(reduction: str):
    small, large = (balance(painter(reduction=reduction), side) for side in (32, 96))
    assert large == pytest.approx(small, rel=0.3)


def test_a_literal_style_weight_counts_less_for_larger_pictures():
    small, large = (balance(painter(style_weight=1e6), side) for side in (32, 96))
    assert small / large == pytest.approx(9, rel=0.3)


@pytest.mark.parametrize("preset", ["vgg16-shallow", "vgg16"])
def test_large_pictures_are_computed_in_stages_with_the_same_gradient(preset: str, monkeypatch: pytest.MonkeyPatch):
    network = painter(preset=preset)
    photo, style, start = pictures(24, 40), pictures(24, 24), pictures(24, 40)
    kept, found = [], []

    def keep(tensor: Tensor) -> Tensor:
        kept[-1] += tensor.numel()
        return tensor

    for limit in (24 * 40, 24 * 40 - 1):
        monkeypatch.setattr(nst, "LARGE", limit)
        kept.append(0)
        pixels = start.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = network.objective(network.trunk, photo, style)(pixels)
        loss.backward()
        found.append((loss.detach(), pixels.grad))
    torch.testing.assert_close(found[1], found[0])
    assert kept[1] < 0.1 * kept[0]


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
    first, again, other = (painter(start="noise").stylize(photo, style, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(painter(start="noise")(photo, style), painter(start="noise").stylize(photo, style, seed=0))


def test_noise_is_white_with_half_the_range_as_deviation():
    drawn = nst.noise(torch.zeros(1, 3, 96, 96), seed=0)
    assert drawn.std() == pytest.approx(0.5, abs=0.01)
    assert drawn.mean() == pytest.approx(0, abs=0.01)
    assert (drawn[..., 1:] * drawn[..., :-1]).mean() == pytest.approx(0, abs=0.01)


def test_noise_is_where_the_descent_starts(monkeypatch: pytest.MonkeyPatch):
    photo = pictures(16, 20)
    starts = spy_on_starts(monkeypatch)
    painter(start="noise", steps=1).stylize(photo, pictures(16, 16), seed=3)
    assert torch.equal(starts[0], nst.noise(photo, seed=3))


def spy_on_starts(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Collect what each descent starts from; each then ends 0.1 brighter."""
    starts: list[Tensor] = []

    def note(loss: object, start: Tensor, **_: object) -> Tensor:
        starts.append(start)
        return start + 0.1

    monkeypatch.setattr(nst, "descend", note)
    return starts


def test_coarse_to_fine_doubles_up_to_the_photos_size():
    network = painter(levels=3, steps=5)
    assert network.passes(torch.zeros(1, 3, 70, 64)) == [(4, 5), (2, 2), (1, 2)]
    assert network.passes(torch.zeros(1, 3, 40, 63)) == [(2, 5), (1, 2)]
    assert network.passes(torch.zeros(1, 3, 16, 16)) == [(1, 5)]


def test_a_finer_pass_has_200_evaluations_for_the_500_of_the_first():
    assert painter(levels=2, steps=500).passes(torch.zeros(1, 3, 64, 64)) == [(2, 500), (1, 200)]
    assert painter(levels=2, steps=1).passes(torch.zeros(1, 3, 64, 64)) == [(2, 1), (1, 1)]


def test_a_finer_pass_starts_from_the_enlarged_coarse_picture(monkeypatch: pytest.MonkeyPatch):
    photo = pictures(33, 41)
    starts = spy_on_starts(monkeypatch)
    made = painter(levels=2).stylize(photo, pictures(20, 20))
    coarse, fine = starts
    assert torch.equal(coarse, nst.resize(photo, 0.5))
    enlarged = F.interpolate(coarse + 0.1, size=(33, 41), mode="bicubic", align_corners=False)
    torch.testing.assert_close(fine, enlarged)
    torch.testing.assert_close(made, (enlarged + 0.1).clamp(-1, 1))


def test_progress_counts_over_all_photos_and_levels():
    told: list[tuple[int, int, float]] = []
    network = painter(levels=2, steps=5)
    photos = pictures(33, 41, count=3)
    made = network.stylize(photos, pictures(20, 20), progress=lambda *news: told.append(news))
    assert made.shape == photos.shape
    assert [count for count, _, _ in told] == list(range(1, 3 * 7 + 1))
    assert {total for _, total, _ in told} == {3 * 7}


def test_photos_of_a_batch_get_their_own_style():
    photos, styles = pictures(18, 20, count=2), pictures(18, 18, count=2)
    together = painter()(photos, styles)
    alone = [painter()(photo, style) for photo, style in zip(photos.split(1), styles.split(1), strict=True)]
    torch.testing.assert_close(together, torch.cat(alone))


def spy_on_lbfgs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Collect the settings of every optimiser."""
    seen: list[dict[str, object]] = []
    original = torch.optim.LBFGS

    def make(pixels: list[Tensor], **settings: object) -> torch.optim.LBFGS:
        seen.append(settings)
        return original(pixels, **settings)

    monkeypatch.setattr(torch.optim, "LBFGS", make)
    return seen


def test_the_descent_searches_along_lines_and_remembers_little(monkeypatch: pytest.MonkeyPatch):
    seen = spy_on_lbfgs(monkeypatch)
    painter()(pictures(16, 16), pictures(16, 16))
    assert seen[0]["line_search_fn"] == "strong_wolfe"
    assert seen[0]["history_size"] == nst.HISTORY == 10


def test_the_line_search_masters_a_loss_on_which_full_steps_overshoot():
    def hyperbola(pixels: Tensor) -> Tensor:
        return (1 + (10 * pixels).square()).sqrt().sum()  # straight but for a bend at 0

    start = torch.full((1, 3, 16, 16), 1.5) * torch.linspace(0.2, 1, 16)
    made = nst.descend(hyperbola, start, steps=30, report=lambda *news: None)
    assert hyperbola(made) < 1.01 * made.numel() < 0.2 * hyperbola(start)


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

"""UNIT: counts, what the directions share, noise, discriminators, and both releases' files against their formulas."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models import convert, layers, unit
from models.card import ModelCard
from models.conversion.layout import Tensors
from models.registry import CheckpointError, Model
from tests.models.unit_releases import (
    conv,
    filled,
    first_release,
    judges,
    reflected,
    run_first,
    run_second,
    second_release,
)


def pictures(height: int = 32, width: int = 40, count: int = 2) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(5)) * 2 - 1


def small(**settings: int) -> unit.UNIT:
    torch.manual_seed(2)
    return unit.UNIT(width=4, encoder_residuals=1, decoder_residuals=1, **settings)


def test_parameter_counts():
    with torch.device("meta"):
        network = unit.UNIT()
        assert layers.parameter_count(network) == 18_017_286
        assert layers.parameter_count(network.direction("photo", "anime")) == 10_188_803
        assert [layers.parameter_count(part) for part in network.encoders.values()] == [3_918_976] * 2
        assert [layers.parameter_count(part) for part in network.decoders.values()] == [3_909_507] * 2
        assert layers.parameter_count(network.shared_encoder) == 1_180_160
        assert layers.parameter_count(network.shared_decoder) == 1_180_160
        assert layers.parameter_count(unit.UNIT2018()) == 11_140_483
        assert layers.parameter_count(unit.CARDS[2].build()) == 1_131_270


def test_discriminator_counts():
    with torch.device("meta"):
        shared = unit.SharedDiscriminator()
        assert layers.parameter_count(shared) == 25_240_065
        assert [layers.parameter_count(front) for front in shared.fronts.values()] == [83_328] * 2
        assert layers.parameter_count(shared.tail) == 25_073_409
        assert layers.parameter_count(unit.GaussianDiscriminator()) == 9_308_934
        assert layers.parameter_count(unit.MultiScaleDiscriminator()) == 8_271_171


def test_codes_of_256_px_have_256_channels_of_64_px():
    with torch.device("meta"):
        photo = torch.empty(1, 3, 256, 256)
        assert unit.UNIT().encode(photo, "photo").shape == (1, 256, 64, 64)
        assert unit.UNIT2018().encode(photo).shape == (1, 256, 64, 64)


def test_both_directions_hold_the_same_shared_tensors():
    network = small()
    there, back = network.direction("photo", "anime"), network.direction("anime", "photo")
    places = [{value.data_ptr() for value in way.parameters()} for way in (there, back)]
    shared = {
        value.data_ptr() for part in (network.shared_encoder, network.shared_decoder) for value in part.parameters()
    }
    assert places[0] & places[1] == shared
    assert len(shared) == 8


@torch.inference_mode()
def test_a_direction_is_the_forward():
    network, photo = small().eval(), pictures()
    torch.testing.assert_close(network.direction("photo", "anime")(photo), network(photo))
    torch.testing.assert_close(network(photo), network.translate(photo, "photo", "anime"))


@torch.inference_mode()
def test_changing_the_shared_part_changes_both_directions_and_both_reconstructions():
    network, images = small().eval(), pictures()
    ways = [(source, target) for source in unit.DOMAINS for target in unit.DOMAINS]
    before = [network.translate(images, *way) for way in ways]
    nn.init.normal_(network.shared_decoder[0].first.weight)
    after = [network.translate(images, *way) for way in ways]
    assert all((one - other).abs().max() > 1e-4 for one, other in zip(before, after, strict=True))


def test_a_direction_trains_its_own_parts_and_the_way_back_the_others():
    network = small()
    anime = network(pictures())
    anime.square().mean().backward(retain_graph=True)
    way = {id(value) for value in network.direction("photo", "anime").parameters()}
    assert all((value.grad is not None) == (id(value) in way) for value in network.parameters())
    network.translate(anime, "anime", "photo").square().mean().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())


@pytest.mark.parametrize("entry", unit.CARDS, ids=lambda entry: entry.name)
def test_training_makes_as_many_pictures_as_there_are_photos(entry: ModelCard):
    network = entry.build(width=2)
    assert network.train()(pictures()).shape == (2, 3, 32, 40)
    assert Model(entry, network).train()(pictures(64, 67)).shape == (2, 3, 64, 67)


@pytest.mark.parametrize("network", [small(), unit.UNIT2018(width=4, residuals=1)])
@torch.no_grad()
def test_noise_is_added_in_training_alone(network: nn.Module):
    photo = pictures()
    assert not torch.equal(network.train()(photo), network(photo))
    assert torch.equal(network.eval()(photo), network(photo))


def test_the_noise_is_standard_normal():
    noise = unit.Noise()(torch.full((1, 8, 64, 64), 3.0)) - 3
    assert noise.mean().item() == pytest.approx(0, abs=0.03)
    assert noise.std().item() == pytest.approx(1, abs=0.03)


def test_dropout_acts_in_training_alone():
    block, x = unit.Residual(4, dropout=0.5), torch.randn(1, 4, 8, 8)
    assert ((block(x) - x) == 0).float().mean().item() == pytest.approx(0.5, abs=0.15)
    assert torch.equal(block.eval()(x), block(x))


def test_layer_norm_takes_the_statistics_of_the_whole_image():
    norm, x = unit.LayerNorm(3), torch.randn(2, 3, 6, 8) * 4 + 2
    taken = []

    def memory(compute):
        taken.append(compute())
        return taken[0]

    norm.memory = memory
    whole, norm.share = norm(x), 0.5
    torch.testing.assert_close(norm(x[..., :4]), whole[..., :4])
    assert len(taken) == 2


@pytest.mark.parametrize(("source", "target"), [("A", "B"), ("B", "A"), ("A", "A"), ("B", "B")])
@torch.inference_mode()
def test_the_first_release_converts(source: str, target: str):
    file = first_release(4)
    network = convert.convert(file, "unit")
    assert isinstance(network, unit.UNIT)
    domains: dict[str, unit.Domain] = {"A": "photo", "B": "anime"}
    expected = run_first(file, pictures(), source, target)
    found = network.translate(pictures(), domains[source], domains[target])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.05


@torch.inference_mode()
def test_photos_of_the_first_release_may_be_domain_b():
    file = first_release(4)
    made = convert.convert(file, "unit-reverse")(pictures())
    torch.testing.assert_close(made, run_first(file, pictures(), "B", "A"), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_sizes_of_the_first_release_are_read_from_the_file():
    file = first_release(6, residuals=(1, 2, 3, 2), halvings=1)
    network = convert.convert(file, "unit")
    assert isinstance(network, unit.UNIT)
    parts = (network.encoders["photo"], network.shared_encoder, network.shared_decoder, network.decoders["photo"])
    assert [sum(isinstance(block, unit.Residual) for block in part.children()) for part in parts] == [1, 2, 3, 2]
    torch.testing.assert_close(network(pictures()), run_first(file, pictures(), "A", "B"), atol=1e-5, rtol=0)


def test_statistics_of_old_instance_norms_are_left_out():
    file = first_release(4) | {"encode_A.3.model.1.running_mean": torch.zeros(16)}
    convert.convert(file, "unit")
    with pytest.raises(CheckpointError, match=r"encode_A\.1\.model\.1\.running_mean surplus"):
        convert.convert(file | {"encode_A.1.model.1.running_mean": torch.zeros(8)}, "unit")


@pytest.mark.parametrize(("residuals", "halvings", "width"), [(2, 2, 4), (1, 1, 6), (4, 2, 4), (1, 3, 2)])
@torch.inference_mode()
def test_the_second_release_converts(residuals: int, halvings: int, width: int):
    file = second_release(width, residuals=residuals, halvings=halvings)
    file["enc.model.0.norm.running_mean"] = torch.zeros(width)
    made = convert.convert(file, "unit2018")(pictures())
    expected = run_second(file, file, pictures(), residuals=residuals, halvings=halvings)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.05


@torch.inference_mode()
def test_the_command_takes_encoder_and_decoder_of_two_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = {domain: second_release(4, seed=seed) for seed, domain in enumerate("ab")}
    torch.save(files, tmp_path / "gen.pt")
    for family, source, target in (("unit2018", "a", "b"), ("unit2018-reverse", "b", "a")):
        out = tmp_path / family
        monkeypatch.setattr(sys, "argv", ["convert", family, str(tmp_path / "gen.pt"), str(out)])
        convert.command()
        made = models.load(str(out))(pictures(64, 64))
        expected = run_second(files[source], files[target], pictures(64, 64))
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("domains", [("",), ("a.", "b.")])
@torch.inference_mode()
def test_the_second_release_judges(domains: tuple[str, ...]):
    file = judges(domains)
    found = convert.convert(file, "unit2018-discriminator")(pictures(64, 48))
    images = pictures(64, 48)
    for scale, logits in enumerate(found):
        x = images
        for i in range(3):
            x = F.leaky_relu(reflected(file, f"{domains[-1]}cnns.{scale}.{i}.conv", x, 1, 2), 0.2)
        last = f"{domains[-1]}cnns.{scale}.3"
        torch.testing.assert_close(logits, F.conv2d(x, file[f"{last}.weight"], file[f"{last}.bias"]))
        area = F.avg_pool2d(F.pad(torch.ones_like(images), (1, 1, 1, 1)), 3, stride=2)
        images = F.avg_pool2d(F.pad(images, (1, 1, 1, 1)), 3, stride=2) / area
    assert [tuple(logits.shape) for logits in found] == [(2, 1, 8, 6), (2, 1, 4, 3)]


def first_judges(*parts: str, width: int = 4, depth: int = 3, kernel: int = 3) -> Tensors:
    """Convolutions of a discriminator of the first release; `kernel` is the side of each part's first one."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part in parts:
        shared, start = part == "model_S", width * 2 ** (depth - 1)
        for i in range(depth):
            inputs, outputs = (start * 2**i, start * 2 ** (i + 1)) if shared else (width * 2 ** (i - 1), width * 2**i)
            conv(shapes, f"{part}.{i}.model.0", outputs, inputs if i or shared else 3, 3 if i or shared else kernel)
        if part not in ("model_A", "model_B"):
            conv(shapes, f"{part}.{depth}", 1, width * 2 ** (2 * depth - 1 if shared else depth - 1), 1)
    return filled(shapes, 4)


def run_judge(w: Tensors, x: Tensor, *parts: str) -> Tensor:
    """Some parts in the order of the file: convolutions of stride 2 with zeros around, and a plain one at the end."""
    keys = [key.removesuffix(".weight") for part in parts for key in w if key.startswith(f"{part}.")]
    *halvings, last = [key for key in keys if not key.endswith(".bias")]
    for key in halvings:
        weight = w[f"{key}.weight"]
        x = F.conv2d(F.pad(x, (weight.shape[-1] // 2,) * 4), weight, w[f"{key}.bias"], stride=2)
        x = torch.where(x > 0, x, 0.01 * x)
    return F.conv2d(x, w[f"{last}.weight"], w[f"{last}.bias"])


@torch.inference_mode()
def test_the_first_release_judges_with_a_shared_tail():
    file = first_judges("model_A", "model_B", "model_S", depth=2, kernel=7)
    assert (file["model_A.0.model.0.weight"].shape, file["model_S.2.weight"].shape) == ((4, 3, 7, 7), (1, 32, 1, 1))
    made = convert.convert(file, "unit-discriminator")
    for domain, part in (("photo", "model_A"), ("anime", "model_B")):
        expected = run_judge(file, pictures(64, 48), part, "model_S")
        assert expected.shape == (2, 1, 4, 3)
        torch.testing.assert_close(made(pictures(64, 48), domain), expected)


@torch.inference_mode()
def test_the_first_release_judges_at_three_scales():
    file = first_judges(*(f"model_{scale}_{domain}" for scale in (1, 2, 4) for domain in "AB"))
    made = convert.convert(file, "unit-multiscale-discriminator")
    for domain, letter in (("photo", "A"), ("anime", "B")):
        images, found = pictures(64, 48), made(pictures(64, 48), domain)
        for scale, logits in zip((1, 2, 4), found, strict=True):
            torch.testing.assert_close(logits, run_judge(file, images, f"model_{scale}_{letter}"))
            wide = F.pad(images, (1, 1, 1, 1), mode="replicate")
            rows = (wide[..., :-2:2, :] + 2 * wide[..., 1:-1:2, :] + wide[..., 2::2, :]) / 4
            images = (rows[..., :-2:2] + 2 * rows[..., 1:-1:2] + rows[..., 2::2]) / 4
        assert [tuple(logits.shape[2:]) for logits in found] == [(8, 6), (4, 3), (2, 2)]


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("unit", "encode_A.0.model.0.weight"),
        ("unit-discriminator", "model_A.0.model.0.weight"),
        ("unit2018", "enc.model.0.conv.weight"),
        ("unit2018-discriminator", "cnns.0.0.conv.weight"),
    ],
)
def test_another_file_is_refused(family: str, key: str):
    with pytest.raises(CheckpointError, match=rf"fit {family}: {key} missing, expected \(64, 3, \d, \d\);"):
        convert.convert({"other": torch.zeros(1)}, family)


def test_parallel_training_leaves_its_name_inside_the_domains():
    files = {domain: second_release(4, seed=seed) for seed, domain in enumerate("ab")}
    flat = {f"{domain}.module.{key}": value for domain, file in files.items() for key, value in file.items()}
    made = convert.convert(flat, "unit2018")
    torch.testing.assert_close(made(pictures()), run_second(files["a"], files["b"], pictures()), atol=1e-5, rtol=0)


def test_the_half_that_is_not_taken_must_fit_too():
    file = {f"{domain}.{key}": value for domain in "ab" for key, value in second_release(4).items()}
    file["b.enc.model.1.conv.weight"] = torch.zeros(8, 4, 3, 3)
    message = r"fit unit2018: b\.enc\.model\.1\.conv\.weight has shape \(8, 4, 3, 3\), expected \(8, 4, 4, 4\)\.$"
    with pytest.raises(CheckpointError, match=message):
        convert.convert(file, "unit2018")
    file = judges(("a.", "b."))
    del file["a.cnns.1.0.conv.bias"]
    with pytest.raises(CheckpointError, match=r"fit unit2018-discriminator: a\.cnns\.1\.0\.conv\.bias missing"):
        convert.convert(file, "unit2018-discriminator")


def test_a_file_with_a_missing_tensor_is_refused():
    file = second_release(4)
    del file["dec.model.0.model.1.model.1.conv.bias"]
    with pytest.raises(CheckpointError, match=r"dec\.model\.0\.model\.1\.model\.1\.conv\.bias missing"):
        convert.convert(file, "unit2018")


def test_the_shared_discriminator_has_one_tail():
    network = unit.SharedDiscriminator(width=4, shared=2)
    logits = network(pictures(64, 64), "photo")
    assert logits.shape == (2, 1, 4, 4)
    logits.sum().backward()
    assert network.tail[0].weight.grad is not None
    assert network.fronts["anime"][0].weight.grad is None


@torch.inference_mode()
def test_smoothing_is_binomial_and_keeps_wide_pictures_whole():
    network = unit.GaussianDiscriminator(width=4)
    flat = torch.full((1, 3, 8, 20), 0.3)
    torch.testing.assert_close(network.shrink(flat), flat[..., :4, :10])
    dot = torch.zeros(1, 3, 8, 8)
    dot[..., 4, 4] = 1
    assert network.shrink(dot)[0, 0, 2, 2].item() == pytest.approx(0.25)
    shapes = [tuple(logits.shape) for logits in network(pictures(64, 128), "photo")]
    assert shapes == [(2, 1, 4, 8), (2, 1, 2, 4), (2, 1, 1, 2)]
    assert not network.state_dict().keys() & {"kernel"}

"""Inception features: those of torch-fidelity, made once per content."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from bench import backbones, datasets, inception
from bench.metrics import fid, kid


class _RandomWeights(FeatureExtractorInceptionV3):
    def load_state_dict(self, state_dict, strict=True, assign=False):  # noqa: FBT002
        return None


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.save({}, folder / "empty.pth")
    torch.manual_seed(1)
    network = _RandomWeights("random", ["768"], feature_extractor_weights_path=folder / "empty.pth")
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # else the features vanish with depth
    state = network.state_dict()
    torch.save(state, folder / "full.pth")
    early = {name: value for name, value in state.items() if name.split(".")[0] not in inception.LATER_LAYERS}
    save_file({name: value for name, value in early.items() if "num_batches" not in name}, folder / "to768.safetensors")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[datasets.ImageFile, ...]:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(2)
    for number in range(10):
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return datasets.read_set(folder, datasets.HashIndex(folder / "index.json")).files


def _extractor(weights: Path, cache: Path, *, sha256: str = "w", preset: str = "none") -> inception.Extractor:
    return inception.Extractor(
        backbones.Backbone(name="random", paths=(weights / "to768.safetensors",), sha256=sha256),
        layer="768",
        cache=cache,
        read=lambda path: np.asarray(Image.open(path))[None],
        preset=preset,
    )


def test_scores_equal_those_of_torch_fidelity(
    weights: Path, images: tuple[datasets.ImageFile, ...], tmp_path: Path
) -> None:
    for name, half in (("a", images[:5]), ("b", images[5:])):
        (tmp_path / name).mkdir()
        for file in half:
            (tmp_path / name / file.name).write_bytes(file.path.read_bytes())
    torch_fidelity.register_feature_extractor("test-to-768", _Registered)
    expected = torch_fidelity.calculate_metrics(
        input1=str(tmp_path / "a"),
        input2=str(tmp_path / "b"),
        cuda=False,
        fid=True,
        kid=True,
        kid_subset_size=4,
        kid_subsets=10,
        feature_extractor="test-to-768",
        feature_extractor_weights_path=str(weights / "full.pth"),
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    assert expected["frechet_inception_distance"] > 1e-3  # random weights still tell the two sets apart
    extractor = _extractor(weights, tmp_path / "cache")
    a, b = extractor.features(images[:5]), extractor.features(images[5:])
    assert fid.fid(a, b) == pytest.approx(expected["frechet_inception_distance"], rel=1e-3)
    value = kid.kid(a, b, subset_size=4, subsets=10, seed=2020)
    assert value == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-3)


class _Registered(inception.InceptionTo768):
    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "768"


def test_the_same_bytes_are_computed_once(
    weights: Path, images: tuple[datasets.ImageFile, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _extractor(weights, tmp_path)
    features = first.features(images[:3])
    assert first.computed == 3 and features.shape == (3, 768)
    monkeypatch.setattr(inception, "load", None)  # the second time no network may be built
    again = _extractor(weights, tmp_path)
    assert np.array_equal(again.features(images[:3]), features)
    assert again.computed == 0


@pytest.mark.parametrize("change", [{"sha256": "other"}, {"preset": "other"}])
def test_other_weights_or_another_preset_are_computed_anew(
    weights: Path, images: tuple[datasets.ImageFile, ...], tmp_path: Path, change: dict[str, str]
) -> None:
    _extractor(weights, tmp_path).features(images[:1])
    other = _extractor(weights, tmp_path, **change)
    other.features(images[:1])
    assert other.computed == 1


def test_an_interruption_loses_one_shard_at_most(
    weights: Path, images: tuple[datasets.ImageFile, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "SHARD", 2)
    whole = _extractor(weights, tmp_path / "whole").features(images[:4])
    interrupted = _extractor(weights, tmp_path / "cut")
    interrupted.features(images[:2])
    resumed = _extractor(weights, tmp_path / "cut")
    assert np.array_equal(resumed.features(images[:4]), whole)
    assert resumed.computed == 2


def test_a_partial_file_offers_no_later_layer(weights: Path) -> None:
    with pytest.raises(ValueError, match="2048"):
        inception.load(weights / "to768.safetensors", layer="2048")
    network = inception.load(weights / "full.pth", layer="2048")
    assert network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))[0].shape == (1, 2048)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(RuntimeError, match="not the Inception"):
        inception.load(tmp_path / "other.safetensors", layer="768")

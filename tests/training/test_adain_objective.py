"""The cross-domain objective: its terms and turns, what is trained, and what is refused."""

from pathlib import Path

import pytest
import torch

from models import adain, features, registry
from models.registry import CheckpointError
from tests.training import tiny
from training import losses
from training.objective import Batch
from training.objectives.adain import RECIPES, STYLE, CrossDomainObjective

FOLDERS = {"photos": Path("p"), "anime": Path("a"), "out": Path("o")}


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1 for name in ("photo", "anime")}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> CrossDomainObjective:
    monkeypatch.setitem(features.PERCEPTUAL, "vgg19", tiny.perceptual)
    made = RECIPES["adain-small"](**FOLDERS, size=64).objective()
    assert isinstance(made, CrossDomainObjective)
    return made


def test_first_copies_then_both_in_turn(small: CrossDomainObjective, batch: Batch) -> None:
    names = [[phase.name for phase in small.phases if phase.active(step)] for step in (0, 199, 200)]
    assert names == [["init"], ["init"], ["judge", "generator"]]
    network = small.networks["generator"]
    assert isinstance(network, adain.CrossDomain)
    for name, term in small.init(batch).items():
        torch.testing.assert_close(term, (network(batch[name], batch[name]) - batch[name]).abs().mean())


def test_the_terms_are_what_they_are_called(small: CrossDomainObjective, batch: Batch) -> None:
    terms, fake = small.paint(batch), small.networks["generator"](batch["photo"], batch["anime"])
    seen, photo = (small.perceptual(each, ("relu3_1", *STYLE)) for each in (fake, batch["photo"]))
    anime = small.perceptual(batch["anime"], STYLE)
    torch.testing.assert_close(terms["content"], (seen["relu3_1"] - photo["relu3_1"]).square().mean())
    style = sum((losses.gram(seen[name]) - losses.gram(anime[name])).square().mean() for name in STYLE)
    torch.testing.assert_close(terms["style"], 1e4 * style)
    torch.testing.assert_close(terms["adversarial"], 0.3 * (small.networks["judge"](fake) - 1).square().mean() / 2)
    assert terms["reconstruction"] > 0
    judged = small.judge(batch)
    torch.testing.assert_close(judged["fake"], 0.3 * small.networks["judge"](fake.detach()).square().mean() / 2)
    assert RECIPES["adain-gan"].content_layer == "relu4_2"


def test_the_small_networks_encoder_is_trained(small: CrossDomainObjective, batch: Batch) -> None:
    torch.stack(list(small.paint(batch).values())).sum().backward()
    assert all(parameter.grad is not None for parameter in small.networks["generator"].parameters())


def test_vgg19_stays_frozen_whatever_the_loop_asks_for(monkeypatch: pytest.MonkeyPatch, batch: Batch) -> None:
    monkeypatch.setitem(features.PERCEPTUAL, "vgg19", tiny.perceptual)
    build = registry.build

    def narrow(name: str) -> torch.nn.Module:
        network = build("adain-gan") if name != "adain-gan" else adain.CrossDomain(width=4)
        monkeypatch.setattr(type(network.encoder), "fill", lambda self: self.filled.fill_(True))
        return network

    monkeypatch.setattr(registry, "build", narrow)
    made = RECIPES["adain-gan"](**FOLDERS, size=64).objective()
    generator = made.networks["generator"].requires_grad_(True)  # as the loop does in the generator's turn
    terms = next(phase for phase in made.phases if phase.name == "generator").loss(batch)
    assert "reconstruction" not in terms
    torch.stack(list(terms.values())).sum().backward()
    encoder, decoder = generator.get_submodule("encoder"), generator.get_submodule("decoder")
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_without_vgg19_nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: object) -> None:
        raise CheckpointError("no such file.")

    monkeypatch.setattr("models.vgg.Trunk.fill", missing)
    with pytest.raises(CheckpointError, match="adain-gan needs VGG-19 for its encoder"):
        RECIPES["adain-gan"](**FOLDERS).objective()


def test_a_grid_shows_photo_style_and_result(small: CrossDomainObjective, batch: Batch) -> None:
    columns = small.samples(small.networks["generator"], batch)
    assert [column.shape for column in columns] == [(2, 3, 64, 64)] * 3
    assert set(small.statistics(small.networks["generator"], batch)) == {"saturated", "saturated_photo"}
    assert small.export(small.networks["generator"]) is small.networks["generator"]
    assert small.provenance()["features"]

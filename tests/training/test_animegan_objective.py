"""AnimeGAN's phases: their order, their terms, what the discriminator refuses, and what the photo is compared with."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from models import animegan, features
from tests.training import tiny
from training import losses
from training.objective import Batch
from training.objectives import animegan as objective
from training.objectives.animegan import RECIPES, REFERENCE, AnimeGANObjective

FOLDERS = {"photos": Path("p"), "anime": Path("a"), "out": Path("o")}


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1 for name in ("photo", "anime", "smooth")}


@pytest.fixture
def lite(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnimeGANObjective]:
    monkeypatch.setitem(features.PERCEPTUAL, "vgg19", tiny.perceptual)
    made = RECIPES["animeganv2-lite-hayao"](**FOLDERS, size=64).objective()
    assert isinstance(made, AnimeGANObjective)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "content", "style", "color", "total_variation", "judge"),
    [
        ("animegan-hayao", 1.5, 3, 10, 0, (1, 1, 1, 0.1)),
        ("animegan-shinkai", 1.1, 3, 10, 0, (1, 1, 1, 0.1)),
        ("animeganv2-hayao", 1.5, 2.5, 15, 1, (1.2, 1.2, 1.2, 0.8)),
        ("animeganv2-paprika", 2.0, 0.6, 50, 0.1, (1, 1, 1, 0.005)),
        ("animeganv2-shinkai", 1.2, 2.0, 10, 1, (1.7, 1.7, 1.7, 1)),
    ],
)
def test_the_weights_are_the_papers(
    name: str, content: float, style: float, color: float, total_variation: float, judge: tuple[float, ...]
) -> None:
    recipe = RECIPES[name](**FOLDERS)
    assert (recipe.content, recipe.style, recipe.color, recipe.total_variation) == (
        content,
        style,
        color,
        total_variation,
    )
    assert recipe.judge == judge
    assert recipe.adversarial == 300
    assert not recipe.draws


def test_rates_and_discriminators_differ_between_the_versions() -> None:
    first, second = RECIPES["animegan-hayao"](**FOLDERS), RECIPES["animeganv2-hayao"](**FOLDERS)
    assert first.rates == (1e-4, 8e-5, 1.6e-4)
    assert second.rates == (2e-4, 2e-5, 4e-5)
    assert isinstance(first.norm(4), nn.InstanceNorm2d)
    assert isinstance(second.norm(4), nn.GroupNorm)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("animegan-portrait", animegan.AnimeGAN),
        ("animeganv2-portrait", animegan.AnimeGANv2),
        ("animeganv2-lite-portrait", animegan.AnimeGANv2Lite),
    ],
)
def test_every_generator_has_a_portrait_recipe(name: str, network: type[nn.Module]) -> None:
    recipe = RECIPES[name](**FOLDERS)
    assert recipe.generator is network
    assert recipe.draws


def test_the_discriminator_has_its_turn_first(lite: AnimeGANObjective) -> None:
    names = [[phase.name for phase in lite.phases if phase.active(step)] for step in (0, 3_319, 3_320)]
    assert names == [["init"], ["init"], ["judge", "generator"]]


def test_the_judge_refuses_fakes_and_gray_and_soft_anime(lite: AnimeGANObjective, batch: Batch) -> None:
    seen: list[torch.Tensor] = []
    lite.networks["judge"] = Watched(seen, says=0.5)
    terms = lite.judge(batch)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"real": 300 * 1.2 * 0.25, "fake": 300 * 1.2 * 0.25, "gray": 300 * 1.2 * 0.25, "smooth": 300 * 0.8 * 0.25}
    )
    assert torch.equal(seen[0], batch["anime"])
    assert torch.equal(seen[2], losses.gray(batch["anime"]))
    assert torch.equal(seen[3], losses.gray(batch["smooth"]))
    assert not seen[1].requires_grad


class Watched(nn.Module):
    """A discriminator that gives one answer and keeps what it was shown."""

    def __init__(self, seen: list[torch.Tensor], *, says: float) -> None:
        super().__init__()
        self.seen, self.says = seen, says

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images)
        return torch.full((len(images), 1, 16, 16), self.says)


def test_every_term_is_finite_and_reaches_every_weight(lite: AnimeGANObjective, batch: Batch) -> None:
    terms = lite.paint(batch)
    assert set(terms) == {"adversarial", "content", "style", "color", "total_variation"}
    torch.stack(list(terms.values())).sum().backward()
    gradients = [weight.grad for weight in lite.networks["generator"].parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_the_first_step_equals_the_reference_times_the_weights(lite: AnimeGANObjective, batch: Batch) -> None:
    terms = lite.paint(batch)
    assert terms["content"].item() == pytest.approx(1.5 * REFERENCE["content"], rel=1e-4)
    assert terms["style"].item() == pytest.approx(2.5 * REFERENCE["style"], rel=1e-4)


def test_only_the_anime_is_gray_in_the_style_term(lite: AnimeGANObjective, batch: Batch) -> None:
    gray = losses.gray(batch["anime"])
    terms = lite.paint(batch | {"anime": batch["anime"].flip(1)})
    other = lite.paint(batch | {"anime": gray})
    assert terms["style"].item() != pytest.approx(other["style"].item())
    same = losses.style_loss(lite.deep(gray), lite.deep(gray), center=False)
    assert same.item() == 0


def test_content_and_colour_follow_the_drawn_photo_where_there_is_one(lite: AnimeGANObjective, batch: Batch) -> None:
    assert objective.target(batch) is batch["photo"]
    drawn = batch | {"drawn": batch["photo"].flip(3)}
    assert objective.target(drawn) is drawn["drawn"]
    plain, other = lite.paint(batch), lite.paint(drawn)
    assert plain["color"].item() != pytest.approx(other["color"].item(), rel=1e-6)


def test_a_portrait_recipe_reads_drawn_photos(tmp_path: Path) -> None:
    photos, anime = tiny.pictures(tmp_path / "p", 2, seed=1), tiny.pictures(tmp_path / "a", 2, seed=2)
    recipe = RECIPES["animeganv2-lite-portrait"](photos=photos, anime=anime, out=tmp_path / "o", size=64, batch=2)
    batch = recipe.data().batch(0)
    assert set(batch) == {"photo", "drawn", "anime", "smooth"}
    assert batch["drawn"].shape == (2, 3, 64, 64)
    assert not torch.equal(batch["drawn"], batch["photo"])

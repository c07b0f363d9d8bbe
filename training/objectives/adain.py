"""Cross-domain style transfer with AdaIN: a decoder learns to paint photos in the manner of any picture of a domain.

Source: the objective is that of the cross-domain method (content, Gram style, adversarial and total-variation terms on
a VGG-19 encoder); Huang and Belongie (2017), section 6.2, for the schedule.
"""

import dataclasses
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from models import adain, discriminators, features, registry
from models.image import Images
from models.layers import Features
from models.registry import CheckpointError
from training import data, losses
from training.objective import Adam, Batch, Objective, Phase, Terms
from training.recipe import Recipe

STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossDomainRecipe(Recipe):
    """A decoder behind torchvision's frozen VGG-19; pictures of the anime set are the styles, and the real ones."""

    card: ClassVar[str] = "adain-gan"
    content_layer: ClassVar[str] = "relu4_2"

    steps: int = 160_000
    batch: int = 8
    margin: float = 1.0
    init_steps: int = 0
    rates: tuple[float, float] = (1e-4, 2e-4)
    """Learning rates of the generator and of the discriminator."""
    content: float = 1.0
    """Weight of the squared difference of the content layer's maps."""
    style: float = 1e5
    """Weight of the squared difference of Gram matrices over H W C; its ratio to `content` is that of the PyTorch
    examples for this divisor."""
    adversarial: float = 1.0
    """Weight of the least-squares adversarial loss."""
    total_variation: float = 1e-4
    """Weight of the total variation."""
    reconstruction: float = 0.0
    """Weight of the difference of a photo painted like itself; only an encoder that is trained, too, needs it."""

    def objective(self) -> "CrossDomainObjective":
        """Make the networks and phases of this recipe."""
        return CrossDomainObjective(self)

    def data(self) -> data.Data:
        """Read both sets."""
        cache = self.out / "cache"
        photos = data.Dataset("photo", data.files(self.photos, self.licences), side=self.side, cache=cache)
        anime = data.Dataset("anime", data.files(self.anime, self.licences), side=self.side, cache=cache)
        return data.Data((photos, anime), self)


class CrossDomainObjective(Objective):
    """Networks, phases and losses.

    Args:
        recipe: Weights and schedule.

    Raises:
        CheckpointError: The card's encoder is VGG-19, and its weights cannot be had.
    """

    averaged = "generator"

    def __init__(self, recipe: CrossDomainRecipe) -> None:
        self.recipe = recipe
        generator = registry.build(recipe.card)
        assert isinstance(generator, adain.CrossDomain)
        self.trained_encoder = next(generator.encoder.parameters()).requires_grad
        if not self.trained_encoder:
            try:
                generator.encoder.fill()
            except CheckpointError as error:
                raise CheckpointError(f"{recipe.card} needs VGG-19 for its encoder: {error}") from error
        self.networks = {"generator": generator, "judge": discriminators.PatchGAN()}
        self.perceptual = features.load(recipe.features)
        self.buffers, self.frozen = nn.ModuleDict(), nn.ModuleDict({"perceptual": self.perceptual})
        generator_adam, judge_adam = (Adam(rate=rate) for rate in recipe.rates)
        begin = recipe.first_steps
        self.phases = (
            Phase(name="init", moves=("generator",), optimizer=generator_adam, loss=self.init, stop=begin),
            Phase(name="judge", moves=("judge",), optimizer=judge_adam, loss=self.judge, start=begin),
            Phase(name="generator", moves=("generator",), optimizer=generator_adam, loss=self.paint, start=begin),
        )

    def init(self, batch: Batch) -> Terms:
        """First phase: encoder and decoder learn to give photos and drawings back."""
        return {name: (self.stylized(batch[name], batch[name]) - batch[name]).abs().mean() for name in batch}

    def judge(self, batch: Batch) -> Terms:
        """Discriminator's turn: pictures of the domain are real, painted photos are not."""
        with torch.no_grad():
            fake = self.stylized(batch["photo"], batch["anime"])
        judge, weight = self.networks["judge"], self.recipe.adversarial / 2
        return {
            "real": weight * losses.lsgan(judge(batch["anime"]), 1.0),
            "fake": weight * losses.lsgan(judge(fake), 0.0),
        }

    def paint(self, batch: Batch) -> Terms:
        """Generator's turn: the photo's content, the drawing's manner, what the discriminator takes for real."""
        recipe, photo, anime, layer = self.recipe, batch["photo"], batch["anime"], self.recipe.content_layer
        self.perceptual.move()
        fake = self.stylized(photo, anime)
        seen, wanted = self.perceptual(fake, (layer, *STYLE)), self.perceptual(anime, STYLE)
        content = F.mse_loss(seen[layer].float(), self.perceptual(photo, (layer,))[layer].float())
        terms = {
            "content": recipe.content * content,
            "style": recipe.style * sum_of_styles(wanted, seen),
            "adversarial": recipe.adversarial / 2 * losses.lsgan(self.networks["judge"](fake), 1.0),
            "total_variation": recipe.total_variation * losses.total_variation(fake),
        }
        if recipe.reconstruction:
            same = self.stylized(photo, photo)
            terms["reconstruction"] = recipe.reconstruction * (same - photo).abs().mean()
        return terms

    def stylized(self, photo: Images, style: Images) -> Images:
        """Paint every photo like one picture; an encoder that is not trained stays frozen."""
        generator = self.networks["generator"]
        if not self.trained_encoder:
            generator.get_submodule("encoder").requires_grad_(False)
        return generator(photo, style)

    def export(self, averaged: nn.Module) -> nn.Module:
        """The generator as it is."""
        return averaged

    def provenance(self) -> dict[str, str]:
        """The perceptual network."""
        return self.perceptual.provenance()

    def statistics(self, averaged: nn.Module, batch: Batch) -> dict[str, float]:
        """Share of saturated pixels."""
        return losses.figures(batch["photo"], averaged(batch["photo"], batch["anime"]).clamp(-1, 1))

    def samples(self, averaged: nn.Module, batch: Batch) -> list[Images]:
        """Photo, style, painted photo."""
        return [batch["photo"], batch["anime"], averaged(batch["photo"], batch["anime"])]


def sum_of_styles(domain: dict[str, Features], fake: dict[str, Features]) -> losses.Scalar:
    """Mean squared difference of Gram matrices, added up over the style layers."""
    return torch.stack([F.mse_loss(losses.gram(fake[name]), losses.gram(domain[name])) for name in STYLE]).sum()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Small(CrossDomainRecipe):
    """The small network with an encoder of its own, on faces: crops of 128 px out of 256 px images."""

    card: ClassVar[str] = "adain-small"
    content_layer: ClassVar[str] = "relu3_1"
    """The deepest layer that the offline stand-in has of VGG-19 itself; what stands for relu4_2 there is too coarse."""

    steps: int = 3_000
    size: int = 128
    batch: int = 4
    flip: bool = True
    ema: float = 0.98
    init_steps: int = 200
    rates: tuple[float, float] = (5e-4, 2e-4)
    style: float = 1e4
    adversarial: float = 0.3
    reconstruction: float = 10.0


RECIPES: dict[str, type[CrossDomainRecipe]] = {"adain-gan": CrossDomainRecipe, "adain-small": Small}

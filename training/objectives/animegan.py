"""AnimeGAN, AnimeGANv2 and its lite generator: one generator, one discriminator that also refuses gray and soft anime.

Source: AnimeGAN (Chen, Liu and Chen, 2020), section 3.2, and the released code of both versions.
"""

import dataclasses
import functools
from typing import ClassVar

import torch
from torch import nn

from models import animegan, features
from models.image import Images
from models.layers import Features
from training import data, losses, smoothing
from training.objective import Adam, Batch, Objective, Phase, Terms
from training.recipe import Recipe

# Mean of both perceptual terms before their weights, in units of the Caffe VGG-19. No trace of these two methods is
# public: the values are those of DTGAN's trace (see `training.objectives.dtgan`) without its divisors of 512 and C.
REFERENCE = {"content": 172.0, "style": 33.5}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnimeGANRecipe(Recipe):
    """Settings of the first version; the defaults are the paper's for Hayao: 101 epochs, five of them on content."""

    card: ClassVar[str] = "animegan"
    generator: ClassVar[type[nn.Module]] = animegan.AnimeGAN
    norm: ClassVar[animegan.Norm] = staticmethod(animegan.instance_norm)
    """Of the discriminator."""
    cast: ClassVar[float] = 0.0
    """Weight of the colour cast; the papers have no such term."""

    steps: int = 112_009
    batch: int = 6
    init_steps: int = 5_545
    rates: tuple[float, float, float] = (1e-4, 8e-5, 1.6e-4)
    """Learning rates: of the first phase, then of the generator and of the discriminator."""
    adversarial: float = 300.0
    """Weight of the adversarial loss, in the generator's turn and in the discriminator's."""
    judge: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 0.1)
    """Weights within the discriminator's loss: anime, fakes, gray anime, gray edge-smoothed anime."""
    content: float = 1.5
    """Weight of the content loss."""
    style: float = 3.0
    """Weight of the style loss."""
    color: float = 10.0
    """Weight of the YUV colour loss."""
    total_variation: float = 0.0
    """Weight of the total variation."""
    flatten: float = 0.0
    """Strength of the L0 smoothing of the photo that content and colours are compared with; the papers do none."""
    ink: float = 0.0
    """How dark the lines are that are drawn into that photo, in [0, 1]; the papers draw none."""

    def objective(self) -> "AnimeGANObjective":
        """Make the networks and phases of this recipe."""
        return AnimeGANObjective(self)

    def data(self) -> data.Data:
        """Read both sets, with the photos as they shall be drawn and the anime with smoothed edges."""
        make = functools.partial(smoothing.draw, flatten=self.flatten, amount=self.ink)
        drawn = data.Derived(name="drawn", make=make, settings=f"{self.flatten}-{self.ink}")
        read = functools.partial(data.Dataset, side=self.side, cache=self.out / "cache")
        photos = read("photo", data.files(self.photos, self.licences), derived=(drawn,) if self.draws else ())
        anime = read("anime", data.files(self.anime, self.licences), derived=(data.smooth_edges(0.0),))
        return data.Data((photos, anime), self)

    @property
    def draws(self) -> bool:
        """Whether content and colours are compared with a drawn photo, not with the photo."""
        return self.flatten > 0 or self.ink > 0


class AnimeGANObjective(Objective):
    """Networks, phases and losses of AnimeGAN and AnimeGANv2.

    Args:
        recipe: Weights and schedule.
    """

    averaged = "generator"

    def __init__(self, recipe: AnimeGANRecipe) -> None:
        self.recipe = recipe
        self.networks = {"generator": recipe.generator(), "judge": animegan.Discriminator(norm=recipe.norm)}
        self.perceptual = features.load(recipe.features)
        self.calibration = losses.Calibration(REFERENCE)
        self.buffers = nn.ModuleDict({"calibration": self.calibration})
        self.frozen = nn.ModuleDict({"perceptual": self.perceptual})
        first, generator, judge = (Adam(rate=rate) for rate in recipe.rates)
        begin = recipe.first_steps
        self.phases = (
            Phase(name="init", moves=("generator",), optimizer=first, loss=self.init, stop=begin),
            Phase(name="judge", moves=("judge",), optimizer=judge, loss=self.judge, start=begin),
            Phase(name="generator", moves=("generator",), optimizer=generator, loss=self.paint, start=begin),
        )

    def init(self, batch: Batch) -> Terms:
        """First phase: the generator learns to reproduce the photo's content."""
        self.perceptual.move()
        return {"content": self.content(batch, self.deep(self.networks["generator"](batch["photo"])))}

    def judge(self, batch: Batch) -> Terms:
        """Discriminator's turn, before the generator's: anime is real; fakes, gray and soft anime are not."""
        with torch.no_grad():
            fake = self.networks["generator"](batch["photo"])
        judge, weights = self.networks["judge"], self.recipe.judge
        sides = {
            "real": (batch["anime"], 1.0),
            "fake": (fake, 0.0),
            "gray": (losses.gray(batch["anime"]), 0.0),
            "smooth": (losses.gray(batch["smooth"]), 0.0),
        }
        return {
            name: self.recipe.adversarial * weight * losses.lsgan(judge(images), target)
            for weight, (name, (images, target)) in zip(weights, sides.items(), strict=True)
        }

    def paint(self, batch: Batch) -> Terms:
        """Generator's turn: adversarial, content, style, colour and smoothness terms."""
        self.perceptual.move()
        recipe, fake = self.recipe, self.networks["generator"](batch["photo"])
        seen = self.deep(fake)
        style = losses.style_loss(self.deep(losses.gray(batch["anime"])), seen, center=False)
        terms = {
            "adversarial": recipe.adversarial * losses.lsgan(self.networks["judge"](fake), 1.0),
            "content": self.content(batch, seen),
            "style": recipe.style * self.calibration("style", style),
            "color": recipe.color * losses.yuv_loss(target(batch), fake),
            "total_variation": recipe.total_variation * losses.total_variation(fake),
        }
        if recipe.cast:
            terms["cast"] = recipe.cast * losses.cast_loss(batch["photo"], target(batch), fake)
        return terms

    def content(self, batch: Batch, seen: Features) -> losses.Scalar:
        """Ask for the content of the photo, or of its drawn version where the recipe draws one."""
        loss = losses.content_loss(self.deep(target(batch)), seen)
        return self.recipe.content * self.calibration("content", loss)

    def deep(self, images: Images) -> Features:
        """The perceptual map behind content and style losses."""
        return self.perceptual(images, ("conv4_4",))["conv4_4"]

    def export(self, averaged: nn.Module) -> nn.Module:
        """The generator as it is."""
        return averaged

    def provenance(self) -> dict[str, str]:
        """The perceptual network."""
        return self.perceptual.provenance()

    def statistics(self, averaged: nn.Module, batch: Batch) -> dict[str, float]:
        """Share of saturated pixels, and the scales of the perceptual terms."""
        return losses.figures(batch["photo"], averaged(batch["photo"])) | self.calibration.scales()

    def samples(self, averaged: nn.Module, batch: Batch) -> list[Images]:
        """Photo, what it is compared with, generated image."""
        return [batch["photo"], target(batch), averaged(batch["photo"])]


def target(batch: Batch) -> Images:
    """The images whose content and colours shall be kept: drawn photos where the batch has them, else the photos."""
    return batch.get("drawn", batch["photo"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shinkai(AnimeGANRecipe):
    """The first version's Shinkai model."""

    content: float = 1.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnimeGANv2Recipe(AnimeGANRecipe):
    """The second version with the released code's weights for Hayao."""

    card: ClassVar[str] = "animeganv2"
    generator: ClassVar[type[nn.Module]] = animegan.AnimeGANv2
    norm: ClassVar[animegan.Norm] = staticmethod(animegan.layer_norm)

    steps: int = 55_954
    batch: int = 12
    init_steps: int = 5_540
    rates: tuple[float, float, float] = (2e-4, 2e-5, 4e-5)
    judge: tuple[float, float, float, float] = (1.2, 1.2, 1.2, 0.8)
    style: float = 2.5
    color: float = 15.0
    total_variation: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paprika(AnimeGANv2Recipe):
    """The second version's Paprika model."""

    judge: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 0.005)
    content: float = 2.0
    style: float = 0.6
    color: float = 50.0
    total_variation: float = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShinkaiV2(AnimeGANv2Recipe):
    """The second version's Shinkai model."""

    judge: tuple[float, float, float, float] = (1.7, 1.7, 1.7, 1.0)
    content: float = 1.2
    style: float = 2.0
    color: float = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiteHayao(AnimeGANv2Recipe):
    """The lite generator with the weights for Hayao."""

    card: ClassVar[str] = "animeganv2-lite"
    generator: ClassVar[type[nn.Module]] = animegan.AnimeGANv2Lite

    steps: int = 33_532
    batch: int = 20
    init_steps: int = 3_320


@dataclasses.dataclass(frozen=True, kw_only=True)
class Portrait(AnimeGANRecipe):
    """Faces, unpaired: crops of 128 px out of 256 px images, mirrored, averaged.

    Departs from the paper where training/LOG.md says so: content and colours are those of the photo after it has been
    flattened and given lines.
    """

    card: ClassVar[str] = "animegan-portrait"
    cast: ClassVar[float] = 20_000.0

    steps: int = 3_000
    size: int = 128
    margin: float = 1.0
    flip: bool = True
    batch: int = 4
    ema: float = 0.98
    init_steps: int = 100
    rates: tuple[float, float, float] = (5e-4, 5e-4, 2e-4)
    adversarial: float = 60.0
    style: float = 1.0
    color: float = 10_000.0
    flatten: float = 0.01
    ink: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortraitV2(Portrait):
    """The second version, trained like the first."""

    card: ClassVar[str] = "animeganv2-portrait"
    generator: ClassVar[type[nn.Module]] = animegan.AnimeGANv2
    norm: ClassVar[animegan.Norm] = staticmethod(animegan.layer_norm)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortraitLite(PortraitV2):
    """The lite generator, trained like the first version."""

    card: ClassVar[str] = "animeganv2-lite-portrait"
    generator: ClassVar[type[nn.Module]] = animegan.AnimeGANv2Lite


RECIPES: dict[str, type[AnimeGANRecipe]] = {
    "animegan-hayao": AnimeGANRecipe,
    "animegan-shinkai": Shinkai,
    "animegan-portrait": Portrait,
    "animeganv2-hayao": AnimeGANv2Recipe,
    "animeganv2-paprika": Paprika,
    "animeganv2-shinkai": ShinkaiV2,
    "animeganv2-portrait": PortraitV2,
    "animeganv2-lite-hayao": LiteHayao,
    "animeganv2-lite-portrait": PortraitLite,
}

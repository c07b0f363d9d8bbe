"""DTGAN's objective: a support tail against gray anime, a main tail that imitates its cleaned-up output.

Source: DTGAN (Liu, Li and Dong, 2024), section 3, with the weights and schedules of the released code.
"""

import concurrent.futures
import copy
import dataclasses
import functools
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import nn

from models import dtgan, embedding, features, image
from models.image import Images
from models.layers import Features
from training import data, losses, segmentation, smoothing
from training.objective import Adam, Batch, Objective, Phase, Terms
from training.recipe import Recipe, RecipeError

STYLE_LAYERS = ("conv2_2", "conv3_3", "conv4_4")
# Mean of every perceptual term, before its weight, in the fifth epoch of the reference trace (a public run with the
# Shinkai weights): content 0.168 / 0.5; style 0.077 / 0.1, 0.530 / 2, 1.833 / 28; region 0.684 / (0.8 + 0.5);
# revision 0.223 / 0.5.
REFERENCE = {
    "content": 0.336,
    "style_conv2_2": 0.77,
    "style_conv3_3": 0.265,
    "style_conv4_4": 1.833 / 28,
    "region_own": 0.684 / 1.3,
    "region_photo": 0.684 / 1.3,
    "revision_perceptual": 0.446,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DTGANRecipe(Recipe):
    """Settings of DTGAN; the defaults are the paper's for Hayao."""

    card: ClassVar[str] = "dtgan"

    norm: ClassVar[str] = "lade"
    upsample: ClassVar[str] = "legacy"
    main: ClassVar[bool] = True
    """Train and export the main tail; without it the support tail is exported."""
    init_main: ClassVar[bool] = True
    """Whether the main tail takes part in the first phase."""
    total_variation: ClassVar[float] = 0.001
    """Weight of the total variation of each tail."""
    white_noise: ClassVar[float] = 0.0
    """Share of white pixels in the edge-smoothed anime."""
    cast: ClassVar[float] = 0.0
    """Weight of the main tail's colour cast; the paper has no such term."""
    min_region: ClassVar[int] = 50
    """Smallest superpixel, in pixels of an image that is loaded at 256 px."""

    rates: tuple[float, float] = (2e-4, 1e-4)
    """Learning rates: of the first phase, and of generator and discriminators afterwards."""
    content: float = 0.5
    """Weight of the content loss of the support tail."""
    style: tuple[float, float, float] = (0.1, 5.0, 25.0)
    """Weights of the style loss at conv2_2, conv3_3 and conv4_4."""
    region: tuple[float, float] = (0.2, 0.2)
    """Weights of the region loss: against the superpixels of the support tail's own output, and of the photo."""
    adversarial: float = 1.0
    """Weight of the support tail's adversarial loss."""
    color: float = 10.0
    """Weight of the Lab colour loss."""
    flatten: float = 0.005
    """Strength of the L0 smoothing of the revision image."""
    ink: float = 0.0
    """How dark the lines are that are drawn into the revision image, in [0, 1]; the paper draws none."""
    denoise: tuple[int, int] = (5, 6)
    """Strength of the non-local means for luminance and colour."""
    eyes: float = 0.0
    """How much more eyes and mouth count than the rest in content and revision losses; 0 as in the paper."""
    identity: float = 0.0
    """Weight of the identity loss of the main tail, for whole faces (--margin 0); the paper has none."""
    smooth_fakes: float = 2.0
    """Weight of the edge-smoothed anime among the support discriminator's counter-examples."""

    def check(self) -> None:
        """Raise RecipeError for a setting that cannot work."""
        super().check()
        if self.identity and self.margin:
            raise RecipeError(f"--identity needs whole faces, but --margin {self.margin} crops them; add --margin 0.")

    def objective(self) -> "DTGANObjective":
        """Make the networks and phases of this recipe."""
        return DTGANObjective(self)

    def data(self) -> data.Data:
        """Read both sets, with superpixels of the photos and smoothed edges of the anime."""
        read = functools.partial(data.Dataset, side=self.side, cache=self.out / "cache")
        versions = (data.superpixels(self.min_size), *((data.features_of_faces(),) if self.eyes else ()))
        photos = read("photo", data.files(self.photos, self.licences), derived=versions)
        smooth = data.smooth_edges(self.white_noise)
        anime = read("anime", data.files(self.anime, self.licences), derived=(smooth,))
        return data.Data((photos, anime), self)

    @property
    def min_size(self) -> int:
        """Smallest superpixel at the scale of the loaded images, in pixels."""
        return max(1, round(self.min_region * (self.side / 256) ** 2))


class DTGANObjective(Objective):
    """Networks, phases and losses of DTGAN.

    Args:
        recipe: Weights and schedule.
    """

    averaged = "generator"

    def __init__(self, recipe: DTGANRecipe) -> None:
        self.recipe = recipe
        self.networks = {
            "generator": dtgan.DoubleTail(norm=recipe.norm, upsample=recipe.upsample),
            "support_judge": dtgan.Discriminator(),
            "main_judge": dtgan.Discriminator(),
        }
        self.perceptual = features.load(recipe.features)
        self.calibration = losses.Calibration(REFERENCE)
        self.buffers = nn.ModuleDict({"calibration": self.calibration})
        self.embedding = embedding.load() if recipe.identity else None
        self.frozen = nn.ModuleDict({"perceptual": self.perceptual})
        if self.embedding is not None:
            self.frozen["embedding"] = self.embedding
        judges = ("support_judge", "main_judge")
        begin = recipe.first_steps
        first, then = (Adam(rate=rate) for rate in recipe.rates)
        self.phases = (
            Phase(name="init", moves=("generator",), optimizer=first, loss=self.init, stop=begin),
            Phase(name="generator", moves=("generator",), optimizer=then, loss=self.paint, start=begin),
            Phase(name="judges", moves=judges, optimizer=then, loss=self.judge, start=begin),
        )
        self.workers = data.pool(recipe.workers) if recipe.workers else None
        self.revision: Images | None = None

    def init(self, batch: Batch) -> Terms:
        """First phase: both tails (or the support tail alone) learn to reproduce the photo's content."""
        self.perceptual.move()
        raw, main = self.networks["generator"](batch["photo"])
        target = self.deep(batch["photo"])
        both = self.recipe.main and self.recipe.init_main
        tails = {"support": dtgan.guided_filter(raw)} | ({"main": main} if both else {})
        return {f"content_{name}": losses.content_loss(target, self.deep(fake)) for name, fake in tails.items()}

    def paint(self, batch: Batch) -> Terms:
        """Generator's turn: every term of both tails, weighted."""
        self.perceptual.move()
        raw, main = self.networks["generator"](batch["photo"])
        support = dtgan.guided_filter(raw)
        jobs = self.submit(support, raw)
        gray = losses.gray(support)
        fake = self.deep(support)
        terms = self.support_terms(batch, support, gray, fake)
        segments, denoised = (torch.cat(parts).to(support) for parts in zip(*map(self.collect, jobs), strict=True))
        terms |= self.region_terms(batch, segments, fake)
        if not self.recipe.main:
            return terms
        flat = smoothing.l0_smooth(denoised, strength=self.recipe.flatten)
        self.revision = smoothing.ink(flat, self.recipe.ink).contiguous(memory_format=torch.channels_last)
        return terms | self.main_terms(batch, self.revision, main)

    def support_terms(self, batch: Batch, support: Images, gray: Images, fake: torch.Tensor) -> Terms:
        """Content, style, colour, smoothness and adversarial terms of the support tail."""
        recipe, scaled = self.recipe, self.calibration
        photo = self.deep(batch["photo"])
        domain, own = self.perceptual(losses.gray(batch["anime"]), STYLE_LAYERS), self.perceptual(gray, STYLE_LAYERS)
        terms = {
            "content": recipe.content * scaled("content", losses.content_loss(photo, fake, places=self.places(batch)))
        }
        for layer, weight in zip(STYLE_LAYERS, recipe.style, strict=True):
            raw = losses.style_loss(domain[layer], own[layer])
            terms[f"style_{layer}"] = weight * scaled(f"style_{layer}", raw)
        logits = self.networks["support_judge"](gray)
        return terms | {
            "color": recipe.color * losses.color_loss(batch["photo"], support),
            "total_variation_support": recipe.total_variation * losses.total_variation(support),
            "adversarial_support": recipe.adversarial * losses.lsgan(logits, 0.9),
        }

    def region_terms(self, batch: Batch, segments: Images, fake: torch.Tensor) -> Terms:
        """Ask the support tail for flat regions: like the superpixels of its own output, and like the photo's."""
        recipe = self.recipe
        own = losses.content_loss(self.deep(segments), fake)
        photo = losses.content_loss(self.deep(batch["segments"]), fake)
        return {
            "region_own": recipe.region[0] * self.calibration("region_own", own),
            "region_photo": recipe.region[1] * self.calibration("region_photo", photo),
        }

    def main_terms(self, batch: Batch, revision: Images, main: Images) -> Terms:
        """Revision, smoothness, adversarial and identity terms of the main tail."""
        target, fake = self.deep(revision), self.deep(main)
        perceptual = self.calibration("revision_perceptual", losses.content_loss(target, fake))
        terms = {
            "revision": 50 * losses.content_loss(revision, main, places=self.places(batch)),
            "revision_perceptual": 0.5 * perceptual,
            "total_variation_main": self.recipe.total_variation * losses.total_variation(main),
            "adversarial_main": 0.02 * losses.lsgan(self.networks["main_judge"](main), 1.0),
        }
        if self.recipe.cast:
            terms["cast"] = self.recipe.cast * losses.cast_loss(batch["photo"], revision, main)
        if self.embedding is not None:
            same = losses.identity_loss(self.embedding(batch["photo"]), self.embedding(main))
            terms["identity"] = self.recipe.identity * same
        return terms

    def judge(self, batch: Batch) -> Terms:
        """Discriminators' turn: fakes of the generator just updated, the revision image from before that."""
        with torch.no_grad():
            raw, main = self.networks["generator"](batch["photo"])
            support = losses.gray(dtgan.guided_filter(raw))
        support_judge, main_judge = self.networks["support_judge"], self.networks["main_judge"]
        smooth = losses.lsgan(support_judge(losses.gray(batch["smooth"])), 0.1)
        terms = {
            "support_real": 0.5 * losses.lsgan(support_judge(losses.gray(batch["anime"])), 0.9),
            "support_fake": losses.lsgan(support_judge(support), 0.1),
            "support_smooth": self.recipe.smooth_fakes * smooth,
        }
        if not self.recipe.main:
            return terms
        return terms | {
            "main_real": 0.1 * losses.lsgan(main_judge(self.revision), 1.0),
            "main_fake": 0.1 * losses.lsgan(main_judge(main), 0.0),
        }

    def places(self, batch: Batch) -> Float[torch.Tensor, "batch 1 height width"] | None:
        """How much each place counts, where eyes and mouth count more."""
        if not self.recipe.eyes:
            return None
        return 1 + self.recipe.eyes * (batch["features"][:, :1] + 1) / 2

    def deep(self, images: Images) -> Features:
        """The perceptual map behind content, region and revision losses."""
        return self.perceptual(images, ("conv4_4",))["conv4_4"]

    def submit(self, support: Images, raw: Images) -> list:
        """Hand the images to the worker processes and go on; without workers the jobs run when they are collected."""
        pairs = zip(image.to_uint8(support.detach()), image.to_uint8(raw.detach()), strict=True)
        job = functools.partial(
            segmentation.segment_and_denoise, min_size=self.recipe.min_size, strength=self.recipe.denoise
        )
        if self.workers is None:
            return [functools.partial(job, *pair) for pair in pairs]
        return [self.workers.submit(job, *pair) for pair in pairs]

    @staticmethod
    def collect(job: "concurrent.futures.Future | functools.partial") -> tuple[Images, Images]:
        """Wait for one image's superpixels and its denoised version, each (1, 3, H, W), RGB in [-1, 1]."""
        segments, denoised = job() if isinstance(job, functools.partial) else job.result()
        return image.from_uint8(segments), image.from_uint8(denoised)

    def export(self, averaged: nn.Module) -> nn.Module:
        """Encoder and main tail, or encoder and support tail where the main tail is left out."""
        painter = averaged.get_submodule("painter")
        if not self.recipe.main:
            painter = copy.deepcopy(painter)
            painter.get_submodule("main").load_state_dict(averaged.get_submodule("support").state_dict())
        return painter

    def adopt(self, network: nn.Module, published: dict[str, torch.Tensor]) -> None:
        """Fill encoder and main tail; the support tail, which is not published, starts as a copy of the main tail."""
        network.get_submodule("painter").load_state_dict(published, strict=True)
        network.get_submodule("support").load_state_dict(network.get_submodule("painter.main").state_dict())

    def provenance(self) -> dict[str, str]:
        """The perceptual network."""
        return self.perceptual.provenance()

    def statistics(self, averaged: nn.Module, batch: Batch) -> dict[str, float]:
        """Share of saturated pixels, and the scales of the perceptual terms."""
        return losses.figures(batch["photo"], averaged(batch["photo"])[1]) | self.calibration.scales()

    def samples(self, averaged: nn.Module, batch: Batch) -> list[Images]:
        """Photo, support image, main image."""
        raw, main = averaged(batch["photo"])
        return [batch["photo"], dtgan.guided_filter(raw), main]

    def close(self) -> None:
        """Stop the worker processes."""
        if self.workers is not None:
            self.workers.shutdown(cancel_futures=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hayao(DTGANRecipe):
    """The paper's Hayao model: 100 epochs of 832 steps, the first five on content only."""

    steps: int = 83_200
    init_steps: int = 4_160


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shinkai(Hayao):
    """The paper's Shinkai model."""

    init_main: ClassVar[bool] = False
    total_variation: ClassVar[float] = 0.0001
    white_noise: ClassVar[float] = 0.1
    min_region: ClassVar[int] = 100

    style: tuple[float, float, float] = (0.1, 2.0, 28.0)
    region: tuple[float, float] = (0.8, 0.5)
    color: float = 8.0
    denoise: tuple[int, int] = (7, 6)
    smooth_fakes: float = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Portrait(DTGANRecipe):
    """Faces, unpaired: crops of 128 px out of 256 px images, mirrored, averaged.

    Departs from the paper where training/LOG.md says so: the support tail stays closer to the photo, and the revision
    image is flatter and has drawn lines.
    """

    card: ClassVar[str] = "dtgan-portrait"
    cast: ClassVar[float] = 600.0

    steps: int = 6_000
    size: int = 128
    margin: float = 1.0
    flip: bool = True
    batch: int = 4
    ema: float = 0.98
    init_steps: int = 200
    rates: tuple[float, float] = (2e-4, 3e-4)
    style: tuple[float, float, float] = (0.1, 2.0, 3.0)
    region: tuple[float, float] = (0.5, 1.0)
    adversarial: float = 0.3
    color: float = 100.0
    flatten: float = 0.01
    ink: float = 1.0
    denoise: tuple[int, int] = (20, 10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Illust(Portrait):
    """Faces and illustrations whose licences let anybody use the weights."""

    card: ClassVar[str] = "dtgan-illust"
    licences: ClassVar[tuple[str, ...]] = ("pd", "cc0", "cc-by")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstanceNorm(Portrait):
    """Ablation: instance normalisation in place of LADE in the generator."""

    card: ClassVar[str] = "dtgan"
    norm: ClassVar[str] = "instance"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerNorm(Portrait):
    """Ablation: layer normalisation in place of LADE in the generator."""

    card: ClassVar[str] = "dtgan"
    norm: ClassVar[str] = "layer"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HalfPixel(Portrait):
    """Ablation: today's bilinear upsampling in place of TensorFlow 1's."""

    card: ClassVar[str] = "dtgan"
    upsample: ClassVar[str] = "half-pixel"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupportTail(Portrait):
    """Ablation: no main tail, so no revision: the support tail paints."""

    card: ClassVar[str] = "dtgan"
    main: ClassVar[bool] = False


RECIPES: dict[str, type[DTGANRecipe]] = {
    "dtgan-hayao": Hayao,
    "dtgan-shinkai": Shinkai,
    "dtgan-portrait": Portrait,
    "dtgan-illust": Illust,
    "dtgan-portrait-instance": InstanceNorm,
    "dtgan-portrait-layer": LayerNorm,
    "dtgan-portrait-half-pixel": HalfPixel,
    "dtgan-portrait-support": SupportTail,
}

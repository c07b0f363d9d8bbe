"""DTGAN's objective: a support tail against gray anime, a main tail that imitates its cleaned-up output.

Source: DTGAN (Liu, Li and Dong, 2024), section 3, with the weights and schedules of the released code.
"""

import concurrent.futures
import dataclasses
import functools
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional as F

from models import dtgan, features, image
from models.image import Images
from training import data, losses, segmentation, smoothing
from training.objective import Adam, Batch, Objective, Phase, Terms
from training.recipe import Recipe

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

    init_steps: int = 1_000
    """Steps of the first phase, which only copies the photo's content."""
    init_main: bool = True
    """Whether the main tail takes part in the first phase."""
    init_rate: float = 2e-4
    """Learning rate of the first phase."""
    rate: float = 1e-4
    """Learning rate of generator and discriminators afterwards."""
    content: float = 0.5
    """Weight of the content loss of the support tail."""
    style: tuple[float, float, float] = (0.1, 5.0, 25.0)
    """Weights of the style loss at conv2_2, conv3_3 and conv4_4."""
    region_own: float = 0.2
    """Weight of the region loss against the superpixels of the support tail's own output."""
    region_photo: float = 0.2
    """Weight of the region loss against the superpixels of the photo."""
    adversarial: float = 1.0
    """Weight of the support tail's adversarial loss."""
    color: float = 10.0
    """Weight of the Lab colour loss."""
    color_pool: int = 1
    """Side of the squares whose mean colours are compared, in pixels; above 1, lines and flat areas cost nothing."""
    total_variation: float = 0.001
    """Weight of the total variation of each tail."""
    revision: float = 50.0
    """Weight of the L1 loss of the main tail against the revision image."""
    flatten: float = 0.005
    """Strength of the L0 smoothing of the revision image."""
    ink: float = 0.0
    """How dark the lines are that are drawn into the revision image, in [0, 1]; the paper draws none."""
    smooth_fakes: float = 2.0
    """Weight of the edge-smoothed anime among the support discriminator's counter-examples."""
    white_noise: float = 0.0
    """Share of white pixels in the edge-smoothed anime."""
    min_region: int = 50
    """Smallest superpixel, in pixels of an image that is loaded at 256 px."""
    denoise: tuple[int, int] = (5, 6)
    """Strength of the non-local means for luminance and colour."""

    def objective(self) -> "DTGANObjective":
        """Make the networks and phases of this recipe."""
        return DTGANObjective(self)

    def data(self) -> data.Data:
        """Read both sets, with superpixels of the photos and smoothed edges of the anime."""
        side, cache = self.side, self.out / "cache"
        segments = data.Derived(
            name="segments",
            make=functools.partial(segmentation.superpixels, min_size=self.min_size),
            settings=f"5-0.8-{self.min_size}",
        )
        smooth = data.Derived(
            name="smooth",
            make=functools.partial(segmentation.smooth_edges, white_noise=self.white_noise),
            settings=f"{self.white_noise}",
        )
        photos = data.Dataset("photo", data.files(self.photos), side=side, cache=cache, derived=(segments,))
        anime = data.Dataset("anime", data.files(self.anime), side=side, cache=cache, derived=(smooth,))
        return data.Data((photos, anime), self)

    @property
    def side(self) -> int:
        """Side of the loaded images, before the crop, in pixels."""
        return round(self.size * (1 + self.margin))

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
            "generator": dtgan.DoubleTail(),
            "support_judge": dtgan.Discriminator(),
            "main_judge": dtgan.Discriminator(),
        }
        self.perceptual = features.load(recipe.features)
        self.calibration = losses.Calibration(REFERENCE)
        self.buffers = nn.ModuleDict({"calibration": self.calibration})
        self.frozen = nn.ModuleDict({"perceptual": self.perceptual})
        judges = ("support_judge", "main_judge")
        begin = recipe.init_steps
        self.phases = (
            Phase(name="init", moves=("generator",), optimizer=Adam(rate=recipe.init_rate), loss=self.init, stop=begin),
            Phase(
                name="generator", moves=("generator",), optimizer=Adam(rate=recipe.rate), loss=self.paint, start=begin
            ),
            Phase(name="judges", moves=judges, optimizer=Adam(rate=recipe.rate), loss=self.judge, start=begin),
        )
        self.workers = data.pool(recipe.workers) if recipe.workers else None
        self.revision: Images | None = None
        self.place = (slice(None), slice(None))

    def init(self, batch: Batch) -> Terms:
        """First phase: both tails (or the support tail alone) learn to reproduce the photo's content."""
        self.jitter()
        raw, main = self.networks["generator"](batch["photo"])
        target = self.maps(batch["photo"], "conv4_4")["conv4_4"]
        tails = {"support": dtgan.guided_filter(raw)} | ({"main": main} if self.recipe.init_main else {})
        return {
            f"content_{name}": losses.content_loss(target, self.maps(fake, "conv4_4")["conv4_4"])
            for name, fake in tails.items()
        }

    def paint(self, batch: Batch) -> Terms:
        """Generator's turn: every term of both tails, weighted."""
        self.jitter()
        raw, main = self.networks["generator"](batch["photo"])
        support = dtgan.guided_filter(raw)
        jobs = self.submit(support, raw)
        gray = losses.gray(support)
        fake = self.maps(support, "conv4_4")["conv4_4"]
        terms = self.support_terms(batch, support, gray, fake)
        segments, denoised = (torch.cat(parts).to(support) for parts in zip(*map(self.collect, jobs), strict=True))
        flat = smoothing.l0_smooth(denoised, strength=self.recipe.flatten)
        self.revision = smoothing.ink(flat, self.recipe.ink).contiguous(memory_format=torch.channels_last)
        return terms | self.region_terms(batch, segments, fake) | self.main_terms(self.revision, main)

    def support_terms(self, batch: Batch, support: Images, gray: Images, fake: torch.Tensor) -> Terms:
        """Content, style, colour, smoothness and adversarial terms of the support tail."""
        recipe, scaled = self.recipe, self.calibration
        photo = self.maps(batch["photo"], "conv4_4")["conv4_4"]
        domain, own = self.maps(losses.gray(batch["anime"]), *STYLE_LAYERS), self.maps(gray, *STYLE_LAYERS)
        terms = {"content": recipe.content * scaled("content", losses.content_loss(photo, fake))}
        for layer, weight in zip(STYLE_LAYERS, recipe.style, strict=True):
            raw = losses.style_loss(domain[layer], own[layer])
            terms[f"style_{layer}"] = weight * scaled(f"style_{layer}", raw)
        logits = self.networks["support_judge"](gray)
        return terms | {
            "color": recipe.color * losses.color_loss(self.pooled(batch["photo"]), self.pooled(support)),
            "total_variation_support": recipe.total_variation * losses.total_variation(support),
            "adversarial_support": recipe.adversarial * losses.lsgan(logits, 0.9),
        }

    def region_terms(self, batch: Batch, segments: Images, fake: torch.Tensor) -> Terms:
        """Ask the support tail for flat regions: like the superpixels of its own output, and like the photo's."""
        recipe = self.recipe
        own = losses.content_loss(self.maps(segments, "conv4_4")["conv4_4"], fake)
        photo = losses.content_loss(self.maps(batch["segments"], "conv4_4")["conv4_4"], fake)
        return {
            "region_own": recipe.region_own * self.calibration("region_own", own),
            "region_photo": recipe.region_photo * self.calibration("region_photo", photo),
        }

    def main_terms(self, revision: Images, main: Images) -> Terms:
        """Revision, smoothness and adversarial terms of the main tail."""
        target, fake = self.maps(revision, "conv4_4")["conv4_4"], self.maps(main, "conv4_4")["conv4_4"]
        perceptual = self.calibration("revision_perceptual", losses.content_loss(target, fake))
        return {
            "revision": self.recipe.revision * (revision - main).abs().mean(),
            "revision_perceptual": 0.5 * perceptual,
            "total_variation_main": self.recipe.total_variation * losses.total_variation(main),
            "adversarial_main": 0.02 * losses.lsgan(self.networks["main_judge"](main), 1.0),
        }

    def judge(self, batch: Batch) -> Terms:
        """Discriminators' turn: fakes of the generator just updated, the revision image from before that."""
        with torch.no_grad():
            raw, main = self.networks["generator"](batch["photo"])
            support = losses.gray(dtgan.guided_filter(raw))
        support_judge, main_judge = self.networks["support_judge"], self.networks["main_judge"]
        smooth = losses.lsgan(support_judge(losses.gray(batch["smooth"])), 0.1)
        return {
            "support_real": 0.5 * losses.lsgan(support_judge(losses.gray(batch["anime"])), 0.9),
            "support_fake": losses.lsgan(support_judge(support), 0.1),
            "support_smooth": self.recipe.smooth_fakes * smooth,
            "main_real": 0.1 * losses.lsgan(main_judge(self.revision), 1.0),
            "main_fake": 0.1 * losses.lsgan(main_judge(main), 0.0),
        }

    def pooled(self, images: Images) -> Float[torch.Tensor, "batch 3 rows columns"]:
        """Mean colours of squares, for the colour loss."""
        return F.avg_pool2d(images, self.recipe.color_pool)

    def jitter(self) -> None:
        """Choose where the perceptual network's grid lies in this step: the same place for all images."""
        top, left = torch.randint(self.perceptual.grid, (2,)).tolist()
        self.place = (slice(top, None), slice(left, None))

    def maps(self, images: Images, *layers: str) -> dict[str, torch.Tensor]:
        """Perceptual maps by layer."""
        return self.perceptual(images[..., *self.place], layers)

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
        """Encoder and main tail."""
        return averaged.get_submodule("painter")

    def provenance(self) -> dict[str, str]:
        """The perceptual network."""
        return {"features": self.perceptual.name, "features_sha256": self.perceptual.sha256}

    def statistics(self, averaged: nn.Module, batch: Batch) -> dict[str, float]:
        """Share of saturated pixels: burnt highlights and blotches show here first."""
        _, fake = averaged(batch["photo"])
        return {"saturated": saturated(fake), "saturated_photo": saturated(batch["photo"])} | {
            f"scale_{name}": self.calibration.scale(name) for name in REFERENCE
        }

    def samples(self, averaged: nn.Module, batch: Batch) -> list[Images]:
        """Photo, support image, main image."""
        raw, main = averaged(batch["photo"])
        return [batch["photo"], dtgan.guided_filter(raw), main]

    def close(self) -> None:
        """Stop the worker processes."""
        if self.workers is not None:
            self.workers.shutdown(cancel_futures=True)


def saturated(images: Images) -> float:
    """Share of pixels in which every channel is nearly black, or every channel nearly white."""
    extreme = (images > 0.98).all(dim=1) | (images < -0.98).all(dim=1)
    return float(extreme.float().mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hayao(DTGANRecipe):
    """The paper's Hayao model: 100 epochs of 832 steps, the first five on content only."""

    steps: int = 83_200
    init_steps: int = 4_160


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shinkai(Hayao):
    """The paper's Shinkai model."""

    init_main: bool = False
    style: tuple[float, float, float] = (0.1, 2.0, 28.0)
    region_own: float = 0.8
    region_photo: float = 0.5
    color: float = 8.0
    total_variation: float = 0.0001
    smooth_fakes: float = 5.0
    white_noise: float = 0.1
    min_region: int = 100
    denoise: tuple[int, int] = (7, 6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Portrait(DTGANRecipe):
    """Faces, unpaired: crops of 128 px out of 256 px images, mirrored, averaged.

    Departs from the paper where training/LOG.md says so: colours are compared by area, and the revision image is
    flatter and has drawn lines.
    """

    card: ClassVar[str] = "dtgan-portrait"

    steps: int = 6_000
    size: int = 128
    margin: float = 1.0
    flip: bool = True
    batch: int = 4
    ema: float = 0.99
    init_steps: int = 200
    rate: float = 3e-4
    style: tuple[float, float, float] = (0.1, 5.0, 10.0)
    region_own: float = 0.5
    region_photo: float = 0.5
    color: float = 20.0
    color_pool: int = 4
    flatten: float = 0.01
    ink: float = 0.8
    denoise: tuple[int, int] = (8, 8)


RECIPES: dict[str, type[DTGANRecipe]] = {"dtgan-hayao": Hayao, "dtgan-shinkai": Shinkai, "dtgan-portrait": Portrait}

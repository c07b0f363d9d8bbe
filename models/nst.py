"""Neural style transfer by optimisation: no network is trained, the pixels themselves descend to the wanted statistics.

Source: A Neural Algorithm of Artistic Style (Gatys, Ecker and Bethge, 2015), section "Methods"; the reference
implementation for L-BFGS, its 500 evaluations and the coarse-to-fine pass.
"""

import contextlib
import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Literal, cast

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models import vgg
from models.card import ModelCard
from models.image import Images
from models.layers import Features

Gram = Float[Tensor, "batch channels channels"]
Scalar = Float[Tensor, ""]
Styles = Float[Tensor, "styles 3 rows columns"]
Progress = Callable[[int, int, float], object]
Reduction = Literal["gatys", "mean", "mean-channels"]

MIN_SIDE = 16  # three poolings leave 2 pixels
FINER = 0.4  # evaluations of a finer pass, against 500 of the first: 200
# How much style counts against content. The gains of a loss differ by orders of magnitude between the conventions.
STYLE_WEIGHTS: dict[str, float] = {"gatys": 1e8, "mean": 1e2, "mean-channels": 1e6}


@dataclasses.dataclass(frozen=True)
class Preset:
    """Which maps of which network are compared."""

    network: vgg.Kind
    content: str
    style: tuple[str, ...]


PRESETS = {
    "vgg16": Preset("vgg16", "relu4_3", ("relu1_2", "relu2_2", "relu3_3", "relu4_3")),
    "vgg19": Preset("vgg19", "relu4_2", ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")),
    "vgg16-shallow": Preset("vgg16", "relu2_2", ("relu1_2", "relu2_2")),
}


def gram(features: Float[Tensor, "batch channels height width"]) -> Gram:
    """Correlate the channels of a map over its M pixels.

    Returns:
        F F^T / M, where F is the map as (channels, M) matrix: the papers' G divided by M, so that pictures of
        different sizes compare.
    """
    flat = features.flatten(2)  # (B, N, M)
    return flat @ flat.mT / flat.shape[2]


def content_loss(features: Features, target: Features, *, reduction: Reduction = "gatys") -> Scalar:
    """Ask for the photo's own map.

    Args:
        features: Map of the picture that is being painted.
        target: Map of the photo.
        reduction: "gatys" gives half the sum of squares, the others the mean of squares.

    Returns:
        At least 0; 0 when the two are equal. Half the sum is N M / 2 times the mean, for N channels of M pixels.

    Source:
        Gatys et al., equation 1.
    """
    squares = (features - target).square()
    return squares.sum() / 2 if reduction == "gatys" else squares.mean()


def style_loss(correlations: Gram, target: Gram, *, reduction: Reduction = "gatys") -> Scalar:
    """Ask for the style picture's correlations of one layer.

    Args:
        correlations: `gram` of the picture that is being painted.
        target: `gram` of the style picture.
        reduction: "gatys" gives E = sum (G - A)^2 / (4 N^2 M^2) with the undivided G and A; "mean" the mean over the
            N^2 entries, which is 4 E; "mean-channels" divides by N once more inside the square, 4 E / N^2.

    Returns:
        At least 0; 0 when the two are equal.

    Source:
        Gatys et al., equation 4; "mean" is the authors' PyTorch notebook, "mean-channels" pytorch/examples.
    """
    channels = correlations.shape[-1]
    mean = (correlations - target).square().mean()
    return {"gatys": mean / 4, "mean": mean, "mean-channels": mean / channels**2}[reduction]


class NST(nn.Module, PyTorchModelHubMixin, library_name="nijigen", tags=["image-to-image", "style-transfer"]):
    """Paint a photo in the manner of a picture by L-BFGS on its pixels.

    Args:
        preset: Which maps are compared, see `PRESETS`: the report's VGG-16, Gatys' VGG-19, or the first four layers.
        features: "imagenet" fetches the trained weights before the first picture where no checkpoint brought them;
            "random" paints with random ones, which tests do.
        reduction: Convention of the losses.
        style_weight: Of the style against the content; None takes the convention's, see `STYLE_WEIGHTS`.
        steps: Evaluations of the loss at the coarsest level.
        start: From the photo, or from "noise".
        seed: Of the noise.
        levels: Passes, each at twice the size of the one before, the last at the photo's own.

    Raises:
        ValueError: A setting is unknown or out of range.
    """

    tileable = False  # every step sees the whole picture

    def __init__(
        self,
        *,
        preset: str = "vgg16",
        features: str = "imagenet",
        reduction: str = "gatys",
        style_weight: float | None = None,
        steps: int = 500,
        start: str = "content",
        seed: int = 0,
        levels: int = 1,
    ) -> None:
        super().__init__()
        known = (
            (preset, PRESETS),
            (reduction, STYLE_WEIGHTS),
            (features, ("imagenet", "random")),
            (start, ("content", "noise")),
        )
        for given, expected in known:
            if given not in expected:
                raise ValueError(f"{given!r} is unknown; expected one of {', '.join(expected)}.")
        if steps < 1 or levels < 1:
            raise ValueError(f"steps and levels are {steps} and {levels}; expected at least 1.")
        self.preset, self.steps, self.levels = PRESETS[preset], steps, levels
        self.reduction: Reduction = cast(Reduction, reduction)
        self.features, self.start, self.seed = features, start, seed
        self.style_weight = STYLE_WEIGHTS[reduction] if style_weight is None else style_weight
        deepest = max(self.wanted, key=vgg.indices(self.preset.network).__getitem__)
        self.trunk = vgg.Trunk(self.preset.network, deepest)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every layer that is looked at."""
        return tuple(dict.fromkeys((*self.preset.style, self.preset.content)))

    def forward(self, photo: Images, style: Styles) -> Images:
        """Paint photos (B, 3, H, W) like style pictures (B or 1, 3, H', W'), RGB in [-1, 1]; works without gradients.

        Raises:
            OSError: The trained features are missing and cannot be fetched.
        """
        return self.stylize(photo, style)

    def stylize(self, photo: Images, style: Styles, *, progress: Progress | None = None) -> Images:
        """Do what `forward` does, telling `progress` after each evaluation: how many, of how many at most, the loss."""
        if self.features == "imagenet" and not self.trunk.filled:
            self.trunk.fill()
        # Gradients are needed even where the caller switched them off; what inference mode made knows none.
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(photo.device.type, enabled=False):
            made_without = any(value.is_inference() for value in self.trunk.state_dict().values())
            trunk = copy.deepcopy(self.trunk) if made_without else self.trunk
            photos, styles = photo.float().clone(), style.float().clone().expand(len(photo), -1, -1, -1)
            pairs = zip(photos.split(1), styles.split(1), strict=True)  # one by one: L-BFGS would let them meet
            painted = [self.paint(trunk, *pair, progress=progress) for pair in pairs]
            return torch.cat(painted).clamp(-1, 1)

    def paint(self, trunk: vgg.Trunk, photo: Images, style: Styles, *, progress: Progress | None = None) -> Images:
        """Paint one photo, from the coarsest level to its own size."""
        passes = self.passes(photo)
        done, total, pixels = 0, sum(steps for _, steps in passes), None
        for factor, steps in passes:
            small = resize(photo, 1 / factor)
            if pixels is None:
                pixels = small if self.start == "content" else self.noise(small)
            else:
                pixels = F.interpolate(pixels, size=small.shape[-2:], mode="bicubic", align_corners=False)
            objective = self.objective(trunk, small, style)
            pixels = descend(objective, pixels, steps=steps, report=reporter(progress, done=done, total=total))
            done += steps
        assert pixels is not None
        return pixels

    def passes(self, photo: Images) -> list[tuple[int, int]]:
        """Say how many times smaller each pass is, and how many evaluations it has; the smallest has 16 px."""
        fit = int(math.log2(max(min(photo.shape[-2:]) / MIN_SIDE, 1))) + 1
        levels = min(self.levels, fit)
        finer = max(1, round(FINER * self.steps))
        return [(2 ** (levels - 1 - level), finer if level else self.steps) for level in range(levels)]

    def noise(self, like: Images) -> Images:
        """Draw white noise, the same on every device."""
        drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(self.seed))
        return 0.5 * drawn.to(like.device)

    def objective(self, trunk: vgg.Trunk, photo: Images, style: Styles) -> Callable[[Images], Scalar]:
        """Make the loss of a picture: content plus weighted style, every style layer counting the same.

        The style picture keeps its proportions and is brought to the photo's number of pixels, so that the strokes
        of all pictures have one scale.
        """
        area = math.sqrt(photo[0, 0].numel() / style[0, 0].numel())
        with torch.no_grad():
            content = trunk((photo + 1) / 2, (self.preset.content,))[self.preset.content]
            maps = trunk((resize(style, area) + 1) / 2, self.preset.style)
            correlations = {name: gram(maps[name]) for name in self.preset.style}

        def loss(pixels: Images) -> Scalar:
            made = trunk((pixels + 1) / 2, self.wanted)
            styles = [
                style_loss(gram(made[name]), target, reduction=self.reduction) for name, target in correlations.items()
            ]
            return content_loss(
                made[self.preset.content], content, reduction=self.reduction
            ) + self.style_weight * torch.stack(styles).mean(dim=0)

        return loss


def resize(images: Styles, factor: float) -> Float[Tensor, "styles 3 _rows _columns"]:
    """Enlarge or reduce, antialiased, to no side below 16 px; a factor of 1 changes nothing."""
    if factor == 1:
        return images
    size = [max(MIN_SIDE, round(side * factor)) for side in images.shape[-2:]]
    return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)


def reporter(progress: Progress | None, *, done: int, total: int) -> Callable[[int, float], object]:
    """Count on from what earlier passes did."""
    return lambda count, loss: progress(done + count, total, loss) if progress else None


class Enough(Exception):
    """The evaluations are used up, in the middle of a line search perhaps."""


def descend(
    loss: Callable[[Images], Scalar], start: Images, *, steps: int, report: Callable[[int, float], object]
) -> Images:
    """Run L-BFGS from a picture for a number of evaluations and give the best picture that was seen.

    The line search is what the reference goes without: there, and with the literal sums here, some pictures diverge.

    Args:
        loss: Of a picture; what is not finite is never the best.
        start: Picture (1, 3, H, W).
        steps: Evaluations of the loss.
        report: Told the number of evaluations so far, and the loss.
    """
    pixels = start.detach().clone().requires_grad_()
    best, lowest, count = pixels.detach().clone(), math.inf, 0
    optimizer = torch.optim.LBFGS(
        [pixels], max_iter=steps, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def evaluate() -> float:
        nonlocal best, lowest, count
        if count == steps:
            raise Enough
        optimizer.zero_grad()
        value = loss(pixels)
        value.backward()
        count, number = count + 1, value.item()
        if number < lowest:
            best, lowest = pixels.detach().clone(), number
        report(count, number)
        return number

    with contextlib.suppress(Enough):
        optimizer.step(evaluate)
    return best


CARDS = (
    ModelCard(
        name="nst",
        title="Neural style transfer (Gatys)",
        task="stylize",
        build=NST,
        multiple=1,
        min_side=MIN_SIDE,
        paper="A Neural Algorithm of Artistic Style (Gatys, Ecker and Bethge, 2015), https://arxiv.org/abs/1508.06576",
        licence="architecture only",
        note="Pixels are optimised, nothing is trained: its parameters are the frozen VGG-16. The paper used VGG-19, "
        "which is the preset vgg19.",
    ),
)

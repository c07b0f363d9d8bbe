"""Neural style transfer by optimisation: no network is trained, the pixels themselves descend to the wanted statistics.

Source: A Neural Algorithm of Artistic Style (Gatys, Ecker and Bethge, 2015), section "Methods"; the reference
implementation for L-BFGS, its 500 evaluations and the coarse-to-fine pass.

Memory: a run at 1024 x 1024 px takes 3.1 GB. Two things bound it. L-BFGS remembers `HISTORY` updates of two pictures
each. And of pictures above `LARGE` no stage keeps its maps for the way back: they are computed again there.
"""

import contextlib
import copy
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal, cast

import torch
from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import checkpoint

from models import layers, vgg
from models.card import ModelCard
from models.image import Images
from models.layers import Features

Gram = Float[Tensor, "batch channels channels"]
Scalar = Float[Tensor, ""]
Styles = Float[Tensor, "styles 3 rows columns"]
Progress = Callable[[int, int, float], object]
Report = Callable[[int, float], object]
Judge = Callable[[str, Features], Scalar]
Reduction = Literal["gatys", "mean", "mean-channels"]

MIN_SIDE = 16  # three poolings leave 2 pixels
FINER = 0.4  # evaluations of a finer pass, against 500 of the first: 200
NOISE = 0.5  # standard deviation of the noise to start from
HISTORY = 10  # torch's default of 100 takes 2.4 GB at 1024 px
LARGE = 512**2  # pixels


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


@dataclasses.dataclass(frozen=True)
class Balance:
    """How a convention weighs content, style, and the layers of style.

    Attributes:
        content: Weight of the content loss.
        style: Weight of the weighted sum over the layers. With "gatys", for each value of the content map.
        layer: Weight of a layer of so many channels, one of so many layers.
    """

    content: float
    style: float
    layer: Callable[[int, int], float]


CAFFE = 255 * sum(layers.IMAGENET_DEVIATION) / 3  # 58: so much larger are maps of pixels in 0..255 than torchvision's
BALANCES = {
    # The report has no numbers. These are those of pytorch/examples, 1e10 / 1e5, in its terms, where style is E for
    # 4 E / N^2 and content N M / 2 times as large; its 1 / N^2 spread evenly over VGG-16's layers.
    "gatys": Balance(1.0, 2e5 * sum(1 / n**2 for n in (64, 128, 256, 512)), lambda _, count: 1 / count),
    # The notebook's 1e3 / N^2, for maps of pixels in 0..255. Style goes with the fourth power of the maps, content
    # with the square.
    "mean": Balance(1.0, 1e3 * CAFFE**2, lambda channels, _: 1 / channels**2),
    # Those of pytorch/examples as they are: it prepares pixels as torchvision does.
    "mean-channels": Balance(1e5, 1e10, lambda *_: 1.0),
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

    The loss is `content_weight` x content + `style_weight` x the sum of w x style over the layers: w is 1 / their
    number with "gatys", 1 / N^2 for N channels with "mean", 1 with "mean-channels". See `BALANCES`.

    Args:
        preset: Which maps are compared, see `PRESETS`: the report's VGG-16, Gatys' VGG-19, or the first four layers.
        features: "imagenet" fetches the trained weights before the first picture where no checkpoint brought them;
            "random" paints with random ones, which tests do.
        reduction: Convention of the losses.
        content_weight: Alpha; None takes the convention's: 1, 1 and 1e5.
        style_weight: Beta; None takes the convention's: 65 for each value of the content map, 3.3e6 (the notebook's
            1e3 in torchvision's scale) and 1e10. A number is taken as it is. With "gatys" the balance then depends on
            the picture's size, for the literal content loss is a sum over pixels and the style loss is not: with 1e8
            and trained maps to relu2_2, style moves a noisy photo 300, 75 and 18 times as much as content does at 64,
            128 and 256 px; by default 27 times at each.
        steps: Evaluations of the loss at the coarsest level.
        start: From the photo, or from "noise".
        levels: Passes, each at twice the size of the one before, the last at the photo's own.

    Raises:
        ValueError: A setting is unknown or out of range.
    """

    tileable = False  # every step sees the whole picture
    whole_side = 1120  # px: a square of this side fits into 4 GB

    def __init__(
        self,
        *,
        preset: str = "vgg16",
        features: str = "imagenet",
        reduction: str = "gatys",
        content_weight: float | None = None,
        style_weight: float | None = None,
        steps: int = 500,
        start: str = "content",
        levels: int = 1,
    ) -> None:
        super().__init__()
        known = (
            (preset, PRESETS),
            (reduction, BALANCES),
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
        self.features, self.start = features, start
        self.content_weight = BALANCES[reduction].content if content_weight is None else content_weight
        self.style_weight = style_weight
        deepest = max(self.wanted, key=vgg.indices(self.preset.network).__getitem__)
        self.trunk = vgg.Trunk(self.preset.network, deepest)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every layer that is looked at."""
        return tuple(dict.fromkeys((*self.preset.style, self.preset.content)))

    def forward(self, photo: Images, style: Styles) -> Images:
        """Paint photos (B, 3, H, W) like style pictures (B or 1, 3, H', W'), RGB in [-1, 1]; works without gradients.

        Raises:
            CheckpointError: The trained features are missing and cannot be fetched.
        """
        return self.stylize(photo, style)

    def stylize(self, photo: Images, style: Styles, *, seed: int = 0, progress: Progress | None = None) -> Images:
        """Do what `forward` does.

        Args:
            photo: As of `forward`.
            style: As of `forward`.
            seed: Of the noise, the same for all photos.
            progress: Told after each evaluation: how many, of how many at most, the loss; over all photos and levels.
        """
        if self.features == "imagenet" and not self.trunk.filled:
            self.trunk.fill()
        own = sum(steps for _, steps in self.passes(photo))
        report = functools.partial(tell, progress, len(photo) * own)
        # Gradients are needed even where the caller switched them off; what inference mode made knows none.
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(photo.device.type, enabled=False):
            made_without = any(value.is_inference() for value in self.trunk.state_dict().values())
            trunk = copy.deepcopy(self.trunk) if made_without else self.trunk
            photos, styles = photo.float().clone(), style.float().clone().expand(len(photo), -1, -1, -1)
            pairs = zip(photos.split(1), styles.split(1), strict=True)  # one by one: L-BFGS would let them meet
            painted = [
                self.paint(trunk, *pair, seed=seed, report=count_on(report, number * own))
                for number, pair in enumerate(pairs)
            ]
            return torch.cat(painted).clamp(-1, 1)

    def paint(self, trunk: vgg.Trunk, photo: Images, style: Styles, *, seed: int, report: Report) -> Images:
        """Paint one photo, from the coarsest level to its own size."""
        done, pixels = 0, None
        for factor, steps in self.passes(photo):
            small = resize(photo, 1 / factor)
            if pixels is None:
                pixels = small if self.start == "content" else noise(small, seed=seed)
            else:
                pixels = F.interpolate(pixels, size=small.shape[-2:], mode="bicubic", align_corners=False)
            objective = self.objective(trunk, small, style)
            pixels = descend(objective, pixels, steps=steps, report=count_on(report, done))
            done += steps
        assert pixels is not None
        return pixels

    def passes(self, photo: Images) -> list[tuple[int, int]]:
        """Say how many times smaller each pass is, and how many evaluations it has; the smallest has 16 px."""
        fit = int(math.log2(max(min(photo.shape[-2:]) / MIN_SIDE, 1))) + 1
        levels = min(self.levels, fit)
        finer = max(1, round(FINER * self.steps))
        return [(2 ** (levels - 1 - level), finer if level else self.steps) for level in range(levels)]

    def objective(self, trunk: vgg.Trunk, photo: Images, style: Styles) -> Callable[[Images], Scalar]:
        """Make the loss of a picture.

        The style picture keeps its proportions and is brought to the photo's number of pixels, so that the strokes
        of all pictures have one scale.
        """
        area = math.sqrt(photo[0, 0].numel() / style[0, 0].numel())
        with torch.no_grad():
            content = trunk((photo + 1) / 2, (self.preset.content,))[self.preset.content]
            maps = trunk((resize(style, area) + 1) / 2, self.preset.style)
            correlations = {name: gram(maps[name]) for name in self.preset.style}
        beta = self.beta(content)
        layer = BALANCES[self.reduction].layer

        def judge(name: str, features: Features) -> Scalar:
            loss = features.new_zeros(())
            if name in correlations:
                weight = beta * layer(features.shape[1], len(correlations))
                loss = loss + weight * style_loss(gram(features), correlations[name], reduction=self.reduction)
            if name == self.preset.content:
                loss = loss + self.content_weight * content_loss(features, content, reduction=self.reduction)
            return loss

        return functools.partial(walk, trunk, wanted=self.wanted, judge=judge)

    def beta(self, content: Features) -> float:
        """Give the weight of style for a photo with this content map."""
        if self.style_weight is not None:
            return self.style_weight
        return BALANCES[self.reduction].style * (content.numel() if self.reduction == "gatys" else 1)


def walk(trunk: vgg.Trunk, pixels: Images, *, wanted: tuple[str, ...], judge: Judge) -> Scalar:
    """Add up what is said of the wanted maps of a picture, stage by stage; a stage ends with its pooling."""
    names = {trunk.indices[name]: name for name in wanted}
    x = F.conv2d((pixels + 1) / 2, trunk.matrix[:, :, None, None], trunk.offset)

    def stage(x: Features, first: int, last: int) -> tuple[Features, Scalar]:
        loss = x.new_zeros(())
        for index in range(first, last):
            x = trunk.features[index](x)
            if index in names:
                loss = loss + judge(names[index], x)
        return x, loss

    total, first, again = x.new_zeros(()), 0, pixels.shape[-2] * pixels.shape[-1] > LARGE
    ends = [index + 1 for index, module in enumerate(trunk.features) if isinstance(module, nn.MaxPool2d)]
    for last in (*ends, len(trunk.features)):
        whole = (x, first, last)
        x, loss = checkpoint.checkpoint(stage, *whole, use_reentrant=False) if again else stage(*whole)
        total, first = total + loss, last
    return total


def noise(like: Images, *, seed: int) -> Images:
    """Draw white noise, the same on every device."""
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
    return NOISE * drawn.to(like.device)


def resize(images: Styles, factor: float) -> Float[Tensor, "styles 3 _rows _columns"]:
    """Enlarge or reduce, antialiased, to no side below 16 px; a factor of 1 changes nothing."""
    if factor == 1:
        return images
    size = [max(MIN_SIDE, round(side * factor)) for side in images.shape[-2:]]
    return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)


def tell(progress: Progress | None, total: int, count: int, loss: float) -> None:
    """Pass news on, where somebody listens."""
    if progress:
        progress(count, total, loss)


def count_on(report: Report, done: int) -> Report:
    """Count on from what was done before."""
    return lambda count, loss: report(done + count, loss)


class Enough(Exception):
    """The evaluations are used up, in the middle of a line search perhaps."""


def descend(loss: Callable[[Images], Scalar], start: Images, *, steps: int, report: Report) -> Images:
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
        [pixels],
        max_iter=steps,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
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
        released="none; the VGG weights are torchvision's (BSD-3-Clause code, trained on ImageNet)",
        note="Pixels are optimised, nothing is trained: its parameters are the frozen VGG-16 to relu4_3, which serves "
        "content and style as in the project's style-transfer report. The paper's VGG-19 and its layers are the preset "
        "vgg19.",
    ),
)

"""UFR-GAN's view of a picture: which of its frequencies are strong, in blocks, as vectors that can be contrasted.

Source: UFR-GAN (Nguyen et al., 2025), its frequency module, and PatchNCE (Park et al., 2020) for the feature network.
Where the source contradicts itself, the functions say what is done instead.
"""

import dataclasses
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from models import layers
from models.image import Images

Maps = Float[Tensor, "*batch height width"]


def log_magnitude(maps: Maps, *, shift: bool = True) -> Maps:
    """Give log(1 + |F|) of the two-dimensional Fourier transform of each map.

    Args:
        maps: Grey pictures in [0, 1].
        shift: Move frequency zero to [height // 2, width // 2]; else it stays in the upper left corner.
    """
    spectrum = torch.fft.fft2(maps.float())
    return torch.log1p((torch.fft.fftshift(spectrum, dim=(-2, -1)) if shift else spectrum).abs())


def binarize(maps: Maps, *, threshold: Literal["mean", "median"] = "mean", temperature: float = 0.5) -> Maps:
    """Say 1 where a map is above its own threshold and 0 elsewhere, with the gradient of a sigmoid.

    A hard threshold has no gradient, so a loss on it would train nothing: forward is hard, backward is soft.

    Args:
        maps: Log magnitudes.
        threshold: Statistic of the map itself that parts strong from weak.
        temperature: Width of the sigmoid, in units of the maps.

    Returns:
        Zeros and ones; differentiable.

    Source:
        Estimating or Propagating Gradients Through Stochastic Neurons (Bengio et al., 2013), straight-through.
    """
    flat = maps.flatten(-2)
    level = flat.mean(dim=-1) if threshold == "mean" else flat.median(dim=-1).values
    above = maps - level[..., None, None]
    soft = torch.sigmoid(above / temperature)
    return (above > 0).to(soft.dtype) + (soft - soft.detach())


def crop_center(maps: Maps, *, keep: float = 0.75, null_radius: float = 0) -> Float[Tensor, "*batch _rows _columns"]:
    """Keep the middle of shifted spectra: low and middle frequencies, without the outermost ring.

    The source says that this shows middle and high frequencies. After the shift it cannot, for the centre is frequency
    zero; `null_radius` takes the lowest ones away.

    Args:
        maps: Shifted spectra, zero frequency at [height // 2, width // 2].
        keep: Share of each side that stays.
        null_radius: Bins around frequency zero that become 0; 0 leaves all of them.

    Returns:
        Maps of sides round(keep * height) and round(keep * width).
    """
    height, width = maps.shape[-2:]
    if null_radius > 0:
        rows = torch.arange(height, device=maps.device)[:, None] - height // 2
        columns = torch.arange(width, device=maps.device) - width // 2
        maps = maps * (rows.square() + columns.square() > null_radius**2)
    rows_kept, columns_kept = round(keep * height), round(keep * width)
    top, left = (height - rows_kept) // 2, (width - columns_kept) // 2
    return maps[..., top : top + rows_kept, left : left + columns_kept]


def blocks(
    maps: Float[Tensor, "batch 1 height width"], *, side: int = 32, stride: int = 16
) -> Float[Tensor, "batch count {side} {side}"]:
    """Cut maps into overlapping squares, row by row; 192 x 192 gives 11 x 11 of them by default.

    Args:
        maps: One channel, sides of at least `side`; what is left over right and below is dropped.
        side: Of a square, in pixels or bins.
        stride: Between neighbours.
    """
    return F.unfold(maps, side, stride=stride).mT.unflatten(2, (side, side))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bands:
    """What of a picture's frequencies is looked at, and in which pieces.

    Attributes:
        local_fft: Cut the image into blocks and transform each, so that a block belongs to a region of the image.
            By default, as in the source, the spectrum of the whole image is cut, so that it belongs to a frequency
            band, and the source's claim about regions does not hold.
        shift: Of `log_magnitude`. Without it the crop keeps the highest frequencies instead of the lowest.
        keep: Of `crop_center`, like `null_radius`.
        null_radius: Bins around frequency zero that become 0.
        side: Of `blocks`, like `stride`.
        stride: Between neighbouring blocks.
        threshold: Of `binarize`, like `temperature`.
        temperature: Width of its sigmoid.

    Raises:
        ValueError: Frequency zero shall be nulled where it is not in the centre, or nothing would be left to look at.
    """

    local_fft: bool = False
    shift: bool = True
    keep: float = 0.75
    null_radius: float = 0
    side: int = 32
    stride: int = 16
    threshold: Literal["mean", "median"] = "mean"
    temperature: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings that do not fit together."""
        if self.null_radius and not self.shift:
            raise ValueError(
                f"null_radius is {self.null_radius:g} and shift off; frequency zero is centred by a shift only."
            )
        if not 0 < self.keep <= 1 or round(self.keep * self.side) < 1 or self.stride < 1:
            raise ValueError(
                f"keep is {self.keep:g}, side {self.side} and stride {self.stride}; expected a share in (0, 1] that "
                "leaves some of the side, and a stride from 1."
            )

    @property
    def bins(self) -> int:
        """How many frequencies a block holds."""
        return (round(self.keep * self.side) if self.local_fft else self.side) ** 2

    def cut(self, images: Images) -> Float[Tensor, "batch count rows columns"]:
        """Say for each block of RGB images in [-1, 1] which of its frequencies are strong: zeros and ones."""
        gray = (layers.luma(images) + 1) / 2
        if self.local_fft:
            return self.strong(blocks(gray, side=self.side, stride=self.stride))
        return blocks(self.strong(gray), side=self.side, stride=self.stride)

    def strong(self, maps: Maps) -> Float[Tensor, "*batch _rows _columns"]:
        """Transform, binarise, crop."""
        magnitude = log_magnitude(maps, shift=self.shift)
        above = binarize(magnitude, threshold=self.threshold, temperature=self.temperature)
        return crop_center(above, keep=self.keep, null_radius=self.null_radius)


DEFAULT = Bands()


class FrequencyFeatures(nn.Module):
    """Turn images into unit vectors, one for each block, for the contrastive loss.

    Args:
        bands: What is looked at.
        hidden: Width of the hidden layer.
        outputs: Length of the vectors.
    """

    def __init__(self, bands: Bands = DEFAULT, *, hidden: int = 256, outputs: int = 128) -> None:
        super().__init__()
        self.bands = bands
        self.project = nn.Sequential(nn.Linear(bands.bins, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, images: Images) -> Float[Tensor, "batch count outputs"]:
        """Map RGB in [-1, 1] to vectors of length 1; a 256 px image has 121 blocks, 225 with `local_fft`."""
        return F.normalize(self.project(self.bands.cut(images).flatten(2)), dim=-1)


def choose(total: int, *, generator: torch.Generator, count: int = 64) -> Int[Tensor, " chosen"]:
    """Draw which blocks a training step compares, the same ones in every image of that step.

    Returns:
        Up to `count` different numbers below `total`.
    """
    return torch.randperm(total, generator=generator)[:count]

"""A recipe: everything that decides a training run."""

import abc
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from training.data import Data
    from training.objective import Objective


class RecipeError(ValueError):
    """A recipe, or what it points to, that cannot be trained."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(abc.ABC):
    """Settings that every objective shares; an objective's recipe adds its own."""

    card: ClassVar[str]
    """Model card that a checkpoint of this recipe belongs to."""
    licences: ClassVar[tuple[str, ...]] = ()
    """Licence classes in SOURCES.csv that may be trained on; empty for any."""

    photos: Path
    """Folder of photos; a SOURCES.csv in it limits training to the rows whose split is "train"."""
    anime: Path
    """Folder of the anime domain, read by the same rule."""
    out: Path
    """Run folder; a run found there is continued."""
    steps: int = 10_000
    """Steps of this run in all."""
    init_steps: int = 1_000
    """Steps of the first phase, which only copies the photo's content."""
    size: int = 256
    """Side of the training images, in pixels."""
    margin: float = 0.0
    """Images are loaded this share larger than `size`, then cropped at random."""
    flip: bool = False
    """Mirror half of the images."""
    batch: int = 8
    """Images of each set per step and process."""
    seed: int = 0
    """Of weights, order and crops."""
    precision: Literal["no", "bf16"] = "no"
    """Autocast type; "bf16" on a CPU that has it is two to three times as fast."""
    features: Literal["vgg19", "local"] = "vgg19"
    """Perceptual network; "local" is the offline stand-in under NIJIGEN_WEIGHTS."""
    compile: bool = False
    """Compile the networks: minutes at the start, about a quarter less time per step on a CPU."""
    ema: float = 0.0
    """Decay of the moving average of the generator that is exported; 0 exports the last weights."""
    workers: int = 2
    """Processes for superpixels."""
    save_every: int = 500
    """Steps between checkpoints, sample grids and loss plots."""
    start: Path | None = None
    """Run folder, state file or checkpoint to go on from, without a first phase, with new optimisers (also: --from)."""
    push: str = ""
    """Hub repository "owner/name" that receives the finished checkpoint."""

    @property
    def first_steps(self) -> int:
        """Steps of the first phase in this run: none where it goes on from trained weights."""
        return 0 if self.start else self.init_steps

    @property
    def side(self) -> int:
        """Side of the loaded images, before the crop, in pixels."""
        return round(self.size * (1 + self.margin))

    @abc.abstractmethod
    def objective(self) -> "Objective":
        """Make the networks and phases."""

    @abc.abstractmethod
    def data(self) -> "Data":
        """Read the images."""

    def check(self) -> None:
        """Raise RecipeError for a setting that cannot work."""
        for name, least in (("steps", 1), ("size", 64), ("batch", 1), ("save_every", 1), ("workers", 0)):
            value = getattr(self, name)
            if value < least:
                raise RecipeError(f"--{name.replace('_', '-')} is {value}; expected at least {least}.")
        if self.size % 8:
            raise RecipeError(f"--size is {self.size}; expected a multiple of 8, such as {self.size // 8 * 8 or 64}.")
        if not 0 <= self.ema < 1:
            raise RecipeError(f"--ema is {self.ema}; expected a decay in [0, 1), such as 0.999.")

    def plain(self) -> dict[str, Any]:
        """Fields as JSON holds them."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=str))

    def fingerprint(self) -> str:
        """Hash of all that must not change when a run is continued: everything but `steps`, `out` and bookkeeping."""
        free = {"steps", "out", "save_every", "workers", "photos", "anime", "start", "push"}
        fixed = {key: value for key, value in self.plain().items() if key not in free}
        fixed["goes_on"] = self.start is not None
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()

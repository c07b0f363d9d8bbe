"""The fixed conditions under which models are compared. Needs no torch."""

import dataclasses
from typing import Any

PHOTO = "photo"  # the baseline: the photo itself, untouched
ANIME = "anime"
MINIMUM_SIZE = 64  # px; below it faces are not found and the models refuse
PHOTOS = "photos"
EMBEDDER = "mobileface-v2"
ALIGNER = "yunet-2023mar, score 0.6, largest face, 5 points by least median of squares to 112 px"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """What the leaderboard shows of one metric.

    Attributes:
        label: Name in the records; set metrics get the feature layer's suffix where it is not the standard one.
        reference: "photo" (each its own), "anime" or "photos" (as a set), or "" for what concerns the model alone.
        title: Head of the column, with unit.
        better: "higher" or "lower".
        digits: Decimals shown.
        values: The per-image metric that it sums up; "" where it does not come from values per image.
    """

    label: str
    reference: str
    title: str
    better: str
    digits: int
    values: str = ""


METRICS = (
    Metric(label="fid_tf", reference=ANIME, title="{label} to anime", better="lower", digits=3),
    Metric(label="kid_tf", reference=ANIME, title="{label} to anime", better="lower", digits=5),
    Metric(
        label="identity",
        reference=PHOTO,
        title="identity (cosine; MobileFace V2, aligned by YuNet)",
        better="higher",
        digits=3,
        values="identity",
    ),
    Metric(label="no_face", reference=PHOTO, title="no face (share)", better="lower", digits=3, values="identity"),
    Metric(
        label="lpips_alex_v0.1",
        reference=PHOTO,
        title="lpips_alex_v0.1 to photo",
        better="lower",
        digits=3,
        values="lpips_alex_v0.1",
    ),
    Metric(label="ssim_rgb", reference=PHOTO, title="ssim_rgb to photo", better="higher", digits=3, values="ssim_rgb"),
    Metric(
        label="psnr_rgb", reference=PHOTO, title="psnr_rgb to photo (dB)", better="higher", digits=2, values="psnr_rgb"
    ),
    Metric(label="fid_tf", reference=PHOTOS, title="{label} to photos", better="lower", digits=3),
    Metric(label="kid_tf", reference=PHOTOS, title="{label} to photos", better="lower", digits=5),
    Metric(label="latency_ms", reference="", title="latency (ms)", better="lower", digits=1),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """One set of conditions; raise `version` whenever the same files would get another number.

    Attributes:
        size: Photos and anime are scaled to this short side and cropped to a centred square, in pixels.
        seed: Draws the subsets of KID and the bootstrap.
        kid_subset_size: Images per subset, or the smaller set where that holds fewer.
        kid_subsets: Number of subset pairs.
        bootstrap_rounds: Draws behind an interval of a mean.
        latency_repeats: Timed runs, batch of one.
        latency_warm_up: Untimed runs before them.
    """

    size: int = 256
    version: int = 1
    seed: int = 2020
    kid_subset_size: int = 300
    kid_subsets: int = 100
    bootstrap_rounds: int = 1000
    latency_repeats: int = 20
    latency_warm_up: int = 3

    @property
    def name(self) -> str:
        """Name in every record."""
        return f"translate-{self.size}"

    @property
    def folder(self) -> str:
        """Name of the folder of its predictions."""
        return f"{self.name}-v{self.version}"

    def describe(self) -> dict[str, Any]:
        """Give all settings, and in words what they do not say."""
        return {
            "name": self.name,
            **dataclasses.asdict(self),
            "images": "all of a folder, or split test alone where it has a SOURCES.csv with a split column",
            "preparation": "short side to size by antialiased bicubic, centred square, 8 bits; one photo per batch",
            "intervals": "means: percentile bootstrap over photos; shares: Wilson; both 95 %",
        }

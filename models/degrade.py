"""Spoil clean pictures as cameras and weather do: low light, haze, rain, motion blur, noise, JPEG, in this order.

Everything is decided by one seed per image. `draw` turns it into settings, `apply` turns settings into pixels; each
step in between is a function of its own, and so is every random field.

Source: the degradations that UFR-GAN (Nguyen et al., 2025) names; ranges and formulas are this project's, each from
the usual model of its effect.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from models import image
from models.image import Images

Kind = Literal["low_light", "haze", "rain", "motion_blur", "noise", "jpeg"]
Field = Float[Tensor, "1 1 height width"]
Kernel = Float[Tensor, "side side"]

KINDS: tuple[Kind, ...] = get_args(Kind)  # in physical order: light, air, camera, file
SEEDS = 2**29  # torch's generator keeps 32 bits of a seed, of which three tell the steps apart
RANGES = {
    "light_gain": (0.3, 0.9),
    "light_gamma": (1.5, 3.0),
    "haze_airlight": (0.7, 1.0),
    "haze_density": (0.4, 1.6),
    "rain_drops": (0.001, 0.004),
    "rain_length_px": (10.0, 40.0),
    "rain_angle_degrees": (-20.0, 20.0),
    "rain_brightness": (0.3, 0.8),
    "blur_length_px": (7.0, 31.0),
    "blur_angle_degrees": (0.0, 180.0),
    "noise_sigma": (5 / 255, 50 / 255),
    "noise_photons": (100.0, 1000.0),
    "jpeg_quality": (10, 60),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How one image is degraded; `apply` makes the same pixels of it every time.

    All values are drawn, also those of steps that are left out, so that leaving one out changes none of the others.

    Attributes:
        seed: Decides the random fields: depth, drops, noise.
        kinds: Steps that are taken, in physical order.
        light_gain: Factor of the brightness.
        light_gamma: Exponent of the brightness; above 1 darkens.
        haze_airlight: Brightness of the haze, in [0, 1].
        haze_density: Optical depth of the farthest point.
        rain_drops: Drops per pixel.
        rain_length_px: Length of a streak.
        rain_angle_degrees: Tilt of the streaks from the vertical.
        rain_brightness: What a streak adds, in [0, 1].
        blur_length_px: Path of the camera.
        blur_angle_degrees: Its direction from the vertical.
        noise_sigma: Deviation of the sensor's noise, for values in [0, 1].
        noise_photons: Photons that white collects; fewer are noisier.
        jpeg_quality: As encoders count it, 1 to 100.
    """

    seed: int
    kinds: tuple[Kind, ...]
    light_gain: float
    light_gamma: float
    haze_airlight: float
    haze_density: float
    rain_drops: float
    rain_length_px: float
    rain_angle_degrees: float
    rain_brightness: float
    blur_length_px: float
    blur_angle_degrees: float
    noise_sigma: float
    noise_photons: float
    jpeg_quality: int


def degrade(
    images: Images, *, seeds: Sequence[int], kinds: Sequence[Kind] = KINDS, chance: float = 0.5
) -> tuple[Images, tuple[Settings, ...]]:
    """Degrade every image of a batch by its own seed; what happens to one does not depend on the others.

    Args:
        images: Clean RGB in [-1, 1], sides above 16 pixels.
        seeds: One per image, from 0 to 2**29 - 1.
        kinds: Steps that may be taken.
        chance: Probability of each of them; one is always taken. 1 takes all.

    Returns:
        Degraded images of the same shape, RGB in [-1, 1], and how each was made.

    Raises:
        ValueError: There are not as many seeds as images, or `draw` refuses one.
    """
    if len(seeds) != len(images):
        raise ValueError(f"{len(images)} images were given {len(seeds)} seeds; give one each.")
    settings = tuple(draw(seed, kinds=kinds, chance=chance) for seed in seeds)
    return torch.cat([apply(images[n : n + 1], chosen) for n, chosen in enumerate(settings)]), settings


def draw(seed: int, *, kinds: Sequence[Kind] = KINDS, chance: float = 0.5) -> Settings:
    """Draw the settings of one image, every value evenly from its range in RANGES.

    Args:
        seed: From 0 to 2**29 - 1.
        kinds: Steps that may be taken.
        chance: Probability of each; the likeliest is taken where all fall out.

    Raises:
        ValueError: The seed is outside, there are no kinds, or one is unknown.
    """
    if not 0 <= seed < SEEDS:
        raise ValueError(f"seed is {seed}; expected 0 to {SEEDS - 1}.")
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds are {list(kinds)}; expected some of {', '.join(KINDS)}.")
    generator = torch.Generator().manual_seed(8 * seed)
    shares = torch.rand(len(RANGES), generator=generator, dtype=torch.float64).tolist()
    lots = dict(zip(KINDS, torch.rand(len(KINDS), generator=generator, dtype=torch.float64).tolist(), strict=True))
    values = {
        name: low + share * (high - low) for (name, (low, high)), share in zip(RANGES.items(), shares, strict=True)
    }
    first = min(kinds, key=lots.__getitem__)
    taken = tuple(kind for kind in KINDS if kind in kinds and (lots[kind] < chance or kind == first))
    return Settings(**values | {"seed": seed, "kinds": taken, "jpeg_quality": round(values["jpeg_quality"])})


def apply(images: Images, settings: Settings) -> Images:
    """Take the steps of the settings on one image, or the same ones on several.

    Args:
        images: Clean RGB in [-1, 1].
        settings: From `draw`, or made by hand.

    Returns:
        Degraded images of the same shape, RGB in [-1, 1], on the same device.
    """
    for kind in KINDS:
        if kind in settings.kinds:
            images = step(images, kind, settings=settings)
    return images


def step(images: Images, kind: Kind, *, settings: Settings) -> Images:
    """Take one step of the settings, whether or not they list it."""
    s, generator = settings, torch.Generator().manual_seed(8 * settings.seed + 1 + KINDS.index(kind))
    match kind:
        case "low_light":
            return low_light(images, gain=s.light_gain, gamma=s.light_gamma)
        case "haze":
            depth = depth_field(*images.shape[-2:], generator=generator).to(images)
            return haze(images, depth, airlight=s.haze_airlight, density=s.haze_density)
        case "rain":
            kernel = line(s.rain_length_px, degrees=s.rain_angle_degrees)
            streaks = streak_field(*images.shape[-2:], kernel=kernel, drops=s.rain_drops, generator=generator)
            return rain(images, streaks.to(images), brightness=s.rain_brightness)
        case "motion_blur":
            return motion_blur(images, line(s.blur_length_px, degrees=s.blur_angle_degrees).to(images))
        case "noise":
            return noise(images, sigma=s.noise_sigma, photons=s.noise_photons, generator=generator)
        case "jpeg":
            return jpeg(images, quality=s.jpeg_quality)


def low_light(images: Images, *, gain: float, gamma: float) -> Images:
    """Darken: gain * I ** gamma for I in [0, 1]."""
    return from_unit(gain * to_unit(images) ** gamma)


def haze(images: Images, depth: Field, *, airlight: float, density: float) -> Images:
    """Veil what is far: I t + A (1 - t), t = exp(-density * depth), for I and A in [0, 1].

    Source:
        Koschmieder's law, as in Single Image Haze Removal (He, Sun and Tang, 2009), equations 1 and 2.
    """
    transmission = torch.exp(-density * depth)
    return from_unit(to_unit(images) * transmission + airlight * (1 - transmission))


def rain(images: Images, streaks: Field, *, brightness: float) -> Images:
    """Add bright streaks: I + brightness * streaks, clamped, for values in [0, 1]."""
    return from_unit(to_unit(images) + brightness * streaks)


def motion_blur(images: Images, kernel: Kernel) -> Images:
    """Average along the camera's path; borders are reflected."""
    reach = kernel.shape[-1] // 2
    padded = F.pad(images, (reach, reach, reach, reach), mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3).clamp(-1, 1)


def noise(images: Images, *, sigma: float, photons: float, generator: torch.Generator) -> Images:
    """Count photons (Poisson), then add the sensor's noise (Gaussian); independent for each pixel and channel.

    Args:
        images: RGB in [-1, 1].
        sigma: Deviation of the Gaussian part, for values in [0, 1].
        photons: Mean count at white.
        generator: On the CPU, so that every device makes the same noise.
    """
    counted = torch.poisson(to_unit(images).cpu() * photons, generator=generator) / photons
    return from_unit(counted + sigma * torch.randn(counted.shape, generator=generator)).to(images)


def jpeg(images: Images, *, quality: int) -> Images:
    """Write every image as a JPEG file, with colour at half the resolution, and read it again; no gradient passes.

    Args:
        images: RGB in [-1, 1].
        quality: 1 to 100, as the Independent JPEG Group's encoder counts it.
    """
    decoded = []
    for pixels in image.to_uint8(images):
        _, file = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        picture = cv2.imdecode(file, cv2.IMREAD_COLOR)
        assert picture is not None
        decoded.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return image.from_uint8(np.stack(decoded)).to(images)


def depth_field(height: int, width: int, *, generator: torch.Generator) -> Field:
    """Make a smooth pseudo-depth, 0 nearest and 1 farthest: hills, rising towards the top of the picture."""
    hills = F.interpolate(torch.rand(1, 1, 4, 4, generator=generator), size=(height, width), mode="bicubic")
    depth = hills + torch.linspace(1, 0, height)[:, None]
    return (depth - depth.min()) / (depth.max() - depth.min())


def streak_field(height: int, width: int, *, kernel: Kernel, drops: float, generator: torch.Generator) -> Field:
    """Draw the kernel's line through random points, `drops` per pixel; 1 on a streak, 0 elsewhere."""
    reach = kernel.shape[-1] // 2
    noise = torch.rand(1, 1, height + 2 * reach, width + 2 * reach, generator=generator)
    fallen = (noise < drops).to(kernel.dtype)
    return F.conv2d(fallen, (kernel / kernel.max())[None, None]).clamp(0, 1)


def line(length_px: float, *, degrees: float) -> Kernel:
    """Make a line through the middle, one pixel wide, softened at its edges, that sums to 1.

    Args:
        length_px: At least 1.
        degrees: Tilt from the vertical, clockwise.
    """
    reach = math.ceil(length_px / 2)
    place = torch.arange(-reach, reach + 1, dtype=torch.float32)
    y, x = torch.meshgrid(place, place, indexing="ij")
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    along, across = x * sine - y * cosine, x * cosine + y * sine
    drawn = (1 - across.abs()).clamp(0, 1) * (length_px / 2 + 0.5 - along.abs()).clamp(0, 1)
    return drawn / drawn.sum()


def to_unit(images: Images) -> Images:
    """[-1, 1] to [0, 1]; clamped, for rounding must not make a root of a negative number."""
    return ((images + 1) / 2).clamp(0, 1)


def from_unit(images: Images) -> Images:
    """[0, 1] to [-1, 1]; values outside are clamped."""
    return 2 * images.clamp(0, 1) - 1

"""Two unpaired sets of images as memory-mapped arrays; a batch is a pure function of seed and step."""

import concurrent.futures
import csv
import dataclasses
import functools
import hashlib
import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from models import faces, image
from models.image import Images
from training import segmentation
from training.recipe import Recipe, RecipeError

log = logging.getLogger(__name__)
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
Pixels = UInt8[np.ndarray, "count side side 3"]


def files(folder: Path, licences: Sequence[str] = ()) -> list[Path]:
    """List the training images of a folder, by name.

    Args:
        folder: Where a SOURCES.csv stands, only its rows whose split is "train" count.
        licences: Take only rows whose licence_class is one of these; empty for all images.

    Raises:
        RecipeError: No folder, or no image in it.
    """
    if not folder.is_dir():
        raise RecipeError(f"{folder} is no folder; expected one with images.")
    sources = folder / "SOURCES.csv"
    if sources.is_file():
        with sources.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        rows = [row for row in rows if row.get("split", "train") == "train"]
        found = [folder / row["file"] for row in rows if not licences or row.get("licence_class") in licences]
    elif licences:
        raise RecipeError(
            f"{folder} has no SOURCES.csv; this recipe takes only images whose licence_class there is one of: "
            f"{', '.join(licences)}. Add that file, or train another recipe."
        )
    else:
        found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    if not found:
        raise RecipeError(f"{folder} holds no training image; expected files ending in {', '.join(sorted(SUFFIXES))}.")
    return sorted(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derived:
    """A second version of every image of a set, made once, such as its superpixels.

    Attributes:
        name: Key of the version in the batch.
        make: Picklable function of one image's pixels.
        settings: What decides the result, for the name of its file.
    """

    name: str
    make: Callable[[UInt8[np.ndarray, "side side 3"]], UInt8[np.ndarray, "side side 3"]]
    settings: str


def superpixels(min_size: int) -> Derived:
    """Superpixels of photos, none smaller than `min_size` pixels."""
    make = functools.partial(segmentation.superpixels, min_size=min_size)
    return Derived(name="segments", make=make, settings=f"5-0.8-{min_size}")


def smooth_edges(white_noise: float) -> Derived:
    """Drawings that are blurred along their edges, with a share of white pixels."""
    make = functools.partial(segmentation.smooth_edges, white_noise=white_noise)
    return Derived(name="smooth", make=make, settings=f"{white_noise}")


def features_of_faces() -> Derived:
    """Marks on eyes and mouths.

    Raises:
        RecipeError: The detector that finds them cannot be had.
    """
    try:
        faces.detector(fetch=True)
    except OSError as error:
        raise RecipeError(f"{error} Or leave eyes and mouths unmarked with --eyes 0.") from error
    return Derived(name="features", make=segmentation.features_of_face, settings="0.09-0.13")


def prepared(path: Path, version: Derived, side: int) -> Path:
    """Where a prepared version of an image lies: its name tells what made it, and from which bytes."""
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.parent / f"{version.name}-{side}-{version.settings}" / f"{path.stem}-{content[:16]}.png"


class Dataset:
    """Images of one folder and their derived versions, all squares of one side.

    Args:
        name: Key of the images in the batch.
        paths: Files; larger sides are cropped around the centre.
        side: Side of the squares, in pixels.
        cache: Folder for the arrays.
        derived: Versions that are cropped and mirrored together with the images; those that training.prepare left
            beside the images are read, others are made.
    """

    def __init__(
        self, name: str, paths: Sequence[Path], *, side: int, cache: Path, derived: Sequence[Derived] = ()
    ) -> None:
        self.name, self.count = name, len(paths)
        self.digest = digest(paths)
        self.arrays = {name: stored(cache / f"{name}-{self.digest[:16]}-{side}.npy", lambda: squares(paths, side))}
        for version in derived:
            path = cache / f"{version.name}-{self.digest[:16]}-{side}-{version.settings}.npy"
            self.arrays[version.name] = stored(path, functools.partial(derive, version, paths, self.arrays[name]))

    def indices(self, position: int, count: int, seed: int) -> list[int]:
        """Which images stand at `count` places from `position` on of an endless, reshuffled sequence."""
        places = range(position, position + count)
        return [int(order(seed, self.name, place // self.count, self.count)[place % self.count]) for place in places]


@functools.lru_cache(maxsize=8)
def order(seed: int, name: str, epoch: int, count: int) -> np.ndarray:
    """Permutation of a set in one epoch; sets shuffle independently."""
    return np.random.default_rng([seed, *name.encode(), epoch]).permutation(count)


class Data:
    """Draws batches: unpaired, each set in its own order, randomly cropped and mirrored.

    Args:
        sets: For example photos with superpixels, and anime with smoothed edges.
        recipe: Its size, batch, flip and seed.
    """

    def __init__(self, sets: Sequence[Dataset], recipe: Recipe) -> None:
        self.sets, self.recipe = sets, recipe

    def batch(self, step: int, *, rank: int = 0, world: int = 1) -> dict[str, Images]:
        """Give the batch of a step: the same at every call, in every process that asks for the same rank.

        Returns:
            Images (batch, 3, size, size), RGB in [-1, 1], by name.
        """
        recipe = self.recipe
        position = (step * world + rank) * recipe.batch
        batch = {}
        for dataset in self.sets:
            random = np.random.default_rng([recipe.seed, *dataset.name.encode(), step, rank])
            chosen = dataset.indices(position, recipe.batch, recipe.seed)
            room = next(iter(dataset.arrays.values())).shape[1] - recipe.size
            places = random.integers(0, room + 1, (recipe.batch, 2)).tolist()
            mirrored = random.random(recipe.batch) < 0.5 * recipe.flip
            for name, array in dataset.arrays.items():
                views = [
                    crop(array[index], top, left, recipe.size)[:, :: -1 if mirror else 1]
                    for index, (top, left), mirror in zip(chosen, places, mirrored, strict=True)
                ]
                batch[name] = image.from_uint8(np.stack(views)).contiguous(memory_format=torch.channels_last)
        return batch


def crop(pixels: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """Cut a square out of one image (H, W, 3)."""
    return pixels[top : top + side, left : left + side]


def digest(paths: Sequence[Path]) -> str:
    """Hash of names and bytes of all files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def stored(path: Path, make: Callable[[], Pixels]) -> Pixels:
    """Map an array from disk, making it first where it is missing; a killed writer leaves nothing behind."""
    if not path.is_file():
        log.info("making %s", path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as target:
            np.save(target, make())
        temporary.replace(path)
    return np.load(path, mmap_mode="r")


def squares(paths: Sequence[Path], side: int) -> Pixels:
    """Read images, resize their shorter side, crop around the centre: (count, side, side, 3)."""
    return np.stack([square(path, side) for path in paths])


def square(path: Path, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """Read one image as a square."""
    try:
        return centre(image.read(path), side)
    except image.ImageError as error:
        raise RecipeError(f"{path}: {error}") from error


def centre(picture: Images, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """Resize the shorter side of one image, and crop around the centre."""
    height, width = picture.shape[-2:]
    scale = side / min(height, width)
    if scale != 1:
        picture = image.resize(picture, height=round(height * scale), width=round(width * scale))
    height, width = picture.shape[-2:]
    top, left = (height - side) // 2, (width - side) // 2
    return image.to_uint8(picture[..., top : top + side, left : left + side])[0]


def derive(version: Derived, paths: Sequence[Path], pixels: Pixels) -> Pixels:
    """Read the prepared version of every image, or make all where one is missing."""
    side = pixels.shape[1]
    places = [prepared(path, version, side) for path in paths]
    if all(place.is_file() for place in places):
        log.info("taking %d prepared %s", len(places), version.name)
        return squares(places, side)
    return mapped(version.make, pixels)


def mapped(make: Callable[[np.ndarray], np.ndarray], pixels: Pixels) -> Pixels:
    """Apply a function to every image of an array, in as many processes as there are cores."""
    with pool(os.cpu_count() or 1) as workers:
        return np.stack(list(workers.map(make, pixels, chunksize=16)))


def pool(
    workers: int, *, begin: Callable[[], None] = segmentation.begin_worker
) -> concurrent.futures.ProcessPoolExecutor:
    """Start processes that share nothing with this one and use one thread each; every one calls `begin` first."""
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(workers, context, initializer=begin)

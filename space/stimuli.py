"""The pictures of a study: photos, predictions, damaged copies and training pairs, in one folder. Needs no torch.

`space.develop` makes such a folder; this file only reads it.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import records
from space import rules, screening, store

PHOTO = store.PHOTO
INDEX = "study.json"
PROTOCOLS = {each.protocol: each for each in (rules.STUDY, rules.PILOT, rules.ARENA)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG file.

    Attributes:
        path: Where it lies.
        sha256: Of its bytes.
        checkpoint_sha256: Of the weights that made it; None for a photo.
    """

    path: Path
    sha256: str
    checkpoint_sha256: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stimuli:
    """What a study shows.

    Attributes:
        limits: The rules of its protocol.
        photos: Names of the photos.
        models: Names of the models.
        pictures: By photo and model; `PHOTO` and damaged copies stand among the models.
        training: Three pairs: an obvious A, an obvious B, a tie.
        prediction_protocol: Conditions under which the predictions were made.
        device: Where.
        versions: Version by library.
    """

    limits: rules.Rules
    photos: tuple[str, ...]
    models: tuple[str, ...]
    pictures: Mapping[tuple[str, str], Picture]
    training: tuple[dict[str, Any], ...]
    prediction_protocol: str
    device: str
    versions: Mapping[str, str]

    @functools.cached_property
    def largest(self) -> int:
        """Size of the largest file, in bytes."""
        return max(picture.path.stat().st_size for picture in self.pictures.values())

    def content(self, photo: str, name: str) -> bytes:
        """Read a picture as it is shown: its file, then zeros up to the size of the largest one.

        A flatter model makes smaller files, so the size would tell the models apart. PNG readers stop at the end mark.
        """
        return self.find(photo, name).path.read_bytes().ljust(self.largest, b"\0")

    def find(self, photo: str, name: str) -> Picture:
        """Get the prediction of a photo by a model, or the photo itself."""
        return self.pictures[photo, name]


def load(folder: str | Path) -> Stimuli:
    """Read a study's folder.

    Raises:
        RecordError: It is none, or a picture is missing.
    """
    folder = Path(folder)
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        limits = PROTOCOLS[index["protocol"]]
        pictures = {
            (row["photo"], row["name"]): Picture(
                path=folder / row["file"], sha256=row["sha256"], checkpoint_sha256=row["checkpoint_sha256"]
            )
            for row in index["pictures"]
        }
        photos, models = tuple(index["photos"]), tuple(index["models"])
        missing = [str(each.path) for each in pictures.values() if not each.path.is_file()]
        lacking = [f"{photo} by {name}" for photo in photos for name in needed(models) if (photo, name) not in pictures]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise records.RecordError(
            f"{folder} is no study ({type(error).__name__}: {error}); make one with `python -m space.develop`."
        ) from error
    if missing or lacking:
        raise records.RecordError(f"{folder} lacks {', '.join([*missing, *lacking][:3])}; make the study once more.")
    return Stimuli(
        limits=limits,
        photos=photos,
        models=models,
        pictures=pictures,
        training=training(photos, models),
        prediction_protocol=index["prediction_protocol"],
        device=index["device"],
        versions=index["versions"],
    )


def needed(models: tuple[str, ...]) -> tuple[str, ...]:
    """List every picture that a photo has."""
    return (PHOTO, *models, *(screening.damaged(model) for model in models))


def training(photos: tuple[str, ...], models: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """Make the three training pairs: sound against damaged, damaged against sound, sound against itself."""
    common = {"role": "training", "duplicate_of": None, "scaled": None}
    sound, copy = models[0], screening.damaged(models[0])
    sides = ((sound, copy), (copy, sound), (sound, sound))
    return tuple(
        common | {"index": number - 2, "photo": photos[number % len(photos)], "left": left, "right": right}
        for number, (left, right) in enumerate(sides)
    )


def expected(facts: Mapping[str, Any]) -> records.Choice:
    """Give the right answer to a training pair or a gold trial."""
    if facts["left"] == facts["right"]:
        return "tie"
    return "B" if screening.is_damaged(facts["left"]) else "A"

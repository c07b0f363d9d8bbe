"""Who takes part in a leaderboard: found and hashed without loading a network. Needs no torch."""

import dataclasses
import json
from pathlib import Path

from bench import datasets, protocol, records
from models import card

BUNDLED = Path(card.__file__).with_name("checkpoints")
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contestant:
    """Who takes part: a card's checkpoint, a checkpoint folder, or the photo itself.

    Attributes:
        name: Name in the table and of the folder of predictions.
        source: What `models.load` takes; None for the photo.
        card: Name of the card, where the parameter count stands; None for the photo.
        sha256: Hash of the weights; None for the photo.
    """

    name: str
    source: str | None = None
    card: str | None = None
    sha256: str | None = None


def find(names: tuple[str, ...] | None, index: datasets.HashIndex) -> tuple[Contestant, ...]:
    """List the photo and the models, without loading any.

    Args:
        names: Cards or checkpoint folders; None takes every translating card that has a checkpoint.
        index: Remembers hashes.

    Raises:
        UnknownModel: A name is neither.
        RecordError: A card has no checkpoint yet, its files are missing, or two models share a name.
    """
    if names is None:
        names = tuple(entry.name for entry in card.offered() if entry.task == "translate")
    found = [_contestant(name, index) for name in names if name != protocol.PHOTO]
    for entry in found:
        if entry.name == protocol.PHOTO or [other.name for other in found].count(entry.name) > 1:
            raise records.RecordError(f"two models would be called {entry.name!r}; rename one of the folders.")
    return (Contestant(name=protocol.PHOTO), *found)


def _contestant(name: str, index: datasets.HashIndex) -> Contestant:
    entries = {entry.name: entry for entry in card.catalogue()}
    if name not in entries:
        folder = Path(name)
        if not (folder / CONFIG).is_file():
            raise card.unknown(name, entries)
        marks = json.loads((folder / CONFIG).read_text()).get("nijigen", {})
        return Contestant(
            name=folder.resolve().name, source=name, card=marks.get("card"), sha256=_weights_sha256(folder, index)
        )
    checkpoint = entries[name].checkpoint
    if checkpoint is None:
        raise records.RecordError(f"{name} has no trained checkpoint yet, so there is nothing to measure; train one.")
    folder = _hub_folder(checkpoint) if "/" in checkpoint else BUNDLED / checkpoint
    return Contestant(name=name, source=name, card=name, sha256=_weights_sha256(folder, index))


def _hub_folder(repository: str) -> Path:
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repository, WEIGHTS)
    if not isinstance(cached, str):
        try:
            cached = huggingface_hub.hf_hub_download(repository, WEIGHTS)
        except (OSError, ValueError) as error:
            raise records.RecordError(f"{repository} could not be fetched from the Hub ({error}); connect.") from error
    return Path(cached).parent


def _weights_sha256(folder: Path, index: datasets.HashIndex) -> str:
    if not (folder / WEIGHTS).is_file():
        raise records.RecordError(f"{folder / WEIGHTS} does not exist; fetch or save the checkpoint again.")
    return index.sha256(folder / WEIGHTS)

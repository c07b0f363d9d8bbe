"""Every card by name, and the checkpoints behind them: save, check, load."""

import copy
import hashlib
import inspect
import json
import re
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import safetensors
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from models import (
    adain,
    animegan,
    card,
    cyclegan,
    dcgan,
    dtgan,
    image,
    johnson,
    nst,
    patchgan_sr,
    restormer,
    srcnn,
    stylegan2,
    stylization,
    unet,
    unetplus,
    unit,
)
from models.card import CheckpointError, ModelCard
from models.image import Images

FAMILIES = (
    dtgan,
    animegan,
    dcgan,
    cyclegan,
    srcnn,
    patchgan_sr,
    unit,
    unet,
    unetplus,
    stylegan2,
    restormer,
    johnson,
    nst,
    stylization,
    adain,
)
BUNDLED = Path(__file__).with_name("checkpoints")
CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"
SMALLEST_STYLE = 16  # pixels; the deepest encoder leaves 2 x 2 of it, whose deviation is defined
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def index(*families: Any) -> dict[str, ModelCard]:
    """Gather the cards of family modules by name.

    Raises:
        ValueError: Two cards have the same name.
    """
    cards: dict[str, ModelCard] = {}
    for entry in (entry for family in families for entry in family.CARDS):
        if entry.name in cards:
            raise ValueError(f"two cards are called {entry.name!r}; give one of them another name.")
        cards[entry.name] = entry
    return cards


CARDS = index(*FAMILIES)


class Model(nn.Module):
    """A card and its network; called, it maps Images of any size from `card.min_side` up to Images.

    Args:
        entry: The card; kept as `card`.
        network: Takes sides that are multiples of `card.multiple`.
        sha256: Checksum of `model.safetensors`; None without one.
    """

    def __init__(self, entry: ModelCard, network: nn.Module, *, sha256: str | None = None) -> None:
        super().__init__()
        self.card, self.network, self.sha256 = entry, network, sha256

    def forward(self, images: Tensor, style: Float[Tensor, "styles 3 rows columns"] | None = None) -> Images:
        """Pad by reflection to the multiple, run the network, crop back, clamp to [-1, 1].

        Args:
            images: Images (B, 3, H, W), RGB in [-1, 1]; noise (B, card.latent), standard normal, of a generator.
            style: Pictures (B or 1, 3, H', W') whose manner a stylizing model takes on, RGB in [-1, 1].

        Returns:
            Images as large as the first ones, or `card.scale` times.

        Raises:
            ImageError: A side is below the card's minimum, the noise has another length, or a style is missing, not
                wanted or too small.
        """
        if self.card.task == "generate":
            latent = getattr(self.network, "latent", self.card.latent)  # a converted network's may be another
            if images.shape[1:] != (latent,):
                raise image.ImageError(
                    f"{self.card.name} was given noise {tuple(images.shape)}; expected (batch, {latent})."
                )
            return self.network(images).clamp(-1, 1)
        self.check(images)
        self.check_style(style, photos=len(images))
        padded, (height, width) = image.pad(images, self.card.multiple)
        made = self.network(padded) if style is None else self.network(padded, style)
        return image.crop(made, (self.card.scale * height, self.card.scale * width)).clamp(-1, 1)

    def check(self, images: Images) -> None:
        """Refuse images below the card's minimum."""
        height, width = images.shape[-2:]
        if min(height, width) < self.card.min_side:
            raise image.ImageError(
                f"{self.card.name} was given {width} x {height} px and takes sides from {self.card.min_side} px up; "
                "enlarge the picture first."
            )

    def check_style(self, style: Tensor | None, *, photos: int) -> None:
        """Refuse a style that is missing, not wanted, smaller than `SMALLEST_STYLE`, or not one per photo."""
        if (style is None) != (self.card.task != "stylize"):
            wanted = "needs a style picture" if style is None else "takes no style picture"
            raise image.ImageError(f"{self.card.name} {wanted} beside the photo.")
        if style is not None and (len(style) not in (1, photos) or min(style.shape[-2:]) < SMALLEST_STYLE):
            raise image.ImageError(
                f"{self.card.name} was given styles of {tuple(style.shape)} for {photos} photos; expected one, or one "
                f"per photo, with sides from {SMALLEST_STYLE} px up."
            )


def find(name: str) -> ModelCard:
    """Give the card of a name.

    Raises:
        UnknownModel: No card has it.
    """
    if name not in CARDS:
        raise card.unknown(name, CARDS)
    return CARDS[name]


def build(name: str) -> nn.Module:
    """Make the network of a card with random weights and its default settings."""
    return find(name).build()


def load(name: str, *, device: str = "cpu") -> Model:
    """Load a trained model, ready to predict: eval mode, float32.

    Args:
        name: A card with a checkpoint, a checkpoint folder, or a repository "owner/name" on the Hub.
        device: Where it runs, in torch's words.

    Raises:
        UnknownModel: The name is none of the three.
        CheckpointError: The card is untrained, or its checkpoint is missing, damaged or does not fit.
    """
    folder = locate(name)
    config = read_config(folder)
    marks = config.pop("nijigen", None)
    if not isinstance(marks, dict) or not {"card", "sha256"} <= set(marks):
        raise CheckpointError(
            f'{folder / CONFIG} has no "nijigen" entry with "card" and "sha256"; write checkpoints with registry.save.'
        )
    if name in CARDS and marks["card"] != name:
        raise CheckpointError(f"{folder / CONFIG} says it is {marks['card']!r}; expected {name!r}.")
    entry = find(marks["card"])
    surplus = sorted(set(config) - set(inspect.signature(entry.build).parameters))
    if surplus:
        raise CheckpointError(f"{folder / CONFIG} has settings that {entry.name} does not know: {', '.join(surplus)}.")
    try:
        network = entry.build(**config)
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG} does not fit {entry.name}: {error}") from error
    fill(network, folder / WEIGHTS, sha256=marks["sha256"])
    return Model(entry, network, sha256=marks["sha256"]).to(device).eval()


def locate(name: str) -> Path:
    """Find the folder of a checkpoint; one on the Hub is downloaded into the usual cache."""
    source = name
    if name in CARDS:
        if CARDS[name].checkpoint is None:
            raise CheckpointError(
                f"{name} has no trained checkpoint yet; train one with `python -m training.train` if it has a recipe, "
                "or convert a released one with `python -m models.convert`, and load the folder that either writes."
            )
        source = str(CARDS[name].checkpoint)
        if "/" not in source:
            return BUNDLED / source
    if Path(source).is_dir():
        return Path(source)
    if not HUB_NAME.fullmatch(source):
        raise card.unknown(source, CARDS)
    try:
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=[CONFIG, WEIGHTS, README]))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{source} is no folder here and could not be fetched from the Hub ({type(error).__name__}); "
            "check the name and the connection."
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's settings."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} does not exist; expected a folder with {CONFIG}, {WEIGHTS} and {README}."
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}); fetch or save the checkpoint again.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds {type(config).__name__}; expected an object with the network's settings.")
    return config


def fill(network: nn.Module, path: Path, *, sha256: str) -> None:
    """Load weights strictly: right checksum, no key missing or surplus, every shape equal.

    Args:
        network: Takes the weights in its own precision.
        path: A safetensors file.
        sha256: What its bytes must hash to.

    Raises:
        CheckpointError: Names the file and up to three keys that differ.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; fetch or save the checkpoint again.")
    found = checksum(path)
    if found != sha256:
        raise CheckpointError(f"{path} has SHA-256 {found}, expected {sha256}; fetch or save the checkpoint again.")
    try:
        weights = load_file(path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file ({error}).") from error
    problems = mismatches(weights, network.state_dict())
    if problems:
        raise CheckpointError(f"{path} does not fit the network: {problems}.")
    network.load_state_dict(weights)


def mismatches(given: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """Say how two sets of tensors differ in keys and shapes; empty when they do not.

    Args:
        given: What a file holds.
        expected: What the network holds.

    Returns:
        The first three differing keys in alphabetical order, and how many more there are.
    """
    differences = []
    for key in sorted(given.keys() | expected.keys()):
        if key not in given:
            differences.append(f"{key} missing")
        elif key not in expected:
            differences.append(f"{key} surplus")
        elif given[key].shape != expected[key].shape:
            differences.append(f"{key} has shape {tuple(given[key].shape)}, expected {tuple(expected[key].shape)}")
    rest = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    return "; ".join(differences[:3]) + rest


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(
    network: nn.Module, folder: str | Path, *, name: str, half: bool = False, readme: str = "", licence: str = ""
) -> str:
    """Write a checkpoint folder in the Hub's form; `DTGAN.from_pretrained(folder)` reads it too.

    Args:
        network: One that the card builds; left as it is.
        folder: Made where missing; its three files are replaced.
        name: The card.
        half: Store float16.
        readme: Text of the model card, in Markdown, under the metadata.
        licence: Terms of these weights, where they are not the card's.

    Returns:
        SHA-256 of `model.safetensors`.

    Raises:
        CheckpointError: A weight is not finite, in float16 where that was asked for.
    """
    entry, folder = find(name), Path(folder)
    stored = copy.deepcopy(network).half() if half else network
    for key, value in stored.state_dict().items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{key} is not finite{' in float16' if half else ''}; {folder} was not written.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / README).write_text(model_card(entry, readme, licence=licence or entry.licence))
    cast(huggingface_hub.PyTorchModelHubMixin, stored).save_pretrained(folder)
    sha256 = checksum(folder / WEIGHTS)
    path = folder / CONFIG
    config = json.loads(path.read_text()) if path.exists() else {}
    config["nijigen"] = {"card": name, "sha256": sha256}
    path.write_text(json.dumps(config, indent=2) + "\n")
    return sha256


def model_card(entry: ModelCard, text: str, *, licence: str) -> str:
    """Compose a README with the Hub's metadata on top."""
    metadata = huggingface_hub.ModelCardData(
        library_name="nijigen",
        pipeline_tag="image-to-image",
        tags=["anime", "gan", "image-to-image", entry.name],
        license="other",
        license_name="-".join(re.findall(r"[a-z0-9]+", licence.lower())),
    )
    body = text or f"# {entry.title}\n\n{entry.note}\n\nSource: {entry.paper}.\n"
    return f"---\n{metadata.to_yaml()}\n---\n\n{body.rstrip()}\n\nLicence: {licence}.\n"

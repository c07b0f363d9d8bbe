"""An official checkpoint in, one of ours out: `python -m models.convert dtgan FILE OUT --option lade_epsilon=1e-12`.

`models/conversion` says how each family's checkpoints are laid out. Nothing is unpickled but tensors.
"""

import hashlib
import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import safetensors
import torch
import tyro
from safetensors.torch import load
from torch import nn

from models import card, registry
from models.conversion import (
    adain,
    animegan,
    cyclegan,
    dcgan,
    dtgan,
    layout,
    patchgan,
    restormer,
    srcnn,
    stylegan2,
    stylegan2_labml,
    stylization,
    unet,
    unit,
)
from models.conversion.layout import COUNTER, Layout, Tensors
from models.registry import CheckpointError

LAYOUTS: dict[str, Layout] = {
    **dtgan.LAYOUTS,
    **animegan.LAYOUTS,
    **dcgan.LAYOUTS,
    **cyclegan.LAYOUTS,
    **srcnn.LAYOUTS,
    **patchgan.LAYOUTS,
    **unit.LAYOUTS,
    **restormer.LAYOUTS,
    **unet.LAYOUTS,
    **stylegan2.LAYOUTS,
    **stylegan2_labml.LAYOUTS,
    **stylization.LAYOUTS,
    **adain.LAYOUTS,
}
KINDS = (".safetensors", ".npz", ".pth", ".pt", ".ckpt")
UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError)
CONVERTED = """# {family}, converted weights

Converted from `{file}` (SHA-256 `{sha256}`), settings {settings}. {status}
The weights keep the terms of their author; do not pass them on without permission.
"""
STATUS = {
    True: "This layout's numbers were compared with the reference implementation.",
    False: "Layout only: names and shapes fit, but no reference output of this layout was at hand.",
}


def read(path: Path) -> Tensors:
    """Read every tensor of a file; floating-point ones as float32, nested dictionaries under dotted names.

    Args:
        path: .safetensors, .npz, or .pth, .pt and .ckpt, of which only tensors are unpickled; or a folder of them,
            which puts the name of its file before each tensor's.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind or holds more than tensors and plain values.
    """
    if path.is_dir():
        return {f"{file.stem}.{key}": tensor for file in files(path) for key, tensor in read(file).items()}
    if path.suffix not in KINDS:
        raise CheckpointError(f"{path} is none of {', '.join(KINDS)}; store the tensors in one of them.")
    try:
        if path.suffix == ".safetensors":
            found: Any = load(path.read_bytes())
        elif path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = {key: torch.from_numpy(np.array(arrays[key])) for key in arrays.files}
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (*UNREADABLE, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} could not be read: {str(error).splitlines()[0]}.") from error
    return layout.unwrap(layout.flatten(found))


def files(path: Path) -> list[Path]:
    """Give a file, or the tensor files of a folder in the order of their names.

    Raises:
        CheckpointError: The folder has none.
    """
    found = sorted(file for file in path.iterdir() if file.suffix in KINDS) if path.is_dir() else [path]
    if not found:
        raise CheckpointError(f"{path} holds none of {', '.join(KINDS)}; put the official files into it.")
    return found


def convert(tensors: Tensors, family: str, **options: float) -> nn.Module:
    """Make one of our networks of an official state dict.

    Args:
        tensors: As `read` gives them.
        family: A name in `LAYOUTS`.
        options: Settings that the file does not tell; see the layout's `options`.

    Returns:
        The network, in eval mode.

    Raises:
        UnknownModel: There is no such layout.
        CheckpointError: Names the first three tensors that are missing, surplus or of another shape.
    """
    if family not in LAYOUTS:
        raise card.unknown(family, LAYOUTS)
    kind = LAYOUTS[family]
    surplus = sorted(set(options) - set(kind.options))
    if surplus:
        raise CheckpointError(f"{family} has no option {surplus[0]!r}; it has {', '.join(kind.options) or 'none'}.")
    try:
        network = kind.build(**(kind.settings(tensors) | kind.options | options))
        given = {key: value for key, value in kind.rename(tensors).items() if not key.endswith(COUNTER)}
    except ValueError as error:
        raise CheckpointError(f"the file does not fit {family}: {error}.") from error
    state = network.state_dict()
    given |= {key: value for key, value in state.items() if key.endswith(COUNTER)}
    problems = registry.mismatches(given, state)
    if problems:
        raise CheckpointError(f"the file does not fit {family}: {problems}.")
    network.load_state_dict(given)
    return network.eval()


def save(network: nn.Module, out: Path, *, family: str, readme: str) -> str:
    """Write a checkpoint folder; a discriminator, which has no card, in the Hub's plain form.

    Returns:
        SHA-256 of its weights.
    """
    kind = LAYOUTS[family]
    if kind.card is not None:
        return registry.save(network, out, name=kind.card, readme=readme, licence=kind.terms)
    out.mkdir(parents=True, exist_ok=True)
    (out / registry.README).write_text(readme)
    assert isinstance(network, huggingface_hub.PyTorchModelHubMixin)
    network.save_pretrained(out)
    return registry.checksum(out / registry.WEIGHTS)


def parse(option: str) -> tuple[str, float]:
    """Read `name=number`.

    Raises:
        CheckpointError: It is something else.
    """
    name, _, value = option.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise CheckpointError(f"option {option!r} is not name=number, such as lade_epsilon=1e-12.") from error


def main(
    *,
    family: tyro.conf.Positional[str],
    file: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    option: tuple[str, ...] = (),
) -> None:
    """Convert an official checkpoint into a folder that `models.load` reads.

    Args:
        family: Layout of the checkpoint; a wrong one lists them all.
        file: Its tensors: .safetensors, .npz, .pth, .pt or .ckpt, or a folder where the parts are several files.
        out: Folder to write.
        option: Settings that the file does not tell, as name=number: for dtgan lade_epsilon=1e-12 (Hayao_36).
    """
    chosen = dict(parse(text) for text in option)
    network = convert(read(file), family, **chosen)
    source = hashlib.sha256(b"".join(part.read_bytes() for part in files(file))).hexdigest()
    settings = json.dumps(LAYOUTS[family].options | chosen)
    status = STATUS[LAYOUTS[family].checked]
    readme = CONVERTED.format(family=family, file=file.name, sha256=source, settings=settings, status=status)
    sha256 = save(network, out, family=family, readme=readme)
    use = f"models.load({str(out)!r})" if LAYOUTS[family].card else f"{type(network).__name__}.from_pretrained"
    sys.stdout.write(f"{out}: {family} with SHA-256 {sha256}; load it with {use}. {status}\n")


def command() -> None:
    """Run `main`; refuse what does not fit in one line, with exit status 2."""
    try:
        tyro.cli(main, prog="python -m models.convert")
    except (CheckpointError, card.UnknownModel) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    command()

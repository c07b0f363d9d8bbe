"""Tensors of foreign files. Nothing is unpickled but tensors and plain values."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load

from models.card import CheckpointError
from models.conversion import layout
from models.conversion.layout import Tensors

KINDS = (".safetensors", ".npz", ".pth.tar", ".pth", ".pt", ".ckpt", ".pkl")


def read(path: Path) -> Tensors:
    """Read every tensor of a file; floating-point ones as float32, nested dictionaries under dotted names.

    Args:
        path: .safetensors, .npz, or .pth, .pth.tar, .pt, .ckpt and .pkl, of which only tensors are unpickled; or a
            folder of them, which puts the name of its file before each tensor's.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind or holds more than tensors and plain values.
    """
    if path.is_dir():
        return {f"{stem(file)}.{key}": tensor for file in files(path) for key, tensor in read(file).items()}
    if not path.name.endswith(KINDS):
        raise CheckpointError(f"{path} is none of {', '.join(KINDS)}; store the tensors in one of them.")
    try:
        return layout.unwrap(layout.flatten(_content(path)))
    except pickle.UnpicklingError as error:  # torch's text recommends to unpickle everything
        raise CheckpointError(f"{path} is damaged, or holds more than tensors and plain values.") from error
    except Exception as error:  # readers of pickles and archives fail on damaged bytes in any way there is
        reason = "; ".join([type(error).__name__, *str(error).splitlines()[:1]]).rstrip(".")
        raise CheckpointError(f"{path} could not be read ({reason}); get it again.") from error


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load(path.read_bytes())
    if path.suffix == ".npz":
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {key: torch.from_numpy(np.array(arrays[key])) for key in arrays.files}
    return torch.load(path, map_location="cpu", weights_only=True)


def files(path: Path) -> list[Path]:
    """Give a file, or the tensor files of a folder in the order of their names.

    Raises:
        CheckpointError: The folder has none.
    """
    found = sorted(file for file in path.iterdir() if file.name.endswith(KINDS)) if path.is_dir() else [path]
    if not found:
        raise CheckpointError(f"{path} holds none of {', '.join(KINDS)}; put the official files into it.")
    return found


def stem(file: Path) -> str:
    """Give the name of a tensor file without its kind."""
    return file.name.removesuffix(next(kind for kind in KINDS if file.name.endswith(kind)))

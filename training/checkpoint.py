"""State of a run as one safetensors file: networks, optimisers, buffers, moving average, random numbers, step."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from models.registry import CheckpointError

RANDOM = "random.torch"


def save(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    header: Mapping[str, str],
) -> None:
    """Write the state of a run; the file appears whole or not at all.

    Args:
        path: Where.
        modules: Networks, moving average and buffers, by name.
        optimizers: By the name of their phase.
        header: Facts about the run, such as its steps; its "fingerprint" of the recipe decides who may continue it.
    """
    tensors = {RANDOM: torch.get_rng_state()}
    for name, module in modules.items():
        tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{name}.{index}.{key}": value for key, value in state.items()}
    temporary = path.with_suffix(".tmp")
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    save_file(contiguous, temporary, dict(header))
    with temporary.open("rb+") as written:
        os.fsync(written.fileno())
    temporary.replace(path)


def load(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    fingerprint: str,
) -> dict[str, str]:
    """Bring modules and optimisers to a saved state.

    Returns:
        The header it was saved with.

    Raises:
        CheckpointError: The file is damaged, does not fit, or another recipe made it.
    """
    tensors, header = read(path)
    if header.get("fingerprint") != fingerprint:
        raise CheckpointError(
            f"{path} was made by a recipe with other settings; run with the settings in "
            f"{path.with_name('recipe.json')}, or choose another --out (and --from {path} to start from its networks)."
        )
    for name, module in modules.items():
        fill(module, strip(tensors, f"module.{name}."), path)
    for name, optimizer in optimizers.items():
        restore(optimizer, strip(tensors, f"optimizer.{name}."))
    torch.set_rng_state(tensors[RANDOM])
    return header


def networks(path: Path, modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """Take only the networks out of a training state: optimisers start anew.

    Returns:
        The header it was saved with.

    Raises:
        CheckpointError: The file is damaged or does not fit.
    """
    tensors, header = read(path)
    for name, module in modules.items():
        fill(module, strip(tensors, f"module.{name}."), path)
    return header


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and header of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}; remove it, or name another training state, run or checkpoint."
        ) from error


def strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Entries under a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def fill(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load a module strictly, naming the file where that fails."""
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit {type(module).__name__}: {str(error).splitlines()[-1]}") from error


def restore(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser its moments back; settings stay those it was made with."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, field = key.split(".")
        state.setdefault(int(index), {})[field] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def write_json(path: Path, value: object) -> None:
    """Write JSON that appears whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)

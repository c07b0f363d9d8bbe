"""An official checkpoint in, one of ours out: `python -m models.convert dtgan FILE OUT --lade-epsilon 1e-12`.

Reads the variables of a released AnimeGANv3 graph, stored under their TensorFlow names. In the encoder (`base`) and
the tail (`main`) convolutions are numbered `Conv`, `Conv_1`, ...: even ones convolve, each odd one is the LADE matrix
of the one before it. Kernels are HWIO.
"""

import hashlib
import re
import sys
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors
import torch
import tyro
from safetensors.torch import load
from torch import Tensor

from models import dtgan, registry
from models.registry import CheckpointError

Tensors = dict[str, Tensor]
ENCODER = ("x0", "x1.0", "x1.1", "x2.0", "x2.1", "x3.0", "x3.1")
TAIL = ("up2", "fuse2", "up1", "fuse1", "up0", "fuse0")
ATTENTION = ("enter.weight", "leave.weight")
NORM = ("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
STEM = re.compile(r"(?:generator(?:_\d+)?/)?((?:base|main)/.+?)(?:/weights|/w)?(?::0)?")
CONVERTED = """# DTGAN, converted weights

Converted from `{file}` (SHA-256 `{sha256}`) with LADE epsilon {epsilon:g}.
The weights keep the terms of their author; do not pass them on without permission.
"""


def read(path: Path) -> Tensors:
    """Read every tensor of a .safetensors or .npz file as float32.

    Raises:
        CheckpointError: The file is missing, damaged or of another kind.
    """
    if path.suffix not in {".safetensors", ".npz"}:
        raise CheckpointError(f"{path} is neither .safetensors nor .npz; store the graph's variables in one of them.")
    try:
        if path.suffix == ".safetensors":
            tensors = load(path.read_bytes())
        else:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                tensors = {key: torch.from_numpy(np.array(arrays[key], dtype=np.float32)) for key in arrays.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} could not be read: {error}.") from error
    return {key: tensor.float() for key, tensor in tensors.items()}


def layout() -> dict[str, str]:
    """Pair the graph's names, without prefix and suffix, with the keys of our state dict."""
    pairs = {"main/External_attention/kernel": "main.attention.memory", "main/Conv_12": "main.paint.weight"}
    for scope, ours, blocks in (("base", "encoder", ENCODER), ("main", "main", TAIL)):
        for number, block in enumerate(blocks):
            pairs[numbered(f"{scope}/Conv", 2 * number)] = f"{ours}.{block}.conv.weight"
            pairs[numbered(f"{scope}/Conv", 2 * number + 1)] = f"{ours}.{block}.norm.mix.weight"
    for scope, names in (("Conv", ATTENTION), ("Variable", NORM)):
        for number, name in enumerate(names):
            pairs[numbered(f"main/External_attention/{scope}", number)] = f"main.attention.{name}"
    return pairs


def numbered(name: str, number: int) -> str:
    """Count as TensorFlow does: Conv, Conv_1, Conv_2."""
    return f"{name}_{number}" if number else name


def reorder(tensor: Tensor) -> Tensor:
    """Turn a kernel from HWIO to OIHW, and the attention memory (1, C, slots) to (C, slots)."""
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1).contiguous()
    return tensor.squeeze(0) if tensor.ndim == 3 else tensor


def strip(tensors: Tensors) -> Tensors:
    """Rename variables to what stands after the prefix, and reorder them; unknown names stay.

    Raises:
        CheckpointError: Two variables claim one place.
    """
    stripped: Tensors = {}
    for key, tensor in tensors.items():
        match = STEM.fullmatch(key)
        stem = match[1] if match else key
        if stem in stripped:
            raise CheckpointError(f"{stem} is given twice, the second time as {key}; keep the inference graph's only.")
        stripped[stem] = reorder(tensor)
    return stripped


def convert_dtgan(tensors: Tensors, *, lade_epsilon: float) -> dtgan.DTGAN:
    """Make a DTGAN of the variables of a released graph.

    Args:
        tensors: Variables under their TensorFlow names, kernels HWIO.
        lade_epsilon: Of the graph: 1e-12 in Hayao_36, 1e-5 in Shinkai_37.

    Raises:
        CheckpointError: Names the first three variables that are missing, surplus or of another shape.
    """
    if not 0 < lade_epsilon < 1:
        raise CheckpointError(f"LADE epsilon is {lade_epsilon:g}; expected a small positive number such as 1e-5.")
    network = dtgan.DTGAN(lade_epsilon=lade_epsilon)
    state, pairs, given = network.state_dict(), layout(), strip(tensors)
    problems = registry.mismatches(given, {stem: state[key] for stem, key in pairs.items()})
    if problems:
        raise CheckpointError(f"the file does not fit DTGAN: {problems} (kernels as out, in, height, width).")
    state.update({key: given[stem] for stem, key in pairs.items()})
    network.load_state_dict(state)
    return network.eval()


def main(
    *,
    family: tyro.conf.Positional[Literal["dtgan"]],
    file: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    lade_epsilon: float = 1e-5,
) -> None:
    """Convert an official checkpoint into a folder that `models.load` reads.

    Args:
        family: Architecture of the checkpoint.
        file: Its variables, .safetensors or .npz.
        out: Folder to write.
        lade_epsilon: Constant in every LADE of the released graph: 1e-12 for Hayao_36, 1e-5 for Shinkai_37.
    """
    network = convert_dtgan(read(file), lade_epsilon=lade_epsilon)
    source = hashlib.sha256(file.read_bytes()).hexdigest()
    readme = CONVERTED.format(file=file.name, sha256=source, epsilon=lade_epsilon)
    sha256 = registry.save(network, out, name=family, readme=readme, licence="terms of the original weights")
    sys.stdout.write(f"{out}: {family} with SHA-256 {sha256}; load it with models.load({str(out)!r})\n")


def command() -> None:
    """Run `main`; refuse what does not fit in one line, with exit status 2."""
    try:
        tyro.cli(main, prog="python -m models.convert")
    except CheckpointError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    command()

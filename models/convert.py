"""An official checkpoint in, one of ours out: `python -m models.convert dtgan FILE OUT --option lade_epsilon=1e-12`.

`models/conversion` says how each family's checkpoints are laid out. Nothing is unpickled but tensors.
"""

import hashlib
import json
import sys
from pathlib import Path

import huggingface_hub
import tyro
from torch import nn

from models import card, registry
from models.conversion import (
    adain,
    animegan,
    cyclegan,
    dcgan,
    dtgan,
    files,
    fitting,
    johnson,
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
from models.conversion.layout import Layout, Tensors
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
    **johnson.LAYOUTS,
}
read = files.read
CONVERTED = """# {family}, converted weights

Converted from `{file}` (SHA-256 `{sha256}`), settings {settings}. {status}
The weights keep the terms of their author; do not pass them on without permission.
"""
STATUS = {
    True: "The numbers of this kind of network were compared with the reference implementation.",
    False: "Layout only: names and shapes fit, but no reference output of this layout was at hand.",
}


def convert(tensors: Tensors, family: str, /, **options: float) -> nn.Module:
    """Make one of our networks of an official state dict.

    Args:
        tensors: As `read` gives them.
        family: A name in `LAYOUTS`.
        options: Settings that the file does not tell; see the layout's `options`.

    Returns:
        The network, in eval mode.

    Raises:
        UnknownModel: There is no such layout.
        CheckpointError: Names the first three tensors that are missing, of another shape or surplus.
    """
    if family not in LAYOUTS:
        raise card.unknown(family, LAYOUTS)
    kind = LAYOUTS[family]
    surplus = sorted(set(options) - set(kind.options))
    if surplus:
        raise CheckpointError(f"{family} has no option {surplus[0]!r}; it has {', '.join(kind.options) or 'none'}.")
    try:
        given = kind.tidy(tensors)
        settings, wanted = fitting.settings(kind, given, tensors, kind.options | options)
        if problems := fitting.mismatches(given, wanted):
            raise layout.LayoutError(problems)
    except layout.LayoutError as error:
        raise CheckpointError(f"the file does not fit {family}: {error}.") from error
    network = kind.build(**settings)
    for key, place in fitting.official(kind, network, given).items():
        place.copy_(given[key])
    return network.eval()


def compared(tensors: Tensors, family: str) -> bool:
    """Tell whether the numbers of networks of this kind were compared with the reference."""
    kind = LAYOUTS[family]
    found = kind.settings(tensors)
    return kind.checked is not None and all(found[name] == value for name, value in kind.checked.items())


def save(network: nn.Module, out: Path, *, family: str, readme: str) -> str:
    """Write a checkpoint folder; a discriminator, which has no card, in the Hub's plain form.

    Returns:
        SHA-256 of its weights.

    Raises:
        CheckpointError: The folder cannot be written, or a weight is not finite.
    """
    kind = LAYOUTS[family]
    try:
        if kind.card is not None:
            return registry.save(network, out, name=kind.card, readme=readme, licence=kind.terms)
        out.mkdir(parents=True, exist_ok=True)
        (out / registry.README).write_text(readme)
        assert isinstance(network, huggingface_hub.PyTorchModelHubMixin)
        network.save_pretrained(out)
        return registry.checksum(out / registry.WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"{out} could not be written ({error}).") from error


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
        file: Its tensors: .safetensors, .npz, .pth, .pt, .ckpt or .pkl; a folder where the parts are several files.
        out: Folder to write.
        option: Settings that the file does not tell, as name=number: for dtgan lade_epsilon=1e-12 (Hayao_36).
    """
    chosen = dict(parse(text) for text in option)
    tensors = read(file)
    network = convert(tensors, family, **chosen)
    source = hashlib.sha256(b"".join(part.read_bytes() for part in files.files(file))).hexdigest()
    settings = json.dumps(LAYOUTS[family].options | chosen)
    status = STATUS[compared(tensors, family)]
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

"""AdaIN: the released decoder and "normalised" VGG, numbered lists of layers of which the convolutions are known.

Both are plain sequences, so their numbers collide: put the two files into one folder, or their tensors under the names
`decoder.` and `vgg.` (or `encoder.`) into one file. The training form, `enc_1` to `enc_4`, is read, too.
"""

import re

import torch

from models import adain, vgg
from models.conversion.layout import Layout, Tensors

LAYER = "relu4_1"
# Where the released sequences have their convolutions; the encoder's is cut after relu4_1, and 0 is that of colours.
DECODER = (1, 5, 8, 11, 14, 18, 21, 25, 28)
ENCODER = (2, 5, 9, 12, 16, 19, 22, 25, 29)
CUTS = {1: 0, 2: 4, 3: 11, 4: 18}  # where the training form cuts the encoder into enc_1 ... enc_4
NAME = re.compile(r"(?:(.*)\.)?(\d+)\.(weight|bias)")
PART = re.compile(r"enc_\d$")
TERMS = "MIT (github.com/naoto0804/pytorch-AdaIN)"


def is_decoder(prefix: str, tensors: Tensors) -> bool:
    """Tell by the name of the file or network, and without one by the colour convolution that only the encoder has."""
    if "dec" in prefix:
        return True
    if "vgg" in prefix or "enc" in prefix:
        return False
    return f"{prefix}.0.weight".lstrip(".") not in tensors


def prefixes(tensors: Tensors, *, decoder: bool) -> list[str]:
    """List what stands before the numbers of one network."""
    found = dict.fromkeys(match[1] or "" for key in tensors if (match := NAME.fullmatch(key)))
    return [prefix for prefix in found if is_decoder(prefix, tensors) == decoder]


def tidy(tensors: Tensors) -> Tensors:
    """Leave out what follows relu4_1 in the encoder."""
    encoder, kept = prefixes(tensors, decoder=False), {"encoder.filled": torch.tensor(True)}
    for key, tensor in tensors.items():
        match = NAME.fullmatch(key)
        whole = match and (match[1] or "") in encoder and not PART.search(match[1] or "")
        if not (match and whole and int(match[2]) > ENCODER[-1]):
            kept[key] = tensor
    return kept


def tidy_decoder(tensors: Tensors) -> Tensors:
    """Leave out the encoder."""
    encoder = prefixes(tensors, decoder=False)
    matches = {key: NAME.fullmatch(key) for key in tensors}
    return {key: tensors[key] for key, match in matches.items() if not (match and (match[1] or "") in encoder)}


def official(state: Tensors, tensors: Tensors) -> Tensors:
    """Name the tensors of both networks as they are released."""
    before = (prefixes(tensors, decoder=False) or ["vgg"])[0]
    indices = [index - 1 for index in vgg.indices("vgg19").values()]
    found = {"encoder.filled": state["encoder.filled"]}
    for key, value in state.items():
        if key.startswith("encoder.features."):
            _, _, index, leaf = key.split(".")
            found[f"{encoded(ENCODER[indices.index(int(index))], before)}.{leaf}"] = value
        elif key == "encoder.matrix":
            found[f"{encoded(0, before)}.weight"] = value[:, :, None, None]
        elif key == "encoder.offset":
            found[f"{encoded(0, before)}.bias"] = value
    decoder = {key.removeprefix("decoder."): value for key, value in state.items() if key.startswith("decoder.")}
    return found | official_decoder(decoder, tensors, default="decoder")


def encoded(number: int, prefix: str) -> str:
    """Name a layer of the encoder; in the training form, which is told by its prefix, in the part that holds it."""
    if PART.search(prefix):
        part = max(part for part, first in CUTS.items() if first <= number)
        prefix, number = PART.sub(f"enc_{part}", prefix), number - CUTS[part]
    return f"{prefix}.{number}".lstrip(".")


def official_decoder(state: Tensors, tensors: Tensors, *, default: str = "") -> Tensors:
    """Name the decoder's tensors as they are released."""
    prefix = (prefixes(tensors, decoder=True) or [default])[0]
    split = ((*key.split("."), value) for key, value in state.items())
    return {f"{prefix}.{DECODER[int(number)]}.{leaf}".lstrip("."): value for _, number, leaf, value in split}


LAYOUTS = {
    "adain": Layout(
        card="adain-gan",
        build=adain.CrossDomain,
        settings=lambda _: {"layer": LAYER, "encoder": "normalised"},
        sizes={"width": "."},
        tidy=tidy,
        official=official,
        terms=TERMS,
    ),
    "adain-decoder": Layout(
        card=None, build=adain.Decoder, sizes={"width": "."}, tidy=tidy_decoder, official=official_decoder, terms=TERMS
    ),
}

"""AdaIN: the released decoder and "normalised" VGG, numbered lists of layers of which the convolutions are known.

Both are plain sequences, so their numbers collide: put the two files into one folder, or their tensors under the names
`decoder.` and `vgg.` (or `encoder.`) into one file. The training form, `enc_1` to `enc_4`, is read, too.
"""

import re

import torch

from models import adain, vgg
from models.conversion import layout
from models.conversion.layout import Layout, LayoutError, Settings, Tensors

LAYER = "relu4_1"
CUTS = {1: 0, 2: 4, 3: 11, 4: 18}  # where the training form cuts the encoder into enc_1 ... enc_4
NAME = re.compile(r"(?:(.*)\.)?(\d+)\.(weight|bias)")
PART = re.compile(r"enc_(\d)$")
TERMS = "MIT (github.com/naoto0804/pytorch-AdaIN)"


def number(tensors: Tensors) -> dict[str, dict[int, Tensors]]:
    """Sort the tensors into encoder and decoder by their names, or where they have none by the first kernel's size.

    Returns:
        For "encoder" and "decoder", the weight and bias by number of the layer.

    Raises:
        LayoutError: A name is neither.
    """
    found: dict[str, dict[int, Tensors]] = {"encoder": {}, "decoder": {}}
    for key, tensor in tensors.items():
        match = NAME.fullmatch(key)
        if match is None:
            raise LayoutError(f"{key} is no layer of a sequence; expected names such as decoder.1.weight")
        prefix, index = match[1] or "", int(match[2])
        if part := PART.search(prefix):
            index += CUTS.get(int(part[1]), 0)
        side = "decoder" if is_decoder(prefix, tensors) else "encoder"
        found[side].setdefault(index, {})[match[3]] = tensor
    return found


def is_decoder(prefix: str, tensors: Tensors) -> bool:
    """Tell by the name of the file or network, and without one by the colour convolution that only the encoder has."""
    if "dec" in prefix:
        return True
    if "vgg" in prefix or "enc" in prefix:
        return False
    return f"{prefix}.0.weight".lstrip(".") not in tensors


def settings(tensors: Tensors) -> Settings:
    """Read the width from the decoder's last convolution but one."""
    return {"width": decoder_width(tensors), "layer": LAYER, "encoder": "normalised"}


def decoder_settings(tensors: Tensors) -> Settings:
    """Read the width alone."""
    return {"width": decoder_width(tensors)}


def decoder_width(tensors: Tensors) -> int:
    """Channels that the decoder's last convolution takes."""
    convolutions = number(tensors)["decoder"]
    if not convolutions:
        raise LayoutError("there is no decoder in it; give decoder and encoder in one folder")
    last = convolutions[max(convolutions)]
    return layout.shape(last, "weight")[1]


def rename(tensors: Tensors) -> Tensors:
    """Give our names to both networks; what follows relu4_1 in the encoder is left out."""
    indices = vgg.indices("vgg19")
    kept = [index - 1 for index in indices.values() if index <= indices[LAYER]]
    encoder = number(tensors)["encoder"]
    ours = rename_decoder(tensors, prefix="decoder.")
    color, *convolutions = [encoder[index] for index in sorted(encoder)] or [{}]
    for index, conv in zip(kept, convolutions, strict=False):
        ours |= {f"encoder.features.{index}.{leaf}": tensor for leaf, tensor in conv.items()}
    if "weight" in color and "bias" in color:
        ours |= {"encoder.matrix": color["weight"].flatten(1), "encoder.offset": color["bias"]}
    return ours | {"encoder.filled": torch.tensor(True)}


def rename_decoder(tensors: Tensors, *, prefix: str = "") -> Tensors:
    """Number the decoder's convolutions from 0, whatever layers stand between them."""
    decoder = number(tensors)["decoder"]
    return {
        f"{prefix}convs.{position}.{leaf}": tensor
        for position, index in enumerate(sorted(decoder))
        for leaf, tensor in decoder[index].items()
    }


LAYOUTS = {
    "adain": Layout(card="adain-gan", build=adain.CrossDomain, settings=settings, rename=rename, terms=TERMS),
    "adain-decoder": Layout(
        card=None, build=adain.Decoder, settings=decoder_settings, rename=rename_decoder, terms=TERMS
    ),
}

"""Small upscalers: `srcnn`, `espcn` (both forms) and `fsrcnn`; layers are numbered `conv1`, `prelu1`, ... from 1."""

import re

from models import srcnn
from models.conversion import layout
from models.conversion.layout import Layout, LayoutError, Settings, Tensors

NUMBERED = re.compile(r"(conv|prelu)(\d+)\.(.+)")


def planes(tensors: Tensors) -> Settings:
    """Read from the first kernel whether the network takes luma, and its width."""
    channels, inputs = layout.shape(tensors, "conv1.weight")[:2]
    return {"channels": channels, "luma": inputs == 1}


def srcnn_settings(tensors: Tensors) -> Settings:
    """Read widths, the middle kernel and luma or RGB."""
    narrow, _, middle, _ = layout.shape(tensors, "conv2.weight")
    return {"narrow": narrow, "middle": middle, **planes(tensors)}


def espcn_settings(tensors: Tensors) -> Settings:
    """Read widths, the form and luma or RGB."""
    deep = "conv4.weight" in tensors
    narrow = layout.shape(tensors, "conv3.weight" if deep else "conv2.weight")[0]
    return {"narrow": narrow, "deep": deep, **planes(tensors)}


def rename(tensors: Tensors) -> Tensors:
    """Count convolutions from 0."""
    found = {}
    for key, value in tensors.items():
        match = NUMBERED.fullmatch(key)
        found[f"convs.{int(match[2]) - 1}.{match[3]}" if match else key] = value
    return found


def fsrcnn_last(tensors: Tensors) -> int:
    """Give the number of FSRCNN's last convolution; the mapping ones are four fewer.

    Raises:
        LayoutError: There are too few convolutions.
    """
    matches = [NUMBERED.fullmatch(key) for key in tensors]
    last = max((int(match[2]) for match in matches if match and match[1] == "conv"), default=0)
    if last < 4:
        raise LayoutError(f"conv4.weight is missing; the file numbers {last} convolutions")
    return last


def fsrcnn_settings(tensors: Tensors) -> Settings:
    """Read the paper's d, s and m."""
    return {
        "channels": layout.shape(tensors, "conv1.weight")[0],
        "narrow": layout.shape(tensors, "conv2.weight")[0],
        "mapping": fsrcnn_last(tensors) - 4,
    }


def rename_fsrcnn(tensors: Tensors) -> Tensors:
    """Pair each convolution with its PReLU; the last one and the offset stand alone."""
    last, found = fsrcnn_last(tensors), {}
    for key, value in tensors.items():
        match = NUMBERED.fullmatch(key)
        if match is None:
            found[{"out.bias": "offset"}.get(key, key)] = value
        elif match[1] == "conv" and int(match[2]) == last:
            found[f"leave.{match[3]}"] = value
        else:
            found[f"stages.{int(match[2]) - 1}.{0 if match[1] == 'conv' else 1}.{match[3]}"] = value
    return found


LAYOUTS = {
    "srcnn": Layout(card="srcnn", build=srcnn.SRCNN, settings=srcnn_settings, rename=rename),
    "espcn": Layout(
        card="espcn",
        build=srcnn.ESPCN,
        settings=espcn_settings,
        rename=rename,
        checked=True,
        terms="Apache-2.0 (TF-ESPCN) or BSD-3-Clause (PyTorch's examples)",
    ),
    "fsrcnn": Layout(
        card="fsrcnn",
        build=srcnn.FSRCNN,
        settings=fsrcnn_settings,
        rename=rename_fsrcnn,
        checked=True,
        terms="Apache-2.0 (FSRCNN_Tensorflow)",
    ),
}

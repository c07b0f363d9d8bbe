"""Johnson's transform nets: PyTorch's example (`johnson`), and the numbered variables of fast-style-transfer.

The latter are `Variable`, `Variable_1`, ... `Variable_47` in the order of the forward pass: of each layer the kernel,
then offset and gain of its norm. Kernels are HWIO, those of transposed convolutions HWOI. The optimiser's states and
plain numbers may lie beside them.
"""

import re

from models import johnson
from models.conversion import layout
from models.conversion.layout import Layout, LayoutError, Settings, Tensors

NAMES = (
    (r"^(down|up)\.(\d)\.(conv|norm)\.", lambda match: f"{place(match[1], int(match[2]), match[3])}."),
    (r"^residuals\.(\d+)\.", lambda match: f"res{int(match[1]) + 1}."),
    (r"\.first\.norm\.", ".in1."),
    (r"\.second\.norm\.", ".in2."),
    (r"\.first\.conv\.", ".conv1.conv2d."),
    (r"\.second\.conv\.", ".conv2.conv2d."),
    (r"^paint\.conv\.", "deconv3.conv2d."),
)
STATISTICS = re.compile(r"(?:res\d+\.)?in\d\.running_(?:mean|var)")
VARIABLE = re.compile(r"(?:.*\.)?Variable(?:_(\d+))?(?::0)?")  # the name of a file may stand before it
OPTIMIZER = re.compile(r".*(?:_Adam(?:_1)?|beta[12]_power)(?::0)?")
LEAVES = ("conv.weight", "norm.bias", "norm.weight")
BLOCKS = 5
ENDS = 6  # layers outside the residual blocks: three down, two up, the last


def place(part: str, number: int, kind: str) -> str:
    """Give the example's name of a layer that halves or doubles, or of its norm, counted through both parts."""
    if kind == "norm":
        return f"in{number + (1 if part == 'down' else 4)}"
    return f"{'conv' if part == 'down' else 'deconv'}{number + 1}.conv2d"


def settings(tensors: Tensors) -> Settings:
    """Count the residual blocks of PyTorch's example."""
    return {"blocks": layout.length({number - 1 for number in layout.numbers(tensors, r"res(\d+)\.")}) or BLOCKS}


def tidy(tensors: Tensors) -> Tensors:
    """Leave out the running statistics of instance norms, which old files carry."""
    return {key: value for key, value in tensors.items() if not STATISTICS.fullmatch(key)}


def numbered(number: int) -> str:
    """Count as TensorFlow does: Variable, Variable_1, Variable_2."""
    return f"Variable_{number}" if number else "Variable"


def tidy_numbered(tensors: Tensors) -> Tensors:
    """Give plain names to the variables, and leave out what training leaves behind.

    Raises:
        LayoutError: A variable is given twice.
    """
    found: Tensors = {}
    for key, tensor in tensors.items():
        if OPTIMIZER.fullmatch(key) or tensor.ndim == 0:
            continue
        match = VARIABLE.fullmatch(key)
        name = numbered(int(match[1] or 0)) if match else key
        if name in found:
            raise LayoutError(f"{name} is given twice, the second time as {key}; give the file of one style")
        found[name] = tensor
    return found


def numbered_settings(tensors: Tensors) -> Settings:
    """Count the residual blocks of fast-style-transfer by the variables."""
    matches = [VARIABLE.fullmatch(key) for key in tensors]
    total = layout.length({int(match[1] or 0) for match in matches if match})
    return {"blocks": max(round(total / len(LEAVES)) - ENDS, 0) // 2 or BLOCKS}


def official_numbered(state: Tensors, tensors: Tensors) -> Tensors:
    """Number our tensors as fast-style-transfer does, and lay the kernels as it does."""
    blocks = layout.length(layout.numbers(state, r"residuals\.(\d+)\."))
    residuals = [f"residuals.{block}.{conv}" for block in range(blocks) for conv in ("first", "second")]
    parts = ["down.0", "down.1", "down.2", *residuals, "up.0", "up.1", "paint"]
    ours = [state[f"{part}.{leaf}"] for part in parts for leaf in LEAVES]
    return {numbered(index): layout.hwio(each) if each.ndim == 4 else each for index, each in enumerate(ours)}


def tanh(*, width: int = 32, blocks: int = BLOCKS) -> johnson.TransformNet:
    """Build the tanh form."""
    return johnson.TransformNet(width=width, blocks=blocks, form="tanh")


LAYOUTS = {
    "johnson": Layout(
        card="johnson",
        build=johnson.TransformNet,
        settings=settings,
        sizes={"width": "."},
        tidy=tidy,
        official=layout.renamed(*NAMES),
        terms="BSD-3-Clause (github.com/pytorch/examples)",
    ),
    "johnson-tanh": Layout(
        card="johnson-tanh",
        build=tanh,
        settings=numbered_settings,
        sizes={"width": "."},
        tidy=tidy_numbered,
        official=official_numbered,
        terms="research use only (github.com/lengstrom/fast-style-transfer); not to be passed on",
    ),
}

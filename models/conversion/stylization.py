"""Arbitrary stylization: TensorFlow's variables (Magenta's checkpoints, the arrays for browsers), or short names.

The short names are those of the mobile networks' arrays, which have none of their own: `contract.conv1.weight`,
`residual1.conv1.weight`, `expand.conv1.weight`, `style.residual1.conv1.gamma.weight`, and `stem`, `block0` ...,
`head`, `bottleneck` of the predictor. TensorFlow's kernels are HWIO, and their batch norms stay batch norms.
Predictor and transformer come in one file, or in one folder.
"""

import functools
import re

from models import stylization
from models.conversion import layout
from models.conversion.layout import Layout, Settings, Tensors

# Numbers of the graph itself, and gains of 1, which these batch norms do not have.
CONSTANT = re.compile(
    r".*/(?:x|y|dim|axis|paddings|stack(?:_\d+)?|reduction_indices|Const(?:_\d+)?)(?::0)?|.*global_step"
)
ZEROS = "contract/Pad/paddings"  # only networks that pad with zeros have them
GRAPH = re.compile(
    r"((?:(?:style_params/)?transformer/|InceptionV3/|MobilenetV2/|mobilenet_conv/|(?:^|(?<=\.))Conv/).+?)(?::0)?$"
)
SHORT = re.compile(r"(?:^|\.)((?:contract|residual\d|expand|style|stem|block\d+|head|bottleneck)\..*)")
LEAVES = {"weight": "weights", "bias": "biases", "norm.weight": "BatchNorm/gamma", "norm.bias": "BatchNorm/beta"}
LEAVES |= {"norm.running_mean": "BatchNorm/moving_mean", "norm.running_var": "BatchNorm/moving_variance"}
LEAF = re.compile(rf"(.+?)\.({'|'.join(sorted(LEAVES, reverse=True))})")
# Our paths inside a transformer: convolutions, their parts where they are separable, and heads.
CONTRACT = re.compile(r"contract\.(\d)")
SITE = re.compile(r"(?:residuals\.(\d)\.conv(\d)|expand\.(\d))\.(conv|gamma|beta)(?:\.([01]))?")
PARTS = {"0": "depthwise", "1": "pointwise"}
MOBILE = re.compile(r"block(\d+)\.(expand|depthwise|project)")
NAMED = {"stem": "MobilenetV2/Conv", "head": "MobilenetV2/Conv_1"}
# Inception-v3: convolutions before the modules, and of each module by its branches.
STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")
THREES, POOL = ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_0c_3x3"), ("Conv2d_0b_1x1",)
ONE = ("Conv2d_0a_1x1",)
FIVES = (ONE, ("Conv2d_0a_1x1", "Conv2d_0b_5x5"), THREES, POOL)
LONG = ("Conv2d_0a_1x1", "Conv2d_0b_7x1", "Conv2d_0c_1x7", "Conv2d_0d_7x1", "Conv2d_0e_1x7")
SEVENS = (ONE, ("Conv2d_0a_1x1", "Conv2d_0b_1x7", "Conv2d_0c_7x1"), LONG, POOL)
MODULES = {
    **{"5b": FIVES, "5c": (ONE, ("Conv2d_0b_1x1", "Conv_1_0c_5x5"), THREES, POOL), "5d": FIVES},
    "6a": (("Conv2d_1a_1x1",), ("Conv2d_0a_1x1", "Conv2d_0b_3x3", "Conv2d_1a_1x1")),
    **dict.fromkeys(("6b", "6c", "6d", "6e"), SEVENS),
}
TERMS = "Apache-2.0 (Magenta, Google)"


def is_graph(tensors: Tensors) -> bool:
    """Tell whether the names are TensorFlow's."""
    return any("/" in key for key in tensors)


def tidy(tensors: Tensors) -> Tensors:
    """Leave out the graph's own numbers, and the names of files before those of tensors."""
    known = GRAPH if is_graph(tensors) else SHORT
    kept = {key: tensor for key, tensor in tensors.items() if not CONSTANT.fullmatch(key)}
    return {match[1] if (match := known.search(key)) else key: tensor for key, tensor in kept.items()}


def transformer_settings(tensors: Tensors, *, separable: bool) -> Settings:
    """Read padding and norms; separable and browser networks pad with zeros."""
    zeros = separable or any(ZEROS in key for key in tensors)
    batch = any("/BatchNorm/" in key for key in tensors)
    return {
        "separable": separable,
        "padding": "zero" if zeros else "reflect",
        "norm": "batch" if batch else "folded",
    }


def settings(tensors: Tensors, *, predictor: str) -> Settings:
    """Read the transformer's settings, and which predictor there is; `predictor` where there is none."""
    separable = any("depthwise" in key and re.search(r"residual\d|expand/|expand\.conv", key) for key in tensors)
    found = {"mobile": any("MobilenetV2/" in key for key in tensors) or not is_graph(tensors)}
    found["inception"] = any("InceptionV3/" in key for key in tensors)
    names = [name for name, there in found.items() if there]
    return transformer_settings(tensors, separable=separable) | {
        "predictor": names[0] if len(names) == 1 and tensors else predictor
    }


def official(state: Tensors, tensors: Tensors) -> Tensors:
    """Name our tensors as the file does, and lay their axes as it does."""
    graph, found = is_graph(tensors), {}
    tool = "dilate_" if any("/dilate_" in key for key in tensors) else ""
    bottleneck = "Conv" if any(".mixed." in key for key in state) else "mobilenet_conv/Conv"
    for key, value in state.items():
        match = LEAF.fullmatch(key.removeprefix("transformer.").removeprefix("predictor."))
        assert match is not None
        path, leaf = match.groups()
        if not graph:
            name = f"{short(path)}.{leaf}"
            found[name] = value[:, :, None, None] if tensors.get(name, value).ndim == 4 and value.ndim == 2 else value
            continue
        place, part = (bottleneck, "") if path == "bottleneck" else scope(path, tool)
        name = f"{place}/{part if leaf == 'weight' else ''}{LEAVES[leaf]}"
        if name.endswith("depthwise_weights"):
            value = value.permute(2, 3, 0, 1)
        elif value.ndim > 1:
            value = layout.hwio(value if value.ndim == 4 else value[:, :, None, None])
        found[name] = value
    return found


def short(path: str) -> str:
    """Give the short name of one of our paths; those of predictors are the same."""
    if match := CONTRACT.fullmatch(path):
        return f"contract.conv{int(match[1]) + 1}"
    match = SITE.fullmatch(path)
    if match is None:
        return path
    residual, conv, expand, kind, part = match.groups()
    site = f"residual{int(residual) + 1}.conv{conv}" if residual else f"expand.conv{int(expand) + 1}"
    if kind == "conv":
        return f"{site}.{PARTS[part]}" if part else site
    return f"style.{site}.{kind}"


def scope(path: str, tool: str) -> tuple[str, str]:
    """Give TensorFlow's scope of one of our paths, and what stands before the name of its kernel.

    Args:
        path: Inside the transformer or the predictor, but not the bottleneck.
        tool: Stands before the names of separable convolutions.
    """
    if path in NAMED:
        return NAMED[path], ""
    if match := CONTRACT.fullmatch(path):
        return f"transformer/contract/conv{int(match[1]) + 1}", ""
    if match := MOBILE.fullmatch(path):
        number = "" if match[1] == "0" else f"_{match[1]}"
        return f"MobilenetV2/expanded_conv{number}/{match[2]}", "depthwise_" if match[2] == "depthwise" else ""
    if match := SITE.fullmatch(path):
        residual, conv, expand, kind, part = match.groups()
        site = f"transformer/residual/residual{int(residual or 0) + 1}/{{}}conv{conv}"
        if expand:
            site = f"transformer/expand/conv{int(expand) + 1}/{{}}conv"
        if kind == "conv":
            return site.format(tool), f"{PARTS[part]}_" if part else ""
        return f"style_params/{site.format('')}/StyleNorm/Conv{'_1' if kind == 'gamma' else ''}", ""
    return f"InceptionV3/{unit(path)}", ""


def unit(path: str) -> str:
    """Give the scope of a convolution of Inception-v3, such as mixed.1.branches.1.0.0; the last number is its place."""
    kind, number, *rest = path.split(".")
    if kind == "stem":
        return f"Conv2d_{STEM[int(number)]}"
    name, branches = list(MODULES.items())[int(number)]
    _, branch, place, _ = rest
    return f"Mixed_{name}/Branch_{branch}/{branches[int(branch)][int(place)]}"


SIZES = {"width": ".", "numbers": "."}
WHOLE_SIZES = {**SIZES, "predictor_width": r"^block16\.|expanded_conv_16/"}
CHECKED = {"separable": False, "padding": "reflect", "norm": "folded"}


def whole(name: str, *, predictor: str) -> Layout:
    """Make a layout of predictor and transformer; `predictor` is what a file without one lacks."""
    return Layout(
        card=name,
        build=stylization.Stylization,
        settings=functools.partial(settings, predictor=predictor),
        sizes=WHOLE_SIZES,
        tidy=tidy,
        official=official,
        checked={**CHECKED, "predictor": "mobile"},
        terms=TERMS,
    )


def alone(*, separable: bool) -> Layout:
    """Make a layout of a transformer."""
    return Layout(
        card=None,
        build=stylization.Transformer,
        settings=functools.partial(transformer_settings, separable=separable),
        sizes=SIZES,
        tidy=tidy,
        official=official,
        checked=CHECKED,
        terms=TERMS,
    )


LAYOUTS = {
    "stylization": whole("stylization", predictor="inception"),
    "stylization-mobile": whole("stylization-mobile", predictor="mobile"),
    "stylization-transformer": alone(separable=False),
    "stylization-separable": alone(separable=True),
}

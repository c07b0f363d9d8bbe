"""Arbitrary stylization: TensorFlow's variables (Magenta's checkpoints, the arrays for browsers), or short names.

The short names are those of the mobile networks' arrays, which have none of their own: `contract.conv1.weight`,
`residual1.conv1.weight`, `expand.conv1.weight`, `style.residual1.conv1.gamma.weight`, and `stem`, `block0` ...,
`head`, `bottleneck` of the predictor. TensorFlow's are turned into them: kernels from HWIO, batch norms folded.
Predictor and transformer come in one file, or in one folder.
"""

import functools
import re

import torch
from torch import Tensor

from models import predictors, stylization
from models.conversion import layout
from models.conversion.layout import Layout, Settings, Tensors

LEAF = re.compile(
    r"(.+)/(weights|biases|depthwise_weights|pointwise_weights|"
    r"BatchNorm/(?:beta|gamma|moving_mean|moving_variance))(?::0)?"
)
# Numbers of the graph itself, and gains of 1, which these batch norms do not have.
CONSTANT = re.compile(r".*/(?:x|y|dim|paddings|stack(?:_\d+)?|reduction_indices|Const(?:_\d+)?)(?::0)?|.*global_step")
SITE = r"(?:residual/(residual\d)/(?:dilate_)?(conv\d)|(expand)/(conv\d)/(?:dilate_)?conv)"
CONTRACT = re.compile(r"transformer/contract/(conv\d)")
PAINT = re.compile(rf"transformer/{SITE}")
STYLE = re.compile(rf"style_params/transformer/{SITE}/StyleNorm/Conv(_1)?")
MOBILE = re.compile(r"MobilenetV2/expanded_conv(?:_(\d+))?/(expand|depthwise|project)")
NAMED = {"MobilenetV2/Conv": "stem", "MobilenetV2/Conv_1": "head", "mobilenet_conv/Conv": "bottleneck"}
SHORT = re.compile(r"(?:^|\.)((?:contract|residual\d|expand|style|stem|block\d+|head|bottleneck|inception)\..*)")
TERMS = "Apache-2.0 (Magenta, Google)"


def short(tensors: Tensors) -> Tensors:
    """Turn any of the layouts into short names; names that are not known stay as they are."""
    scopes: dict[str, Tensors] = {}
    found: Tensors = {}
    for key, tensor in tensors.items():
        match = LEAF.fullmatch(key)
        if match:
            scopes.setdefault(match[1], {})[match[2]] = tensor
        elif not CONSTANT.fullmatch(key):
            known = SHORT.search(key)
            found[known[1] if known else key] = tensor
    inception = order(list(scopes))
    for scope, leaves in scopes.items():
        found |= {f"{place(scope, inception)}.{name}": tensor for name, tensor in fold(leaves).items()}
    return found


def order(scopes: list[str]) -> dict[str, str]:
    """Number the convolutions of Inception: in each branch they follow the alphabet.

    Returns:
        Short names `inception.stem.0`, `inception.mixed.0.branches.1.2` by scope.
    """
    inside = sorted(scope[scope.index("InceptionV3/") :] for scope in scopes if "InceptionV3/" in scope)
    modules = sorted({scope.split("/")[1] for scope in inside if "/Mixed_" in scope})
    counts: dict[str, int] = {}
    found = {}
    for scope in inside:
        _, *parts = scope.split("/")
        chain = "stem"
        if len(parts) == 3:
            chain = f"mixed.{modules.index(parts[0])}.branches.{parts[1].removeprefix('Branch_')}"
        counts[chain] = counts.get(chain, -1) + 1
        found[scope] = f"inception.{chain}.{counts[chain]}"
    return found


def place(scope: str, inception: dict[str, str]) -> str:
    """Give the short name of a TensorFlow scope, which may stand below the name of a file."""
    if "InceptionV3/" in scope:
        return inception[scope[scope.index("InceptionV3/") :]]
    if match := STYLE.search(scope):
        return f"style.{'.'.join(filter(None, match.groups()[:4]))}.{'gamma' if match[5] else 'beta'}"
    if match := CONTRACT.search(scope):
        return f"contract.{match[1]}"
    if match := PAINT.search(scope):
        return ".".join(filter(None, match.groups()))
    if match := MOBILE.search(scope):
        return f"block{match[1] or 0}.{match[2]}"
    for name, ours in NAMED.items():
        if scope.endswith(name):
            return ours
    return "bottleneck" if scope.rpartition(".")[2] == "Conv" else scope


def fold(leaves: Tensors) -> Tensors:
    """Turn the variables of one convolution into weight and bias, its batch norm folded into them."""
    made = {}
    norm = {name.removeprefix("BatchNorm/"): value for name, value in leaves.items() if name.startswith("BatchNorm/")}
    separable = "pointwise_weights" in leaves
    if "depthwise_weights" in leaves:
        kernel = leaves["depthwise_weights"].permute(2, 3, 0, 1).contiguous()
        made["depthwise.weight" if separable else "weight"] = kernel
    for name, ours in (("weights", "weight"), ("pointwise_weights", "pointwise.weight")):
        if name in leaves:
            made[ours] = layout.oihw(leaves[name])
    if "biases" in leaves:
        made["bias"] = leaves["biases"]
    if {"beta", "moving_mean", "moving_variance"} <= norm.keys() and "weight" in made:
        gain = norm.get("gamma", torch.ones(())).double()
        gain = gain * (norm["moving_variance"].double() + predictors.EPSILON).rsqrt()
        made["weight"] = (made["weight"] * gain[:, None, None, None]).float()
        made["bias"] = (norm["beta"] - norm["moving_mean"] * gain).float()
    return made


def transformer_settings(tensors: Tensors) -> Settings:
    """Read width, length of the bottleneck and separability; separable and browser networks pad with zeros."""
    known = short(tensors)
    separable = "residual1.conv1.depthwise.weight" in known
    zeros = separable or any("contract/Pad/paddings" in key for key in tensors)
    return {
        "width": layout.shape(known, "contract.conv1.weight")[0] / 32,
        "numbers": layout.shape(known, "style.expand.conv3.gamma.weight")[1],
        "separable": separable,
        "padding": "zero" if zeros else "reflect",
    }


def settings(tensors: Tensors) -> Settings:
    """Read the transformer's settings, and which predictor there is."""
    known = short(tensors)
    if any(key.startswith("inception.") for key in known):
        return transformer_settings(tensors) | {"predictor": "inception"}
    width = layout.shape(known, "block16.project.weight")[0] / 320
    return transformer_settings(tensors) | {"predictor": "mobile", "predictor_width": width}


def rename(tensors: Tensors) -> Tensors:
    """Give our names to predictor and transformer."""
    found = {}
    for name, tensor in short(tensors).items():
        ours = paint_name(name)
        if ours is None:
            inside = name.removeprefix("inception.")
            # A unit of Inception is a convolution and its ReLU6.
            ours = f"predictor.{re.sub(r'[.](?=weight$|bias$)', '.0.', inside) if inside != name else name}"
        else:
            ours = f"transformer.{ours}"
        found[ours] = flat(ours, tensor)
    return found


def rename_transformer(tensors: Tensors) -> Tensors:
    """Give our names to the transformer alone; a name that is none of its own stays as it is."""
    found = {}
    for name, tensor in short(tensors).items():
        ours = paint_name(name) or name
        found[ours] = flat(ours, tensor)
    return found


def paint_name(name: str) -> str | None:
    """Give our name of a tensor of the transformer; None for any other."""
    match = re.fullmatch(r"(style\.)?(?:residual(\d)\.conv(\d)|(contract|expand)\.conv(\d))\.(.+)", name)
    if match is None:
        return None
    style, block, conv, scope, position, leaf = match.groups()
    if scope == "contract":
        return f"contract.{int(position) - 1}.{leaf}"
    leaf = leaf.replace("depthwise", "0").replace("pointwise", "1")
    site = f"residuals.{int(block) - 1}.conv{conv}" if block else f"expand.{int(position) - 1}"
    return f"{site}.{leaf}" if style else f"{site}.conv.{leaf}"


def flat(name: str, tensor: Tensor) -> Tensor:
    """Turn the 1 x 1 kernels of the style heads into matrices."""
    return tensor.flatten(1) if re.search(r"\.(gamma|beta)\.weight$", name) else tensor


whole = functools.partial(Layout, settings=settings, rename=rename, terms=TERMS)
alone = functools.partial(Layout, card=None, settings=transformer_settings, rename=rename_transformer, terms=TERMS)
network = functools.partial(stylization.Stylization, norm="folded")
transformer = functools.partial(stylization.Transformer, norm="folded")
LAYOUTS = {
    "stylization": whole(card="stylization", build=network),
    "stylization-mobile": whole(card="stylization-mobile", build=network, checked=True),
    "stylization-transformer": alone(build=transformer, checked=True),
    "stylization-separable": alone(build=transformer),
}

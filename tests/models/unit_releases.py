"""Files as UNIT's two releases name their tensors, and the forwards of these names."""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.conversion.layout import Tensors


def filled(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Tensors:
    """Random tensors that keep a signal alive through many layers."""
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=generator) * 0.2 for key, shape in shapes.items()}


def conv(shapes: dict[str, tuple[int, ...]], name: str, outputs: int, inputs: int, kernel: int) -> None:
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs, kernel, kernel), (outputs,)


def first_release(width: int, *, residuals: tuple[int, int, int, int] = (2, 1, 1, 1), halvings: int = 2) -> Tensors:
    """A file of COCOResGen2; `residuals` of encoders, shared encoder, shared decoder and decoders."""
    shapes: dict[str, tuple[int, ...]] = {}
    widest = width * 2**halvings

    def blocks(part: str, first: int, count: int) -> None:
        for number in range(first, first + count):
            conv(shapes, f"{part}.{number}.model.0", widest, widest, 3)
            conv(shapes, f"{part}.{number}.model.3", widest, widest, 3)

    for domain in "AB":
        conv(shapes, f"encode_{domain}.0.model.0", width, 3, 7)
        for i in range(halvings):
            conv(shapes, f"encode_{domain}.{i + 1}.model.0", width * 2 ** (i + 1), width * 2**i, 3)
        blocks(f"encode_{domain}", halvings + 1, residuals[0])
        blocks(f"decode_{domain}", 0, residuals[3])
        for i in range(halvings):
            name, channels = f"decode_{domain}.{residuals[3] + i}.model.0", widest // 2**i
            shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (channels, channels // 2, 3, 3), (channels // 2,)
        name = f"decode_{domain}.{residuals[3] + halvings}"
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (width, 3, 1, 1), (3,)
    blocks("enc_shared", 0, residuals[1])
    blocks("dec_shared", 0, residuals[2])
    return filled(shapes)


def residual(w: Tensors, first: str, second: str, x: Tensor, *, reflect: bool) -> Tensor:
    def step(y: Tensor, name: str) -> Tensor:
        y = F.pad(y, (1, 1, 1, 1), mode="reflect") if reflect else F.pad(y, (1, 1, 1, 1))
        y = F.conv2d(y, w[f"{name}.weight"], w[f"{name}.bias"])
        variance, mean = torch.var_mean(y, dim=(2, 3), correction=0, keepdim=True)
        return (y - mean) / (variance + 1e-5).sqrt()

    return x + step(step(x, first).clamp(min=0), second)


def run_first(w: Tensors, x: Tensor, source: str, target: str) -> Tensor:
    """The first release as its file tells it: block by block, in the order of the numbers."""
    for part in (f"encode_{source}", "enc_shared", "dec_shared", f"decode_{target}"):
        for number in sorted({int(key.split(".")[1]) for key in w if key.startswith(f"{part}.")}):
            name = f"{part}.{number}"
            if f"{name}.model.3.weight" in w:
                x = residual(w, f"{name}.model.0", f"{name}.model.3", x, reflect=False)
            elif part.startswith("encode"):
                stride, padding = (2, 1) if number else (1, 3)
                x = F.conv2d(x, w[f"{name}.model.0.weight"], w[f"{name}.model.0.bias"], stride=stride, padding=padding)
                x = F.leaky_relu(x, 0.01)
            elif f"{name}.model.0.weight" in w:
                weight, bias = w[f"{name}.model.0.weight"], w[f"{name}.model.0.bias"]
                x = F.leaky_relu(F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1), 0.01)
            else:
                x = F.conv_transpose2d(x, w[f"{name}.weight"], w[f"{name}.bias"]).tanh()
    return x


def second_release(width: int, *, residuals: int = 2, halvings: int = 2, seed: int = 0) -> Tensors:
    """A file of one VAEGen."""
    shapes: dict[str, tuple[int, ...]] = {}
    conv(shapes, "enc.model.0.conv", width, 3, 7)
    widest = width * 2**halvings
    for i in range(halvings):
        conv(shapes, f"enc.model.{i + 1}.conv", width * 2 ** (i + 1), width * 2**i, 4)
        channels = widest // 2 ** (i + 1)
        conv(shapes, f"dec.model.{2 * i + 2}.conv", channels, 2 * channels, 5)
        shapes[f"dec.model.{2 * i + 2}.norm.gamma"] = shapes[f"dec.model.{2 * i + 2}.norm.beta"] = (channels,)
    for i in range(residuals):
        for j in (0, 1):
            conv(shapes, f"enc.model.{halvings + 1}.model.{i}.model.{j}.conv", widest, widest, 3)
            conv(shapes, f"dec.model.0.model.{i}.model.{j}.conv", widest, widest, 3)
    conv(shapes, f"dec.model.{2 * halvings + 1}.conv", 3, width, 7)
    return filled(shapes, seed)


def reflected(w: Tensors, name: str, x: Tensor, padding: int, stride: int = 1) -> Tensor:
    x = F.pad(x, (padding,) * 4, mode="reflect")
    return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=stride)


def run_second(encoder: Tensors, decoder: Tensors, x: Tensor, *, residuals: int = 2, halvings: int = 2) -> Tensor:
    """The second release as its files tell it."""
    for i in range(halvings + 1):
        y = reflected(encoder, f"enc.model.{i}.conv", x, 1 if i else 3, 2 if i else 1)
        x = F.instance_norm(y).relu()
    for w, stem in ((encoder, f"enc.model.{halvings + 1}"), (decoder, "dec.model.0")):
        for i in range(residuals):
            first, second = (f"{stem}.model.{i}.model.{j}.conv" for j in (0, 1))
            x = residual(w, first, second, x, reflect=True)
    for i in range(halvings):
        name = f"dec.model.{2 * i + 2}"
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = reflected(decoder, f"{name}.conv", x, 2)
        flat = x.flatten(1)
        x = (x - flat.mean(1)[:, None, None, None]) / (flat.std(1)[:, None, None, None] + 1e-5)
        x = (x * decoder[f"{name}.norm.gamma"][:, None, None] + decoder[f"{name}.norm.beta"][:, None, None]).relu()
    return reflected(decoder, f"dec.model.{2 * halvings + 1}.conv", x, 3).tanh()


def judges(domains: tuple[str, ...] = ("",), *, width: int = 4, depth: int = 3, scales: int = 2) -> Tensors:
    """A file of the second release's discriminator, of one domain or of two."""
    shapes: dict[str, tuple[int, ...]] = {}
    for prefix in (f"{domain}cnns.{scale}" for domain in domains for scale in range(scales)):
        for i in range(depth):
            conv(shapes, f"{prefix}.{i}.conv", width * 2**i, width * 2 ** (i - 1) if i else 3, 4)
        conv(shapes, f"{prefix}.{depth}", 1, width * 2 ** (depth - 1), 1)
    return filled(shapes, 3)

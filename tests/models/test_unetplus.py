"""U-NetPlus: counts of every form, torchvision's encoder inside, and the blocks of the decoder."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from models import layers, unetplus


@pytest.mark.parametrize(
    ("encoder", "upsample", "count", "norms"),
    [
        ("vgg11", "nearest", 22_927_459, 5_504),
        ("vgg11", "transposed", 25_364_579, 5_504),
        ("vgg16", "nearest", 29_306_531, 8_448),
        ("vgg16", "transposed", 32_202_403, 8_448),
    ],
)
def test_parameter_counts(encoder: str, upsample: str, count: int, norms: int):
    with torch.device("meta"):
        plain = unetplus.UNetPlus(encoder=encoder, upsample=upsample)
        normed = unetplus.UNetPlus(encoder=encoder, upsample=upsample, batch_norm=True)
    assert layers.parameter_count(plain) == count
    assert layers.parameter_count(normed) == count + norms


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn", "vgg16", "vgg16_bn"])
def test_the_encoder_takes_torchvisions_weights(name: str):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(weights=None, init_weights=False).features.state_dict()
        network = unetplus.UNetPlus(encoder=name.removesuffix("_bn"), batch_norm=name.endswith("_bn"))
    ours = network.encoder.state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [(key, value.shape) for key, value in theirs.items()]


@pytest.mark.parametrize("encoder", unetplus.ENCODERS)
@pytest.mark.parametrize("upsample", unetplus.UPSAMPLES)
def test_every_form_keeps_the_size_and_trains_everything(encoder: str, upsample: str):
    network = unetplus.UNetPlus(encoder=encoder, upsample=upsample, batch_norm=True, width=2)
    made = network(torch.rand(2, 3, 64, 96) * 2 - 1)
    assert made.shape == (2, 3, 64, 96)
    made.square().mean().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())


def test_the_encoder_sees_the_statistics_of_imagenet():
    network = unetplus.UNetPlus(width=1)
    seen = []
    network.encoder[0].register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    mean = torch.tensor(layers.IMAGENET_MEAN).view(1, 3, 1, 1)
    network((2 * mean - 1).expand(1, 3, 32, 32))
    network(torch.ones(1, 3, 32, 32))
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 32, 32), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[1], ((1 - mean) / network.deviation).expand(1, 3, 32, 32))
    assert not network.state_dict().keys() & {"mean", "deviation"}


def convolve(x: Tensor, layer: nn.Conv2d) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, padding=1).relu()


@torch.inference_mode()
def test_the_forward_is_its_formula():
    network = unetplus.UNetPlus(width=2).eval()
    photo = torch.rand(1, 3, 32, 64) * 2 - 1
    x, skips = ((photo + 1) / 2 - network.mean) / network.deviation, []
    for stage in ((0,), (3,), (6, 8), (11, 13), (16, 18)):
        for index in stage:
            x = convolve(x, network.encoder[index])
        skips.append(x)
        x = F.max_pool2d(x, 2)
    for block in network.decoder:
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = torch.cat([convolve(convolve(x, block[1]), block[3]), skips.pop()], dim=1)
    x = F.conv2d(convolve(x, network.leave[0]), network.paint.weight, network.paint.bias)
    torch.testing.assert_close(network(photo), x.tanh())


@torch.inference_mode()
def test_the_transposed_block_convolves_first():
    block = unetplus.double(4, 6, 2, upsample="transposed")
    x = torch.randn(1, 4, 5, 7)
    y = F.conv_transpose2d(convolve(x, block[0]), block[2].weight, block[2].bias, stride=2, padding=1).relu()
    torch.testing.assert_close(block(x), y)
    assert y.shape == (1, 2, 10, 14)


@pytest.mark.parametrize("wrong", [{"encoder": "vgg19"}, {"upsample": "bilinear"}])
def test_unknown_names_are_refused(wrong: dict[str, str]):
    with pytest.raises(ValueError, match="expected one each of vgg11, vgg16 and nearest, transposed"):
        unetplus.UNetPlus(**wrong)

"""Tiles of a large picture: whole-image statistics, seams, memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import dtgan, layers


def remember(network: nn.Module, x: Tensor, tape: list, *, share: float = 1.0) -> Tensor:
    """Record the statistics of a picture on an empty tape; play a full one to the network."""
    rest = iter(list(tape))

    def memory(compute: Callable[[], Any]) -> Any:
        statistic = next(rest, None)
        if statistic is None:
            tape.append(statistic := compute())
        return statistic

    for module in network.modules():
        if isinstance(module, layers.WholeImage):
            module.memory, module.share = memory, share
    return network(x)


WHOLE = {
    "instance": lambda: layers.InstanceNorm(4),
    "instance-affine": lambda: layers.InstanceNorm(4, affine=True),
    "layer": lambda: layers.LayerNorm(4, eps=1e-6),
    "lade": lambda: dtgan.LADE(4),
    "attention": lambda: dtgan.ExternalAttention(4, slots=3),
}


@pytest.mark.parametrize("name", WHOLE)
@torch.inference_mode()
def test_a_tile_is_treated_as_part_of_the_whole(name: str):
    torch.manual_seed(1)
    layer = WHOLE[name]().eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 4, 12, 16) * torch.arange(1.0, 17.0)
    plain = layer(x)
    tape: list = []
    torch.testing.assert_close(remember(layer, x, tape), plain, atol=1e-5, rtol=1e-5)
    right = remember(layer, x[..., 10:], tape, share=6 / 16)
    torch.testing.assert_close(right, plain[..., 10:], atol=1e-5, rtol=1e-5)


def test_layer_norm_is_torchs_group_norm_to_the_bit():
    ours, theirs = layers.LayerNorm(6, eps=1e-3), nn.GroupNorm(1, 6, eps=1e-3)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    x = torch.randn(2, 6, 5, 7)
    assert torch.equal(ours(x), theirs(x))

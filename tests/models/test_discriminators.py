"""PatchGAN: published counts, sizes of the map, gradients."""

import pytest
import torch

from models import discriminators, layers


@pytest.mark.parametrize(
    ("depth", "count", "side"),
    [(1, 136_385, 126), (2, 662_977, 62), (3, 2_764_737, 30), (4, 6_959_553, 14), (5, 11_154_369, 6)],
)
def test_counts_and_map_by_depth(depth: int, count: int, side: int):
    network = discriminators.PatchGAN(depth=depth)
    assert layers.parameter_count(network) == count
    with torch.device("meta"):
        assert discriminators.PatchGAN(depth=depth)(torch.empty(1, 3, 256, 256)).shape == (1, 1, side, side)


def test_conditional_counts():
    assert layers.parameter_count(discriminators.PatchGAN(inputs=6)) == 2_767_809
    assert layers.parameter_count(discriminators.PatchGAN(inputs=6, norm="batch")) == 2_768_705


@pytest.mark.parametrize(("size", "side"), [(128, 14), (64, 6)])
def test_smaller_images(size: int, side: int):
    logits = discriminators.PatchGAN(channels=8)(torch.zeros(2, 3, size, size))
    assert logits.shape == (2, 1, side, side)


def test_every_parameter_gets_a_gradient():
    network = discriminators.PatchGAN(channels=8, norm="batch")
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_a_depth_of_nothing_is_refused():
    with pytest.raises(ValueError, match="depth is 0"):
        discriminators.PatchGAN(depth=0)

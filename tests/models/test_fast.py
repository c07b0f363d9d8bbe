"""The quicker forms: the same images, alone, in batches, in tiles and from several threads."""

import concurrent.futures

import pytest
import torch
from torch import nn

from models import animegan, card, dtgan, fast, layers, registry, runners, tiling

NAMES = [entry.name for entry in card.offered() if entry.task != "stylize"]


def photos(height: int, width: int, *, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(width)) * 2 - 1


@pytest.mark.parametrize("name", NAMES)
def test_every_bundled_model_draws_the_same(name: str) -> None:
    model, quick = registry.load(name), runners.load(name)
    assert (quick.card, quick.sha256) == (model.card, model.sha256)
    with torch.inference_mode():
        for given in (photos(64, 64), photos(101, 139, count=2)):
            assert (model(given) - quick(given)).abs().max() < 1e-4


def test_the_weights_are_shared_and_the_network_stays_as_it_is() -> None:
    network = registry.build("dtgan").eval()
    before = [type(part) for part in network.modules()]
    quick = fast.rearrange(network)
    assert [type(part) for part in network.modules()] == before
    own = {parameter.data_ptr() for parameter in network.parameters()}
    folded = {part.conv for part in quick.modules() if isinstance(part, fast.DoublingBlock)}
    made = {parameter.data_ptr() for part in folded for parameter in part.parameters()}
    assert {parameter.data_ptr() for parameter in quick.parameters()} <= own | made


def test_dtgan_is_rearranged_throughout() -> None:
    kinds = [type(part) for part in fast.rearrange(registry.build("dtgan").eval()).modules()]
    assert kinds.count(fast.LADE) == 13
    assert kinds.count(fast.DoublingBlock) == 3
    assert dtgan.ConvBlock not in kinds
    assert dtgan.LADE not in kinds
    if fast.available():
        assert kinds.count(fast.Convolution) == 11  # all but three strided and the pointwise ones


def test_other_norms_and_doublings_stay() -> None:
    torch.manual_seed(0)
    for options in ({"upsample": "half-pixel"}, {"norm": "instance"}, {"norm": "layer"}):
        network = dtgan.DTGAN(**options).eval()
        with torch.inference_mode():
            assert (network(photos(64, 72)) - fast.rearrange(network)(photos(64, 72))).abs().max() < 1e-4
    network = animegan.AnimeGANv2(upsample="aligned").eval()
    with torch.inference_mode():
        assert (network(photos(64, 72)) - fast.rearrange(network)(photos(64, 72))).abs().max() < 1e-4


def test_lade_from_the_covariance() -> None:
    torch.manual_seed(0)
    norm = dtgan.LADE(16)
    x = torch.randn(2, 16, 24, 40) * torch.rand(16, 1, 1) * 5 + torch.randn(16, 1, 1) * 3
    with torch.inference_mode():
        assert torch.allclose(fast.LADE(norm)(x.clone()), norm(x), atol=1e-4)
        flat = torch.full((1, 16, 8, 8), 3.0)  # variances of zero, or a little below
        assert torch.allclose(fast.LADE(norm)(flat.clone()), norm(flat), atol=0.1)


def test_a_doubling_and_its_convolution_are_one() -> None:
    torch.manual_seed(0)
    block = dtgan.ConvBlock(8, 5)
    x = torch.randn(2, 8, 6, 9)
    with torch.inference_mode():
        assert torch.allclose(fast.DoublingBlock(block)(x), block(layers.upsample_legacy(x)), atol=1e-5)


@pytest.mark.skipif(not fast.available(), reason="this torch or processor has no NNPACK")
@pytest.mark.parametrize(("kernel", "padding"), [(3, 0), (3, 1), (5, 2), (7, 0)])
def test_convolutions_agree(kernel: int, padding: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 10, kernel, padding=padding, bias=padding > 0)
    assert fast.Convolution.suits(conv)
    x = torch.randn(3, 6, 19, 33).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.allclose(fast.Convolution(conv)(x), conv(x), atol=1e-4)


@pytest.mark.skipif(not fast.available(), reason="this torch or processor has no NNPACK")
def test_a_map_that_is_too_large_goes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = nn.Conv2d(3, 3, 3)
    with torch.inference_mode():
        x = torch.randn(1, 3, 40, 40)
        monkeypatch.setattr(fast, "WORKSPACE", 100)
        assert torch.equal(fast.Convolution(conv)(x), conv(x))


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, (3, 5)),
        nn.Conv2d(4, 4, 9),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_what_does_not_suit_stays(conv: nn.Conv2d) -> None:
    assert not fast.Convolution.suits(conv)
    assert fast.exchange(conv) is conv


def test_without_nnpack_the_rest_is_still_rearranged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "available", lambda: False)
    network = registry.build("dtgan").eval()
    quick = fast.rearrange(network)
    assert fast.Convolution not in {type(part) for part in quick.modules()}
    with torch.inference_mode():
        assert (network(photos(64, 72)) - quick(photos(64, 72))).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["dtgan", "animegan", "cyclegan-small"])
def test_tiles_of_the_quick_form_are_those_of_the_plain_one(name: str) -> None:
    torch.manual_seed(0)
    model = registry.Model(registry.CARDS[name], registry.build(name)).eval()
    side = tiling.least_side(model.card, overlap=32)
    given = photos(side + 32, side)
    with torch.inference_mode():
        plain = tiling.predict(model, given, tile=side, overlap=32, corrections=1)
        quick = tiling.predict(runners.rearranged(model), given, tile=side, overlap=32, corrections=1)
    assert (plain - quick).abs().max() < 1e-3


def test_threads_do_not_disturb_each_other() -> None:
    quick = runners.load("dtgan-portrait")
    given = [photos(64, 8 * side) for side in range(8, 16)]
    with torch.inference_mode():
        alone = [quick(each) for each in given]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(torch.inference_mode()(quick), given))
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one, other, atol=1e-5)

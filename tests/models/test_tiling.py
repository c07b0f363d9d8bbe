"""Tiles of a large picture: whole-image statistics, seams, the layout of tiles, memory."""

import dataclasses
import functools
import itertools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import dtgan, image, layers, nst, registry, tiling
from models.card import ModelCard
from models.registry import Model
from tests.models import large

HEIGHT, WIDTH, TILE, OVERLAP = 104, 459, 208, 96
NORMS = ("instance", "layer", "lade")  # with attention over all pixels, each


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


def test_attention_keeps_its_epsilon_in_the_second_normalisation():
    """Pixels that nobody attends to get less than a full sum; a tile must know how many pixels share the softmax."""
    softmax = dtgan.PixelSoftmax()
    keys = torch.randn(1, 64, 5) * 12
    tape: list = []
    remember(softmax, keys, tape)
    torch.testing.assert_close(remember(softmax, keys[:, :16], tape, share=0.25), keys.softmax(dim=1)[:, :16])


class Narrow(nn.Module):
    """Doubles the size, whitens over all pixels, looks at the style; a pixel sees its neighbours only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.norm = layers.InstanceNorm(12)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, photo: Tensor, style: Tensor) -> Tensor:
        offset = style.mean(dim=(1, 2, 3), keepdim=True)
        return (self.shuffle(self.norm(self.conv(photo))) * 0.3 + offset).tanh()


def card(**changes: Any) -> ModelCard:
    entry = ModelCard(
        name="toy", title="", task="translate", build=dtgan.DTGAN, multiple=8, min_side=16, paper="", licence=""
    )
    return dataclasses.replace(entry, **changes)


def narrow() -> Model:
    torch.manual_seed(0)
    return Model(card(task="stylize", scale=2, multiple=2), Narrow()).eval()


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """Dark and flat on the left, bright and busy on the right: a tile's own statistics would be those of no other."""
    contrast = torch.linspace(0.05, 1, WIDTH).square()
    return (large.picture(HEIGHT, WIDTH) * contrast + torch.linspace(-0.5, 0.3, WIDTH)).clamp(-1, 1)


@pytest.fixture(scope="module", params=NORMS)
def drawn(request: pytest.FixtureRequest, photo: Tensor) -> tuple[Model, Tensor]:
    """A DTGAN with random weights, where statistics matter more than in a trained one, and what it makes untiled."""
    torch.manual_seed(0)
    model = Model(card(), dtgan.DTGAN(norm=request.param)).eval()
    with torch.inference_mode():
        return model, model(photo)


def test_tiles_with_exact_statistics_are_the_untiled_picture(drawn: tuple[Model, Tensor], photo: Tensor):
    model, plain = drawn
    made = tiling.predict(model, photo, tile=TILE, overlap=OVERLAP, overview=WIDTH)
    torch.testing.assert_close(made, plain, atol=2e-3, rtol=0)


# Largest difference to the untiled picture, in units of its deviation: what a tile cannot see, with random weights.
FAMILIES: dict[str, tuple[float, dict[str, int]]] = {
    "dtgan": (1e-4, {}),
    "animegan": (0.02, {}),
    "animeganv2-lite": (0.03, {}),
    "cyclegan-small": (0.006, {}),
    "unit-small": (0.02, {}),
    "unit2018": (0.02, {"width": 8}),
    "ufrgan-tiny-8": (2e-4, {}),
    "stylization-small": (0.01, {}),
    "adain-small": (0.08, {}),
}


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_tiles_of_every_family_are_the_untiled_picture(name: str, photo: Tensor):
    torch.manual_seed(0)
    entry, (most, settings) = registry.find(name), FAMILIES[name]
    model = Model(entry, entry.build(**settings)).eval()
    style = large.picture(96, 96) if entry.task == "stylize" else None
    plain = model(photo, style)
    made = tiling.predict(model, photo, style=style, tile=TILE, overlap=OVERLAP, overview=WIDTH)
    difference = (made - plain).abs() / plain.std()
    assert not torch.equal(made, plain)
    assert difference.max() < most
    assert difference.mean() < 1e-3


def steps(x: Tensor) -> Tensor:
    """Mean difference between each column and the next."""
    return x.diff(dim=-1).abs().mean(dim=(0, 1, 2))


def find_seams() -> list[slice]:
    """Columns where one tile fades into the next."""
    fading = torch.zeros(WIDTH - 1, dtype=torch.bool)
    for start, weights in tiling.axis(WIDTH, tile=TILE, overlap=OVERLAP, multiple=8):
        fading[start : start + len(weights) - 1] |= steps(weights.expand(1, 1, 1, -1)) > 0
    edges = (fading[1:] != fading[:-1]).nonzero().flatten() + 1
    return [slice(first, last) for first, last in edges.view(-1, 2).tolist()]


def inside(profile: Tensor, seam: slice) -> Tensor:
    """What nine in ten columns stay below, in two strips as wide as a seam, within the tiles before and after it."""
    width = seam.stop - seam.start
    beside = profile[seam.start - width : seam.start], profile[seam.stop : seam.stop + width]
    return torch.cat(beside).quantile(0.9)


@pytest.mark.parametrize("side", ["left", "right"])
@torch.inference_mode()
def test_no_seam_where_tiles_meet(side: str, drawn: tuple[Model, Tensor], photo: Tensor):
    """Neither the error's differences from column to column nor the picture's are larger than inside the tiles.

    The dark side of the photo is on the left or on the right: errors grow with its contrast.
    """
    model = drawn[0]
    given = photo if side == "left" else photo.flip(-1)
    plain, made = model(given), tiling.predict(model, given, tile=TILE, overlap=OVERLAP)
    error, contrast = steps(made - plain), steps(made) / steps(plain)
    seams = find_seams()
    assert len(seams) == 3
    for seam in seams:
        assert 20 < seam.stop - seam.start < 40
        assert error[seam].mean() <= inside(error, seam)
        assert contrast[seam].mean() <= inside(contrast, seam)
    assert max(error[seam].max() for seam in seams) < error.max()


@torch.inference_mode()
def test_neighbours_agree_where_they_overlap(drawn: tuple[Model, Tensor], photo: Tensor):
    draw = functools.partial(tiling.run, tiling.light_copy(drawn[0]), style=None, pixels=HEIGHT * (WIDTH + 5))
    tape = tiling.record(draw, tiling.reduce(photo, side=TILE, least=16))
    left, right = tiling.lay(HEIGHT, WIDTH, tile=TILE, overlap=OVERLAP, multiple=8)[:2]
    start = right[1][0]
    margin = 3 * OVERLAP // 8

    def disagreement(draw_tile: Callable[[Tensor], Tensor]) -> float:
        ours, theirs = (draw_tile(tiling.cut(photo, spot)) for spot in (left, right))
        shared = ours.shape[-1] - start
        return (ours[..., start:] - theirs[..., :shared])[..., margin : shared - margin].abs().max().item()

    together = disagreement(lambda tile: tiling.replay(draw, tile, tape))
    alone = disagreement(lambda tile: draw(tile, memory=lambda compute: compute()))
    assert together < 0.02
    assert alone > 10 * together


@pytest.mark.parametrize("drawn", ["instance"], indirect=True)
def test_a_correction_brings_tiles_nearer_to_the_untiled_picture(drawn: tuple[Model, Tensor], photo: Tensor):
    model, plain = drawn
    rough, fine = (
        tiling.predict(model, photo, tile=TILE, overlap=OVERLAP, overview=110, corrections=count) for count in (0, 1)
    )
    assert (fine - plain).abs().mean() < 0.8 * (rough - plain).abs().mean()


def test_small_pictures_go_through_in_one_piece():
    torch.manual_seed(0)
    model, photos = Model(card(), dtgan.DTGAN()).eval(), large.picture(40, 52)
    with torch.no_grad():
        assert torch.equal(tiling.predict(model, photos), model(photos))


@pytest.mark.parametrize("styles", [1, 2])
def test_scale_style_and_batch(styles: int):
    model, photos = narrow(), torch.cat([large.picture(31, 90), large.picture(90, 31).mT])
    style = torch.rand(styles, 3, 16, 17) - 0.5
    with torch.no_grad():
        plain = model(photos, style)
    seen = []
    made = tiling.predict(
        model, photos, style=style, tile=44, overlap=4, overview=99, progress=lambda *at: seen.append(at)
    )
    assert made.shape == (2, 3, 62, 180)
    torch.testing.assert_close(made, plain, atol=1e-5, rtol=0)
    assert seen == [(done, 6) for done in range(1, 7)]


def test_the_model_stays_as_it_was_and_keeps_its_weights_to_itself():
    model = narrow()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiling.predict(model, large.picture(48, 96), style=torch.zeros(1, 3, 16, 16), tile=44, overlap=4, progress=stop)
    assert model.network.norm.memory is None
    assert model.network.norm.share == 1
    copied = tiling.light_copy(model)
    assert copied.network.norm is not model.network.norm
    assert copied.network.conv.weight is model.network.conv.weight


def test_threads_share_a_model():
    model, style = narrow(), torch.zeros(1, 3, 16, 16)
    photos = [large.picture(48, 200 + 8 * number) * (number + 1) / 4 for number in range(4)]
    alone = [tiling.predict(model, each, style=style, tile=44, overlap=4) for each in photos]
    together: dict[int, Tensor] = {}

    def work(number: int) -> None:
        together[number] = tiling.predict(model, photos[number], style=style, tile=44, overlap=4)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(together[number], alone[number]) for number in range(4))


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "multiple"),
    [
        (4096, 1184, 128, 8),
        (1000, 512, 128, 16),
        (700, 640, 128, 128),
        (97, 96, 20, 4),
        (61, 96, 20, 8),
        (96, 48, 0, 8),
    ],
)
def test_layout_of_tiles(length: int, tile: int, overlap: int, multiple: int):
    tiles = tiling.axis(length, tile=tile, overlap=overlap, multiple=multiple)
    total = torch.zeros(length)
    for start, weights in tiles:
        assert start % multiple == 0
        assert len(weights) <= tile
        total[start : start + len(weights)] += weights
    torch.testing.assert_close(total, torch.ones(length))
    for (start, weights), (after, _) in itertools.pairwise(tiles):
        assert start + len(weights) - after >= overlap
    first, last = tiles[0][1], tiles[-1][1]
    assert first[0] == last[-1] == 1


def test_pixels_near_an_edge_of_a_tile_are_not_used():
    (_, left), (start, right) = tiling.axis(480, tile=304, overlap=128, multiple=8)
    assert left[-48:].max() == right[:48].max() == 0
    assert start == 480 - 304
    assert 0 < left[-64] < 1


def test_pooled_moments_are_those_of_the_whole():
    x = torch.randn(1, 3, 10, 12) * torch.arange(12) + torch.arange(10.0)[:, None]
    parts = [layers.measure(part, (2, 3)) for part in (x[..., :3], x[..., 3:])]
    pooled, whole = tiling.pool(parts, [3.0, 9.0]), layers.measure(x, (2, 3))
    torch.testing.assert_close(tuple(pooled), tuple(whole))


def test_wider_networks_get_smaller_tiles():
    sides = []
    for channels in (64, 256):
        network = nn.Sequential(nn.Conv2d(3, channels, 1), nn.Conv2d(channels, 3, 1))
        sides.append(tiling.tile_side(Model(card(multiple=32), network)))
    assert sides[0] % 32 == sides[1] % 32 == 0
    assert sides[0] == pytest.approx(2 * sides[1], abs=32)
    assert tiling.COPIES * 4 * 256 * sides[1] ** 2 <= tiling.MEMORY


def test_what_cannot_be_cut_is_refused():
    model = narrow()
    with pytest.raises(image.ImageError, match="makes pictures from noise"):
        tiling.predict(Model(card(task="generate", latent=4), nn.Identity()), torch.zeros(1, 3, 99, 99))
    with pytest.raises(image.ImageError, match="takes sides from 16 px up"):
        tiling.predict(model, torch.zeros(1, 3, 9, 99))
    with pytest.raises(image.ImageError, match="needs a style"):
        tiling.predict(model, torch.zeros(1, 3, 99, 99), tile=44, overlap=4)
    with pytest.raises(ValueError, match="too small"):
        tiling.predict(model, torch.zeros(1, 3, 99, 99), style=torch.zeros(1, 3, 16, 16), tile=44, overlap=40)


def test_networks_that_cannot_work_on_parts_take_pictures_in_one_piece():
    model, style = narrow(), torch.zeros(1, 3, 16, 16)
    model.network.tileable = False
    small, middle, large_one = (large.picture(*sides) for sides in ((40, 99), (280, 290), (300, 302)))
    with torch.no_grad():
        assert torch.equal(tiling.predict(model, small, style=style), model(small, style))
        with pytest.raises(
            image.ImageError, match="290 x 280 px and cannot work on parts of a picture; give one of at mo"
        ):
            tiling.predict(model, middle, style=style)
        model.network.whole_side = 300
        assert torch.equal(tiling.predict(model, middle, style=style), model(middle, style))
        with pytest.raises(image.ImageError, match="at most 300 x 300 px"):
            tiling.predict(model, large_one, style=style)
        assert torch.equal(tiling.predict(model, large_one, style=style, tile=302), model(large_one, style))


def test_pixels_are_optimised_in_one_piece():
    torch.manual_seed(0)
    model = Model(registry.find("nst"), nst.NST(preset="vgg16-shallow", features="random", steps=2))
    photo, style = large.picture(64, 72), large.picture(50, 40)
    assert torch.equal(tiling.predict(model, photo, style=style), model(photo, style))
    with pytest.raises(image.ImageError, match=r"nst was given 1300 x 1000 px .* at most 1120 x 1120 px"):
        tiling.predict(model, torch.zeros(1, 3, 1000, 1300), style=style)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dtgan", "animeganv2", "cyclegan", "ufrgan-tiny-8"])
def test_a_large_picture_stays_below_four_gigabytes(name: str):
    command = [sys.executable, "-m", "tests.models.large", name, str(side := 4096), "1"]
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    said = subprocess.run(command, env=plain, capture_output=True, text=True, check=True).stdout
    peak = int(re.findall(r"(\d+) MiB", said)[0]) * 2**20
    assert peak + 4 * 3 * side**2 < 4e9  # no page of the result counts before it is written to

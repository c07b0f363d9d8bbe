"""What every card promises, whatever its architecture."""

import re
from pathlib import Path
from typing import cast

import huggingface_hub
import pytest
import torch
from torch import Tensor

from models import image, registry, unit
from models.card import ModelCard
from models.registry import Model

# Explicit, never a default: random features instead of a download, and few steps.
SETTINGS: dict[str, dict[str, object]] = {"nst": {"features": "random", "steps": 3}}
NOTHING_LEARNED = {"nst", "bicubic"}  # pixels are optimised, and interpolated
TAKES_PICTURES = [name for name, entry in registry.CARDS.items() if entry.task != "generate"]
STYLIZES = [name for name, entry in registry.CARDS.items() if entry.task == "stylize"]


def network(entry: ModelCard, *, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return entry.build(**SETTINGS.get(entry.name, {}))


@pytest.fixture(scope="module", params=registry.CARDS)
def model(request: pytest.FixtureRequest) -> Model:
    entry = registry.CARDS[request.param]
    return Model(entry, network(entry)).eval()


def pictures(height: int, width: int, *, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(height)) * 2 - 1


def inputs(entry: ModelCard, *, height: int = 0, width: int = 0, count: int = 1) -> tuple[Tensor, ...]:
    """What a card takes: noise, a picture, or a picture and a style; the smallest sides that it accepts by default."""
    if entry.task == "generate":
        return (torch.randn(count, entry.latent, generator=torch.Generator().manual_seed(3)),)
    found = pictures(height or entry.min_side, width or entry.min_side, count=count)
    return (found, pictures(64, 72)) if entry.task == "stylize" else (found,)


def size(entry: ModelCard, *given: Tensor) -> tuple[int, int]:
    """What a card makes of it; a generator's name says its side, as in dcgan-64-small."""
    if entry.task == "generate":
        (side,) = re.findall(r"-(\d+)", entry.name)
        return int(side), int(side)
    height, width = given[0].shape[-2:]
    return entry.scale * height, entry.scale * width


@torch.inference_mode()
def test_predictions_are_finite_and_in_range(model: Model):
    given = inputs(model.card)
    made = model(*given)
    assert made.shape == (1, 3, *size(model.card, *given))
    assert made.dtype == torch.float32
    assert made.isfinite().all()
    assert made.abs().max() <= 1
    assert made.std() > 1e-4  # untrained batch norms pass on how little seven layers of N(0, 0.02) leave


@pytest.mark.parametrize("name", TAKES_PICTURES)
@torch.inference_mode()
def test_odd_sizes_come_back_as_they_were(name: str):
    entry = registry.CARDS[name]
    given = inputs(entry, height=entry.min_side + 3, width=entry.min_side + 29)
    made = Model(entry, network(entry)).eval()(*given)
    assert made.shape[-2:] == size(entry, *given)
    assert made.isfinite().all()


@pytest.mark.parametrize("name", STYLIZES)
@pytest.mark.parametrize("sides", [(16, 16), (33, 50)])
@torch.inference_mode()
def test_a_style_may_be_tiny_and_of_another_shape(name: str, sides: tuple[int, int]):
    entry = registry.CARDS[name]
    made = Model(entry, network(entry)).eval()(pictures(64, 64), pictures(*sides))
    assert made.shape == (1, 3, 64, 64)
    assert made.isfinite().all()


@pytest.mark.parametrize("name", TAKES_PICTURES)
def test_pictures_that_are_too_small_are_refused(name: str):
    entry = registry.CARDS[name]
    with torch.device("meta"):
        tiny = Model(entry, entry.build())
    with pytest.raises(image.ImageError, match=f"takes sides from {entry.min_side} px up"):
        tiny(*inputs(entry, height=entry.min_side - 1))


@torch.inference_mode()
def test_the_same_input_gives_the_same_bits(model: Model):
    given = inputs(model.card)
    assert torch.equal(model(*given), model(*given))


@torch.inference_mode()
def test_images_of_a_batch_do_not_meet(model: Model):
    pair = inputs(model.card, count=2)
    together = model(*pair)
    alone = torch.cat([model(pair[0][:1], *pair[1:]), model(pair[0][1:], *pair[1:])])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
@torch.inference_mode()
def test_a_flat_input_stays_finite(model: Model, level: float):
    given = inputs(model.card)
    assert model(torch.full_like(given[0], level), *given[1:]).isfinite().all()


@torch.inference_mode()
def test_bfloat16_autocast_stays_finite(model: Model):
    with torch.autocast("cpu", torch.bfloat16):
        made = model(*inputs(model.card))
    assert made.dtype == torch.float32
    assert made.isfinite().all()


@torch.no_grad()
def test_save_and_load_give_every_bit_back(model: Model, tmp_path: Path):
    sha256 = registry.save(model.network, tmp_path, name=model.card.name)
    loaded = registry.load(str(tmp_path))
    assert (loaded.card, loaded.sha256) == (model.card, sha256)
    before, after = model.network.state_dict(), loaded.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    own = cast(type[huggingface_hub.PyTorchModelHubMixin], type(model.network))
    hub = Model(model.card, cast(torch.nn.Module, own.from_pretrained(tmp_path))).eval()
    given = inputs(model.card)
    assert torch.equal(hub(*given), model(*given))
    assert torch.equal(loaded(*given), model(*given))


def test_every_parameter_gets_a_finite_gradient(model: Model):
    trained = network(model.card, seed=1)
    wanted = {key: value for key, value in trained.named_parameters() if value.requires_grad}
    if not wanted:
        assert model.card.name in NOTHING_LEARNED
        return
    given = inputs(model.card, count=2)
    made = trained(*given)
    assert made.shape == (2, 3, *size(model.card, *given))
    if isinstance(trained, unit.UNIT):  # holds both directions
        made = trained.translate(made, "anime", "photo")
    made.square().mean().backward()
    for key, parameter in wanted.items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key

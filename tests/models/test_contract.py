"""What every card promises, whatever its architecture."""

from pathlib import Path

import pytest
import torch

from models import registry
from models.registry import Model

TRANSLATORS = [entry.name for entry in registry.CARDS.values() if entry.task == "translate"]


@pytest.fixture(scope="module", params=TRANSLATORS)
def model(request: pytest.FixtureRequest) -> Model:
    torch.manual_seed(0)
    return Model(registry.CARDS[request.param], registry.build(request.param)).eval()


def photos(height: int, width: int, *, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(height)) * 2 - 1


@pytest.mark.parametrize(("height", "width"), [(64, 64), (67, 93), (101, 64)])
@torch.inference_mode()
def test_any_size_comes_back_the_same_and_in_range(model: Model, height: int, width: int):
    anime = model(photos(height, width))
    assert anime.shape == (1, 3, height, width)
    assert anime.dtype == torch.float32
    assert anime.isfinite().all()
    assert anime.abs().max() <= 1
    assert anime.std() > 0.01


@torch.inference_mode()
def test_the_same_photo_gives_the_same_bits(model: Model):
    assert torch.equal(model(photos(64, 64)), model(photos(64, 64)))


@torch.inference_mode()
def test_photos_of_a_batch_do_not_meet(model: Model):
    pair = photos(64, 72, count=2)
    together = model(pair)
    alone = torch.cat([model(pair[:1]), model(pair[1:])])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
@torch.inference_mode()
def test_a_flat_photo_stays_finite(model: Model, level: float):
    assert model(torch.full((1, 3, 64, 64), level)).isfinite().all()


@torch.inference_mode()
def test_bfloat16_autocast_stays_finite(model: Model):
    with torch.autocast("cpu", torch.bfloat16):
        anime = model(photos(64, 64))
    assert anime.dtype == torch.float32
    assert anime.isfinite().all()


def test_save_and_load_give_every_bit_back(model: Model, tmp_path: Path):
    sha256 = registry.save(model.network, tmp_path, name=model.card.name)
    loaded = registry.load(str(tmp_path))
    assert (loaded.card, loaded.sha256) == (model.card, sha256)
    before, after = model.network.state_dict(), loaded.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_every_parameter_gets_a_finite_gradient(model: Model):
    network = registry.build(model.card.name)
    network(photos(64, 64, count=2)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name

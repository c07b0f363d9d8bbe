"""Johnson's transform nets: counts, the range of their levels, tiles."""

import pytest
import torch
from torch import Tensor

from models import image, johnson, layers, registry, tiling
from models.registry import Model

WIDTH = 4


def levels(height: int = 16, width: int = 24) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(width)) * 255


@pytest.mark.parametrize(("name", "count"), [("johnson", 1_679_235), ("johnson-tanh", 1_677_638)])
def test_parameter_counts(name: str, count: int):
    with torch.device("meta"):
        network = registry.build(name)
    assert layers.parameter_count(network) == count


def test_the_tanh_form_has_48_variables():
    with torch.device("meta"):
        assert len(registry.build("johnson-tanh").state_dict()) == 48


@pytest.mark.parametrize("form", johnson.FORMS)
@torch.inference_mode()
def test_levels_are_converted_inside(form: str):
    network = johnson.TransformNet(width=WIDTH, blocks=1, form=form).eval()
    photo = levels() / 127.5 - 1
    torch.testing.assert_close(network(photo), network.native(levels()) / 127.5 - 1, atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", johnson.FORMS)
def test_tiles_agree_with_the_whole(form: str):
    torch.manual_seed(0)
    network = johnson.TransformNet(width=WIDTH, blocks=1, form=form).eval()
    model = Model(registry.CARDS["johnson"], network)
    picture = image.resize(levels(24, 40) / 127.5 - 1, height=192, width=320)
    with torch.inference_mode():
        made = tiling.predict(model, picture, tile=192, overlap=64, overview=320)
        assert (made - model(picture)).abs().max() < 1e-3


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="form is 'bilinear'; expected one of nearest, tanh"):
        johnson.TransformNet(form="bilinear")

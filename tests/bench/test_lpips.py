"""LPIPS against its published example values; its checks also with a random trunk."""

import os
from pathlib import Path

import lpips as reference
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.metrics import lpips
from models import image


def test_published_values() -> None:
    for name in ("NIJIGEN_WEIGHTS", "NIJIGEN_CONFORMANCE"):
        if name not in os.environ:
            pytest.skip(f"{name} is not set")
    network = lpips.load(Path(os.environ["NIJIGEN_WEIGHTS"]) / "alexnet_features.safetensors")
    examples = load_file(Path(os.environ["NIJIGEN_CONFORMANCE"]) / "lpips_examples.io.safetensors")
    photo, far, near = (examples[name].float() / 127.5 - 1 for name in ("ref", "p0", "p1"))
    values = [float(lpips.distance(images, photo, network=network)) for images in (far, near)]
    assert values == pytest.approx([0.722, 0.138], abs=1e-3)
    assert values == pytest.approx(examples["alex"].tolist(), abs=1e-4)


def test_trunk_is_read_from_either_kind_of_file(tmp_path: Path) -> None:
    original = reference.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    weights = {f"features.{key.split('.', 1)[1]}": value for key, value in original.net.state_dict().items()}
    save_file(weights, tmp_path / "alexnet.safetensors")
    torch.save({**weights, "classifier.1.weight": torch.zeros(1)}, tmp_path / "alexnet.pth")
    a, b = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    expected = original(a, b).flatten()
    for file in ("alexnet.safetensors", "alexnet.pth"):
        values = lpips.distance(a, b, network=lpips.load(tmp_path / file))
        assert torch.allclose(values, expected, atol=1e-5)


def test_equal_images_give_zero_and_wrong_ones_are_refused() -> None:
    network = lpips.load(None)
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    assert float(lpips.distance(images, images, network=network)) == 0
    with pytest.raises(image.ImageError, match=r"\[-1, 1\]"):
        lpips.distance(images * 255, images, network=network)
    with pytest.raises(image.ImageError, match="32 px"):
        lpips.distance(images[..., :16], images[..., :16], network=network)

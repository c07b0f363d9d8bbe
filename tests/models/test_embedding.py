"""The differentiable face embedding against OpenCV's run of the same file, and what it sees in portraits."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models import embedding, image
from models.registry import CheckpointError


@pytest.fixture(scope="module")
def network(weights_dir: Path) -> embedding.Embedding:
    return embedding.Embedding(weights_dir / embedding.FILE)


def test_it_equals_opencv(network: embedding.Embedding, weights_dir: Path) -> None:
    aligned = np.random.default_rng(0).integers(0, 256, (1, 3, 112, 112)).astype(np.float32)
    reference = cv2.dnn.readNetFromONNX(str(weights_dir / embedding.FILE))
    reference.setInput(aligned)
    expected = reference.forward()[0]
    ours = network.embed(torch.from_numpy(aligned))[0].numpy()
    assert np.abs(ours - expected / np.linalg.norm(expected)).max() < 1e-4


def test_a_person_is_nearer_to_themselves_than_to_others(network: embedding.Embedding, data_dir: Path) -> None:
    portraits = torch.cat([image.read(path) for path in sorted((data_dir / "portraits").glob("gpo_*.jpg"))[:12]])
    vectors = network(portraits)
    blurred = network(torch.nn.functional.avg_pool2d(portraits, 5, stride=1, padding=2))
    cosines = vectors @ blurred.T
    assert cosines.argmax(dim=1).tolist() == list(range(12))
    assert cosines.diagonal().mean() > 0.6 > 0.3 > (cosines.sum() - cosines.trace()) / 132


def test_gradients_reach_the_portrait_and_no_weight(network: embedding.Embedding) -> None:
    portrait = torch.zeros(1, 3, 128, 128, requires_grad=True)
    network(portrait + torch.linspace(-1, 1, 128))[0, 0].backward()
    assert portrait.grad is not None
    assert portrait.grad[..., 40:90, 40:90].abs().sum() > 0
    assert all(weight.grad is None for weight in network.parameters())


def test_without_the_file_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIJIGEN_WEIGHTS", raising=False)
    with pytest.raises(CheckpointError, match="NIJIGEN_WEIGHTS"):
        embedding.load()

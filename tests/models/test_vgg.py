"""Weights of VGG: what is missing, damaged or hostile is refused."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models import vgg
from models.registry import CheckpointError


class Trap:
    """Makes a folder where it is unpickled without care."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the place of the official file in a cache of its own."""
    monkeypatch.setenv("TORCH_HOME", str(folder))
    monkeypatch.delenv("NIJIGEN_WEIGHTS", raising=False)
    path = folder / "hub" / "checkpoints" / "vgg16-397923af.pth"
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_nothing_but_tensors_is_unpickled(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content = {"features.0.weight": torch.zeros(64, 3, 3, 3), "more": Trap(tmp_path / "sprung")}
    torch.save(content, cached(tmp_path, monkeypatch), _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match=r"vgg16-397923af\.pth is damaged, or holds more than tensors"):
        vgg.Trunk("vgg16", "relu1_1").fill()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_official_files_of_either_form_are_read(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, trunk = vgg.Trunk("vgg16", "relu1_2"), vgg.Trunk("vgg16", "relu1_1")
    state = {f"features.{key}": value for key, value in source.features.state_dict().items()}
    torch.save(state, cached(tmp_path, monkeypatch), _use_new_zipfile_serialization=form == "zip")
    trunk.fill()
    assert bool(trunk.filled)
    assert torch.equal(trunk.state_dict()["features.0.weight"], state["features.0.weight"])


@pytest.mark.parametrize("damage", ["cut", "shape", "missing"])
def test_features_that_do_not_fit_are_refused(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NIJIGEN_WEIGHTS", str(tmp_path))
    file = tmp_path / "vgg16_to_relu1_1.safetensors"
    state = {f"features.{key}": value for key, value in vgg.Trunk("vgg16", "relu1_1").features.state_dict().items()}
    if damage == "shape":
        state["features.0.bias"] = torch.zeros(3)
    elif damage == "missing":
        del state["features.0.bias"]
    save_file(state, file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:50])
    message = {"cut": "could not be read", "shape": r"features\.0\.bias has shape \(3,\)"}.get(damage, "missing")
    with pytest.raises(CheckpointError, match=message):
        vgg.Trunk("vgg16", "relu1_1").fill()

"""Backbones: official by default, local by choice, never one for the other; a reason where there is none."""

import hashlib
import urllib.error
from pathlib import Path

import pytest

from bench import backbones, datasets, records
from models import download


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> datasets.HashIndex:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("NIJIGEN_WEIGHTS", raising=False)
    return datasets.HashIndex(tmp_path / "index.json")


def test_local_needs_a_folder(index: datasets.HashIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(records.RecordError, match="NIJIGEN_WEIGHTS"):
        backbones.Backbones("local", index)
    monkeypatch.setenv("NIJIGEN_WEIGHTS", "/nowhere")
    with pytest.raises(records.RecordError, match="/nowhere"):
        backbones.Backbones("local", index)


def test_local_files_are_named_as_what_they_are(
    index: datasets.HashIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIJIGEN_WEIGHTS", str(tmp_path))
    (tmp_path / backbones.LOCAL_INCEPTION).write_bytes(b"weights")
    (tmp_path / download.LOCAL_YUNET).write_bytes(b"detector")
    found = backbones.Backbones("local", index)
    assert found.inception.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert (found.inception.name, found.inception_layer) == ("inception-2015-12-05-to-mixed6e", "768")
    assert found.faces.sha256 is None and backbones.LOCAL_MOBILEFACE in found.faces.reason
    assert found.alexnet.sha256 is None and backbones.LOCAL_ALEXNET in found.alexnet.reason


def test_no_network_leaves_a_reason_even_with_local_files_at_hand(
    index: datasets.HashIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, timeout: float) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    monkeypatch.setenv("NIJIGEN_WEIGHTS", str(tmp_path))
    (tmp_path / backbones.LOCAL_INCEPTION).write_bytes(b"weights")
    found = backbones.Backbones("official", index)
    assert found.inception.paths == () and found.inception.sha256 is None
    assert "no route" in found.inception.reason and "--backbones local" in found.inception.reason
    assert found.inception_layer == "2048"
    assert list((tmp_path / "torch/hub/checkpoints").iterdir()) == []

"""Runners and the exported graph: the same picture at any size; what cannot be done is refused."""

import sys
from pathlib import Path

import pytest
import torch

from models import export, registry, runners
from models.registry import CheckpointError


def photos(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(width)) * 2 - 1


def test_a_network_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    torch.manual_seed(0)
    registry.save(registry.build("animeganv2-lite"), tmp_path / "net", name="animeganv2-lite")
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "net"), str(tmp_path / "whole.onnx")])
    export.command()
    assert "whole.onnx: " in capsys.readouterr().out
    content = (tmp_path / "whole.onnx").read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    model, graph = registry.load(str(tmp_path / "net")), runners.Graph(content)
    with torch.inference_mode():
        for given in (photos(64, 80), photos(72, 88)):
            assert (model.network(given) - graph(given)).abs().max() < 1e-5
    with pytest.raises(CheckpointError, match="cannot be opened"):
        runners.Graph(content[: len(content) // 2])
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "net"), str(tmp_path / "no" / "whole.onnx")])
    with pytest.raises(SystemExit) as caught:
        export.command()
    assert caught.value.code == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_unknown_model_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["export", "dtgn", str(tmp_path / "x.onnx")])
    with pytest.raises(SystemExit) as caught:
        export.command()
    assert caught.value.code == 2
    assert "did you mean" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["channels_last", "bfloat16", "fast"])
def test_other_runners_keep_type_and_size(name: str) -> None:
    torch.manual_seed(0)
    model = registry.Model(registry.CARDS["dtgan"], registry.build("dtgan")).eval()
    with torch.inference_mode():
        plain = model(photos(72, 88))
        other = runners.RUNNERS[name](model)(photos(72, 88))
    assert other.dtype == torch.float32
    assert (plain - other).abs().mean() < 0.05

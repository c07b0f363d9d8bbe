"""The graph beside the weights: same picture at any size, refused where it was changed, torch where it is missing."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from models import card, export, registry, runners
from models.registry import CheckpointError

NAMES = [entry.name for entry in card.offered()]
needs_runtime = pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is missing")
needs_exporter = pytest.mark.skipif(importlib.util.find_spec("onnxscript") is None, reason="onnxscript is missing")


def photos(height: int, width: int, *, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(width)) * 2 - 1


@needs_runtime
@pytest.mark.parametrize("name", NAMES)
def test_every_bundled_graph_draws_the_picture_of_its_network(name: str) -> None:
    model, quick = registry.load(name), runners.load(name)
    assert isinstance(quick.network, runners.Graph), "run: python -m models.export " + name
    assert (quick.card, quick.sha256) == (model.card, model.sha256)
    with torch.inference_mode():
        for given in (photos(64, 64), photos(101, 139, count=2)):
            assert (model(given) - quick(given)).abs().max() < 1e-4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(registry.locate("dtgan-portrait"), tmp_path / "copy"))


def test_without_a_graph_torch_runs_it(folder: Path) -> None:
    (folder / runners.GRAPH).unlink()
    assert not isinstance(runners.load(str(folder)).network, runners.Graph)
    with pytest.raises(CheckpointError, match=r"has no graph.onnx; make one with"):
        runners.with_graph(registry.load(str(folder)), folder)


def test_without_onnxruntime_torch_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not isinstance(runners.load("dtgan-portrait").network, runners.Graph)


@needs_runtime
def test_a_changed_graph_is_refused(folder: Path) -> None:
    content = (folder / runners.GRAPH).read_bytes()
    (folder / runners.GRAPH).write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="was changed"):
        runners.load(str(folder))
    config = json.loads((folder / registry.CONFIG).read_text())
    weights = config["nijigen"]["graph"]["weights"]
    runners.mark(folder, content[: len(content) // 2], weights)
    with pytest.raises(CheckpointError, match="cannot be opened"):
        runners.load(str(folder))
    runners.mark(folder, content, [*weights, "somebody.else"])
    with pytest.raises(CheckpointError, match=r"lacks: somebody\.else"):
        runners.load(str(folder))


@needs_runtime
@needs_exporter
def test_a_small_network_is_exported_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    registry.save(registry.build("animeganv2-lite"), tmp_path / "net", name="animeganv2-lite")
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "net")])
    export.command()
    assert "graph.onnx" in capsys.readouterr().out
    model, quick = registry.load(str(tmp_path / "net")), runners.load(str(tmp_path / "net"))
    assert isinstance(quick.network, runners.Graph)
    with torch.inference_mode():
        assert (model(photos(72, 88)) - quick(photos(72, 88))).abs().max() < 1e-5
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "net"), str(tmp_path / "whole.onnx")])
    export.command()
    whole = runners.Graph((tmp_path / "whole.onnx").read_bytes(), {})
    with torch.inference_mode():
        assert (model.network(photos(64, 80)) - whole(photos(64, 80))).abs().max() < 1e-5


def test_an_unknown_model_exits_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["export", "dtgn"])
    with pytest.raises(SystemExit) as caught:
        export.command()
    assert caught.value.code == 2
    assert "did you mean" in capsys.readouterr().err


@pytest.mark.parametrize("make", [runners.channels_last, runners.bfloat16])
def test_other_runners_keep_type_and_size(make) -> None:
    torch.manual_seed(0)
    model = registry.Model(registry.CARDS["dtgan"], registry.build("dtgan")).eval()
    with torch.inference_mode():
        plain = model(photos(72, 88))
        other = make(model)(photos(72, 88))
    assert other.dtype == torch.float32
    assert (plain - other).abs().mean() < 0.05

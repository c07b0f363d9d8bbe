"""Timings: the shape of the results, and that every way to run a model computes the same picture."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import speed
from models import registry


def test_latency_is_positive_and_ordered() -> None:
    timing = speed.measure(torch.nn.Identity(), size=64, repeats=10)
    assert 0 <= timing.fast_ms <= timing.latency_ms <= timing.slow_ms
    assert (timing.repeats, timing.threads) == (10, torch.get_num_threads())


def test_too_few_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 10"):
        speed.measure(torch.nn.Identity(), size=64, repeats=3)


def test_runners_are_compared_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "REPEATS", 3)
    cells = {
        cell.runner: cell for cell in speed.compare("dtgan", side=64, batch=2, names=["channels_last", "bfloat16"])
    }
    assert list(cells) == ["eager", "channels_last", "bfloat16"]
    assert cells["eager"].difference == 0
    assert cells["eager"].faster == 1
    assert cells["channels_last"].difference is not None and cells["channels_last"].difference < 1e-3
    for cell in cells.values():
        assert cell.latency_ms and cell.latency_ms > 0
        assert cell.images_per_second == pytest.approx(2000 / cell.latency_ms)


def test_a_pass_beyond_the_limit_is_not_repeated() -> None:
    (cell,) = speed.compare("dtgan", side=64, batch=1, names=[], limit_s=0.0)
    assert cell.latency_ms is None
    assert cell.note.startswith("one pass takes")


def test_a_model_without_the_weights_that_it_needs_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: object) -> None:
        raise registry.CheckpointError("no VGG here")

    monkeypatch.setattr("models.vgg.Trunk.fill", missing)
    (cell,) = speed.compare("nst", side=64, batch=1, names=[])
    assert (cell.latency_ms, cell.note) == (None, "no VGG here")


def test_onnx_runtime_makes_the_same_images() -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    cells = speed.compare("dcgan-64-small", side=64, batch=1, names=["onnx"], limit_s=5)
    assert cells[1].difference is not None and cells[1].difference < 1e-3


def test_memory_of_a_large_tensor_is_seen() -> None:
    peak = speed.Peak()
    if peak.before is None:
        pytest.skip("this system does not tell")
    tensor = torch.ones(256 * 2**20 // 4)
    assert 200 <= (peak.mib() or 0) <= 400
    assert tensor.sum() > 0


def test_the_command_prints_a_table_and_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "REPEATS", 3)
    out, page = tmp_path / "speed.jsonl", tmp_path / "speed.md"
    assert speed.main(["espcn", "--sizes", "128", "--batches", "1", "--out", str(out), "--page", str(page)]) == 0
    assert "made by `python -m bench.speed" in page.read_text().lower()
    assert "| espcn | 24,752 | 0.03 | eager | 128 | 1 |" in page.read_text()
    assert "| espcn | 24,752 |" in capsys.readouterr().out
    (kept,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (kept["model"], kept["side"], kept["runner"]) == ("espcn", 128, "eager")
    assert registry.CARDS["espcn"].scale == 4


def test_a_wrong_name_exits_with_2(caplog: pytest.LogCaptureFixture) -> None:
    assert speed.main(["dtgn"]) == 2
    assert "did you mean" in caplog.text


def test_a_page_shows_the_last_of_equal_cells_in_the_order_of_the_catalogue() -> None:
    def kept(model: str, runner: str, latency: float) -> dict[str, Any]:
        cell = speed.Cell(model=model, runner=runner, side=256, batch=1, latency_ms=latency)
        return dataclasses.asdict(cell) | {"device": "one core"}

    rows = [kept("srcnn", "eager", 5.0), kept("dtgan", "fast", 2.0), kept("dtgan", "eager", 3.0)]
    made = speed.page([*rows, kept("dtgan", "eager", 4.0), kept("gone", "eager", 1.0)])
    assert [line.split("|")[1].strip() for line in made.splitlines() if "| 256 |" in line] == [
        "dtgan",
        "dtgan",
        "srcnn",
    ]
    assert "| 4.0 |" in made
    assert "| 3.0 |" not in made
    assert made.count("one core") == 1


def test_a_page_needs_the_results() -> None:
    with pytest.raises(SystemExit) as caught:
        speed.main(["espcn", "--page", "speed.md"])
    assert caught.value.code == 2

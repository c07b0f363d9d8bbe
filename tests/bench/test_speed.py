"""Timings: the shape of the results, and that the peer computes the same picture."""

import pytest
import torch

from bench import speed
from models import dtgan


def test_latency_is_positive_and_ordered() -> None:
    timing = speed.measure(torch.nn.Identity(), size=64, repeats=10)
    assert 0 <= timing.fast_ms <= timing.latency_ms <= timing.slow_ms
    assert (timing.repeats, timing.threads) == (10, torch.get_num_threads())


@pytest.mark.parametrize("function", [speed.measure, speed.against_onnx])
def test_too_few_repeats_are_refused(function) -> None:
    with pytest.raises(ValueError, match="at least 10"):
        function(torch.nn.Identity(), size=64, repeats=3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_onnx_runtime_draws_the_same_picture() -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    torch.manual_seed(0)
    row = speed.against_onnx(dtgan.DTGAN().eval(), size=64, repeats=10, warm_up=1)
    assert row.difference < 1e-4
    assert min(row.torch_ms, row.onnx_ms, row.ratio) > 0


def test_a_wrong_call_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main([]) == 2
    assert "usage" in capsys.readouterr().err
    assert speed.main(["dtgn"]) == 2
    assert "did you mean" in capsys.readouterr().err

"""Tests of what conftest.py promises about skips and folders."""

from types import SimpleNamespace

import pytest

from tests import conftest


def skipped(reason: str) -> SimpleNamespace:
    return SimpleNamespace(skipped=True, outcome="skipped", longrepr=("file.py", 1, f"Skipped: {reason}"))


def test_strict_skips_refuse_what_could_have_run(monkeypatch):
    monkeypatch.setenv("NIJIGEN_STRICT_SKIPS", "1")
    report = conftest.refuse_skip(skipped("NIJIGEN_DATA is not set"))
    assert report.outcome == "failed"
    assert "NIJIGEN_DATA is not set" in report.longrepr


@pytest.mark.parametrize("reason", ["gpu: torch finds no CUDA device", "network: run pytest with --network"])
def test_strict_skips_permit_gpu_and_network(monkeypatch, reason):
    monkeypatch.setenv("NIJIGEN_STRICT_SKIPS", "1")
    assert conftest.refuse_skip(skipped(reason)).outcome == "skipped"


def test_skips_are_free_by_default(monkeypatch):
    monkeypatch.delenv("NIJIGEN_STRICT_SKIPS", raising=False)
    assert conftest.refuse_skip(skipped("no Chromium")).outcome == "skipped"


def test_a_folder_comes_from_its_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("NIJIGEN_DATA", str(tmp_path))
    assert conftest.folder("NIJIGEN_DATA", "pictures") == tmp_path


def test_an_unset_variable_skips_by_name(monkeypatch):
    monkeypatch.delenv("NIJIGEN_DATA", raising=False)
    with pytest.raises(pytest.skip.Exception, match="NIJIGEN_DATA is not set: the folder with pictures"):
        conftest.folder("NIJIGEN_DATA", "pictures")


def test_a_missing_folder_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("NIJIGEN_DATA", str(tmp_path / "absent"))
    with pytest.raises(pytest.fail.Exception, match="not a folder"):
        conftest.folder("NIJIGEN_DATA", "pictures")


@pytest.mark.gpu
def test_gpu_tests_find_a_gpu():
    import torch

    assert torch.zeros(1, device="cuda").item() == 0

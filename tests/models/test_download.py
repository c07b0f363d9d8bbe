"""Official files: checked, kept where torch keeps its own, never asked for twice."""

import hashlib
import io
import urllib.error
from pathlib import Path

import pytest

from models import download

WEIGHTS = download.Download(file="a.pth", url="https://example.org/a", sha256=hashlib.sha256(b"weights").hexdigest())


class _Reply(io.BytesIO):
    headers = {"Content-Length": "7"}  # noqa: RUF012


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("NIJIGEN_WEIGHTS", raising=False)


def test_download_is_checked_kept_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        download.urllib.request, "urlopen", lambda url, timeout: calls.append(url) or _Reply(b"weights")
    )
    assert download.cached(WEIGHTS) is None and calls == []
    path = download.fetch(WEIGHTS)
    assert path.read_bytes() == b"weights" and path.parent == download.cache_folder()
    assert download.fetch(WEIGHTS) == download.cached(WEIGHTS) == path and len(calls) == 1
    with pytest.raises(OSError, match="expected 00"):
        download.fetch(download.Download(file="b.pth", url="https://example.org/b", sha256="00"))
    assert [kept.name for kept in path.parent.iterdir()] == ["a.pth"]


def test_no_network_leaves_a_reason_and_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, timeout: float) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    with pytest.raises(OSError, match=r"a\.pth could not be downloaded.*no route.*put it into"):
        download.fetch(WEIGHTS)
    assert list(download.cache_folder().iterdir()) == []


def test_local_files_are_those_of_the_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert download.weights_folder() is None and download.local("a") is None
    monkeypatch.setenv("NIJIGEN_WEIGHTS", str(tmp_path))
    (tmp_path / "a").touch()
    assert (download.local("a"), download.local("b")) == (tmp_path / "a", None)
    monkeypatch.setenv("NIJIGEN_WEIGHTS", str(tmp_path / "a"))
    assert download.weights_folder() is None


def test_cache_is_the_one_torch_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("torch.hub")
    for name, value in (("TORCH_HOME", "/one"), ("XDG_CACHE_HOME", "/two")):
        monkeypatch.setenv(name, value)
        assert str(download.cache_folder()) == f"{hub.get_dir()}/checkpoints"
        monkeypatch.delenv(name)
    assert str(download.cache_folder()) == f"{hub.get_dir()}/checkpoints"

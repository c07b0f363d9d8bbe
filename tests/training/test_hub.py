"""The way to the Hub: which repository is made, what is uploaded, and what the command says."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from training import hub


class RecordedApi:
    """Takes the place of the Hub's client and keeps what it is asked for."""

    calls: list[tuple[str, dict]]

    def create_repo(self, repository: str, **options: object) -> None:
        self.calls.append(("create_repo", {"repo_id": repository, **options}))

    def upload_folder(self, **options: object) -> SimpleNamespace:
        self.calls.append(("upload_folder", options))
        return SimpleNamespace(commit_url="https://hub.example/commit/1")


def test_a_checkpoint_goes_to_a_private_repository_as_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordedApi, "calls", [], raising=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", RecordedApi)
    folder = tmp_path / "checkpoint"
    assert hub.push(folder, "painter/portraits") == "https://hub.example/commit/1"
    assert [name for name, _ in RecordedApi.calls] == ["create_repo", "upload_folder"]
    made, uploaded = (options for _, options in RecordedApi.calls)
    assert made == {"repo_id": "painter/portraits", "private": True, "exist_ok": True}
    assert uploaded["repo_id"] == "painter/portraits"
    assert uploaded["folder_path"] == folder


def test_the_real_client_takes_these_arguments() -> None:
    made = inspect.signature(huggingface_hub.HfApi.create_repo).parameters
    uploaded = inspect.signature(huggingface_hub.HfApi.upload_folder).parameters
    assert {"repo_id", "private", "exist_ok"} <= set(made)
    assert {"repo_id", "folder_path", "commit_message"} <= set(uploaded)

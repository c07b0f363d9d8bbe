"""A short form of the ordeals: killed under load twice, nothing acknowledged is lost."""

from pathlib import Path

import pytest

from tests.space import ordeal, studies


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = studies.folder(tmp_path / "pictures")
    assert ordeal.kill(pictures, f"sqlite:///{tmp_path}/study.sqlite3", times=2, raters=10)
    assert "0 lost, 0 twice" in capsys.readouterr().out

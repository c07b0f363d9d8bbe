"""The README's picture."""

from pathlib import Path

import pytest

from models import image
from space import convert, sheet


def test_the_sheet_shows_every_packaged_portrait_above_its_prediction(tmp_path: Path) -> None:
    if not convert.offered():
        pytest.skip("no bundled checkpoint")
    assert sheet.main([str(tmp_path / "sheet.png")]) == 0
    drawn = image.read(tmp_path / "sheet.png", max_side=4096)
    assert drawn.shape == (1, 3, 2 * sheet.SIDE + sheet.GAP, 4 * (sheet.SIDE + sheet.GAP) - sheet.GAP)
    upper, lower = drawn[..., : sheet.SIDE, :], drawn[..., -sheet.SIDE :, :]
    assert 0.02 < (upper - lower).abs().mean() < 0.6


def test_a_wrong_call_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert sheet.main([]) == 2
    assert "usage" in capsys.readouterr().err

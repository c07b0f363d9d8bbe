"""The sheet: every kind of model makes a picture, and captions tell trained weights from random ones."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from bench import zoo
from models import registry


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("dtgan-portrait", "trained"),
        ("dcgan-64-small", "random weights"),
        ("espcn", "random weights"),
        ("bicubic", "nothing to train"),
        ("ufrgan-tiny-8", "random weights"),
        ("adain-small", "trained"),
    ],
)
def test_every_task_makes_a_picture(name: str, weights: str) -> None:
    photo, style = torch.rand(1, 3, 256, 256) * 2 - 1, torch.rand(1, 3, 64, 64) * 2 - 1
    made, said = zoo.draw(registry.CARDS[name], photo, style)
    assert made.shape[:2] == (1, 3)
    assert made.isfinite().all()
    assert said == weights


def test_the_sheet_has_a_place_for_everybody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = {name: registry.CARDS[name] for name in ("dtgan-portrait", "fsrcnn")}
    monkeypatch.setattr(registry, "CARDS", few)
    Image.new("RGB", (300, 280), (200, 160, 140)).save(tmp_path / "photo.png")
    photo = str(tmp_path / "photo.png")
    assert zoo.main([photo, photo, str(tmp_path / "sheet.png")]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 256, 290)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert zoo.main([str(tmp_path / "bad.png"), photo, str(tmp_path / "sheet.png")]) == 2
    assert "not an image" in caplog.text

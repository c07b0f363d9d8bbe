"""Making a study: predictions, damaged copies, what is refused, and that a second run makes nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import protocol, records
from models import image
from space import develop, gallery, rules, screening, stimuli
from tests import hub_server
from tests.bench import samples
from tests.space.test_export import ROOT, hub_environment


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predict at 64 px: the tests ask what is made, not how well."""
    conditions = protocol.Protocol(size=64)
    monkeypatch.setattr(protocol, "Protocol", lambda: conditions)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    samples.pictures(tmp_path / "photos", count=18, seed=1)
    return tmp_path / "photos"


def test_a_study_has_every_picture_and_is_made_once(photos: Path, tmp_path: Path) -> None:
    names = ("dtgan-portrait", "animeganv2-lite-portrait")
    made = develop.develop(photos, tmp_path / "study", models=names)
    assert made.models == names
    assert len(made.pictures) == 18 * 5
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "study").rglob("*.png")}
    again = develop.develop(photos, tmp_path / "study", models=names)
    assert again == made
    predictions = {path: stamp for path, stamp in stamps.items() if "predictions" in path.parts}
    assert {path: path.stat().st_mtime_ns for path in predictions} == predictions
    sound = made.find(made.photos[0], names[0])
    copy = made.find(made.photos[0], screening.damaged(names[0]))
    assert sound.checkpoint_sha256 == copy.checkpoint_sha256
    difference = np.abs(np.subtract(*(image.to_uint8(image.read(each.path)).astype(int) for each in (sound, copy))))
    assert difference.mean() > 15
    assert stimuli.load(tmp_path / "study") == made


def test_a_study_needs_eighteen_photos_and_two_models(photos: Path, tmp_path: Path) -> None:
    next(photos.iterdir()).unlink()
    with pytest.raises(records.RecordError, match=r"needs 18 photos.*given 17"):
        develop.develop(photos, tmp_path / "study")
    with pytest.raises(records.RecordError, match="two models"):
        develop.develop(photos, tmp_path / "study", limits=rules.PILOT, models=("dtgan-portrait",))
    assert not list((tmp_path / "study").rglob("*.png")), "refused before anything was made"


def test_a_photo_that_the_demo_shows_is_refused(photos: Path, tmp_path: Path) -> None:
    (photos / "known.png").write_bytes(gallery.png(gallery.find("hopper-face")))
    with pytest.raises(records.RecordError, match=r"known.png is shown in the demo .*nobody could rate it blind"):
        develop.develop(photos, tmp_path / "study")


def test_the_command_exits_with_2(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert develop.main(["--photos", str(photos), "--out", str(tmp_path / "s"), "--models", "unheard-of"]) == 2
    assert "unheard-of" in caplog.text


def test_a_folder_that_is_no_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(records.RecordError, match=r"is no study .*python -m space.develop"):
        stimuli.load(tmp_path)


def test_photos_may_be_a_dataset_on_the_hub(photos: Path, tmp_path: Path) -> None:
    code = "import sys; from space import develop; print(len(list(develop.locate(sys.argv[1]).glob('*.png'))))"
    with hub_server.serve() as hub:
        files = {path.name: path.read_bytes() for path in photos.iterdir()} | {"README.md": b"# Faces"}
        repository = hub_server.Repository(files=files)
        repository.commit()
        hub.repositories["dataset", "tester/faces"] = repository
        for name, found in (("tester/faces", "18"), ("tester/nothing", "")):
            command = [sys.executable, "-c", code, name]
            environment = hub_environment(hub, tmp_path / "hf")
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
            assert done.stdout.strip() == found, done.stderr
        assert "no dataset on the Hub" in done.stderr

"""Preparation: what is cut, what is dropped and why, what a second call does, and that training takes what it left."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from models import faces, features, image
from tests.models import hostile
from tests.training import tiny
from training import cutting, data, prepare, train
from training.objectives.dtgan import DTGANRecipe

ROOT = Path(__file__).parents[2]
FACES = ("--detector", "cascade", "--size", "64", "--workers", "0")
IMAGEHASH_OF_ASTRONAUT = 0xC2924C5532BDDFC8  # what imagehash.phash 4.3.2 gives
DRAWINGS = ("--faces", "none", "--size", "64", "--workers", "0")


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """A public-domain portrait, 512 x 512, whose face has a side of about 110 pixels."""
    return skimage.data.astronaut()


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cutting.encode(np.ascontiguousarray(pixels)))
    return path


def run(*arguments: object) -> int:
    return prepare.main([str(argument) for argument in arguments])


def manifest(out: Path) -> dict[str, dict]:
    rows = [json.loads(line) for line in (out / prepare.MANIFEST).read_text().splitlines()]
    assert len({row["source"] for row in rows}) == len(rows)
    return {row["source"]: row for row in rows}


def reasons(out: Path) -> dict[str, list[str]]:
    return {name: [entry["reason"] for entry in row["images"]] for name, row in manifest(out).items()}


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_picture_is_cut_or_dropped_with_its_reason(astronaut: np.ndarray, tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    first = write(raw / "a.png", astronaut)
    write(raw / "brighter.png", (astronaut * 0.9 + 25).astype(np.uint8))
    write(raw / "far.png", cv2.resize(astronaut, (140, 140), interpolation=cv2.INTER_AREA))
    write(raw / "texture.png", skimage.data.brick()[..., None].repeat(3, axis=2))
    (raw / "notes.txt").write_text("not a picture")
    (raw / ".hidden").write_text("passed over")
    (raw / "more").mkdir()
    (raw / "more" / "a.png").write_bytes(first.read_bytes())
    assert run(raw, out, *FACES) == 0
    assert reasons(out) == {
        "a.png": [""],
        "brighter.png": ["near-duplicate"],
        "far.png": ["too small"],
        "more/a.png": ["duplicate"],
        "notes.txt": ["unreadable"],
        "texture.png": ["no face"],
    }
    [kept] = manifest(out)["a.png"]["images"]
    assert image.read(out / kept["file"]).shape == (1, 3, 64, 64)
    left, top, width, height = kept["face"]
    assert left < 225 < left + width and top < 110 < top + height  # the nose
    assert [path.name for path in data.files(out)] == [kept["file"]]
    report = json.loads((out / "report.json").read_text())
    assert (report["pictures"], report["images"]) == (6, 1)
    assert report["dropped"]["duplicate"] == [{"picture": "more/a.png", "detail": "the same bytes as a.png"}]
    assert "not an image we can read" in report["dropped"]["unreadable"][0]["detail"]
    assert "| too small | 1 |" in (out / "report.md").read_text()


def test_every_face_of_a_group_becomes_an_image(
    astronaut: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [faces.Face(left=left, top=60, width=side, height=side) for left, side in ((60, 90), (300, 110), (10, 25))]
    monkeypatch.setattr(cutting, "detector", lambda _: faces.Detector("stub", lambda _: found))
    write(tmp_path / "raw" / "group.png", astronaut)
    assert run(tmp_path / "raw", tmp_path / "out", *FACES, "--faces", "every") == 0
    entries = manifest(tmp_path / "out")["group.png"]["images"]
    assert [(entry["face"][2], entry["reason"]) for entry in entries] == [(110, ""), (90, ""), (25, "too small")]
    assert len(data.files(tmp_path / "out")) == 2
    assert run(tmp_path / "raw", tmp_path / "one", *FACES) == 0
    assert len(data.files(tmp_path / "one")) == 1


def test_faces_at_the_border_are_dropped(astronaut: np.ndarray) -> None:
    settings = cutting.Settings(size=64)
    for left, points in ((-60, None), (0, ((-5.0, 50.0), (40.0, 50.0), (20.0, 70.0), (0.0, 90.0), (40.0, 90.0)))):
        face = faces.Face(left=left, top=200, width=100, height=100, points=points)
        assert cutting.face_cut(astronaut, face, settings).record["reason"] == "cut off"
    assert cutting.face_cut(astronaut, faces.Face(left=170, top=60, width=110, height=110), settings).png


def test_hostile_files_never_stop_a_run(tmp_path: Path) -> None:
    cases = [case for case in hostile.corpus() if len(case.data) < 100_000]
    (tmp_path / "raw").mkdir()
    for number, case in enumerate(cases):
        (tmp_path / "raw" / f"{number:03d}").write_bytes(case.data)
    os.mkfifo(tmp_path / "raw" / "pipe")
    (tmp_path / "raw" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    assert run(tmp_path / "raw", tmp_path / "out", *DRAWINGS, "--duplicates", 0) == 0
    found = reasons(tmp_path / "out")
    assert len(found) == len(cases) + 2
    unreadable = {name for name, given in found.items() if given == ["unreadable"]}
    assert unreadable >= {f"{number:03d}" for number, case in enumerate(cases) if case.error} | {"pipe"}
    assert len(unreadable) == sum(case.error is not None for case in cases) + 2


def test_drawings_are_cropped_around_their_centre_and_not_enlarged(tmp_path: Path) -> None:
    wide = np.zeros((80, 240, 3), np.uint8)
    wide[:, 80:160] = 255
    write(tmp_path / "raw" / "wide.png", wide)
    write(tmp_path / "raw" / "low.png", wide[:70])
    assert run(tmp_path / "raw", tmp_path / "out", *DRAWINGS, "--smallest", 75) == 0
    assert reasons(tmp_path / "out")["low.png"] == ["too small"]
    [path] = data.files(tmp_path / "out")
    assert (image.to_uint8(image.read(path))[0, :, 2:-2] > 250).all()


def test_of_a_near_duplicate_across_splits_the_tested_one_stays(astronaut: np.ndarray, tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write(raw / "a.png", astronaut)
    write(raw / "b.png", (astronaut * 0.95).astype(np.uint8))
    write(raw / "c.png", astronaut[::-1])
    write(raw / "unlisted.png", astronaut[:, ::-1])
    (raw / prepare.SOURCES).write_text(
        "file,split,credit\na.png,train,x\nb.png,test,NASA\nc.png,train,y\ngone.png,train,\n"
    )
    assert run(raw, out, *DRAWINGS) == 0
    found = reasons(out)
    assert found["a.png"] == ["near-duplicate"]
    assert (found["unlisted.png"], found["gone.png"]) == (["not listed"], ["unreadable"])
    with (out / prepare.SOURCES).open() as lines:
        rows = {row["raw_file"]: (row["split"], row["credit"]) for row in csv.DictReader(lines)}
    assert rows == {"b.png": ("test", "NASA"), "c.png": ("train", "y")}
    assert [path.name[:2] for path in data.files(out)] == ["c-"]
    assert json.loads((out / "report.json").read_text())["splits"] == {"test": 1, "train": 1}


def test_a_second_call_does_no_work_and_takes_up_new_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = tiny.pictures(tmp_path / "raw", 3, seed=1), tmp_path / "out"
    assert run(raw, out, *DRAWINGS) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with monkeypatch.context() as patch:
        patch.setattr(cutting, "process", lambda *_, **__: pytest.fail("done again"))
        assert run(raw, out, *DRAWINGS) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    write(raw / "new.png", np.eye(80, dtype=np.uint8)[..., None].repeat(3, axis=2) * 255)
    assert run(raw, out, *DRAWINGS) == 0
    assert len(data.files(out)) == 4
    data.files(out)[0].unlink()
    assert run(raw, out, *DRAWINGS) == 0
    assert len(data.files(out)) == 3
    assert "removed by hand" in (out / "report.md").read_text()


def test_other_settings_and_changed_pictures_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = tiny.pictures(tmp_path / "raw", 2, seed=1), tmp_path / "out"
    assert run(raw, out, *DRAWINGS) == 0
    assert run(raw, out, *DRAWINGS, "--superpixels", 9) == 2
    assert "superpixels 0, now 9" in capsys.readouterr().err
    (raw / "00.png").write_bytes((raw / "01.png").read_bytes() + b"\0")
    assert run(raw, out, *DRAWINGS) == 2
    assert "00.png changed" in capsys.readouterr().err


def test_a_killed_call_is_continued_to_the_same_bytes_as_one_without_workers(tmp_path: Path) -> None:
    raw = tiny.pictures(tmp_path / "raw", 40, seed=1, side=200)
    settings = [*DRAWINGS[:-2], "--superpixels", "9"]
    command = [sys.executable, "training/prepare.py", str(raw), str(tmp_path / "out"), *settings, "--workers", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (tmp_path / "out" / prepare.MANIFEST).is_file():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)  # ends only when the worker, which holds the same pipe, is gone too
    assert 0 < len(manifest(tmp_path / "out")) < 40
    with (tmp_path / "out" / prepare.MANIFEST).open("a") as lines:
        lines.write('{"source": "torn')
    for out in ("out", "whole"):
        assert run(raw, tmp_path / out, *settings, "--workers", 0) == 0
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.fixture
def prepared(tmp_path: Path) -> dict[str, Path]:
    """Folders of photos with superpixels and of anime with smoothed edges, and one for a run, by recipe field."""
    for name, flags in (("photos", ("--superpixels", 12)), ("anime", ("--smooth", 0))):
        raw = tiny.pictures(tmp_path / f"raw {name}", 3, seed=len(name), side=128)
        assert run(raw, tmp_path / name, "--faces", "none", "--size", 128, *flags, "--workers", 0) == 0
    return {name: tmp_path / name for name in ("photos", "anime", "out")}


def test_prepared_versions_are_taken_and_are_what_training_would_make(
    prepared: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = DTGANRecipe(**prepared, size=64, margin=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(data, "mapped", lambda *_: pytest.fail("made again"))
        taken = recipe.data()
    for version in prepared["out"].parent.glob("*/*-128-*/*.png"):
        version.unlink()
    monkeypatch.setattr(data, "mapped", lambda make, pixels: np.stack(list(map(make, pixels))))
    made = dataclasses.replace(recipe, out=prepared["out"] / "again").data()
    for one, other in zip(taken.sets, made.sets, strict=True):
        assert len(one.arrays) == 2
        assert all(np.array_equal(one.arrays[key], other.arrays[key]) for key in other.arrays)


def test_a_changed_image_is_not_given_the_old_version(prepared: dict[str, Path]) -> None:
    path, version = data.files(prepared["photos"])[0], data.superpixels(12)
    assert data.prepared(path, version, 128).is_file()
    path.write_bytes(data.files(prepared["anime"])[0].read_bytes())
    assert not data.prepared(path, version, 128).is_file()


def test_a_run_trains_from_prepared_folders(
    prepared: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(features.PERCEPTUAL, "local", tiny.perceptual)
    monkeypatch.setattr(data, "mapped", lambda *_: pytest.fail("made again"))
    folders = [word for name, path in prepared.items() for word in (f"--{name}", str(path))]
    flags = ["--size", "64", "--batch", "1", "--init-steps", "1", "--steps", "2", "--features", "local"]
    with caplog.at_level("INFO"):
        assert train.main(["dtgan-portrait", *folders, *flags, "--workers", "0"]) == 0
    assert "taking 3 prepared segments" in caplog.text
    assert "taking 3 prepared smooth" in caplog.text
    assert (prepared["out"] / "checkpoint" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("raw", "flags", "message"),
    [
        ("nowhere", (), "no folder; expected one with pictures"),
        ("empty", (), "is empty"),
        ("pictures", ("--size", 10), "--size is 10; expected 64 to 2048"),
        ("pictures", ("--workers", -1), "--workers is -1; expected 0 or more"),
        ("pictures", ("--smooth", 2), "--smooth is 2.0; expected 0 to 1"),
        (".", (), "lies inside"),
    ],
)
def test_bad_commands_exit_2_and_say_what_to_do(
    raw: str, flags: tuple, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    tiny.pictures(tmp_path / "pictures", 1, seed=1)
    assert run(tmp_path / raw, tmp_path / "out", *DRAWINGS, *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_detector_stops_the_command_before_its_first_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise OSError("no connection.")

    monkeypatch.setattr(faces, "detector", fail)
    assert run(tiny.pictures(tmp_path / "raw", 1, seed=1), tmp_path / "out", "--workers", 0) == 2
    assert "--detector cascade" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_perceptual_hash_sees_likeness(astronaut: np.ndarray) -> None:
    one = cutting.perceptual_hash(astronaut)
    assert abs(one.bit_count() - 32) <= 1
    smaller = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)
    assert (one ^ cutting.perceptual_hash((smaller * 0.8).astype(np.uint8))).bit_count() <= 4
    assert (one ^ cutting.perceptual_hash(astronaut[:, ::-1])).bit_count() > 12
    assert (one ^ IMAGEHASH_OF_ASTRONAUT).bit_count() <= 2


def test_names_are_unique_and_harmless() -> None:
    names = [
        prepare.file_name(source, None) for source in ("a/b.jpg", "a_b.jpg", "b.jpg", "b.png", "../b.jpg", "二.png")
    ]
    assert len(set(names)) == len(names)
    assert all("/" not in name and name.isascii() for name in names)

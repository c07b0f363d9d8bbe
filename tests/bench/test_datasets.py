"""Image folders: what is listed, and hashes that are right without reading twice."""

import hashlib
import os
from pathlib import Path

import pytest

from bench import datasets, records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("b.png", "a.JPG", "c.webp", "d.jpg", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    return folder


def _index(tmp_path: Path) -> datasets.HashIndex:
    return datasets.HashIndex(tmp_path / "index.json")


def test_all_images_by_name(folder: Path, tmp_path: Path) -> None:
    images = datasets.read_set(folder, _index(tmp_path))
    assert [file.name for file in images.files] == ["a.JPG", "b.png", "c.webp", "d.jpg"]
    assert images.files[1].sha256 == hashlib.sha256(b"b.png").hexdigest() == datasets.hash_bytes(b"b.png")
    assert images.selection == "all images"


def test_only_the_test_split_where_a_table_says_so(folder: Path, tmp_path: Path) -> None:
    (folder / "SOURCES.csv").write_text('file,split,credit\nd.jpg,test,"x, y"\nb.png,train,\na.JPG,test,\n')
    images = datasets.read_set(folder, _index(tmp_path))
    assert [file.name for file in images.files] == ["a.JPG", "d.jpg"]
    assert images.selection == "split test of SOURCES.csv"
    (folder / "SOURCES.csv").write_text("file,credit\nd.jpg,x\n")
    assert len(datasets.read_set(folder, _index(tmp_path))) == 4


def test_a_listed_file_that_is_missing_is_an_error(folder: Path, tmp_path: Path) -> None:
    (folder / "SOURCES.csv").write_text("file,split\nz.jpg,test\n")
    with pytest.raises(records.RecordError, match=r"z\.jpg"):
        datasets.read_set(folder, _index(tmp_path))


def test_limit_spreads_and_is_told(folder: Path, tmp_path: Path) -> None:
    images = datasets.read_set(folder, _index(tmp_path), limit=2)
    assert [file.name for file in images.files] == ["a.JPG", "c.webp"]
    assert "limit 2" in images.selection
    assert images.sha256 != datasets.read_set(folder, _index(tmp_path)).sha256
    with pytest.raises(records.RecordError, match="--limit is 0"):
        datasets.read_set(folder, _index(tmp_path), limit=0)


def test_missing_and_empty_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(records.RecordError, match="not a folder"):
        datasets.read_set(tmp_path / "absent", _index(tmp_path))
    with pytest.raises(records.RecordError, match="holds no image"):
        datasets.read_set(tmp_path, _index(tmp_path))


def test_unchanged_files_are_not_read_again_and_changed_ones_are(folder: Path, tmp_path: Path) -> None:
    index = _index(tmp_path)
    before = datasets.read_set(folder, index)
    index.save()
    again = _index(tmp_path)
    assert datasets.read_set(folder, again) == before
    assert (index.hashed, again.hashed) == (4, 0)
    path = folder / "b.png"
    path.write_bytes(b"x.png")  # the same size
    os.utime(path, ns=(1, 1))
    assert datasets.read_set(folder, again).sha256 != before.sha256
    assert again.hashed == 1


def test_a_damaged_index_is_forgotten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{")
    assert _index(tmp_path).sha256(folder / "b.png") == hashlib.sha256(b"b.png").hexdigest()

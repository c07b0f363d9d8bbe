"""The example portraits: right pictures, right crops, credits, and an operator's folder with bad files in it."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from space import gallery

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv("NIJIGEN_EXAMPLES", raising=False)
    gallery.examples.cache_clear()
    yield
    gallery.examples.cache_clear()


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.mode == "RGB"
        return np.array(picture)


def test_packaged_portraits_are_crops_of_the_public_pictures():
    from matplotlib import cbook
    from skimage import data

    with Image.open(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))) as picture:
        sources = {"collins": data.astronaut(), "hopper": np.array(picture)}
    assert [example.name.split("-")[0] for example in gallery.examples()] == ["collins", "hopper"] * 2
    for example in gallery.examples():
        assert example.box is not None
        left, top, side = example.box
        whole = sources[example.name.split("-")[0]]
        crop = whole[top : top + side, left : left + side]
        assert crop.shape == (side, side, 3), "the box lies inside the picture"
        assert np.array_equal(_pixels(gallery.png(example)), crop)


def test_every_packaged_portrait_says_what_it_shows_and_whose_it_is():
    for example in gallery.examples():
        assert example.title and "public domain" in example.credit
        assert gallery.find(example.name) == example


def test_a_name_that_was_never_offered_is_refused():
    with pytest.raises(KeyError):
        gallery.find("../../etc/passwd")


def test_thumbnails_are_small():
    example = gallery.examples()[0]
    thumbnail = gallery.thumbnail(example, side=144)
    with Image.open(io.BytesIO(thumbnail)) as picture:
        assert picture.size == (144, 144)
    assert len(thumbnail) < 12_000


def test_an_operators_folder_is_added_and_its_bad_files_are_named(tmp_path, monkeypatch, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (120, 80), "teal").save(tmp_path / "my_aunt.jpg", exif=exif)
    (tmp_path / "my_aunt.txt").write_text("Photo: my uncle, CC0 <b>")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (20, 20)).save(tmp_path / "tiny.png")
    (tmp_path / "notes.md").write_text("not a picture, and not an error")
    monkeypatch.setenv("NIJIGEN_EXAMPLES", str(tmp_path))
    own = [example for example in gallery.examples() if example.name.startswith("own-")]
    assert [(example.title, example.credit) for example in own] == [("my aunt", "Photo: my uncle, CC0 <b>")]
    assert _pixels(gallery.png(own[0])).shape == (120, 80, 3), "upright"
    assert "broken.png" in caplog.text and "tiny.png" in caplog.text and "notes.md" not in caplog.text


def test_a_missing_folder_is_a_log_line(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NIJIGEN_EXAMPLES", str(tmp_path / "nowhere"))
    assert len(gallery.examples()) == 4
    assert "nowhere" in caplog.text


def test_a_missing_package_leaves_its_portraits_out(monkeypatch, caplog):
    monkeypatch.setattr(gallery, "HOPPER", ("no_such_package", "portrait.jpg", ""))
    assert [example.name for example in gallery.examples()] == ["collins-face", "collins-portrait"]
    assert "no_such_package" in caplog.text


def test_the_gallery_needs_neither_torch_nor_matplotlib():
    code = "import sys; from space import gallery; assert len(gallery.examples()) == 4; "
    code += "assert not {'torch', 'matplotlib', 'skimage'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

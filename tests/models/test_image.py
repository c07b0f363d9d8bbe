"""Safe pictures: every odd or hostile file gives a right image or an ImageError, in little memory."""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models import image
from tests.models import hostile

CORPUS = hostile.corpus()
ACCEPTED = [case for case in CORPUS if case.error is None]
REFUSED = [case for case in CORPUS if case.error is not None]
PEAK_SCRIPT = """
import os, pathlib, re, sys
import torch
from models import image

torch.set_num_threads(1)
torch.rand(8, 8) @ torch.rand(8, 8)

def mebibytes(field):
    return int(re.search(field + r":\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024

for path in sys.argv[1:]:
    if os.fork() == 0:  # each file meets a fresh high-water mark, which getrusage would inherit
        before = mebibytes("VmRSS")
        try:
            answer = tuple(image.read(path).shape)
        except image.ImageError as error:
            answer = error
        print(round(mebibytes("VmHWM") - before), answer, flush=True)
        os._exit(0)
    os.wait()
"""


def named(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def chunks(data: bytes) -> list[bytes]:
    kinds, position = [], 8
    while position < len(data):
        kinds.append(data[position + 4 : position + 8])
        position += 12 + int.from_bytes(data[position : position + 4])
    return kinds


def test_corpus_is_large_and_names_are_unique():
    assert len(REFUSED) >= 40
    assert len(ACCEPTED) >= 40
    assert len({case.name for case in CORPUS}) == len(CORPUS)


@named(ACCEPTED)
def test_odd_files_give_the_right_image(case):
    start = time.process_time()
    images = image.read(case.data)
    assert time.process_time() - start < 2
    height, width = case.size
    assert images.shape == (1, 3, height, width)
    assert images.dtype == torch.float32
    pixels = image.to_uint8(images)[0]
    for index, color in enumerate(case.colors):
        y, x = height * (1 + 2 * (index // 2)) // 4, width * (1 + 2 * (index % 2)) // 4
        seen = pixels[y - 4 : y + 4, x - 4 : x + 4].reshape(-1, 3).mean(0)
        np.testing.assert_allclose(seen, color, atol=case.tolerance, err_msg=f"corner {index}")


@named(REFUSED)
def test_hostile_files_are_refused_in_plain_words(case):
    start = time.process_time()
    with pytest.raises(image.ImageError, match=case.error) as caught:
        image.read(case.data)
    assert time.process_time() - start < 2
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert re.search(r"\b(use|save|make|crop|open)\b", message), "says what to do"


@named(ACCEPTED)
def test_nothing_but_pixels_leaves(case):
    data = image.png(image.read(case.data))
    assert set(chunks(data)) == {b"IHDR", b"IDAT", b"IEND"}


def test_flipped_bytes_never_crash():
    random = np.random.default_rng(3)
    for _ in range(200):
        data = bytearray(ACCEPTED[random.integers(len(ACCEPTED))].data[:100_000])
        reach = min(len(data), int(random.choice([64, 1024, len(data)])))  # headers deserve more than their share
        for position in random.integers(0, reach, random.integers(1, 20)):
            data[position] = random.integers(256)
        try:
            images = image.read(bytes(data))
        except image.ImageError:
            continue
        assert images.ndim == 4
        assert images.isfinite().all()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_stays_below_300_mib(tmp_path: Path):
    for name, channels, bits, color in (("rgb", 3, 8, 2), ("rgb16", 3, 16, 2), ("rgba", 4, 8, 6)):
        row = b"\0" + (bytes(range(256)) * 200)[: 6324 * channels * bits // 8]
        data = hostile.png_file(row * 6324, height=6324, width=6324, bits=bits, color=color)
        (tmp_path / f"{name}.png").write_bytes(data)
    data = hostile.png_file(b"", height=13_000, width=13_000, bits=8, color=2)
    (tmp_path / "huge.png").write_bytes(data)
    ramp = Image.linear_gradient("L").resize((6324, 6324))
    Image.merge("RGB", [ramp] * 3).save(tmp_path / "progressive.jpg", progressive=True, subsampling=0)
    ramp.crop((0, 0, 4000, 4000)).convert("RGBA").save(tmp_path / "alpha.webp", lossless=True, quality=0, method=0)
    paths = sorted(map(str, tmp_path.iterdir()))
    quiet = ("-W", "error", "-W", "ignore::DeprecationWarning")  # Python 3.12 dislikes forks
    command = [sys.executable, *quiet, "-c", PEAK_SCRIPT, *paths]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]).stdout
    answers = dict(zip((Path(path).stem for path in paths), output.splitlines(), strict=True))
    for name, answer in answers.items():
        mebibytes, answer = answer.split(" ", 1)
        assert int(mebibytes) <= 300, (name, answers)
        assert answer == "(1, 3, 2048, 2048)" or (name == "huge" and "40 megapixels" in answer)


def test_limits_can_be_set():
    data = hostile.encode(hostile.photo(), "PNG")
    with pytest.raises(image.ImageError, match=r"96 x 80 .* \(0.0 megapixels\).* 0.007 megapixels"):
        image.read(data, max_pixels=7000)
    with pytest.raises(image.ImageError, match="megabytes"):
        image.read(data + bytes(30_000), max_pixels=8000)
    assert image.read(data, max_pixels=WIDE.width * WIDE.height).shape == (1, 3, 80, 96)


WIDE = Image.effect_noise((1500, 750), 60).convert("RGB")


def test_long_pictures_are_reduced_as_if_at_once(monkeypatch):
    monkeypatch.setattr(image, "_STRIP_PIXELS", 100_000)
    pixels = image.to_uint8(image.read(hostile.encode(WIDE, "BMP"), max_side=1000))[0]
    np.testing.assert_array_equal(pixels, np.asarray(WIDE.resize((1000, 500), Image.Resampling.BICUBIC)))
    assert max(image.read(hostile.encode(Image.new("L", (4000, 4000)), "PNG")).shape) == 2048


def test_reduced_jpeg_equals_the_whole_one():
    smooth = WIDE.resize((75, 50)).resize((1500, 1000), Image.Resampling.BICUBIC)
    data = hostile.encode(smooth, "JPEG", quality=95)
    whole = Image.open(io.BytesIO(data)).resize((630, 420), Image.Resampling.BICUBIC)
    pixels = image.to_uint8(image.read(data, max_side=630))[0].astype(float)
    assert np.square(pixels - np.asarray(whole)).mean() < 1.0


def test_reduction_keeps_the_least_side():
    data = hostile.encode(Image.new("RGB", (1600, 200)), "PNG")
    assert image.read(data, max_side=256).shape == (1, 3, 64, 512)


@pytest.mark.parametrize("form", [str, Path])
def test_paths_with_any_name(tmp_path: Path, form):
    path = tmp_path / "ảnh <đẹp> '二次元'.gif"  # the name lies about the format
    path.write_bytes(hostile.encode(hostile.photo(), "PNG"))
    assert torch.equal(image.read(form(path)), image.read(path.read_bytes()))


def test_bad_paths(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing.png", tmp_path, tmp_path / "pipe", "x" * 5000, "a\0b"):
        with pytest.raises(image.ImageError, match=r"Cannot open.*Check"):
            image.read(path)


def test_pillows_own_limit_is_neither_needed_nor_touched(monkeypatch):
    data = hostile.encode(hostile.photo(), "PNG")
    before = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    huge = hostile.png_file(b"", height=20_000, width=20_000, bits=8, color=2)
    with pytest.raises(image.ImageError, match="20000 x 20000"):
        image.read(huge)
    monkeypatch.undo()
    image.read(data)
    assert before == Image.MAX_IMAGE_PIXELS


def test_every_level_survives_the_round_trip():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    images = image.from_uint8(levels)
    assert images.min() == -1
    assert images.max() == 1
    np.testing.assert_array_equal(image.to_uint8(images), levels)
    np.testing.assert_array_equal(image.to_uint8(image.from_uint8(levels[0, ::-1])), levels[:, ::-1])


def test_quantiser_rounds_and_clamps():
    row = torch.tensor([-7.0, -1.0, -0.998, -0.995, 0.0, 1.0, 7.0])  # 0 lies halfway between 127 and 128
    images = row.expand(1, 3, 1, 7).clone().requires_grad_()
    assert image.to_uint8(images)[0, 0, :, 0].tolist() == [0, 0, 0, 1, 128, 255, 255]


def test_png_is_the_image():
    images = torch.rand(1, 3, 65, 70) * 2 - 1
    data = image.png(images)
    assert data == image.png(images)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), image.to_uint8(images)[0])
    assert torch.equal(image.from_uint8(image.to_uint8(images)), image.read(data))
    with pytest.raises(image.ImageError, match="2 were given"):
        image.png(images.repeat(2, 1, 1, 1))


@pytest.mark.parametrize("multiple", [1, 4, 8, 16, 32])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 97), (81, 66)])
def test_padding_reflects_and_is_cropped_back(height, width, multiple):
    images = torch.rand(2, 3, height, width)
    padded, size = image.pad(images, multiple)
    assert size == (height, width)
    assert all(
        side % multiple == 0 and 0 <= side - old < multiple for side, old in zip(padded.shape[2:], size, strict=True)
    )
    assert torch.equal(image.crop(padded, size), images)
    if padded.shape[-1] > width:
        assert torch.equal(padded[..., :height, width], images[..., width - 2])


def test_resize_is_pillows_bicubic():
    photo = Image.effect_noise((120, 90), 40).convert("RGB")
    images = image.from_uint8(np.asarray(photo))
    for height, width in ((45, 60), (64, 100), (180, 200)):
        resized = image.resize(images, height=height, width=width)
        other = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(image.to_uint8(resized)[0].astype(int) - other).max() <= 2
        assert resized.abs().max() <= 1

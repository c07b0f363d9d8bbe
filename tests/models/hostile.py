"""Pictures that visitors really send, and files made to hurt: all written by this script, none stored."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, CREAM, WHITE = (200, 30, 30), (30, 160, 60), (40, 60, 200), (240, 230, 210), (255, 255, 255)
COLORS = (RED, GREEN, BLUE, CREAM)  # upper left, upper right, lower left, lower right
GRAYS = tuple((level,) * 3 for level in (20, 90, 160, 230))
HEIGHT, WIDTH = 80, 96


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file, and either the four colours it shows or the words that its error must contain."""

    name: str
    data: bytes
    colors: tuple[tuple[int, ...], ...] = COLORS
    size: tuple[int, int] = (HEIGHT, WIDTH)
    tolerance: int = 1
    error: str | None = None


def corpus() -> list[Case]:
    """Make every file; their names are unique."""
    return [*_modes(), *_deep(), *_transparent(), *_turned(), *_odd(), *_not_images(), *_broken(), *_too_much()]


def quadrants(colors: tuple = COLORS, *, height: int = HEIGHT, width: int = WIDTH, dtype: Any = np.uint8) -> np.ndarray:
    """Draw four rectangles of one colour or level each."""
    grid = np.array(colors, dtype=dtype).reshape(2, 2, *np.shape(colors[0]))
    return grid.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def encode(picture: Image.Image, form: str, **options: Any) -> bytes:
    """Write a picture into bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Frame the body of a PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_file(
    rows: bytes, *, height: int, width: int, bits: int, color: int, extra: bytes = b"", adam7: int = 0
) -> bytes:
    """Write a PNG by hand, which may promise more than its rows hold."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, adam7))
    return b"\x89PNG\r\n\x1a\n" + header + extra + png_chunk(b"IDAT", zlib.compress(rows, 1)) + png_chunk(b"IEND", b"")


def tiff_file(tags: dict[int, int], data: bytes) -> bytes:
    """Write a little-endian TIFF by hand; tag 273 or 324 with value -1 means where the data begin."""
    start = 14 + 12 * len(tags)
    entries = (struct.pack("<HHII", tag, 4, 1, start if value < 0 else value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + data


def photo() -> Image.Image:
    """The picture that most cases show."""
    return Image.fromarray(quadrants())


def _deep_png(levels: np.ndarray, *, color: int, **options: Any) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return png_file(rows, height=HEIGHT, width=WIDTH, bits=16, color=color, **options)


def _modes() -> Iterator[Case]:
    rgb, gray = photo(), Image.fromarray(quadrants((20, 90, 160, 230)))
    bars = Image.fromarray(quadrants((0, 255, 255, 0))).convert("1")
    black_and_white = ((0,) * 3, WHITE, WHITE, (0,) * 3)
    for form in ("PNG", "BMP", "TIFF", "JPEG2000", "GIF"):
        yield Case(name=f"rgb {form}", data=encode(rgb, form))
    yield Case(name="rgb JPEG", data=encode(rgb, "JPEG", quality=95), tolerance=4)
    yield Case(name="progressive JPEG", data=encode(rgb, "JPEG", quality=95, progressive=True), tolerance=4)
    yield Case(
        name="cmyk JPEG, inverted as Adobe does", data=encode(rgb.convert("CMYK"), "JPEG", quality=95), tolerance=6
    )
    yield Case(name="gray JPEG", data=encode(gray, "JPEG", quality=95), colors=GRAYS, tolerance=3)
    yield Case(name="lossy WebP", data=encode(rgb, "WEBP", quality=95), tolerance=8)
    yield Case(name="lossless WebP", data=encode(rgb, "WEBP", lossless=True))
    yield Case(name="AVIF", data=encode(rgb, "AVIF", quality=95, subsampling="4:4:4"), tolerance=8)
    yield Case(name="bare JPEG 2000 codestream", data=encode(rgb, "JPEG2000", no_jp2=True))
    yield Case(name="gray PNG", data=encode(gray, "PNG"), colors=GRAYS)
    yield Case(name="palette PNG", data=encode(rgb.quantize(8), "PNG"))
    yield Case(name="palette BMP", data=encode(rgb.quantize(8), "BMP"))
    yield Case(name="1-bit PNG", data=encode(bars, "PNG"), colors=black_and_white)
    yield Case(name="1-bit BMP", data=encode(bars, "BMP"), colors=black_and_white)
    yield Case(name="fax TIFF", data=encode(bars, "TIFF", compression="group4"), colors=black_and_white)
    yield Case(name="lzw TIFF", data=encode(rgb, "TIFF", compression="tiff_lzw"))
    yield Case(name="cmyk TIFF", data=encode(rgb.convert("CMYK"), "TIFF"))
    yield Case(name="ycbcr TIFF", data=encode(rgb, "TIFF", compression="jpeg", quality=95), tolerance=6)
    lab = Image.fromarray(quadrants(((64, 0, 0), (128, 0, 0), (191, 0, 0), (255, 0, 0))), "LAB")
    tones = tuple((level,) * 3 for level in (60, 119, 185, 255))  # L* 25, 50, 75 and 100 in sRGB
    yield Case(name="lab TIFF", data=encode(lab, "TIFF"), colors=tones, tolerance=3)


def _deep() -> Iterator[Case]:
    levels = quadrants((20 * 257, 90 * 257, 160 * 257, 230 * 257), dtype=np.uint16)
    rgb = quadrants(dtype=np.uint16) * 257
    alpha = np.full((HEIGHT, WIDTH, 1), 65_535, dtype=np.uint16)
    yield Case(name="16-bit gray PNG", data=_deep_png(levels, color=0), colors=GRAYS)
    yield Case(name="16-bit rgb PNG", data=_deep_png(rgb, color=2))
    yield Case(name="16-bit rgba PNG", data=_deep_png(np.concatenate([rgb, alpha], -1), color=6))
    pairs = np.concatenate([levels[..., None], alpha], -1)
    yield Case(name="16-bit gray and alpha PNG", data=_deep_png(pairs, color=4), colors=GRAYS)
    for white in (1, 255, 65_535):
        picture = Image.fromarray((levels / levels.max() * white).astype(np.float32))
        yield Case(name=f"float TIFF to {white}", data=encode(picture, "TIFF"), colors=_stretched(white))
    yield Case(name="16-bit TIFF", data=encode(Image.fromarray(levels), "TIFF"), colors=GRAYS)
    big = Image.frombytes("I;16B", (WIDTH, HEIGHT), levels.astype(">u2").tobytes())
    yield Case(name="16-bit big-endian TIFF", data=encode(big, "TIFF"), colors=GRAYS)
    signed = Image.fromarray(levels.astype(np.int32))
    yield Case(name="32-bit TIFF with 16-bit levels", data=encode(signed, "TIFF"), colors=GRAYS)
    wide = Image.fromarray((levels.astype(np.int64) * 32_767).astype(np.int32))
    yield Case(name="32-bit TIFF", data=encode(wide, "TIFF"), colors=GRAYS)
    tags = {256: WIDTH, 257: HEIGHT, 258: 12, 259: 1, 262: 1, 273: -1, 277: 1, 279: WIDTH * HEIGHT * 3 // 2}
    yield Case(
        name="12-bit TIFF", data=tiff_file(tags, b"\x80\x08\x00" * (WIDTH * HEIGHT // 2)), colors=((128,) * 3,) * 4
    )
    tags |= {258: 16, 262: 0, 279: WIDTH * HEIGHT * 2}
    inverted = (65_535 - levels).astype("<u2").tobytes()
    yield Case(name="16-bit TIFF where 0 is white", data=tiff_file(tags, inverted), colors=GRAYS)
    holes = np.full((HEIGHT, WIDTH), 0.5, dtype=np.float32)
    holes[40:, 48:] = np.nan
    dark = ((128,) * 3,) * 3 + ((0,) * 3,)
    yield Case(name="float TIFF with NaN", data=encode(Image.fromarray(holes), "TIFF"), colors=dark)
    yield Case(name="float TIFF of NaN", data=encode(Image.fromarray(holes * np.nan), "TIFF"), error="damaged")


def _stretched(white: int) -> tuple[tuple[int, ...], ...]:
    levels = [20 / 230, 90 / 230, 160 / 230, 1.0]
    return tuple((round(int(255 * level) if white == 255 else 255 * level),) * 3 for level in levels)


def _transparent() -> Iterator[Case]:
    rgb, hidden = photo(), (WHITE, GREEN, BLUE, CREAM)
    mask = Image.fromarray(quadrants((0, 255, 255, 255)))
    rgba = rgb.copy()
    rgba.putalpha(mask)
    half = rgb.copy()
    half.putalpha(Image.fromarray(quadrants((128, 255, 255, 255))))
    pink = (tuple(round(level * 128 / 255 + 127) for level in RED), GREEN, BLUE, CREAM)
    gray = Image.fromarray(quadrants((20, 90, 160, 230)))
    pair = gray.copy()
    pair.putalpha(mask)
    pale = (WHITE, *GRAYS[1:])
    key = rgb.quantize(8)
    red = int(np.asarray(key)[0, 0])
    for form, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG2000", {})):
        yield Case(name=f"rgba {form} with a hidden colour", data=encode(rgba, form, **options), colors=hidden)
    yield Case(name="half transparent PNG", data=encode(half, "PNG"), colors=pink)
    yield Case(name="gray and alpha PNG", data=encode(pair, "PNG"), colors=pale)
    yield Case(name="palette PNG with one clear colour", data=encode(key, "PNG", transparency=red), colors=hidden)
    levels = bytes(128 if index == red else 255 for index in range(8))
    yield Case(name="palette PNG with an alpha table", data=encode(key, "PNG", transparency=levels), colors=pink)
    yield Case(name="transparent GIF", data=encode(key, "GIF", transparency=red), colors=hidden)
    yield Case(name="gray PNG with a clear level", data=encode(gray, "PNG", transparency=20), colors=pale)
    yield Case(name="rgb PNG with a clear colour", data=encode(rgb, "PNG", transparency=RED), colors=hidden)
    deep = quadrants((20 * 257, 90 * 257, 160 * 257, 230 * 257), dtype=np.uint16)
    clear = png_chunk(b"tRNS", struct.pack(">H", 20 * 257))
    yield Case(name="16-bit gray PNG with a clear level", data=_deep_png(deep, color=0, extra=clear), colors=pale)
    clear = png_chunk(b"tRNS", struct.pack(">HHH", *(level * 257 for level in RED)))
    deep = quadrants(dtype=np.uint16) * 257
    yield Case(name="16-bit rgb PNG with a clear colour", data=_deep_png(deep, color=2, extra=clear), colors=hidden)


def _turned() -> Iterator[Case]:
    turns = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270")
    undo = {number: Image.Transpose[turn] for number, turn in enumerate(turns, start=2)}
    for orientation, turn in undo.items():
        exif = Image.Exif()
        exif[274] = orientation
        stored = photo().transpose(turn)
        yield Case(name=f"JPEG of orientation {orientation}", data=encode(stored, "JPEG", exif=exif), tolerance=6)
        if orientation == 6:
            yield Case(name="PNG of orientation 6", data=encode(stored, "PNG", exif=exif))
            yield Case(name="WebP of orientation 6", data=encode(stored, "WEBP", lossless=True, exif=exif))
            yield Case(name="TIFF of orientation 6", data=encode(stored, "TIFF", tiffinfo={274: 6}))
            yield Case(name="AVIF of orientation 6", data=encode(stored, "AVIF", quality=95, exif=exif), tolerance=10)
    exif = Image.Exif()
    exif[274] = 99
    yield Case(name="PNG of orientation 99", data=encode(photo(), "PNG", exif=exif))
    yield Case(
        name="JPEG with broken EXIF", data=encode(photo(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff"), tolerance=6
    )


def _odd() -> Iterator[Case]:
    rgb, other = photo(), Image.new("RGB", (WIDTH, HEIGHT), "black")
    frames: dict[str, Any] = {"save_all": True, "append_images": [other]}
    yield Case(name="animated GIF", data=encode(rgb, "GIF", **frames))
    yield Case(name="animated PNG", data=encode(rgb, "PNG", **frames))
    yield Case(name="animated WebP", data=encode(rgb, "WEBP", lossless=True, **frames))
    yield Case(name="TIFF of two pages", data=encode(rgb, "TIFF", **frames))
    yield Case(name="phone JPEG of two pictures", data=encode(rgb, "MPO", quality=95, **frames), tolerance=4)
    motion = np.random.default_rng(0).bytes(4_000_000)  # holds about 60 pairs that look like the start of a scan
    yield Case(name="phone JPEG with a video behind", data=encode(rgb, "JPEG", quality=95) + motion, tolerance=4)
    exif = Image.Exif()
    exif[271] = "Maker of cameras"
    exif.get_ifd(0x8825)[1] = "N"
    yield Case(name="JPEG with place and camera", data=encode(rgb, "JPEG", quality=95, exif=exif), tolerance=4)
    text = png_chunk(b"tEXt", b"parameters\0name of a model") + png_chunk(b"iTXt", b"Comment\0\0\0\0\0\xe4\xba\xba")
    rows = b"".join(b"\0" + row.tobytes() for row in quadrants())
    size: dict[str, int] = {"height": HEIGHT, "width": WIDTH, "bits": 8, "color": 2}
    yield Case(name="PNG with text", data=png_file(rows, **size, extra=text))
    yield Case(name="PNG with a broken colour profile", data=encode(rgb, "PNG", icc_profile=b"not a profile"))
    yield Case(name="PNG as small as permitted", data=encode(rgb.resize((64, 64), 0), "PNG"), size=(64, 64))
    yield Case(name="PNG as long as permitted", data=encode(rgb.resize((512, 64), 0), "PNG"), size=(64, 512))


def _not_images() -> Iterator[Case]:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"/>'
    contents = {
        "empty": (b"", "empty"),
        "one byte": (b"\x89", "not an image"),
        "text": ("Xin chào, 你好".encode(), "not an image"),
        "noise": (np.random.default_rng(1).bytes(5000), "not an image"),
        "web page": (b"\n<!DOCTYPE html><html><body><svg></svg></body></html>", "web page"),
        "svg": (svg, "SVG"),
        "svg with a declaration": (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a drawing -->\n" + svg, "SVG"),
        "zip": (b"PK\x03\x04" + bytes(100), "zip"),
        "pdf": (b"%PDF-1.7\n", "PDF"),
        "psd": (b"8BPS\0\x01" + bytes(30), "Photoshop"),
        "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        "mp4": (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "video"),
        "data url": (b"data:image/png;base64,iVBORw0KGgo=", "data URL"),
    }
    for name, (data, error) in contents.items():
        yield Case(name=name, data=data, error=error)


def _broken() -> Iterator[Case]:
    grain = np.random.default_rng(2).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"):
        data = encode(Image.fromarray(grain), form)
        yield Case(name=f"half a {form}", data=data[: len(data) // 2], error="damaged or cut short")
        yield Case(name=f"first bytes of a {form}", data=data[:16], error="damaged|not an image")
    data = encode(photo(), "PNG")
    yield Case(name="PNG with a wrong checksum", data=data[:30] + b"\xff" + data[31:], error="damaged")
    rows = b"".join(b"\0" + row.tobytes() for row in quadrants())
    size: dict[str, int] = {"height": HEIGHT, "width": WIDTH, "bits": 8, "color": 2}
    yield Case(
        name="PNG of no pixels", data=png_file(b"", height=0, width=0, bits=8, color=2), error="damaged|at least 64"
    )
    bomb = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000)))
    yield Case(name="PNG with a bomb as colour profile", data=png_file(rows, **size, extra=bomb), error="damaged")
    liar = bytearray(encode(Image.new("RGB", (400, 400)), "JPEG2000"))
    box = liar.index(b"ihdr") + 4
    liar[box : box + 8] = struct.pack(">II", HEIGHT, WIDTH)
    yield Case(name="JPEG 2000 with two sizes", data=bytes(liar), error="damaged")


def _too_much() -> Iterator[Case]:
    size: dict[str, int] = {"bits": 8, "color": 2}
    for side in (6325, 13_000, 20_000, 2**31 - 1):
        data = png_file(b"", height=side, width=side, **size)
        yield Case(name=f"PNG of {side} pixels a side", data=data, error=rf"{side} x {side} .*40 megapixels")
    for height, width, error in (
        (1, 1, "at least 64"),
        (5000, 1, "at least 64"),
        (63, 200, "64"),
        (64, 520, "8 times"),
    ):
        data = encode(Image.new("RGB", (width, height)), "PNG")
        yield Case(name=f"PNG of {height} x {width}", data=data, error=error)
    data = bytearray(encode(photo(), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", 65_500, 65_500)
    yield Case(name="JPEG of 4 gigapixels", data=bytes(data), error="4290.2 megapixels.*40 megapixels")
    data = bytearray(encode(photo(), "GIF"))
    data[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield Case(name="GIF of 4 gigapixels", data=bytes(data), error="4294.8 megapixels.*40 megapixels")
    data = bytearray(encode(photo(), "GIF"))
    frame = data.index(b"\x2c\0\0\0\0") + 5
    data[frame : frame + 4] = struct.pack("<HH", 65_535, 65_535)
    yield Case(name="GIF with a frame above its size", data=bytes(data), error="40 megapixels")
    data = bytearray(encode(photo(), "WEBP", lossless=True))
    data[21:25] = struct.pack("<I", 4199 | 4199 << 14)
    yield Case(name="WebP of 17.6 megapixels", data=bytes(data), error="17.6 megapixels.*WebP is 16 megapixels")
    tags = {256: 100, 257: 100, 258: 8, 259: 8, 262: 1, 277: 1, 322: 30_000, 323: 30_000, 324: -1, 325: 100}
    yield Case(name="TIFF with a huge tile", data=tiff_file(tags, bytes(100)), error="900.0 megapixels")
    tags[322] = -1
    data = tiff_file(tags, bytes(100)).replace(struct.pack("<HH", 322, 4), struct.pack("<HH", 322, 2))
    yield Case(name="TIFF with a tile as wide as a word", data=data, error="damaged")
    runs = (b"\x60\x05\0\0" * HEIGHT) + b"\0\x01"
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(runs), 0, 0, 256, 0) + bytes(1024)
    data = b"BM" + struct.pack("<IHHI", 14 + len(header) + len(runs), 0, 0, 14 + len(header)) + header + runs
    yield Case(name="run-length BMP", data=data, error="run-length")
    data = encode(photo(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    yield Case(name="JPEG of 150 scans", data=data[:-2] + scan * 140 + data[-2:], error="50 scans")
    segment = b"\xff\xe5\xff\xff" + bytes(65_533)
    yield Case(name="JPEG with 20 MB of metadata", data=data[:2] + segment * 320 + data[2:], error="16 megabytes")
    extra = png_chunk(b"eXIf", bytes(17_000_000))
    data = png_file(b"", height=HEIGHT, width=WIDTH, **size, extra=extra)
    yield Case(name="PNG with 17 MB of metadata", data=data, error="16 megabytes")
    yield Case(name="PNG of endless parts", data=data[:33] + png_chunk(b"IDAT", b"") * 100_010, error="100000 parts")

"""Images: any picture in, tensors inside, clean PNG out. Nothing else but the app's edge knows PIL and uint8."""

import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from torch import Tensor
from torch.nn import functional as F

Images = Float[Tensor, "batch 3 height width"]  # RGB in [-1, 1], float32

MAX_PIXELS = 40_000_000
MAX_SIDE = 2048
MIN_SIDE = 64
MAX_ASPECT = 8
MAX_SCANS = 50
MAX_METADATA = 16_000_000
MAX_PARTS = 100_000

_READERS: dict[str, Callable[[Any], ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
}
_SHARES = {"CMYK JPEG": 0.75, "WebP": 0.4, "AVIF": 0.4, "TIFF": 0.5, "JPEG 2000": 0.1}
_MAGIC = (
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"GIF8[79]a", "GIF"),
    (rb"BM", "BMP"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF"),
    (rb"....ftyp(?:.{4}){0,12}?avi[fs]", "AVIF"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
)
_REFUSED = (
    (rb"\Z", "empty (0 bytes)"),
    (rb"....ftyp(hei|hev|mif|msf)", "a HEIC picture, which we cannot read"),
    (rb"....ftyp", "a video"),
    (rb"\W*<(!doctype )?html", "a web page"),
    (rb"\W*<(.*<)?(!doctype )?svg", "an SVG drawing, not a photo"),
    (rb"PK\x03\x04", "a zip archive or an office document"),
    (rb"%PDF", "a PDF document"),
    (rb"8BPS", "a Photoshop document"),
    (rb"data:", "the text of a data URL, not the picture in it"),
    (rb"", "not an image we can read"),
)
_TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
_TURN_OF_ORIENTATION = {number: Image.Transpose[turn] for number, turn in enumerate(_TURNS, start=2)}
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STRIP_PIXELS = 1_000_000


class ImageError(ValueError):
    """A picture cannot be used; the message says what was given, what was expected and what to do."""


def read(source: bytes | str | Path, *, max_pixels: int = MAX_PIXELS, max_side: int = MAX_SIDE) -> Images:
    """Read any picture safely: first frame, upright, on white, 8-bit RGB, without metadata.

    A picture longer than `max_side` is reduced to it (antialiased bicubic), which keeps the extra memory below
    300 MB whatever the file; a smaller one keeps its pixels. Colour profiles are dropped, not applied.

    Args:
        source: Content of a file, or the path of one: PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000.
        max_pixels: Largest width times height, checked before decoding. A format whose decoder holds several
            copies gets a share of it (see _SHARES). A file may have 3 bytes for each such pixel.
        max_side: Longest side of the returned image, in pixels.

    Returns:
        Images of batch 1, RGB in [-1, 1], shortest side at least 64 pixels.

    Raises:
        ImageError: Not a readable picture, damaged, over the cap, a side below 64 pixels, or longer than 8 to 1.
    """
    if isinstance(source, bytes):
        return _read_stream(io.BytesIO(source), len(source), max_pixels=max_pixels, max_side=max_side)
    try:
        path = Path(source)
        if not path.is_file():  # a pipe or a device would block or never end
            raise FileNotFoundError("there is no such file")
        with path.open("rb") as stream:
            return _read_stream(stream, path.stat().st_size, max_pixels=max_pixels, max_side=max_side)
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise ImageError(f"Cannot open the picture {str(source)[:99]!r}: {error}. Check its name and place.") from error


def png(images: Images) -> bytes:
    """Encode one image as an 8-bit RGB PNG that holds nothing but its pixels.

    Args:
        images: Images of batch 1, RGB in [-1, 1].

    Returns:
        Content of a PNG file without text, EXIF, time or colour profile.

    Raises:
        ImageError: The batch is not 1.
    """
    if len(images) != 1:
        raise ImageError(f"A PNG holds one image and {len(images)} were given; encode them one by one.")
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(images)[0]).save(buffer, format="PNG")
    return buffer.getvalue()


def to_uint8(images: Images) -> UInt8[np.ndarray, "batch height width 3"]:
    """Quantise to 8 bits: the only place where that happens, so that files, metrics and screens agree.

    Args:
        images: RGB; values outside [-1, 1] are clamped.

    Returns:
        Pixels in [0, 255], rounded half to even.
    """
    pixels = images.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()  # (B, H, W, 3)


def from_uint8(pixels: UInt8[np.ndarray, "*batch height width 3"]) -> Images:
    """Turn 8-bit pixels into Images; `to_uint8` gives the same pixels back.

    Args:
        pixels: One picture (height, width, 3) or a batch of them (batch, height, width, 3), in [0, 255].

    Returns:
        RGB in [-1, 1], float32: pixels / 127.5 - 1.
    """
    batch = torch.from_numpy(np.array(pixels, order="C")).reshape(-1, *pixels.shape[-3:])
    return batch.permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)  # (B, 3, H, W)


def pad(images: Images, multiple: int) -> tuple[Float[Tensor, "batch 3 padded_height padded_width"], tuple[int, int]]:
    """Extend right and bottom by reflection until both sides are multiples; `crop` undoes it.

    Args:
        images: RGB in [-1, 1], sides longer than the padding they need.
        multiple: Number that shall divide both sides, in pixels.

    Returns:
        The extended images, and their height and width before.
    """
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="reflect"), (height, width)


def crop(images: Images, size: tuple[int, int]) -> Float[Tensor, "batch 3 cropped_height cropped_width"]:
    """Keep the upper left part.

    Args:
        images: RGB in [-1, 1].
        size: Height and width to keep, in pixels.

    Returns:
        Images of that size, a view of the given ones.
    """
    height, width = size
    return images[..., :height, :width]


def resize(images: Images, *, height: int, width: int) -> Float[Tensor, "batch 3 {height} {width}"]:
    """Change the size by bicubic interpolation with antialiasing.

    Args:
        images: RGB in [-1, 1].
        height: New height, in pixels.
        width: New width, in pixels.

    Returns:
        Images of the new size, clamped to [-1, 1].
    """
    return F.interpolate(images, size=(height, width), mode="bicubic", antialias=True).clamp(-1, 1)


def _read_stream(stream: io.BufferedIOBase, length: int, *, max_pixels: int, max_side: int) -> Images:
    if length > 3 * max_pixels:
        raise ImageError(
            f"This file has {length / 1e6:.1f} megabytes and the limit is {3 * max_pixels / 1e6:g}; "
            "make the picture smaller or save it as JPEG."
        )
    name = _format(stream.read(1024), max_pixels=max_pixels)
    stream.seek(0)
    _check_parts(stream, name=name)
    stream.seek(0)
    try:
        picture = _READERS[name](stream)  # not Image.open: its size check warns or raises by a process-wide setting
        _check_size(picture, name=name, max_pixels=max_pixels)
        pixels = np.array(_decode(picture, max_side=max_side))
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{error} The limit is {max_pixels / 1e6:g} megapixels; make it smaller.") from error
    except Exception as error:  # Pillow raises a dozen kinds on hostile bytes
        advice = "save or download it again, or use another picture."
        raise ImageError(f"This {name} file is damaged or cut short; {advice}") from error
    return from_uint8(pixels)


def _format(head: bytes, *, max_pixels: int) -> str:
    """Tell the format by the first bytes; names and declared types are not trusted."""
    for magic, name in _MAGIC:
        if re.match(magic, head, re.DOTALL):
            return name
    kind = next(kind for magic, kind in _REFUSED if re.match(magic, head, re.DOTALL | re.IGNORECASE))
    raise ImageError(f"This file is {kind}; use JPEG, PNG or WebP up to {max_pixels / 1e6:g} megapixels.")


def _check_parts(stream: io.BufferedIOBase, *, name: str) -> None:
    """Refuse files that cost more than their pixels: hundreds of scans, megabytes of metadata, endless tiny parts."""
    metadata, scans = 0, 0
    for count, (size, scan) in enumerate(_parts(stream, name=name)):
        metadata, scans = metadata + size, scans + scan
        if metadata > MAX_METADATA or scans > MAX_SCANS or count > MAX_PARTS:
            raise ImageError(
                f"This {name} file is more than a picture: it may have {MAX_METADATA / 1e6:g} megabytes of metadata, "
                f"{MAX_SCANS} scans and {MAX_PARTS} parts; open it in a picture editor and save it again."
            )


def _parts(stream: io.BufferedIOBase, *, name: str) -> Iterator[tuple[int, bool]]:
    """Walk over the chunks of a PNG or the segments of a JPEG: bytes of metadata, and whether it is a scan."""
    if name == "PNG":
        stream.seek(8)
        while len(chunk := stream.read(8)) == 8:
            length = int.from_bytes(chunk[:4])
            yield (0 if chunk[4:] == b"IDAT" else length), False
            stream.seek(length + 4, io.SEEK_CUR)
    elif name == "JPEG":
        data, position = stream.read(), 2
        while (marker := _MARKER.search(data, position)) and marker[0] != b"\xff\xd9":
            position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
            yield position - marker.end(), marker[0] == b"\xff\xda"


def _check_size(picture: ImageFile.ImageFile, *, name: str, max_pixels: int) -> None:
    width, height = picture.size
    given = f"This picture has {width} x {height} pixels"
    tags = getattr(picture, "tag_v2", {})
    pixels = max(width * height, tags.get(322, 0) * tags.get(323, 0))  # a tile of a TIFF may exceed the picture
    kind = "CMYK JPEG" if (name, picture.mode) == ("JPEG", "CMYK") else name
    cap = round(max_pixels * _SHARES.get(kind, 1))
    if picture.tile and picture.tile[0].codec_name == "bmp_rle":  # decoded in Python, a run at a time
        raise ImageError("This BMP file is run-length encoded, which we cannot read; save it as PNG.")
    if pixels > cap:
        raise ImageError(
            f"{given} ({pixels / 1e6:.1f} megapixels) and the limit for {kind} is {cap / 1e6:g} megapixels; "
            "make it smaller and try again."
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{given} and needs at least {MIN_SIDE} on each side; use a larger picture.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(f"{given} and may be at most {MAX_ASPECT} times as long as wide; crop it and try again.")


def _decode(picture: ImageFile.ImageFile, *, max_side: int) -> Image.Image:
    """Decode to upright RGB with at most `max_side` pixels a side, strip by strip: no second copy of the whole."""
    shrink = min(1.0, max(max_side / max(picture.size), MIN_SIDE / min(picture.size)))
    width, height = (round(side * shrink) for side in picture.size)
    coding = str(picture.tile)
    if isinstance(picture, JpegImagePlugin.JpegImageFile):
        picture.draft(None, (width, height))  # decodes at 1/2, 1/4 or 1/8, never below the size wanted
    picture.load()
    if "RGB;16B" in coding and "transparency" in picture.info:  # Pillow cuts pixels to 8 bits, but not the key colour
        picture.info["transparency"] = tuple(level >> 8 for level in picture.info["transparency"])
    white = _white_level(picture, coding)
    inverted = getattr(picture, "tag_v2", {}).get(262) == 0  # a TIFF where 0 is white; Pillow sees to it up to 8 bits
    narrow = Image.new("RGB", (width, picture.height))
    rows = max(1, _STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        strip = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        strip = _from_levels(strip, white, inverted=inverted) if white else _on_white(strip)
        narrow.paste(strip.resize((width, strip.height), Image.Resampling.BICUBIC), (0, top))
    turn = _TURN_OF_ORIENTATION.get(_orientation(picture))
    picture.close()
    upright = narrow.resize((width, height), Image.Resampling.BICUBIC)
    return upright if turn is None else upright.transpose(turn)


def _orientation(picture: Image.Image) -> int:
    try:
        return picture.getexif().get(274, 1)
    except Exception:  # broken EXIF must not cost the picture
        return 1


def _white_level(picture: Image.Image, coding: str) -> float | None:
    """Value that means white in a picture of more than 8 bits, None in others; 32-bit files do not declare it."""
    if picture.mode.startswith("I;16"):
        return 4095 if "I;12" in coding else 65_535
    if picture.mode not in ("I", "F"):
        return None
    highest = float(np.asarray(picture.getextrema())[1])
    if not math.isfinite(highest):
        raise ValueError("pixels are not finite")
    return next((level for level in (1, 255, 65_535, 2**31 - 1) if highest <= level), highest)


def _from_levels(strip: Image.Image, white: float, *, inverted: bool) -> Image.Image:
    levels = np.nan_to_num(np.asarray(strip, dtype=np.float32))
    gray = ((white - levels if inverted else levels) * (255 / white)).round().clip(0, 255)
    gray[levels == strip.info.get("transparency", -1)] = 255
    return Image.fromarray(gray.astype(np.uint8)).convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    if not strip.has_transparency_data:
        return strip.convert("RGB")
    paper = Image.new("RGBA", strip.size, "white")
    return Image.alpha_composite(paper, strip.convert("RGBA")).convert("RGB")

"""Official files: where they come from, where they are kept, and their check. Needs no torch."""

import dataclasses
import hashlib
import http.client
import os
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

TIMEOUT_S = 20
CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Download:
    """An official file: name in the cache, address, and how its SHA-256 begins."""

    file: str
    url: str
    sha256: str


YUNET = Download(
    file="face_detection_yunet_2023mar.onnx",
    url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)
LOCAL_YUNET = "face_detection_yunet.onnx"  # its name in the folder that NIJIGEN_WEIGHTS names


def weights_folder() -> Path | None:
    """Give the folder that NIJIGEN_WEIGHTS names, or None where it names none."""
    name = os.environ.get("NIJIGEN_WEIGHTS")
    return Path(name) if name and Path(name).is_dir() else None


def local(file: str) -> Path | None:
    """Give a file of the folder that NIJIGEN_WEIGHTS names, or None where it is not there."""
    folder = weights_folder()
    return folder / file if folder and (folder / file).is_file() else None


def cache_folder() -> Path:
    """Give the folder where torch.hub keeps its downloads, without importing torch."""
    root = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(root).expanduser() / "hub" / "checkpoints"


def cached(official: Download) -> Path | None:
    """Give the path of an official file that was downloaded before, or None."""
    path = cache_folder() / official.file
    return path if path.is_file() else None


def fetch(official: Download) -> Path:
    """Give the path of an official file; it is downloaded where the cache does not hold it.

    Raises:
        OSError: It cannot be downloaded, or its bytes are not the expected ones.
    """
    path = cache_folder() / official.file
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            found = _download(official, file.write)
        if not found.startswith(official.sha256):
            raise OSError(f"{official.url} has SHA-256 {found}, expected {official.sha256}...")
        os.replace(name, path)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"{official.file} could not be downloaded ({error}); connect and run again, or put it into {path.parent}."
        ) from error
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def _download(official: Download, write: Callable[[bytes], object]) -> str:
    from tqdm import tqdm

    total = hashlib.sha256()
    with urllib.request.urlopen(official.url, timeout=TIMEOUT_S) as reply:
        size = int(reply.headers.get("Content-Length") or 0) or None
        with tqdm(total=size, unit="B", unit_scale=True, desc=official.file) as bar:
            while chunk := reply.read(CHUNK):
                write(chunk)
                total.update(chunk)
                bar.update(len(chunk))
    return total.hexdigest()

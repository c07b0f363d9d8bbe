"""Where the networks behind the metrics come from: official downloads, or local files by explicit choice.

Needs no torch: paths and hashes are enough to know whether a score exists already.
"""

import dataclasses
import functools
import hashlib
import http.client
import logging
import os
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bench import datasets, records

log = logging.getLogger(__name__)

Source = Literal["official", "local"]
TIMEOUT_S = 20
CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """Files of one network, or the reason why they cannot be had.

    Attributes:
        name: What stands in the record.
        paths: Its files; empty where they cannot be had.
        sha256: Hash of the file, or over the hashes of several; None where they cannot be had.
        reason: Why they cannot be had, and what to do.
    """

    name: str
    paths: tuple[Path, ...] = ()
    sha256: str | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Download:
    """An official file: name in the cache, address, and how its SHA-256 begins."""

    file: str
    url: str
    sha256: str


INCEPTION = Download(
    file="weights-inception-2015-12-05-6726825d.pth",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d",
)
ALEXNET = Download(
    file="alexnet-owt-7be5be79.pth",
    url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    sha256="7be5be79",
)
YUNET = Download(
    file="face_detection_yunet_2023mar.onnx",
    url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)
# the layout of the folder that NIJIGEN_WEIGHTS names
LOCAL_INCEPTION = "inception_2015_12_05_to_mixed6e.safetensors"
LOCAL_ALEXNET = "alexnet_features.safetensors"
LOCAL_YUNET = "face_detection_yunet.onnx"
LOCAL_MOBILEFACE = "mobileface_v2.onnx"


class Backbones:
    """Finds each network once per run.

    Args:
        source: "official" downloads on first use into torch's usual cache; "local" reads NIJIGEN_WEIGHTS.
        index: Remembers hashes.

    Raises:
        RecordError: "local" was asked for and NIJIGEN_WEIGHTS names no folder.
    """

    def __init__(self, source: Source, index: datasets.HashIndex) -> None:
        self.source, self._index = source, index
        self._folder = _weights_folder()
        if source == "local" and self._folder is None:
            raise records.RecordError(
                "--backbones local reads the folder that NIJIGEN_WEIGHTS names; "
                f"it is {os.environ.get('NIJIGEN_WEIGHTS') or 'not set'}. Set it, or leave the option out."
            )

    @functools.cached_property
    def alexnet(self) -> Backbone:
        """The trunk of LPIPS; the local file holds the same weights, so the label is the same too."""
        return self._find("alexnet-imagenet1k-v1", lambda: [self._either(LOCAL_ALEXNET, ALEXNET)])

    @functools.cached_property
    def inception(self) -> Backbone:
        """The Inception of 2015-12-05; the local file ends at the 768-d layer."""
        name = "inception-2015-12-05" if self.source == "official" else "inception-2015-12-05-to-mixed6e"
        return self._find(name, lambda: [self._either(LOCAL_INCEPTION, INCEPTION)])

    @property
    def inception_layer(self) -> str:
        """The feature layer that the source offers: "2048", the standard, or "768"."""
        return "2048" if self.source == "official" else "768"

    @functools.cached_property
    def faces(self) -> Backbone:
        """Face detector and embedder. The embedder has no official address: the user supplies it in either case."""
        return self._find(
            "yunet-2023mar + mobileface-v2", lambda: [self._either(LOCAL_YUNET, YUNET), self._local(LOCAL_MOBILEFACE)]
        )

    def _either(self, local: str, official: Download) -> Path:
        return self._local(local) if self.source == "local" else fetch(official)

    def _local(self, file: str) -> Path:
        path = self._folder / file if self._folder else None
        if path is None or not path.is_file():
            raise FileNotFoundError(f"{file} is not in the folder that NIJIGEN_WEIGHTS names.")
        return path

    def _find(self, name: str, paths: Callable[[], list[Path]]) -> Backbone:
        try:
            found = tuple(paths())
        except OSError as error:
            log.warning("%s is not available: %s", name, error)
            return Backbone(name=name, reason=f"{name}: {error}")
        hashes = [self._index.sha256(path) for path in found]
        return Backbone(name=name, paths=found, sha256=hashes[0] if len(hashes) == 1 else datasets.digest(hashes))


def _weights_folder() -> Path | None:
    name = os.environ.get("NIJIGEN_WEIGHTS")
    return Path(name) if name and Path(name).is_dir() else None


def cache_folder() -> Path:
    """Give the folder where torch.hub keeps its downloads, without importing torch."""
    root = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(root).expanduser() / "hub" / "checkpoints"


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
            f"{official.file} could not be downloaded ({error}); connect and run again, or put it into torch's cache "
            "(hub/checkpoints), or choose --backbones local with NIJIGEN_WEIGHTS."
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

"""Where the networks behind the metrics come from: official downloads, or local files by explicit choice.

Needs no torch: paths and hashes are enough to know whether a score exists already.
"""

import dataclasses
import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bench import datasets, records
from models import download

log = logging.getLogger(__name__)

Source = Literal["official", "local"]


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


INCEPTION = download.Download(
    file="weights-inception-2015-12-05-6726825d.pth",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d",
)
ALEXNET = download.Download(
    file="alexnet-owt-7be5be79.pth",
    url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    sha256="7be5be79",
)
# the layout of the folder that NIJIGEN_WEIGHTS names
LOCAL_INCEPTION = "inception_2015_12_05_to_mixed6e.safetensors"
LOCAL_ALEXNET = "alexnet_features.safetensors"
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
        if source == "local" and download.weights_folder() is None:
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
            "yunet-2023mar + mobileface-v2",
            lambda: [self._either(download.LOCAL_YUNET, download.YUNET), self._local(LOCAL_MOBILEFACE)],
        )

    def _either(self, local: str, official: download.Download) -> Path:
        if self.source == "local":
            return self._local(local)
        try:
            return download.fetch(official)
        except OSError as error:
            raise OSError(f"{error} Or choose --backbones local with NIJIGEN_WEIGHTS.") from error

    def _local(self, file: str) -> Path:
        path = download.local(file)
        if path is None:
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

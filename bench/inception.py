"""Inception features of image sets: torch-fidelity's network, computed once per content."""

import functools
import io
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from bench import backbones, datasets, records

log = logging.getLogger(__name__)

BATCH = 8  # fixed, since float32 features depend on it; small ones are fastest on a CPU
SHARD = 64  # images per cache file: what an interruption can lose
VERSION = 1  # raise it whenever the features of the same file would change
LATER_LAYERS = {"Mixed_7a", "Mixed_7b", "Mixed_7c", "fc"}


class InceptionTo768(FeatureExtractorInceptionV3):
    """The network up to Mixed_6e: it takes a file without later layers, and refuses to be asked for them."""

    def load_state_dict(self, state_dict, strict=True, assign=False):  # noqa: FBT002
        """Load strictly, but for the layers that the 768-d feature never reaches."""
        result = super().load_state_dict(state_dict, strict=False, assign=assign)
        missing = {key.split(".")[0] for key in result.missing_keys if not key.endswith("num_batches_tracked")}
        if result.unexpected_keys or not missing <= LATER_LAYERS:
            raise RuntimeError(f"not the Inception of 2015-12-05 up to Mixed_6e: {result}")
        return result

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """Name the layers that can be asked for."""
        return "64", "192", "768"


def load(path: Path, *, layer: str, device: str = "cpu") -> nn.Module:
    """Build the extractor.

    Args:
        path: The official .pth, or the .safetensors that ends at Mixed_6e.
        layer: "2048", or "768", which either file offers.
        device: Where it runs.

    Returns:
        A frozen network: uint8 RGB (batch, 3, height, width) to a tuple of one (batch, int(layer)).
    """
    partial = path.suffix == ".safetensors"
    weights = load_file(path) if partial else torch.load(path, weights_only=True)
    buffer = io.BytesIO()  # torch-fidelity unpickles what it is given: hand it our own copy of plain tensors
    torch.save(weights, buffer)
    buffer.seek(0)
    kind = InceptionTo768 if partial else FeatureExtractorInceptionV3
    network = kind("inception-2015-12-05", [layer], feature_extractor_weights_path=buffer)
    return network.to(device).to(memory_format=torch.channels_last)


class Extractor:
    """Gives the features of image sets, from the cache wherever the same bytes were seen before.

    Args:
        backbone: Files and hash of the network.
        layer: "2048" or "768".
        cache: Folder of the feature files.
        read: Gives an image file as uint8 RGB, (1, height, width, 3).
        preset: What `read` does to an image, in words; part of the cache key.
        device: Where the network runs.
    """

    def __init__(
        self,
        backbone: backbones.Backbone,
        *,
        layer: str,
        cache: Path,
        read: Callable[[Path], UInt8[np.ndarray, "1 height width 3"]],
        preset: str,
        device: str = "cpu",
    ) -> None:
        self._backbone, self._layer, self._cache = backbone, layer, cache
        self._read, self._preset, self._device = read, preset, device
        self.computed = 0  # images that went through the network

    @functools.cached_property
    def _network(self) -> nn.Module:
        return load(self._backbone.paths[0], layer=self._layer, device=self._device)

    def features(self, files: Sequence[datasets.ImageFile]) -> Float[np.ndarray, "n dim"]:
        """Give one row per image, in order; finished shards survive an interruption.

        Returns:
            (n, dim), float32.
        """
        starts = range(0, len(files), SHARD)
        return np.concatenate([self._shard(files[start : start + SHARD]) for start in starts])

    def _shard(self, files: Sequence[datasets.ImageFile]) -> np.ndarray:
        parts = [VERSION, BATCH, self._layer, self._backbone.sha256, self._preset, [file.sha256 for file in files]]
        path = self._cache / f"{datasets.digest([json.dumps(parts)])}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as stored:
                return stored["features"]
        rows = self._compute(files)
        buffer = io.BytesIO()
        np.savez(buffer, features=rows)
        records.write_atomic(path, buffer.getvalue())
        self.computed += len(files)
        log.info("features of %d more images", len(files))
        return rows

    def _compute(self, files: Sequence[datasets.ImageFile]) -> np.ndarray:
        pixels = np.concatenate([self._read(file.path) for file in files])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (n, 3, H, W)
        with torch.inference_mode():
            batches = [self._network(batch.to(self._device))[0].cpu() for batch in images.split(BATCH)]
        return torch.cat(batches).numpy()

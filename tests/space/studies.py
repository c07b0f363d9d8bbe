"""Studies of painted squares, for the tests of store, routes and page."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from bench import datasets
from space import stimuli

MODELS = ("model-maple", "model-cedar", "model-birch")


def folder(root: Path, *, photos: int = 20, protocol: str = "study-v1", side: int = 64) -> Path:
    """Make a study's folder: every picture is a patch of noise of its own."""
    generator = np.random.default_rng(0)
    names = [f"photo-{number}.png" for number in range(photos)]
    rows = []
    for photo in names:
        for name in stimuli.needed(MODELS):
            path = root / name / photo
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path)
            rows.append(
                {
                    "photo": photo,
                    "name": name,
                    "file": f"{name}/{photo}",
                    "sha256": datasets.hash_bytes(path.read_bytes()),
                    "checkpoint_sha256": None if name == stimuli.PHOTO else datasets.hash_bytes(name.encode()),
                }
            )
    facts = {
        "protocol": protocol,
        "photos": names,
        "models": list(MODELS),
        "pictures": rows,
        "prediction_protocol": "translate-256-v1",
        "device": "cpu",
        "versions": {},
    }
    (root / stimuli.INDEX).write_text(json.dumps(facts))
    return root

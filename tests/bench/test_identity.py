"""Identity with a synthetic embedder, and the real judge on portraits of known people."""

import os
from pathlib import Path

import numpy as np
import pytest

from bench.metrics import identity


def _embed(pixels: np.ndarray) -> np.ndarray | None:
    colour = pixels.reshape(-1, 3).mean(axis=0)
    return None if colour.sum() == 0 else colour * 7  # any length: the metric normalises


def _plain(*colour: int) -> np.ndarray:
    return np.full((8, 8, 3), colour, np.uint8)


def test_cosine_of_a_synthetic_embedder() -> None:
    assert identity.identity(_plain(10, 0, 0), _plain(50, 0, 0), embed=_embed) == pytest.approx(1)
    assert identity.identity(_plain(10, 0, 0), _plain(0, 10, 0), embed=_embed) == pytest.approx(0)
    assert identity.identity(_plain(10, 10, 0), _plain(0, 10, 0), embed=_embed) == pytest.approx(0.5**0.5)


def test_no_face_on_either_side_is_none() -> None:
    assert identity.identity(_plain(0, 0, 0), _plain(9, 9, 9), embed=_embed) is None
    assert identity.identity(_plain(9, 9, 9), _plain(0, 0, 0), embed=_embed) is None


@pytest.fixture
def judge() -> identity.Judge:
    if "NIJIGEN_WEIGHTS" not in os.environ:
        pytest.skip("NIJIGEN_WEIGHTS is not set")
    folder = Path(os.environ["NIJIGEN_WEIGHTS"])
    return identity.Judge(folder / "face_detection_yunet.onnx", folder / "mobileface_v2.onnx")


def test_judge_finds_no_face_in_a_plain_picture(judge: identity.Judge) -> None:
    assert judge.embed(np.full((256, 256, 3), 90, np.uint8)) is None


def test_judge_tells_the_same_person_from_another(judge: identity.Judge) -> None:
    if "NIJIGEN_DATA" not in os.environ:
        pytest.skip("NIJIGEN_DATA is not set")
    from PIL import Image

    files = ("portraits_512/gpo_D000399_512.jpg", "portraits/cs_hou_a88c97ca17.jpg", "portraits/gpo_S000364.jpg")
    folder = Path(os.environ["NIJIGEN_DATA"])
    person, same, other = (np.asarray(Image.open(folder / file).convert("RGB")) for file in files)
    first, second = (identity.identity(person, picture, embed=judge.embed) for picture in (same, other))
    assert first is not None and second is not None
    assert first > 0.4 > second

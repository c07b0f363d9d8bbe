"""Files that cannot be converted: damaged, hostile, or with one tensor that is not as it should be."""

import contextlib
import io
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models import convert
from models.conversion import fitting, layout
from models.registry import CheckpointError

SMALL: dict[str, dict[str, Any]] = {
    "dtgan": {},
    "animeganv2": {},
    "dcgan": {"resolution": 32, "base": 2, "latent": 5},
    "dcgan-discriminator": {"resolution": 32, "base": 2},
    "cyclegan": {"channels": 4, "blocks": 3},
    "pix2pix-unet": {"channels": 2, "depth": 5},
    "srcnn": {},
    "espcn": {},
    "fsrcnn": {},
    "patchgan": {"channels": 4},
    "srresnet": {"channels": 4, "blocks": 3},
    "unit": {"width": 4},
    "unit-discriminator": {"width": 2},
    "unit-multiscale-discriminator": {"width": 2},
    "unit2018": {"width": 4},
    "unit2018-discriminator": {"width": 2},
    "restormer": {"dim": 8, "blocks": (1, 2, 1, 1), "refinement": 1},
    "unet": {"width": 2},
    "stylegan2": {"resolution": 32, "base": 64, "widest": 12, "depth": 2, "latent": 6, "width": 10},
    "stylegan2-discriminator": {"resolution": 32, "base": 64, "widest": 12},
    "stylegan2-labml": {"resolution": 32, "narrowest": 2, "widest": 6, "width": 5},
    "stylegan2-labml-discriminator": {"resolution": 32, "narrowest": 2, "widest": 6},
    "stylegan2-labml-mapping": {"width": 5, "depth": 3},
    "stylization-mobile": {"width": 0.125, "predictor_width": 0.25, "numbers": 7, "norm": "folded"},
    "stylization-transformer": {"width": 0.125, "numbers": 7, "norm": "folded"},
    "stylization-separable": {"width": 0.125, "numbers": 7, "norm": "folded", "padding": "zero", "separable": True},
    "adain": {"width": 4, "layer": "relu4_1", "encoder": "normalised"},
    "adain-decoder": {"width": 4},
}
# Of each layout, tensors that a setting is read from, first and last of many like it.
SOURCES = {
    "cyclegan": ["model.1.weight", "model.1.bias", "model.10.conv_block.1.weight", "model.12.conv_block.5.bias"],
    "pix2pix-unet": ["model.model.0.weight", "model.model.1.model.2.weight"],
    "srcnn": ["conv1.weight", "conv2.weight"],
    "espcn": ["conv1.weight", "conv3.weight"],
    "fsrcnn": ["conv8.weight", "conv1.weight", "prelu7.weight"],
    "restormer": ["encoder_level1.0.attn.temperature", "latent.0.ffn.project_out.weight", "patch_embed.proj.weight"],
    "unit": ["encode_A.0.model.0.weight", "encode_A.3.model.3.weight", "enc_shared.0.model.3.bias"],
    "unit2018": ["enc.model.0.conv.weight", "enc.model.3.model.0.model.0.conv.weight"],
    "stylegan2": ["synthesis.b4.conv1.weight", "synthesis.b32.conv1.weight", "mapping.fc0.weight"],
    "stylegan2-labml": ["initial_constant", "blocks.2.style_block2.bias"],
    "stylization-mobile": ["block16.project.weight"],
    "stylization-transformer": ["contract.conv1.weight", "style.expand.conv3.gamma.weight"],
    "dcgan": ["network.0.weight", "network.9.weight"],
    "adain": ["decoder.28.weight", "decoder.1.weight", "vgg.0.weight", "vgg.29.bias"],
}
RANKS = {"none": torch.zeros(()), "empty": torch.zeros(0), "many": torch.zeros(1, 1, 1, 1, 1, 1), "gone": None}


@pytest.fixture(scope="module")
def originals() -> dict[str, dict[str, Tensor]]:
    """A file of each layout under the official names, of a small network."""
    made = {}
    for name, settings in SMALL.items():
        kind = convert.LAYOUTS[name]
        network = kind.build(**(kind.options | kind.settings({}) | settings))
        made[name] = {key: value.clone() for key, value in fitting.official(kind, network, {}).items()}
    return made


def refusal(file: dict[str, Tensor], name: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        convert.convert(file, name)
    return str(caught.value).removeprefix(f"the file does not fit {name}: ")


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Give the one line with which the command refuses something."""
    monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        convert.command()
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize("name", SMALL)
def test_what_is_official_converts(name: str, originals: dict[str, dict[str, Tensor]]):
    network = convert.convert(originals[name], name)
    found = fitting.official(convert.LAYOUTS[name], network, {})
    assert all(torch.equal(value, found[key]) for key, value in originals[name].items())


@pytest.mark.parametrize("name", SMALL)
def test_a_tensor_of_another_rank_is_named(name: str, originals: dict[str, dict[str, Tensor]]):
    keys = SOURCES.get(name) or [list(originals[name])[place] for place in (0, -1)]
    for key in keys:
        for kind, tensor in RANKS.items():
            file = {other: value for other, value in originals[name].items() if other != key}
            message = refusal(file if tensor is None else file | {key: tensor}, name)
            assert message.startswith(f"{key} "), (kind, message)
            assert message.endswith(").") and ";" not in message, (kind, message)


@pytest.mark.parametrize("name", SMALL)
def test_a_file_of_another_family_lacks_the_first_three_tensors(name: str, originals: dict[str, dict[str, Tensor]]):
    message = refusal({"other.weight": torch.zeros(2, 3)}, name)
    assert message.count(" missing, expected (") == 3
    assert " more." in message


def test_a_residual_block_that_is_gone_is_named(originals: dict[str, dict[str, Tensor]]):
    for name, block in (("cyclegan", "model.11."), ("srresnet", "trunk.1."), ("restormer", "encoder_level2.0.")):
        file = {key: value for key, value in originals[name].items() if not key.startswith(block)}
        assert refusal(file, name).count(f"{block}") == 3


def test_three_wrong_tensors_are_all_named(originals: dict[str, dict[str, Tensor]]):
    file = {"model.99.weight": torch.zeros(1), **originals["cyclegan"], "model.20.bias": torch.zeros(5)}
    del file["model.4.weight"]
    assert refusal(file, "cyclegan") == (
        "model.4.weight missing, expected (8, 4, 3, 3); model.20.bias has shape (5,), expected (3,); "
        "model.99.weight surplus, has shape (1,)."
    )


def test_sizes_beyond_all_memory_are_never_made(originals: dict[str, dict[str, Tensor]]):
    huge = torch.zeros(1, 1, 1, 1).expand(100_000_000, 100_000_000, 1, 1)
    for name in ("cyclegan", "unit", "stylegan2", "stylegan2-labml", "restormer", "fsrcnn"):
        file = originals[name]
        keys = [key for key, value in file.items() if value.ndim == 4]
        assert "expected" in refusal(file | dict.fromkeys(keys, huge), name)
    blocks = {f"model.{10**12 + place}.conv_block.1.weight": torch.zeros(1) for place in range(20)}
    assert "model.1.weight missing" in refusal(blocks, "cyclegan")


class Trap:
    """Makes a folder where it is unpickled without care."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pkl"])
@pytest.mark.parametrize("writer", ["zip", "legacy", "pickle"])
def test_nothing_but_tensors_is_unpickled(
    suffix: str, writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file, sprung = tmp_path / f"trap{suffix}", tmp_path / "sprung"
    content = {"conv1.weight": torch.zeros(1), "more": Trap(sprung)}
    if writer == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=writer == "zip")
    message = run(monkeypatch, capsys, "srcnn", file, tmp_path / "out")
    assert "is damaged, or holds more than tensors" in message or "could not be read" in message
    assert not sprung.exists()


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_damaged_bytes_are_refused(form: str, tmp_path: Path, originals: dict[str, dict[str, Tensor]]):
    buffer = io.BytesIO()
    torch.save(originals["unit2018-discriminator"], buffer, _use_new_zipfile_serialization=form == "zip")
    whole, file = buffer.getvalue(), tmp_path / "gen_00000001.pkl"
    file.write_bytes(whole)
    assert convert.read(file).keys() == originals["unit2018-discriminator"].keys()
    for end in (*range(0, 64, 3), *(len(whole) * part // 16 for part in range(16)), len(whole) - 1):
        file.write_bytes(whole[:end])
        with pytest.raises(CheckpointError, match=r"damaged|could not be read"):
            convert.read(file)
    for place in (*range(0, 1500, 37), *range(len(whole) - 1500, len(whole), 89)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        file.write_bytes(flipped)
        with contextlib.suppress(CheckpointError):  # a flip inside a number goes unseen
            convert.read(file)


@pytest.mark.parametrize("content", [b"", b"Not found\n", b"<!DOCTYPE html>", b"PK\x03\x04", b"\x80\x02.", bytes(200)])
@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".npz", ".safetensors"])
def test_what_is_no_tensor_file_is_refused(
    content: bytes, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / f"file{suffix}").write_bytes(content)
    message = run(monkeypatch, capsys, "cyclegan", tmp_path / f"file{suffix}", tmp_path / "out")
    assert str(tmp_path / f"file{suffix}") in message


def test_kinds_of_two_suffixes_are_read_alone_and_in_folders(tmp_path: Path, originals: dict[str, dict[str, Tensor]]):
    torch.save({"state_dict": originals["srcnn"]}, tmp_path / "best.pth.tar")
    assert convert.read(tmp_path / "best.pth.tar").keys() == originals["srcnn"].keys()
    assert all(key.startswith("best.") and ".tar" not in key for key in convert.read(tmp_path))


def test_a_place_that_cannot_be_written_is_refused(
    tmp_path: Path,
    originals: dict[str, dict[str, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "out").write_text("in the way")
    for name in ("srcnn", "patchgan"):
        torch.save(originals[name], tmp_path / "file.pth")
        assert "out could not be written" in run(monkeypatch, capsys, name, tmp_path / "file.pth", tmp_path / "out")


def test_options_that_are_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    torch.save({}, tmp_path / "file.pth")
    arguments = (tmp_path / "file.pth", tmp_path / "out", "--option")
    assert "has no option 'family'" in run(monkeypatch, capsys, "srcnn", *arguments, "family=1")
    assert "stylegan2-discriminator" in run(monkeypatch, capsys, "stylegan2-discriminator", *arguments, "group=inf")


def test_only_what_is_a_plain_tensor_is_read():
    value = torch.eye(3)
    content = {"a": value.double(), "b": value.to_sparse(), "c": torch.zeros(2, dtype=torch.complex64), "d": [value]}
    content |= {"e": value.to("meta"), "f": 3, "g": {1: torch.arange(2)}}
    found = layout.flatten(content)
    assert {key: tensor.dtype for key, tensor in found.items()} == {"a": torch.float32, "g.1": torch.int64}


@pytest.mark.parametrize(
    ("found", "length"),
    [(set(), 0), ({0}, 1), ({0, 1, 2}, 3), ({0, 1, 3}, 4), ({1, 2, 3}, 4), ({0, 1, 2, 40}, 3), ({7}, 0)],
)
def test_sequences_are_measured_across_gaps(found: set[int], length: int):
    assert layout.length(found) == length


def test_most_tensors_outvote_one(originals: dict[str, dict[str, Tensor]]):
    kind, file = convert.LAYOUTS["dcgan"], originals["dcgan"]
    found, _ = fitting.settings(kind, file, file, {})
    assert found == {"resolution": 32, "base": 2, "latent": 5}
    wrong = file | {"network.0.weight": torch.zeros(9, 80, 4, 4)}
    found, _ = fitting.settings(kind, wrong, wrong, {})
    assert found == {"resolution": 32, "base": 2, "latent": 9}

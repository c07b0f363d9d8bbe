"""The converter: names by rule, both file kinds, and every way in which a file can be refused."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import models
from models import convert, dtgan
from models.conversion import dtgan as graph
from models.registry import CheckpointError


def graph_of(network: dtgan.DTGAN, *, prefix: str = "generator/", suffix: str = "/weights") -> dict[str, Tensor]:
    """Write a network as a graph's variables: HWIO kernels, and batch norm under the inference scope."""
    state, variables = network.state_dict(), {}
    for stem, key in graph.pairs().items():
        tensor = state[key]
        if tensor.ndim == 4:
            variables[f"{prefix}{stem}{suffix}"] = tensor.permute(2, 3, 1, 0).contiguous()
        elif tensor.ndim == 2:
            variables[f"{prefix}{stem}"] = tensor[None].contiguous()
        else:
            variables[f"generator_1/{stem}" if prefix else stem] = tensor.clone()
    return variables


@pytest.fixture(scope="module")
def network() -> dtgan.DTGAN:
    torch.manual_seed(1)
    made = dtgan.DTGAN()
    state = made.state_dict()
    for name in graph.NORM:
        torch.nn.init.uniform_(state[f"main.attention.{name}"], 0.5, 1.5)
    return made.eval()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["convert", "dtgan", *map(str, arguments)])
    convert.command()


@pytest.mark.parametrize(
    ("prefix", "suffix"),
    [("generator/", "/weights"), ("generator/", "/weights:0"), ("generator_1/", "/w"), ("generator/", ""), ("", ":0")],
)
def test_names_are_read_by_rule(network: dtgan.DTGAN, prefix: str, suffix: str):
    made = convert.convert(graph_of(network, prefix=prefix, suffix=suffix), "dtgan", lade_epsilon=1e-5)
    expected = network.state_dict()
    for key, value in made.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_even_numbers_convolve_and_odd_ones_mix():
    pairs = graph.pairs()
    assert len(pairs) == 34
    assert pairs["base/Conv"] == "encoder.x0.conv.weight"
    assert pairs["base/Conv_13"] == "encoder.x3.1.norm.mix.weight"
    assert pairs["main/Conv_10"] == "main.fuse0.conv.weight"
    assert pairs["main/External_attention/Conv_1"] == "main.attention.leave.weight"
    assert pairs["main/External_attention/Variable_2"] == "main.attention.norm.running_mean"


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_the_command_writes_a_folder_that_loads(
    network: dtgan.DTGAN, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / f"graph.{kind}"
    variables = graph_of(network)
    if kind == "npz":
        arrays: dict[str, Any] = {key: tensor.numpy() for key, tensor in variables.items()}
        np.savez(file, **arrays)
    else:
        save_file(variables, file)
    run(monkeypatch, file, tmp_path / "out", "--option", "lade_epsilon=1e-12")
    model = models.load(str(tmp_path / "out"))
    assert f"SHA-256 {model.sha256};" in capsys.readouterr().out
    assert isinstance(model.network, dtgan.DTGAN)
    assert model.network.encoder.x0.norm.epsilon == 1e-12
    variance = "main.attention.norm.running_var"
    assert torch.equal(model.network.get_buffer(variance), network.get_buffer(variance))
    assert '"lade_epsilon": 1e-12' in (tmp_path / "out" / "README.md").read_text()


def test_files_that_differ_name_three_keys_and_exit_2(
    network: dtgan.DTGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    variables = graph_of(network)
    del variables["generator/base/Conv_3/weights"]
    variables["generator/main/Conv_12/weights"] = torch.zeros(5, 5, 32, 3)
    variables["generator/support/Conv/weights"] = torch.zeros(1)
    variables["step"] = torch.zeros(1)
    save_file(variables, tmp_path / "graph.safetensors")
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, tmp_path / "graph.safetensors", tmp_path / "out")
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "generator/main/Conv_12/weights has shape (5, 5, 32, 3), expected (7, 7, 32, 3); " in message
    assert "generator/base/Conv_3/weights missing, expected (1, 1, 32, 32); " in message
    assert " surplus, has shape (1,) and 1 more" in message
    assert not (tmp_path / "out").exists()


def test_a_variable_given_twice_is_refused(network: dtgan.DTGAN):
    variables = graph_of(network)
    variables["generator/main/External_attention/Variable"] = torch.ones(128)
    with pytest.raises(CheckpointError, match="main/External_attention/Variable is given twice"):
        convert.convert(variables, "dtgan", lade_epsilon=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("graph.pb", b"", "is none of .safetensors, .npz"),
        ("graph.npz", b"PK\x03\x04 cut", "could not be read"),
        ("graph.npz", b"", "could not be read"),
        ("graph.safetensors", b"\xff" * 16, "could not be read"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        convert.read(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="could not be read"):
        convert.read(tmp_path / "nothing.safetensors")


def test_pickled_arrays_are_refused(tmp_path: Path):
    np.savez(tmp_path / "graph.npz", np.array([{"a": 1}], dtype=object))
    with pytest.raises(CheckpointError, match="could not be read"):
        convert.read(tmp_path / "graph.npz")


@pytest.mark.parametrize("epsilon", [0.0, -1e-5, 2.0, float("nan")])
def test_a_senseless_epsilon_is_refused(epsilon: float):
    with pytest.raises(CheckpointError, match="LADE epsilon"):
        convert.convert({}, "dtgan", lade_epsilon=epsilon)


def test_the_released_file_converts(conformance_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(monkeypatch, conformance_dir / "dtgan_hayao.weights.safetensors", tmp_path, "--option", "lade_epsilon=1e-12")
    fixture = load_file(conformance_dir / "dtgan_hayao.io.safetensors")
    with torch.inference_mode():
        y = models.load(str(tmp_path))(fixture["x_rand_64"])
    assert (y - fixture["y_rand_64"]).abs().max() < 2e-5

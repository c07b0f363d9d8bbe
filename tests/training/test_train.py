"""The command: a run from nothing, its folder, exact continuation, and refusals."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

import models
from models import animegan, registry
from tests.training import tiny
from training import checkpoint, loop, train
from training.objectives import RECIPES
from training.recipe import Recipe, RecipeError

FLAGS = ["--size", "64", "--batch", "2", "--init-steps", "2", "--features", "local", "--workers", "0", "--ema", "0.9"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.pictures(tmp_path / "photos", 5, seed=1)
    tiny.pictures(tmp_path / "anime", 4, seed=2)
    return tmp_path


def arguments(folder: Path, out: str, *more: str) -> list[str]:
    sets = ["--photos", str(folder / "photos"), "--anime", str(folder / "anime"), "--out", str(folder / out)]
    return ["dtgan-portrait", *sets, *FLAGS, *more]


def launch(folder: Path, out: str, *more: str) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.training.tiny", *arguments(folder, out, *more)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]


@pytest.fixture
def killed(folder: Path) -> Path:
    """A run that was killed with SIGKILL after its first checkpoint, while it went on."""
    process = launch(folder, "run", "--steps", "1000", "--save-every", "3")
    deadline = time.monotonic() + 200
    while not (folder / "run" / loop.STATE).is_file():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return folder


def test_continuing_a_killed_run_gives_the_same_bits(killed: Path) -> None:
    done = checkpoint.read(killed / "run" / loop.STATE)[1]["step"]
    last = str(int(done) + 12)
    finish(launch(killed, "run", "--steps", last, "--save-every", "3"))
    finish(launch(killed, "whole", "--steps", last, "--save-every", "1000"))
    resumed, whole = (load_file(killed / out / loop.STATE) for out in ("run", "whole"))
    assert set(resumed) == set(whole)
    assert [key for key in whole if not torch.equal(resumed[key], whole[key])] == []
    exported = [killed / out / "checkpoint" / "model.safetensors" for out in ("run", "whole")]
    assert exported[0].read_bytes() == exported[1].read_bytes()
    steps = [json.loads(line)["step"] for line in (killed / "run" / loop.LOG).read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_workers_end_with_a_killed_run(folder: Path) -> None:
    process = launch(folder, "run", "--steps", "1000", "--save-every", "1", "--workers", "1")
    deadline = time.monotonic() + 200
    while not (folder / "run" / loop.STATE).is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert psutil.wait_procs(workers, timeout=20)[1] == []


def test_a_run_folder_holds_what_a_reader_needs(folder: Path) -> None:
    finish(launch(folder, "run", "--steps", "10", "--save-every", "5"))
    run = folder / "run"
    assert json.loads((run / "recipe.json").read_text())["recipe"] == "dtgan-portrait"
    line = json.loads((run / loop.LOG).read_text())
    assert line["step"] == 10
    assert {"generator", "judges", "seconds"} <= set(line)
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["000005.png", "000010.png"]
    assert (run / "losses.png").stat().st_size > 5_000
    figures = [json.loads(text) for text in (run / "statistics.jsonl").read_text().splitlines()]
    assert 0 <= figures[-1]["saturated"] <= 1
    card = (run / "checkpoint" / "README.md").read_text()
    assert "steps | 10" in card
    assert str(folder) not in card
    converted = models.load(str(run / "checkpoint"))(torch.zeros(1, 3, 70, 65))
    assert converted.shape == (1, 3, 70, 65)


def test_a_run_does_not_continue_with_other_settings(folder: Path, capsys: pytest.CaptureFixture) -> None:
    finish(launch(folder, "run", "--steps", "1"))
    process = launch(folder, "run", "--steps", "2", "--rates", "0.1", "0.1")
    assert "other settings" in process.communicate(timeout=120)[1]
    assert process.returncode == 2


def still(folder: Path, out: str, start: Path) -> Path:
    """Go on from `start` for one step that is too small to change anything."""
    finish(launch(folder, out, "--steps", "1", "--rates", "1e-9", "1e-9", "--from", str(start)))
    return folder / out


def test_a_run_goes_on_from_another_and_adds_up_its_steps(folder: Path) -> None:
    finish(launch(folder, "first", "--steps", "3"))
    for name, start in (("second", folder / "first"), ("third", folder / "second" / loop.STATE)):
        run = still(folder, name, start)
        one, two = (load_file(path / loop.STATE) for path in (folder / "first", run))
        keys = [key for key in one if key.startswith("module.generator.") and "attention.norm" not in key]
        assert len(keys) > 40
        assert all(torch.allclose(one[key], two[key], atol=1e-6) for key in keys)
    card = (folder / "third" / "checkpoint" / "README.md").read_text()
    assert "| steps | 5 |" in card
    assert "| went_on_from | random weights |" in card


def test_a_run_goes_on_from_a_published_checkpoint(folder: Path) -> None:
    finish(launch(folder, "first", "--steps", "3"))
    published = folder / "first" / "checkpoint"
    run = still(folder, "second", published)
    before, after = (load_file(path / "model.safetensors") for path in (published, run / "checkpoint"))
    assert all(torch.allclose(before[key], after[key], atol=1e-3) for key in before if "attention.norm" not in key)
    state = load_file(run / loop.STATE)
    support, main = (state[f"module.generator.{name}.paint.weight"] for name in ("support", "painter.main"))
    assert torch.allclose(support, main, atol=1e-6)
    assert registry.checksum(published / "model.safetensors") in (run / "checkpoint" / "README.md").read_text()


def test_a_checkpoint_of_another_network_is_refused(folder: Path) -> None:
    other = folder / "other"
    registry.save(animegan.AnimeGANv2Lite(), other, name="animeganv2-lite")
    process = launch(folder, "run", "--steps", "1", "--from", str(other))
    assert "does not fit recipe 'dtgan-portrait'" in process.communicate(timeout=120)[1]
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "NAME is one of"),
        (["dtgan-potrait"], "did you mean 'dtgan-portrait'"),
        (["dtgan-portrait", "--photos", "x", "--anime", "x", "--out", "x", "--size", "65"], "multiple of 8"),
        (["dtgan-portrait", "--photos", "x", "--anime", "x", "--out", "x", "--ema", "1.5"], "decay in"),
        (["dtgan-portrait", "--photos", "x", "--anime", "x", "--out", "x", "--batch", "0"], "at least 1"),
        (["dtgan-portrait", "--photos", "x", "--anime", "x", "--out", "x", "--identity", "1"], "add --margin 0"),
    ],
)
def test_bad_commands_exit_2_and_say_what_to_do(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(flags) == 2
    assert message in capsys.readouterr().err


def test_a_misspelt_flag_is_refused_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(["dtgan-portrait", "--photos", "x", "--anime", "x", "--out", "x", "--batc", "3"])
    assert stopped.value.code == 2
    assert "--batch" in capsys.readouterr().err


def test_missing_weights_stop_a_run_before_its_first_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NIJIGEN_WEIGHTS", raising=False)
    assert train.main(arguments(folder, "run")) == 2
    assert "NIJIGEN_WEIGHTS is not set" in capsys.readouterr().err
    assert not (folder / "run").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_defaults_that_pass_its_own_check(name: str) -> None:
    recipe = RECIPES[name](photos=Path("p"), anime=Path("a"), out=Path("o"))
    recipe.check()
    assert isinstance(recipe, Recipe)
    assert recipe.card in models.names()


def test_the_fingerprint_ignores_only_what_may_change() -> None:
    portrait = RECIPES["dtgan-portrait"]
    one = portrait(photos=Path("p"), anime=Path("a"), out=Path("o"))
    longer = portrait(photos=Path("q"), anime=Path("a"), out=Path("x"), steps=9, workers=5)
    other = portrait(photos=Path("p"), anime=Path("a"), out=Path("o"), seed=1)
    assert one.fingerprint() == longer.fingerprint() != other.fingerprint()


def test_a_damaged_state_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(checkpoint.CheckpointError, match=r"state\.safetensors cannot be read"):
        checkpoint.read(tmp_path / "state.safetensors")


def test_recipe_errors_are_value_errors() -> None:
    assert issubclass(RecipeError, ValueError)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_at_most_thirty_flags(name: str) -> None:
    assert len(dataclasses.fields(RECIPES[name])) <= 30

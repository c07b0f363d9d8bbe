"""The leaderboard command from end to end, on tiny pictures and a tiny untrained checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from bench import board, measure, records, report, run
from tests.bench import samples

ROOT = Path(run.__file__).resolve().parent.parent
CODE = """
import sys
sys.argv = ["run.py", *sys.argv[1:]]
from bench import run
made = run.leaderboard(run.tyro.cli(run.Leaderboard))
assert not made, made
for name in ("torch", "torchvision", "lpips", "torch_fidelity", "cv2", "plotly"):
    assert name not in sys.modules, name
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    samples.pictures(tmp_path / "photos", count=4, seed=1)
    samples.pictures(tmp_path / "anime", count=3, seed=2)
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("NIJIGEN_WEIGHTS", str(tmp_path / "weights"))  # no files: those metrics stay empty
    return tmp_path


def _options(folders: Path, *more: str) -> list[str]:
    paths = ["--photos", str(folders / "photos"), "--anime", str(folders / "anime"), "--out", str(folders / "out")]
    return [*paths, "--size", "64", "--backbones", "local", *more]


def _leaderboard(folders: Path, *more: str) -> dict[str, int]:
    options = run.tyro.cli(run.Leaderboard, args=[*_options(folders), "--models", "photo", "--no-publish", *more])
    return dict(run.leaderboard(options))


def _scores(folders: Path) -> dict[tuple[str, str, str], records.Score]:
    scores = records.read_scores(folders / "out" / "scores.jsonl")
    return {(score.model, score.metric, score.reference): score for score in scores}


def _checkpoint(folder: Path) -> Path:
    from models import registry

    registry.save(registry.build("dtgan"), folder, name="dtgan")
    return folder


def test_the_photo_alone_then_nothing_then_one_model_more(
    folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the photo alone needs no checkpoint
    assert _leaderboard(folders) == {"predictions": 4, "values": 8, "scores": 10}
    table = capsys.readouterr().out
    scores = _scores(folders)
    ssim, psnr, fid = (
        scores["photo", *rest] for rest in (("ssim_rgb", "photo"), ("psnr_rgb", "photo"), ("fid_tf-768", "anime"))
    )
    assert ssim.value == pytest.approx(1) and ssim.interval == pytest.approx((1, 1))
    assert psnr.value is None and "infinite" in psnr.reason and psnr.details["without_value"] == 4
    assert fid.value is None and "inception" in fid.reason and (fid.n_photos, fid.n_reference) == (4, 3)
    assert fid.provenance.protocol == "translate-64" and fid.provenance.versions["torch"]
    assert "| photo | 4 photos, 3 anime |" in table

    # the same again: nothing is computed, and torch is not even imported
    arguments = [*_options(folders), "--models", "photo", "--no-publish"]
    second = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True
    )
    assert second.returncode == 0, second.stderr
    assert second.stdout == table

    # one model more: only its artefacts
    monkeypatch.setattr(measure.speed, "measure", _no_timing)
    tiny = _checkpoint(folders / "tiny")
    assert _leaderboard(folders, "--models", str(tiny)) == {"predictions": 4, "values": 8, "scores": 10}
    text = capsys.readouterr().out
    assert "| tiny | 4 photos, 3 anime |" in text and "1,027,520" in text and "| photo |" in text
    added = _scores(folders)["tiny", "psnr_rgb", "photo"]
    assert added.value is not None and 0 < added.value < 40 and added.interval is not None
    assert added.checkpoint_sha256 == json.loads((tiny / "config.json").read_text())["nijigen"]["sha256"]
    for name in ("report.html", "leaderboard.md", "scores.parquet", "protocol.json"):
        assert (folders / "out" / name).is_file()
    assert len(pandas.read_parquet(folders / "out" / "scores.parquet")) == 20


def _no_timing(*_: object, size: int, device: str, repeats: int, warm_up: int) -> measure.speed.Timing:
    return measure.speed.Timing(latency_ms=5, fast_ms=4, slow_ms=6, repeats=repeats, threads=1, device=device)


def test_values_survive_an_interruption(folders: Path) -> None:
    _leaderboard(folders)
    out = folders / "out"
    before = _scores(folders)
    (out / "scores.jsonl").unlink()
    lines = (out / "values.jsonl").read_text().splitlines(keepends=True)
    (out / "values.jsonl").write_text("".join(lines[:5]) + lines[5][:30])
    assert _leaderboard(folders) == {"predictions": 0, "values": 3, "scores": 10}
    after = _scores(folders)
    assert {key: (score.value, score.interval) for key, score in after.items()} == {
        key: (score.value, score.interval) for key, score in before.items()
    }


def test_limit_is_marked_and_never_published(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _leaderboard(folders, "--limit", "1")["scores"] == 10
    assert "1 photos, 1 anime (limit 1)" in capsys.readouterr().out
    scores = _scores(folders)
    assert all(score.limit == 1 for score in scores.values())
    assert scores["photo", "ssim_rgb", "photo"].interval_note == "needs two photos or more"
    assert run.main(["leaderboard", *_options(folders, "--limit", "1", "--publish")]) == 2
    assert "never published" in capsys.readouterr().err
    with pytest.raises(records.RecordError, match="--limit 1"):
        run.publish(list(scores.values()), readme=folders / "README.md", results=folders / "scores.jsonl")


def test_publish_refreshes_readme_and_results_once(folders: Path) -> None:
    readme, results = folders / "README.md", folders / "results" / "scores.jsonl"
    readme.write_text(f"# Nijigen\n{report.BEGIN}\n{report.END}\nend\n")
    run.publish(samples.board(), readme=readme, results=results)
    assert "| dtgan |" in readme.read_text() and readme.read_text().endswith("end\n")
    assert records.read_scores(results) == samples.board()
    times = [path.stat().st_mtime_ns for path in (readme, results)]
    run.publish(samples.board(), readme=readme, results=results)
    assert [path.stat().st_mtime_ns for path in (readme, results)] == times


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["leaderboard", "--no-publish", "--photos", "absent"], "not a folder"),
        (["leaderboard", "--models", "dtgam"], "no model is called"),
        (["leaderboard", "--no-publish", "--size", "8"], "--size is 8"),
        (["leaderboard", "--publish", "--no-publish"], "exclude each other"),
        (["leaderboard", "--publish", "--models", "photo"], "part of the board"),
        (["measure", "--models", "photo"], "run `python bench/run.py predict` first"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    folders: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    command, *rest = arguments
    assert run.main([command, *_options(folders), *rest]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]


def test_predict_then_measure(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["predict", *_options(folders, "--models", "photo")]) == 0
    assert "4 predictions made" in capsys.readouterr().out
    assert run.main(["measure", *_options(folders, "--models", "photo")]) == 0
    assert "| photo |" in capsys.readouterr().out


def test_too_few_images_leave_a_reason(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folders / "weights" / "inception_2015_12_05_to_mixed6e.safetensors").write_bytes(b"present")
    _leaderboard(folders, "--limit", "1")
    reason = _scores(folders)["photo", "kid_tf-768", "anime"].reason
    assert "at least 2 needed" in reason


def test_a_broken_backbone_leaves_a_reason_and_is_tried_again(folders: Path) -> None:
    (folders / "weights" / "inception_2015_12_05_to_mixed6e.safetensors").write_bytes(b"broken")
    _leaderboard(folders)
    score = _scores(folders)["photo", "fid_tf-768", "anime"]
    assert score.value is None and "cannot be used" in score.reason and score.backbone_sha256 is None
    assert _leaderboard(folders)["scores"] == 4  # both set metrics, to anime and to photos


@pytest.mark.slow
def test_started_as_a_file(folders: Path) -> None:
    arguments = ["predict", *_options(folders, "--models", "photo")]
    done = subprocess.run([sys.executable, "bench/run.py", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "4 predictions made" in done.stdout


def test_every_column_is_planned_once(folders: Path) -> None:
    options = run.tyro.cli(run.Leaderboard, args=[*_options(folders), "--models", "photo"])
    planned = board.cells(run.plan(options))
    assert len(planned) == len({cell.key for cell in planned}) == 10

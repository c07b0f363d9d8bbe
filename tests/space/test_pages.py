"""The pages without a browser: built without torch, handlers that answer in place."""

import asyncio
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest

from bench import records
from models import image
from space import command, convert, plan, simulate
from space.ui import leaderboard, slider, text, translate

ROOT = Path(__file__).parents[2]
PHOTO = convert.Photo(png=b"clean", height=80, width=120)


@pytest.fixture
def tab(monkeypatch, tmp_path):
    monkeypatch.setattr(convert, "prepare", lambda source: PHOTO)

    async def build():  # in a running loop, because Gradio leaves one open for each page it makes outside
        with gr.Blocks(analytics_enabled=False):
            return translate.build(text.TEXT["en"], minutes=30)

    built = asyncio.run(build())
    built.photo.GRADIO_CACHE = str(tmp_path / "cache")
    return built


def test_pages_are_built_without_torch():
    code = "import sys; from space.ui import server; server.build_app(); assert not {'cv2', 'torch'} & {*sys.modules}"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=True)


def test_a_photo_is_replaced_by_its_clean_copy(tab, tmp_path):
    sent = tmp_path / "IMG_1234.jpg"
    sent.write_bytes(b"camera and place")
    busy, done = tab.receive(str(sent))
    assert 'class="busy"' in busy[tab.status] and "Draw" not in str(busy[tab.draw].value)
    assert sent.read_bytes() == b"clean" == Path(done[tab.photo]).read_bytes()
    assert Path(done[tab.photo]).name == "photo.png"
    assert "120 × 80" in done[tab.status] and done[tab.draw].interactive is not False


def test_a_bad_file_is_explained_in_place_and_removed(tab, tmp_path, monkeypatch):
    sent = tmp_path / "photo.png"
    sent.write_bytes(b"bad")
    monkeypatch.setattr(convert, "prepare", _raise(image.ImageError("It is <b>broken</b>.")))
    *_, done = tab.receive(str(sent))
    assert done[tab.photo] is None and not sent.exists()
    assert 'class="error"' in done[tab.status] and "It is &lt;b&gt;broken&lt;/b&gt;." in done[tab.status]


def test_a_visitor_who_leaves_takes_the_photo_along(tab, tmp_path):
    sent = tmp_path / "photo.png"
    sent.write_bytes(b"private")
    steps = tab.receive(str(sent))
    next(steps)
    steps.close()
    assert not sent.exists()


@pytest.mark.parametrize(
    ("error", "key"), [(FileNotFoundError("gone"), "photo_gone"), (RuntimeError("secret path"), "failure")]
)
def test_other_errors_show_no_details(tab, monkeypatch, caplog, error, key):
    monkeypatch.setattr(convert, "convert", _raise(error))
    *_, done = tab.submit("photo.png", "dtgan-portrait", "whole")
    assert text.TEXT["en"][key] in done[tab.status] and "secret" not in done[tab.status]
    assert ("secret" in caplog.text) == (key == "failure"), "the log has what the page keeps back"


def test_drawing_without_a_photo_asks_for_one(tab):
    (only,) = tab.submit(None, "dtgan-portrait", "whole")
    assert text.TEXT["en"]["no_photo"] in only[tab.status]


def test_a_drawing_reaches_the_stage_byte_for_byte(tab, monkeypatch):
    made = convert.Conversion(photo=PHOTO, png=b"drawn", model="dtgan-portrait", sha256=None, seconds=1.26)
    monkeypatch.setattr(convert, "convert", lambda source, *, model, area: made)
    monkeypatch.setattr(convert.READY, "is_set", lambda: False)
    busy, done = tab.submit("photo.png", "dtgan-portrait", "whole")
    assert text.TEXT["en"]["loading"] in busy[tab.status], "torch is not there yet"
    stage = done[tab.result]
    assert Path(stage["after"]["path"]).read_bytes() == b"drawn"
    assert Path(stage["before"]["path"]).read_bytes() == b"clean"
    assert stage["filename"] == "nijigen-dtgan-portrait.png" == Path(stage["after"]["path"]).name
    assert "1.3 s" in done[tab.status]


@pytest.mark.parametrize(
    ("count", "key"), [(None, None), (0, "faces_none"), (3, "faces_drawn")], ids=["whole", "none", "three"]
)
@pytest.mark.parametrize("language", text.TEXT)
def test_the_page_says_how_many_faces_were_drawn(tab, monkeypatch, language, count, key):
    sentences = text.TEXT[language]
    made = convert.Conversion(photo=PHOTO, png=b"drawn", model="m", sha256=None, seconds=1, faces=count)
    asked = []
    monkeypatch.setattr(convert, "convert", lambda source, *, model, area: asked.append(area) or made)
    _, done = dataclasses.replace(tab, sentences=sentences).submit("photo.png", "m", "every")
    said = [sentences[name].format(count=count) in done[tab.status] for name in ("faces_none", "faces_drawn")]
    assert said == [key == "faces_none", key == "faces_drawn"] and asked == ["every"]


def test_the_choice_of_what_to_draw_begins_with_the_whole_picture(tab):
    assert tab.area.value == "whole"
    assert [area for _, area in tab.area.choices] == ["whole", "face", "every"]


def test_a_file_that_the_browser_kept_back_is_explained(tab):
    assert "25 MB" in tab.refuse()[tab.status]


def test_the_stage_escapes_all_it_is_given(tab):
    """Handlebars escapes {{field}}; ${field} would be evaluated as code."""
    assert "${" not in slider.TEMPLATE and "{{{" not in slider.TEMPLATE
    assert set(re.findall(r"\{\{(\w+)\}\}", slider.TEMPLATE)) - {"else"} == set(tab.result.props)


def _score(value: float, *, model: str, time: str) -> records.Score:
    provenance = records.Provenance(
        git_commit="0123456789abcdef",
        git_dirty=False,
        protocol="test",
        protocol_version=1,
        seed=0,
        device="CPU",
        threads=1,
        versions={},
        time=time,
    )
    return records.Score(
        model=model,
        metric="identity",
        reference="photo",
        value=value,
        n_photos=3,
        dataset_sha256="0",
        checkpoint_sha256=None,
        provenance=provenance,
    )


def test_the_leaderboard_shows_table_figure_and_conditions(monkeypatch, tmp_path):
    scores = [
        _score(0.5, model="<dtgan>", time="2026-01-02T08:00:00+00:00"),
        _score(1.0, model="photo", time="2026-01-03T09:30:59+00:00"),
    ]
    monkeypatch.setattr(leaderboard, "SCORES", tmp_path / "scores.jsonl")
    table, figure = leaderboard.contents(text.TEXT["en"])
    assert "python bench/run.py leaderboard" in table and figure is None
    records.append_jsonl(leaderboard.SCORES, map(records.to_row, scores))
    table, figure = leaderboard.contents(text.TEXT["en"])
    assert "&lt;dtgan&gt;" in table and "<dtgan>" not in table
    assert "As of 2026-01-03 09:30 UTC, commit 0123456789." in table
    assert figure is not None and figure.layout.height


def _raise(error: Exception):
    def fail(*_args, **_options):
        raise error

    return fail


def test_the_leaderboard_says_what_is_known_of_preference():
    sentences = text.TEXT["en"]
    assert sentences["board_pending"] in leaderboard.preference(None, sentences)[0]
    design = plan.Design(models=("a", "b", "c"), photos=tuple(f"p{number}" for number in range(20)))
    truth = simulate.Truth(log_s=simulate.spread(design.models, 300))
    given = simulate.study(design, simulate.crowd("honest", 20, truth=truth), sessions=5)
    shown, figure = leaderboard.preference(command.rank(given), sentences, home="../")
    assert figure is not None
    assert sentences["people_simulated"] in shown and "(preliminary)" in shown
    assert shown.index(">c (") < shown.index(">a (") and 'href="../study/standings.csv"' in shown
    few, nothing = leaderboard.preference(command.rank(given[:20]), sentences)
    assert "17 ratings so far" in few and nothing is None
    pilot = [dataclasses.replace(rating, protocol="pilot-v1") for rating in given]
    assert "never ranked" in leaderboard.preference(command.rank(pilot), sentences)[0]

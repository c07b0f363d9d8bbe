"""The Rate tab in a real browser: a whole session by keyboard, undo, reload, a closed tab, and what leaks."""

import contextlib
import hashlib
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models import card
from space import gallery, stimuli, store
from tests.space import studies

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.browser
PATIENCE_MS = 60_000
KEYS = ("ArrowLeft", "ArrowRight", "ArrowDown", "x")
ANSWERABLE = ".rate .choices button:enabled"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """Run the app with a study of painted squares; gives its address, its database and the pictures."""
    root = tmp_path_factory.mktemp("study")
    pictures = studies.folder(root / "pictures")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"sqlite:///{root}/ratings.sqlite3"
    environment = {**os.environ, "NIJIGEN_STUDY": str(pictures), "DATABASE_URL": url, "OMP_NUM_THREADS": "1"}
    environment |= {"GRADIO_TEMP_DIR": str(root / "cache"), "NIJIGEN_STATE": str(root)}
    command = [sys.executable, "app.py", "--port", str(port)]
    with (
        (root / "log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log) as app,
    ):
        try:
            address = f"http://127.0.0.1:{port}/"
            deadline = time.monotonic() + 180
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}study/about") as answer:
                    if b'"ready":true' in answer.read():
                        break
                time.sleep(0.1)
            yield address, url, pictures
        finally:
            app.terminate()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Any, served: tuple[str, str, Path]) -> Iterator[Callable[..., Any]]:
    """Give a function that opens the Rate tab as somebody new; afterwards no script error may be left."""
    errors: list[str] = []
    with contextlib.ExitStack() as stack:

        def open_page(*, width: int = 1280, height: int = 900) -> Any:
            context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(served[0])
            page.locator("#tab-rate-button").click()
            page.locator(".rate .primary").wait_for()
            return page

        yield open_page
    assert errors == []


def begin(page: Any) -> None:
    page.locator(".rate .primary").focus()
    page.keyboard.press("Enter")
    page.locator(ANSWERABLE).first.wait_for()


def answer(page: Any, key: str) -> None:
    """Press a key and wait until the next pair, the scales or the end is there."""
    before = page.inner_text(".rate .counter")
    page.keyboard.press(key)
    page.wait_for_function(
        """before => document.querySelector('.rate .thanks, .rate .scales')
            || (document.querySelector('.rate .counter')?.textContent !== before
                && document.querySelector('.rate .choices button:enabled'))""",
        arg=before,
    )


def rated(url: str) -> list[Any]:
    kept = store.Store(url)
    with kept.read() as connection:
        found = store.ratings(connection)
    kept.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (360, 740)])
def test_a_whole_session_by_keyboard(visit: Any, served: Any, width: int, height: int) -> None:
    before = len(rated(served[1]))
    page = visit(width=width, height=height)
    begin(page)
    number = 0
    while not page.locator(".rate .thanks").count():
        if page.locator(".rate .scales").count():
            for mark in "345":
                page.keyboard.press(mark)
            page.wait_for_function("!document.querySelector('.rate .scales')")
            page.wait_for_function("document.querySelector('.rate .thanks, .rate .choices button:enabled')")
            continue
        fits = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert fits, "no sideways scrolling"
        if number == 5:
            ends = [page.locator(place).bounding_box() for place in (".rate .pair", ".rate .choices")]
            assert ends[1]["y"] + ends[1]["height"] - ends[0]["y"] <= height, "the pair and its buttons fit the screen"
            boxes = [button.bounding_box() for button in page.locator(".rate .choices button").all()]
            assert min(box["height"] for box in boxes) >= 44
        answer(page, KEYS[number % len(KEYS)])
        number += 1
    assert number == 23
    assert "%" in page.inner_text(".rate")
    mine = rated(served[1])[before:]
    assert len(mine) == 23
    assert {rating.input for rating in mine} == {"key"}
    assert sum(rating.likeness is not None for rating in mine) == 5
    assert all((rating.viewport_width, rating.viewport_height) == (width, height) for rating in mine)


def test_undo_and_reload(visit: Any, served: Any) -> None:
    page = visit()
    begin(page)
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown"):
        answer(page, key)
    first = page.inner_text(".rate .counter")
    answer(page, "ArrowLeft")
    page.keyboard.press("u")
    page.wait_for_function("first => document.querySelector('.rate .counter')?.textContent === first", arg=first)
    answer(page, "ArrowRight")
    assert rated(served[1])[-1].choice == "B" and rated(served[1])[-1].attempt == 1
    second = page.inner_text(".rate .counter")
    page.reload()
    page.locator("#tab-rate-button").click()
    page.locator(".rate .primary").click()
    page.locator(ANSWERABLE).first.wait_for()
    assert page.inner_text(".rate .counter") == second != first


def test_a_tab_closed_right_after_the_click_loses_nothing(visit: Any, served: Any) -> None:
    for milliseconds in (0, 5, 40):
        page = visit()
        begin(page)
        before = len(rated(served[1]))
        page.locator("[data-choice=B]").click(no_wait_after=True)
        time.sleep(milliseconds / 1000)
        page.close()
        deadline = time.monotonic() + 10
        while len(rated(served[1])) == before and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(rated(served[1])) == before + 1


def test_no_side_is_shown_before_the_other(visit: Any) -> None:
    """A model's own speed must not show: the pair appears when the slowest of its pictures is there."""
    page = visit()
    asked: list[str] = []

    def hold(route: Any) -> None:
        asked.append(route.request.url)
        if len(asked) == 3:
            page.wait_for_timeout(700)
            assert not page.locator(".rate .pair img").count()
        route.continue_()

    page.route("**/study/picture/*", hold)
    begin(page)
    assert len(asked) >= 3
    assert page.locator(".rate .pair img").count() == 3


def test_nothing_tells_the_models_before_an_answer(visit: Any, served: Any) -> None:
    """Scan everything that the page receives for names and hashes of models, predictions and roles."""
    pictures = stimuli.load(served[2])
    secrets = {*studies.MODELS, "damaged", *pictures.photos}
    secrets |= {picture.sha256 for picture in pictures.pictures.values()}
    secrets |= {hashlib.sha256(name.encode()).hexdigest() for name in studies.MODELS}
    heard: list[str] = []
    page = visit()

    def listen(response: Any) -> None:
        heard.append(f"{response.url}\n{response.all_headers()}")
        kind = response.headers.get("content-type", "")
        with contextlib.suppress(Exception):
            heard.append(response.body().decode("latin-1") if "image" in kind else response.text())

    page.on("response", listen)
    page.reload()
    page.locator("#tab-rate-button").click()
    begin(page)
    for _ in range(8):
        if page.locator(".rate .scales").count():
            page.locator(".rate .skip").click()
            page.locator(ANSWERABLE).first.wait_for()
        answer(page, "ArrowLeft")
    heard.append(page.content())
    heard.append(page.evaluate("JSON.stringify({...localStorage, ...sessionStorage, cookie: document.cookie})"))
    for path in ("config", "gradio_api/info", "openapi.json", "monitoring/summary", "study/about"):
        with contextlib.suppress(OSError), urllib.request.urlopen(served[0] + path) as reply:
            heard.append(reply.read().decode())
    text = "\n".join(heard)
    assert "study/picture/" in text, "the scan saw the pictures"
    assert [secret for secret in secrets if secret in text] == []


def test_the_arena_on_an_own_photo(visit: Any, served: Any, tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    photo.write_bytes(gallery.png(gallery.find("collins-face")))
    page = visit()
    page.locator(".rate .arena summary").click()
    page.set_input_files(".rate .arena input[type=file]", photo)
    page.locator(ANSWERABLE).first.wait_for()
    offered = [entry.name for entry in card.offered() if entry.task == "translate"]
    assert not any(name in page.inner_text(".rate") for name in offered)
    page.keyboard.press("ArrowRight")
    page.locator(".rate .names").wait_for()
    assert sum(name in page.inner_text(".rate .names") for name in offered) >= 2
    assert rated(served[1])[-1].protocol == "arena-v1"

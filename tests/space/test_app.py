"""The running app: `python app.py`, its answers, and a real browser with a portrait that a camera made."""

import contextlib
import io
import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import card
from space import convert, gallery
from space.ui import text, translate

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
READY_MS = 60_000  # the first conversion may wait for torch on a busy machine


@pytest.fixture(scope="module")
def model() -> str:
    """The model a visitor meets first."""
    entries = [entry for entry in card.offered() if entry.task == "translate"]
    if not entries:
        pytest.skip("no model has a checkpoint: the app has nothing to draw with")
    return entries[0].name


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Start the app as visitors' servers do; gives its address and its cache folder."""
    cache = tmp_path_factory.mktemp("cache")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "GRADIO_TEMP_DIR": str(cache),
        "OMP_NUM_THREADS": "1",
        "NIJIGEN_STATE": str(cache.parent / "state"),
    }
    environment.pop("NIJIGEN_EXAMPLES", None)
    log = (cache.parent / "app.log").open("w")
    command = [sys.executable, "app.py", "--port", str(port)]
    with log, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log) as process:
        try:
            address = f"http://127.0.0.1:{port}/"
            seconds, busy = _wait_until_it_answers(address, process)
            logger.info(
                "app.py answers after %.1f s, %.1f s of CPU, with %s MiB", seconds, busy, _memory_mib(process.pid)
            )
            assert busy < 12, "on an idle machine the app is there within 5 seconds"
            yield address, cache
            logger.info("memory at the end: %s MiB", _memory_mib(process.pid))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser(chromium):
    """One Chromium for all tests here."""
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser, served):
    """Give a function that opens a page; afterwards no request may have left this machine and no error be left."""
    from playwright import sync_api

    seen, errors = [], []
    with contextlib.ExitStack() as stack:

        def open_page(path: str = "", *, width: int = 1280, height: int = 900):
            context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(READY_MS)
            page.on("request", lambda request: seen.append(request.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda line: errors.append(line.text) if "Content Security" in line.text else None)
            page.goto(served[0] + path)
            sync_api.expect(page.locator("#draw")).to_be_enabled()
            return page

        yield open_page
    foreign = [url for url in seen if not url.startswith((served[0], "data:", "blob:"))]
    logger.info("%d requests, %d to other hosts", len(seen), len(foreign))
    assert foreign == [] and errors == []


@pytest.fixture(scope="module")
def portrait(tmp_path_factory) -> Path:
    """A face, as a camera would send it: JPEG, turned by a quarter, with maker and place."""
    with Image.open(io.BytesIO(gallery.png(gallery.find("collins-face")))) as opened:
        face = opened.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "SpyCam", 6
    exif.get_ifd(0x8825)[1] = "N"
    path = tmp_path_factory.mktemp("photo") / "IMG_0001.jpg"
    face.save(path, quality=95, exif=exif)
    return path


def _wait_until_it_answers(address: str, process: subprocess.Popen) -> tuple[float, float]:
    """Seconds that passed, and CPU seconds of the app: the second number does not depend on other programs."""
    start = time.monotonic()
    while time.monotonic() - start < 180 and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=60) as answer:
            answer.read()
            return time.monotonic() - start, _cpu_seconds(process.pid)
        time.sleep(0.05)
    pytest.fail("app.py does not answer")


def _cpu_seconds(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _memory_mib(pid: int) -> str:
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((str(int(line.split()[1]) // 1024) for line in lines if line.startswith("VmRSS")), "?")


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG" and picture.info == {} and not picture.getexif()
        return np.array(picture.convert("RGB"))


def _expected(source: bytes, model: str, *, area: convert.Area = "whole") -> convert.Conversion:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the app above: sums in another order may round otherwise
    try:
        return convert.convert(source, model=model, area=area)
    finally:
        torch.set_num_threads(threads)


def _upload(page, path: Path) -> str:
    """Send a file and return what the page says of it."""
    from playwright import sync_api

    before = page.locator("#status p").all_inner_texts()
    page.set_input_files("#photo input[type=file]", path)
    said = page.locator("#status p:not(.busy)")
    sync_api.expect(said).not_to_have_text(before or [""])
    return said.inner_text()


@pytest.mark.parametrize("language", text.TEXT)
def test_every_language_is_served_with_safe_headers(served, language):
    with urllib.request.urlopen(served[0] + text.PATHS[language]) as page:
        headers, body = page.headers, page.read().decode()
    assert f'documentElement.lang = \\"{language}\\"' in body
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
    assert "frame-ancestors" in headers["content-security-policy"]


@pytest.mark.parametrize("path", ["monitoring/summary", "docs", "gradio_api/file=app.py"])
def test_nothing_else_is_told(served, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(served[0] + path)
    assert refused.value.code in (403, 404)
    refused.value.close()


def test_the_handlers_are_no_public_interface(served):
    with urllib.request.urlopen(served[0] + "gradio_api/info") as answer:
        assert json.load(answer)["named_endpoints"] == {}


def test_files_above_the_limit_are_refused(served):
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = head + b"0" * (translate.MAX_BYTES + 1) + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    with pytest.raises(urllib.error.HTTPError, match="413") as refused:
        urllib.request.urlopen(urllib.request.Request(served[0] + "gradio_api/upload", body, kind))
    refused.value.close()


@pytest.mark.browser
def test_a_portrait_is_uploaded_drawn_compared_and_downloaded(visit, served, model, portrait, tmp_path):
    page = visit()
    assert "256 × 256" in _upload(page, portrait)
    page.click("#draw")
    stage = page.locator("#result .stage")
    stage.wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download PNG").click()
    assert download.value.suggested_filename == f"nijigen-{model}.png"
    download.value.save_as(tmp_path / "drawing.png")
    drawn = (tmp_path / "drawing.png").read_bytes()
    shown = {
        kind: page.request.get(page.locator(f"#result img.{kind}").get_attribute("src")).body()
        for kind in ("photo", "drawing")
    }
    expected = _expected(portrait.read_bytes(), model)
    assert drawn == shown["drawing"] == expected.png, "one picture: shown, downloaded and converted by hand"
    assert shown["photo"] == expected.photo.png
    assert _pixels(drawn).shape == (256, 256, 3)
    assert np.abs(_pixels(drawn).astype(int) - _pixels(shown["photo"])).mean() > 2, "it is no copy of the photo"
    left = [path.name for path in served[1].rglob("*") if path.is_file() and b"SpyCam" in path.read_bytes()]
    assert left == [], "no file with the camera's metadata stays"


@pytest.mark.browser
def test_the_comparison_moves_by_keyboard_alone(visit, model):
    page = visit()
    page.locator("#examples button").first.focus()
    page.keyboard.press("Enter")
    slider = page.get_by_role("slider", name=text.TEXT["en"]["compare"])
    slider.wait_for()
    page.get_by_role("link", name="Download PNG").focus()
    page.keyboard.press("Shift+Tab")
    positions = []
    for key in ("ArrowRight", "ArrowLeft", "ArrowLeft", "End", "Home"):
        page.keyboard.press(key)
        positions.append(page.evaluate("document.querySelector('#result .stage').style.getPropertyValue('--cut')"))
    assert positions == ["51%", "50%", "49%", "100%", "0%"]
    assert page.evaluate("getComputedStyle(document.querySelector('#result .stage')).outlineStyle") == "solid"
    assert all(page.locator("#result img").evaluate_all("images => images.map((image) => image.alt)"))


@pytest.mark.browser
def test_one_click_on_an_example_draws_it(visit, model):
    page = visit()
    page.locator("#examples button").nth(1).click()
    page.locator("#result .stage").wait_for()
    source = gallery.png(gallery.examples()[1])
    shown = page.request.get(page.locator("#result img.drawing").get_attribute("src")).body()
    assert shown == _expected(source, model).png
    assert page.locator("#photo img").count() == 1
    assert "public domain" in page.inner_text("#small")


@pytest.mark.browser
def test_every_face_of_a_group_is_drawn_by_keyboard(visit, model, tmp_path):
    group = Image.new("RGB", (420, 240), "gray")
    for left, name in enumerate(("collins-portrait", "hopper-portrait")):
        with Image.open(io.BytesIO(gallery.png(gallery.find(name)))) as portrait:
            group.paste(portrait.resize((200, 200)), (5 + 210 * left, 20))
    group.save(tmp_path / "group.png")
    page = visit()
    _upload(page, tmp_path / "group.png")
    page.get_by_role("radio", name=text.TEXT["en"]["area_whole"]).focus()
    for key in ("Tab", "Tab", "Space"):  # Gradio gives every choice a name of its own, so arrows do not move
        page.keyboard.press(key)
    page.locator("#area label.selected", has_text=text.TEXT["en"]["area_every"]).wait_for()
    page.click("#draw")
    page.locator("#result .stage").wait_for()
    page.locator("#status p", has_text=text.TEXT["en"]["faces_drawn"].format(count=2)).wait_for()
    shown = page.request.get(page.locator("#result img.drawing").get_attribute("src")).body()
    assert shown == _expected((tmp_path / "group.png").read_bytes(), model, area="every").png


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.png", b"I am no picture", "not an image"),
        ("notes.txt", b"I am no picture", "not an image"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "SVG"),
        ("empty.png", b"", "empty"),
        ("cut.png", None, "damaged"),
        ("bomb.png", None, "13000"),
        ("long.png", b"\x89PNG\r\n\x1a\n" + b"0" * (26 * 2**20), "25 MB"),
    ],
)
def test_a_bad_file_is_explained_in_place(visit, tmp_path, name, content, said):
    if content is None:
        size = (13_000, 13_000) if name == "bomb.png" else (200, 200)
        stream = io.BytesIO()
        Image.new("1", size).save(stream, "PNG")
        content = stream.getvalue() if name == "bomb.png" else stream.getvalue()[:-40]
    (tmp_path / name).write_bytes(content)
    page = visit()
    message = _upload(page, tmp_path / name)
    assert message.startswith("This photo cannot be used.") and said in message
    assert page.locator("#photo img").count() == 0 and page.locator("#draw").is_enabled()
    assert page.locator("#status [role=status][aria-live=polite] .error").count() == 1, "it is read aloud"
    assert page.locator("#photo input[type=file]").count() == 1, "another file can follow at once"


@pytest.mark.browser
def test_a_picture_pasted_anywhere_is_taken(visit):
    page = visit()
    page.evaluate(
        """async () => {
          const canvas = new OffscreenCanvas(200, 160);
          canvas.getContext('2d').fillRect(0, 0, 100, 100);
          const carried = new DataTransfer();
          carried.items.add(new File([await canvas.convertToBlob()], 'pasted.png', {type: 'image/png'}));
          document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: carried, bubbles: true}));
        }"""
    )
    page.locator("#status p", has_text="200 × 160").wait_for()


@pytest.mark.browser
@pytest.mark.parametrize("language", text.TEXT)
def test_a_phone_needs_no_sideways_scrolling(visit, model, language):
    page = visit(text.PATHS[language], width=360, height=740)
    assert page.evaluate("document.documentElement.lang") == language
    page.locator("#examples button").first.click()
    page.locator("#result .stage").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.querySelector('#result .stage').getBoundingClientRect().bottom") <= 741
    small = page.locator("#top a, #tabs [role=tablist] button, #area label, #model label").evaluate_all(
        "targets => targets.filter((target) => target.offsetHeight < 44).map((target) => target.innerText)"
    )
    assert small == [], "fingers need 44 pixels"
    page.get_by_role("tab", name=text.TEXT[language]["tab_leaderboard"]).click()
    page.locator("#board p").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360

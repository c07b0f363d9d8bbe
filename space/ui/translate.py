"""The Translate tab: a photo or an example in, a drawing beside it out."""

import dataclasses
import html
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from space import convert, gallery
from space.ui import shelf, slider, text

logger = logging.getLogger(__name__)

Updates = dict[Any, Any]
MAX_BYTES = 25 * 2**20
ANNOUNCE = """
element.setAttribute('role', 'status');
element.setAttribute('aria-live', 'polite');
document.addEventListener('refused', () => trigger('refuse'));
"""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tab:
    """The components that change, and the handlers that change them."""

    sentences: text.Sentences
    photo: gr.Image
    area: gr.Radio
    model: gr.Radio
    facts: gr.HTML
    draw: gr.Button
    status: gr.HTML
    result: gr.HTML

    def receive(self, photo: str | None) -> Iterator[Updates]:
        """Check a photo as soon as it arrives, and keep only its clean copy."""
        if photo is None:
            yield {self.status: "", self.result: None}
            return
        try:
            yield {self.status: self._busy("preparing"), self.draw: self._button("preparing")}
            yield self._accept(Path(photo)) | {self.draw: self._button("draw")}
        except GeneratorExit:  # the visitor left
            Path(photo).unlink(missing_ok=True)
            raise

    def refuse(self) -> Updates:
        """Explain why the browser did not send a file."""
        limit = f"{MAX_BYTES / 2**20:g}"
        reason = self.sentences["too_large"].format(limit=limit)
        return {self.status: _message(self.sentences["bad_photo"].format(reason=reason), kind="error")}

    def submit(self, photo: str | None, model: str | None, area: convert.Area) -> Iterator[Updates]:
        """Draw the photo on the page."""
        if photo is None:
            yield {self.status: _message(self.sentences["no_photo"], kind="error")}
            return
        yield from self._draw(photo, model, area)

    def try_example(self, model: str | None, area: convert.Area, event: gr.EventData) -> Iterator[Updates]:
        """Put an example portrait on the page and draw it at once."""
        source = gallery.png(gallery.find(str(event.name)))
        path = slider.store(source, "photo.png", folder=self.photo.GRADIO_CACHE)
        for updates in self._draw(source, model, area):
            yield {self.photo: path} | updates

    def describe_model(self, model: str | None) -> Updates:
        """Say what the chosen model is."""
        return {self.facts: _facts(model, self.sentences)}

    def _accept(self, photo: Path) -> Updates:
        """Put the clean copy of an uploaded file in its place, or remove a file that is no photo."""
        try:
            clean = convert.prepare(photo)
        except Exception as error:
            photo.unlink(missing_ok=True)
            return {self.photo: None, self.status: self._explain(error)}
        photo.write_bytes(clean.png)  # what was sent carries the camera's metadata
        path = slider.store(clean.png, "photo.png", folder=self.photo.GRADIO_CACHE)
        return {self.photo: path, self.status: _message(self._describe(clean))}

    def _draw(self, source: str | bytes, model: str | None, area: convert.Area) -> Iterator[Updates]:
        yield {self.status: self._busy("drawing"), self.draw: self._button("drawing")}
        updates: Updates = {self.draw: self._button("draw")}
        try:
            drawn = convert.convert(source, model=model or "", area=area)
            updates |= {
                self.result: slider.value(drawn, folder=self.photo.GRADIO_CACHE),
                self.status: _message(self._report(drawn)),
            }
        except Exception as error:
            updates[self.status] = self._explain(error)
        yield updates

    def _busy(self, key: str) -> str:
        return _message(self.sentences[key if convert.READY.is_set() else "loading"], kind="busy")

    def _button(self, key: str) -> gr.Button:
        return gr.Button(self.sentences[key], interactive=key == "draw")

    def _describe(self, photo: convert.Photo) -> str:
        key = "photo_largest" if photo.largest else "photo_ready"
        return self.sentences[key].format(width=photo.width, height=photo.height)

    def _report(self, drawn: convert.Conversion) -> str:
        """Say what was drawn, and what a visitor might not expect."""
        parts = [self._describe(drawn.photo)] if drawn.photo.largest else []
        if drawn.faces is not None:
            parts.append(self.sentences["faces_drawn" if drawn.faces else "faces_none"].format(count=drawn.faces))
        size = {"width": drawn.photo.width, "height": drawn.photo.height}
        return " ".join([*parts, self.sentences["done"].format(**size, seconds=f"{drawn.seconds:.1f}")])

    def _explain(self, error: Exception) -> str:
        """Turn an error into a sentence in place: ours as they are, any other only into the log."""
        if isinstance(error, convert.problems()):
            return _message(self.sentences["bad_photo"].format(reason=error), kind="error")
        if isinstance(error, FileNotFoundError):
            return _message(self.sentences["photo_gone"], kind="error")
        logger.error("A conversion failed.", exc_info=error)
        return _message(self.sentences["failure"], kind="error")


def build(sentences: text.Sentences, *, minutes: int) -> Tab:
    """Lay the tab out and connect it.

    Args:
        sentences: The page's language.
        minutes: How long photos are kept at most.
    """
    with gr.Row(elem_id="desk"):
        with gr.Column(elem_id="give", min_width=280):
            photo = _photo(sentences)
            status = gr.HTML(_opening(sentences), js_on_load=ANNOUNCE, apply_default_css=False, elem_id="status")
            examples = shelf.build(sentences)
            area = _areas(sentences)
            model = _models(sentences)
            draw = gr.Button(sentences["draw"], variant="primary", size="lg", elem_id="draw")
            facts = gr.HTML(_facts(model.value, sentences), apply_default_css=False, elem_id="facts")
        with gr.Column(elem_id="take", min_width=280):
            result = slider.build(sentences)
            gr.HTML(
                f"<p>{html.escape(sentences['privacy'].format(minutes=minutes))}</p>{shelf.credits(sentences)}",
                apply_default_css=False,
                elem_id="small",
            )
    tab = Tab(
        sentences=sentences,
        photo=photo,
        area=area,
        model=model,
        facts=facts,
        draw=draw,
        status=status,
        result=result,
    )
    _connect(tab, examples)
    return tab


def _connect(tab: Tab, examples: gr.HTML) -> None:
    changing = [tab.photo, tab.draw, tab.status, tab.result]
    tab.photo.input(tab.receive, [tab.photo], changing, show_progress="hidden", api_visibility="private")
    tab.status.refuse(tab.refuse, None, [tab.status], show_progress="hidden", api_visibility="private")
    tab.model.change(tab.describe_model, [tab.model], [tab.facts], show_progress="hidden", api_visibility="private")
    choice = [tab.model, tab.area]
    tab.draw.click(tab.submit, [tab.photo, *choice], changing, show_progress="hidden", api_visibility="private")
    examples.choose(
        tab.try_example, choice, changing, show_progress="hidden", api_visibility="private", trigger_mode="once"
    )


def _photo(sentences: text.Sentences) -> gr.Image:
    photo = gr.Image(
        label=sentences["photo"],
        placeholder=sentences["drop"],
        sources=["upload", "webcam", "clipboard"],
        type="filepath",
        format="png",
        image_mode=None,
        buttons=[],
        height=300,
        alt_text=sentences["alt_photo"],
        elem_id="photo",
    )
    # Gradio would open the file itself and answer a bad one with a bare "Error". No handler may return gr.Image(...)
    # for it: that would build a fresh component without this line. (A subclass makes Gradio write a .pyi file.)
    photo.preprocess = _bytes_as_sent
    return photo


def _bytes_as_sent(payload: Any) -> str | None:
    """Give the handler the uploaded file untouched; pictures sent inside an address are not accepted."""
    return None if payload is None else payload.path


def _areas(sentences: text.Sentences) -> gr.Radio:
    areas = get_args(convert.Area)
    return gr.Radio(
        [(sentences[f"area_{area}"], area) for area in areas],
        value=areas[0],
        label=sentences["area"],
        elem_id="area",
    )


def _models(sentences: text.Sentences) -> gr.Radio:
    entries = convert.offered()
    return gr.Radio(
        [(entry.title, entry.name) for entry in entries],
        value=entries[0].name if entries else None,
        label=sentences["model"],
        visible=bool(entries),
        elem_id="model",
    )


def _facts(name: str | None, sentences: text.Sentences) -> str:
    entry = next((entry for entry in convert.offered() if entry.name == name), None)
    if entry is None:
        return ""
    title, _, address = entry.paper.rpartition(", ")
    paper = f'<a href="{html.escape(address)}" rel="noreferrer" target="_blank">{html.escape(title)}</a>'
    facts = sentences["facts"].format(parameters=f"{entry.parameters:,}", licence=entry.licence)
    return f"<p>{html.escape(entry.note)}</p><p>{html.escape(facts)} {html.escape(sentences['paper'])}: {paper}</p>"


def _opening(sentences: text.Sentences) -> str:
    return "" if convert.offered() else _message(sentences["no_model"], kind="error")


def _message(sentence: str, *, kind: str = "note") -> str:
    return f'<p class="{kind}">{html.escape(sentence)}</p>'

"""The shelf of example portraits: one button each, so that one click or one key draws it."""

import base64
import html

import gradio as gr

from space import gallery
from space.ui import text

THUMBNAIL = 160
CHOOSE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-name]');
  if (button) trigger('choose', {name: button.dataset.name});
});
"""


def build(sentences: text.Sentences) -> gr.HTML:
    """Put the portraits on the page; its event `choose` carries the name of the one that was clicked."""
    return gr.HTML(_buttons(sentences), js_on_load=CHOOSE, apply_default_css=False, elem_id="examples")


def credits(sentences: text.Sentences) -> str:
    """Name the makers of the portraits, each once."""
    lines = dict.fromkeys(example.credit for example in gallery.examples() if example.credit)
    listed = " ".join(html.escape(credit) for credit in lines)
    return f"<p>{html.escape(sentences['credits'])}: {listed}</p>" if lines else ""


def _buttons(sentences: text.Sentences) -> str:
    buttons = "".join(
        f'<button type="button" data-name="{example.name}" title="{html.escape(example.title)}">'
        f'<img src="{_thumbnail(example)}" alt="{html.escape(example.title)}" width="72" height="72"></button>'
        for example in gallery.examples()
    )
    return f'<p id="examples-label">{html.escape(sentences["examples"])}</p>' + (
        f'<div class="shelf" role="group" aria-labelledby="examples-label">{buttons}</div>'
    )


def _thumbnail(example: gallery.Example) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(gallery.thumbnail(example, side=THUMBNAIL)).decode("ascii")

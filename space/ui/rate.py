"""The Rate tab: a page of its own inside Gradio's, which talks to `space.api` and never to Gradio's queue."""

import html
import json
from pathlib import Path

import gradio as gr

from space.ui import text

SCRIPT = Path(__file__).with_name("rate.js")


def build(sentences: text.Sentences, language: str) -> gr.HTML:
    """Put the empty stage on the page; its script fills it once the tab is open.

    Args:
        sentences: The page's language.
        language: Its code, for the records.
    """
    words = {key: sentence for key, sentence in sentences.items() if key.startswith("rate_")}
    up = "../" if text.PATHS[language] else "./"
    settings = {"words": words, "language": language, "routes": f"{up}study"}
    return gr.HTML(
        f'<section class="rate" data-settings="{html.escape(json.dumps(settings))}"></section>',
        js_on_load=SCRIPT.read_text(),
        apply_default_css=False,
        elem_id="rate",
    )

"""The page: header, tabs, and what makes it look the way it does."""

import html
import json
from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors

from space import results
from space.ui import leaderboard, rate, text, translate

STYLE = Path(__file__).with_name("style.css")
SCRIPT = Path(__file__).with_name("page.js")
SWEEP_SECONDS, KEEP_SECONDS = 300, 1500
VERMILION = colors.Color(
    *("#fdf3f1", "#fbe3df", "#f5c4bd", "#ec9c92", "#e0746a", "#cf4b41"),
    *("#b3352c", "#942a23", "#74221d", "#5a1d19", "#371110"),
)
INK = colors.Color(
    *("#fbfaf7", "#f4f2ed", "#e6e3db", "#d0ccc2", "#9b968c", "#6d695f"),
    *("#55524a", "#3d3b36", "#282724", "#1b1a18", "#121110"),
)
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32'"
    " rx='7' fill='%23b3352c'/%3E%3Cpath d='M10 11h12M7 22h18' stroke='%23fff' stroke-width='3' stroke-linecap='round'/"
    "%3E%3C/svg%3E"
)


def build_demo(language: str, ranked: results.Results) -> gr.Blocks:
    """Build the whole page in one language; needs no torch.

    Args:
        language: A key of `text.TEXT`.
        ranked: What people preferred, for the leaderboard.

    Returns:
        Blocks to mount with `options(language)`.
    """
    sentences = text.TEXT[language]
    with gr.Blocks(
        title="Nijigen",
        analytics_enabled=False,
        delete_cache=(SWEEP_SECONDS, KEEP_SECONDS),
        fill_width=True,
    ) as demo:
        gr.HTML(_header(language), apply_default_css=False, elem_id="top")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(sentences["tab_translate"], id="translate", elem_id="tab-translate"):
                translate.build(sentences, minutes=(SWEEP_SECONDS + KEEP_SECONDS) // 60)
            with gr.Tab(sentences["tab_rate"], id="rate", elem_id="tab-rate"):
                rate.build(sentences, language)
            with gr.Tab(sentences["tab_leaderboard"], id="leaderboard", elem_id="tab-leaderboard") as tab:
                leaderboard.build(sentences, tab, ranked, home="../" if text.PATHS[language] else "./")
    return demo.queue(max_size=32, default_concurrency_limit=2)


def theme() -> gr.themes.Base:
    """Ink on paper with one red, in fonts that are already on the visitor's device."""
    fonts = ["ui-sans-serif", "system-ui", "Noto Sans", "Noto Sans CJK SC", "sans-serif"]
    base = gr.themes.Base(
        primary_hue=VERMILION,
        secondary_hue=INK,
        neutral_hue=INK,
        font=fonts,
        font_mono=["ui-monospace", "monospace"],
        radius_size="lg",
    )
    return base.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_700",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )


def head(language: str) -> str:
    """Give what Gradio cannot set itself: the page's language, its icon, and pasting from anywhere."""
    return (
        f'<link rel="icon" href="{ICON}">'
        f"<script>document.documentElement.lang = {json.dumps(language)};\n"
        f"const MAX_BYTES = {translate.MAX_BYTES};\n{SCRIPT.read_text()}</script>"
    )


def _header(language: str) -> str:
    sentences = text.TEXT[language]
    up = "../" if text.PATHS[language] else ""
    links = "".join(
        _link(code, f"./{up}{path}{path and '/'}", here=code == language) for code, path in text.PATHS.items()
    )
    return (
        '<header><div><h1>Nijigen <span lang="ja" aria-hidden="true">二次元</span></h1>'
        f"<p>{html.escape(sentences['tagline'])}</p></div>"
        f'<nav aria-label="{html.escape(sentences["languages"])}">{links}</nav></header>'
    )


def _link(code: str, address: str, *, here: bool) -> str:
    mark = ' aria-current="page"' if here else ""
    return f'<a href="{address}" lang="{code}" hreflang="{code}"{mark}>{html.escape(text.TEXT[code]["name"])}</a>'

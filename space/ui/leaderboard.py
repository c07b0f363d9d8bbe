"""The Leaderboard tab: the table and one figure, made anew of the recorded scores whenever the tab is opened."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas

from bench import records, report
from space.ui import text

if TYPE_CHECKING:
    from plotly import graph_objects

SCORES = Path(__file__).parents[2] / "bench" / "results" / "scores.jsonl"


def build(sentences: text.Sentences, tab: gr.Tab) -> None:
    """Lay the tab out; it is filled when somebody opens it, so that the first page stays light.

    Args:
        sentences: The page's language.
        tab: The tab that is being laid out.
    """
    gr.HTML(
        f"<h2>{html.escape(sentences['board'])}</h2><p>{html.escape(sentences['board_intro'])}</p>",
        apply_default_css=False,
        elem_classes="prose-block",
    )
    table = gr.HTML(apply_default_css=False, elem_id="board")
    figure = gr.Plot(show_label=False, elem_id="figure", visible=False)

    def show() -> dict[Any, Any]:
        rows, drawing = contents(sentences)
        return {table: rows, figure: gr.Plot(drawing, visible=drawing is not None)}

    tab.select(show, None, [table, figure], api_visibility="private", show_progress="hidden")


def contents(sentences: text.Sentences) -> tuple[str, "graph_objects.Figure | None"]:
    """Read the recorded scores and make what the tab shows.

    Args:
        sentences: The page's language.

    Returns:
        The table as HTML and its figure; without scores a sentence that says how to make them, and None.
    """
    scores = records.read_scores(SCORES)
    if not scores:
        return f'<p class="note">{html.escape(sentences["board_empty"])}</p>', None
    board = report.leaderboard(scores)
    return markup(board, scores, sentences), narrow(report.figure(board))


def narrow(drawing: "graph_objects.Figure") -> "graph_objects.Figure":
    """Make the figure fit a phone: smaller type, room for labels at its edges."""
    drawing.update_traces(cliponaxis=False)
    drawing.update_layout(height=440, font_size=13, title_font_size=16, margin={"l": 56, "r": 64, "t": 56, "b": 56})
    drawing.update_xaxes(title_font_size=13)
    drawing.update_yaxes(title_font_size=13)
    return drawing


def markup(board: pandas.DataFrame, scores: list[records.Score], sentences: text.Sentences) -> str:
    """Write the table with what a reader must know about it.

    Args:
        board: What `bench.report` made of the scores; one row per model, best first.
        scores: The scores behind it.
        sentences: The page's language.

    Returns:
        HTML; every cell is escaped.
    """
    newest = max((score.provenance for score in scores), key=lambda provenance: provenance.time)
    moment = newest.time[:16].replace("T", " ")
    as_of = sentences["board_as_of"].format(time=moment, commit=newest.git_commit[:10])
    head = "".join(f'<th scope="col">{html.escape(str(column))}</th>' for column in board.columns)
    body = "".join(f"<tr>{_row(row)}</tr>" for row in board.itertuples(index=False))
    caption = html.escape(sentences["board_table"])
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="note">{html.escape(board.attrs.get("caption", ""))}</p>'
        f'<p class="note">{html.escape(sentences["board_pending"])}</p>'
        f'<p class="as-of">{html.escape(as_of)}</p>'
    )


def _row(cells: tuple[Any, ...]) -> str:
    first, *others = ("" if pandas.isna(cell) else html.escape(str(cell)) for cell in cells)
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others)

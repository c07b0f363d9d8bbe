"""The Leaderboard tab: what machines measured and what people preferred, made anew whenever the tab is opened."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas

from bench import opinions, records, report
from space import results, rules
from space.ui import text

if TYPE_CHECKING:
    from plotly import graph_objects

SCORES = Path(__file__).parents[2] / "bench" / "results" / "scores.jsonl"
HASH_DIGITS = 12


def build(sentences: text.Sentences, tab: gr.Tab, ranked: results.Results, *, home: str) -> None:
    """Lay the tab out; it is filled when somebody opens it, so that the first page stays light.

    Args:
        sentences: The page's language.
        tab: The tab that is being laid out.
        ranked: What people preferred.
        home: Relative address of the app.
    """
    gr.HTML(
        f"<h2>{html.escape(sentences['board'])}</h2><p>{html.escape(sentences['board_intro'])}</p>",
        apply_default_css=False,
        elem_classes="prose-block",
    )
    table = gr.HTML(apply_default_css=False, elem_id="board")
    figure = gr.Plot(show_label=False, elem_id="figure", visible=False)

    people = gr.HTML(apply_default_css=False, elem_id="people")
    scatter = gr.Plot(show_label=False, elem_id="scatter", visible=False)

    def show() -> dict[Any, Any]:
        rows, drawing = contents(sentences)
        preferred, points = preference(ranked.document(), sentences, home=home)
        return {
            table: rows,
            figure: gr.Plot(drawing, visible=drawing is not None),
            people: preferred,
            scatter: gr.Plot(points, visible=points is not None),
        }

    tab.select(show, None, [table, figure, people, scatter], api_visibility="private", show_progress="hidden")


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


def preference(
    document: dict[str, Any] | None, sentences: text.Sentences, *, home: str = "./"
) -> tuple[str, "graph_objects.Figure | None"]:
    """Make what the tab shows of the ratings.

    Args:
        document: The standings; None while no study runs.
        sentences: The page's language.
        home: Relative address of the app.

    Returns:
        HTML, and the figure of strength against a metric where models are ranked.
    """
    head = f"<h2>{html.escape(sentences['people'])}</h2>"
    if document is None or not document["ratings_of_all"]:
        return f'{head}<p class="note">{html.escape(sentences["board_pending"])}</p>', None
    count = document["ratings_of_all"]
    board = opinions.table(document)
    if document["protocol"] == rules.PILOT.protocol or board.empty:
        key = "people_pilot" if document["protocol"] == rules.PILOT.protocol else "people_few"
        return f'{head}<p class="note">{html.escape(sentences[key].format(count=count))}</p>', None
    marks = [sentences["people_simulated"]] if document["simulated"] else []
    marks.append(sentences["people_intro"].format(**{key: document[key] for key in ("ratings", "participants")}))
    footer = sentences["people_footer"].format(
        time=document["as_of"][:16].replace("T", " "),
        commit=", ".join(commit[:HASH_DIGITS] for commit in document["commits"]),
        data=document["data_sha256"][:HASH_DIGITS],
        rules=document["rules_sha256"][:HASH_DIGITS],
    )
    parts = [
        head,
        *(f'<p class="note">{html.escape(mark)}</p>' for mark in marks),
        grid(board, caption=sentences["people"]),
        grid(opinions.wins(document).reset_index(names=""), caption=sentences["people_wins"]),
        grid(opinions.metrics(document), caption=sentences["people_metrics"]),
        grid(pandas.DataFrame(opinions.panel(document), columns=["", "value"]), caption=sentences["people_checks"]),
        f'<p class="as-of">{html.escape(footer)} {html.escape(sentences["people_download"])} '
        f'<a href="{home}study/standings.csv">CSV</a> <a href="{home}study/standings.json">JSON</a></p>',
    ]
    return "".join(parts), narrow(opinions.figure(document, records.read_scores(SCORES)))


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
    return (
        grid(board, caption=sentences["board_table"])
        + f'<p class="note">{html.escape(board.attrs.get("caption", ""))}</p>'
        f'<p class="as-of">{html.escape(as_of)}</p>'
    )


def grid(board: pandas.DataFrame, *, caption: str) -> str:
    """Write a table that scrolls on a narrow page; every cell is escaped."""
    head = "".join(f'<th scope="col">{html.escape(str(column))}</th>' for column in board.columns)
    body = "".join(f"<tr>{_row(row)}</tr>" for row in board.itertuples(index=False))
    label = html.escape(caption)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table><caption>{label}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(cells: tuple[Any, ...]) -> str:
    first, *others = ("" if pandas.isna(cell) else html.escape(str(cell)) for cell in cells)
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others)

"""The leaderboard as people see it: pandas table, Markdown, plotly figure, HTML page. Needs no torch."""

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas

from bench import protocol, records
from models import card

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BEGIN, END = "<!-- leaderboard:begin -->", "<!-- leaderboard:end -->"
EMPTY = "–"
SKEW = 0.2  # an interval whose middle lies further off the value, in half-widths, is shown by its ends
ARROWS = {"higher": "↑", "lower": "↓"}
# Okabe and Ito's colours, which colour-blind people tell apart
MODEL_COLOUR, PHOTO_COLOUR = "#0072B2", "#D55E00"
FONT = {"family": "system-ui, 'Segoe UI', Roboto, 'Noto Sans', sans-serif", "size": 15, "color": "#1a1a1a"}


def leaderboard(scores: Iterable[records.Score]) -> pandas.DataFrame:
    """Arrange scores as the table that people read: a row per model, the untouched photo among them.

    Args:
        scores: Records of one board; of several with the same model, metric and reference the last one counts.

    Returns:
        Text columns "model", "set", one per metric ("0.593 ± 0.010", "–" without a value), "parameters"; sorted by
        KID to anime, best first. `attrs["points"]` holds the numbers of the figure, `attrs["caption"]` the conditions.
    """
    latest = {(score.model, score.metric, score.reference): score for score in scores}
    models = sorted({model for model, _, _ in latest}, key=lambda model: _order(model, latest))
    columns = _columns(latest)
    rows = [_row(model, columns, latest) for model in models]
    table = pandas.DataFrame(rows, columns=["model", "set", *columns, "parameters"])
    table.attrs["points"] = [_point(model, latest) for model in models]
    table.attrs["caption"] = _caption(list(latest.values()))
    return table


Latest = dict[tuple[str, str, str], records.Score]


def _columns(latest: Latest) -> dict[str, tuple[protocol.Metric, str]]:
    """Give metric and label by column head; a set metric has one column for each layer that was used."""
    columns = {}
    for metric in protocol.METRICS:
        for label in sorted({label for _, label, reference in latest if reference == metric.reference}):
            if label == metric.label or label.startswith(f"{metric.label}-"):
                title = metric.title.format(label=label)
                columns[f"{title} {ARROWS[metric.better]}"] = metric, label
    return columns


def _row(model: str, columns: dict[str, tuple[protocol.Metric, str]], latest: Latest) -> dict[str, str]:
    row = {"model": model, "set": _set(model, latest), "parameters": _parameters(model, latest)}
    for head, (metric, label) in columns.items():
        score = latest.get((model, label, metric.reference))
        row[head] = _cell(score, digits=metric.digits) if score else EMPTY
    return row


def _cell(score: records.Score, *, digits: int) -> str:
    if score.value is None:
        return EMPTY
    # a distance of equal sets may come out as -0.00000 by rounding
    text = f"{round(score.value, digits) + 0.0:.{digits}f}"
    if score.interval is None:
        return text
    low, high = score.interval
    half = (high - low) / 2
    if abs(high + low - 2 * score.value) > SKEW * half:
        return f"{text} [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{text} ± {half:.{digits}f}"


def _set(model: str, latest: Latest) -> str:
    """Say how many images were measured, and whether that was only a part of the set."""
    mine = [score for score in latest.values() if score.model == model]
    photos = max(score.n_photos for score in mine)
    anime = max((score.n_reference for score in mine if score.reference == protocol.ANIME), default=0)
    limits = {score.limit for score in mine if score.limit is not None}
    mark = f" (limit {min(limits)})" if limits else ""
    return f"{photos} photos, {anime} anime{mark}"


def _parameters(model: str, latest: Latest) -> str:
    names = {str(score.details.get("card") or "") for score in latest.values() if score.model == model}
    counts = {entry.name: entry.parameters for entry in card.catalogue()}
    return next((f"{counts[name]:,}" for name in names if name in counts), EMPTY)


def _find(model: str, label: str, reference: str, latest: Latest) -> records.Score | None:
    """Give a model's score by the start of its label, the standard layer before others."""
    labels = sorted(name for who, name, held in latest if (who, held) == (model, reference) and name.startswith(label))
    return next((latest[model, name, reference] for name in labels), None)


def _order(model: str, latest: Latest) -> tuple[bool, float, str]:
    score = _find(model, "kid_tf", protocol.ANIME, latest)
    value = score.value if score else None
    return value is None, value or 0.0, model


def _point(model: str, latest: Latest) -> dict[str, Any]:
    kid = _find(model, "kid_tf", protocol.ANIME, latest)
    identity = _find(model, "identity", protocol.PHOTO, latest)
    low, high = (identity.interval if identity else None) or (None, None)
    return {
        "model": model,
        "kid": kid.value if kid else None,
        "kid_label": kid.metric if kid else "kid",
        "identity": identity.value if identity else None,
        "low": low,
        "high": high,
    }


def _caption(scores: list[records.Score]) -> str:
    if not scores:
        return "No scores yet."
    newest = max(scores, key=lambda score: score.provenance.time)
    where, backbones = newest.provenance, sorted({score.backbone for score in scores if score.backbone_sha256})
    parts = [
        f"Protocol {where.protocol} v{where.protocol_version}, {where.time[:10]}, {where.device}",
        str(newest.details.get("selection", "")),
        "± or [low, high] is a 95 % interval; set metrics (fid, kid): interval pending",
        "networks: " + "; ".join(backbones) if backbones else "",
        *_reasons(scores),
    ]
    return ". ".join(part.rstrip(".") for part in parts if part) + "."


def _reasons(scores: list[records.Score]) -> list[str]:
    """Say once for each network that could not be had which columns it left empty."""
    empty: dict[str, set[str]] = {}
    for score in scores:
        if score.backbone and score.backbone_sha256 is None:
            empty.setdefault(score.reason, set()).add(score.metric)
    return [f"empty: {', '.join(sorted(labels))} ({reason.rstrip('.')})" for reason, labels in sorted(empty.items())]


def markdown(table: pandas.DataFrame) -> str:
    """Write the table as Markdown with its caption under it."""
    heads = [_escape(str(head)) for head in table.columns]
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)]]
    lines += [[_escape(str(cell)) for cell in row] for row in table.itertuples(index=False, name=None)]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{body}\n\n{table.attrs.get('caption', '')}\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def figure(table: pandas.DataFrame) -> "Figure":
    """Draw closeness to anime against identity: the best models stand at the upper left.

    Args:
        table: What `leaderboard` returned.

    Returns:
        KID to anime on x, identity with its 95 % interval on y, one marker per model; the photo is a diamond.
    """
    from plotly import graph_objects

    points = [
        point for point in table.attrs.get("points", []) if point["kid"] is not None and point["identity"] is not None
    ]
    drawing = graph_objects.Figure()
    for point in points:
        drawing.add_trace(_marker(point))
    label = points[0]["kid_label"] if points else "kid"
    drawing.update_layout(
        template="plotly_white",
        font=FONT,
        title="Closer to anime, still the same person",
        xaxis_title=f"{label} to anime (lower is closer)",
        yaxis_title="identity to the photo (cosine, higher is better)",
        showlegend=False,
        hoverlabel={"font_size": 14},
        margin={"l": 70, "r": 30, "t": 60, "b": 60},
    )
    if not points:
        drawing.add_annotation(text="No model has both scores yet.", showarrow=False, xref="paper", yref="paper")
    return drawing


def _marker(point: dict[str, Any]) -> Any:
    from plotly import graph_objects

    is_photo = point["model"] == protocol.PHOTO
    known = point["low"] is not None
    interval = f"<br>95 % interval {point['low']:.3f} to {point['high']:.3f}" if known else ""
    return graph_objects.Scatter(
        x=[point["kid"]],
        y=[point["identity"]],
        name=point["model"],
        mode="markers+text",
        text=["photo, untouched" if is_photo else point["model"]],
        textposition="bottom center",
        marker={
            "size": 14,
            "symbol": "diamond" if is_photo else "circle",
            "color": PHOTO_COLOUR if is_photo else MODEL_COLOUR,
        },
        error_y={
            "type": "data",
            "array": [point["high"] - point["identity"] if known else 0],
            "arrayminus": [point["identity"] - point["low"] if known else 0],
            "visible": known,
        },
        hovertemplate=f"<b>{html.escape(point['model'])}</b><br>{point['kid_label']} %{{x:.5f}}"
        f"<br>identity %{{y:.3f}}{interval}<extra></extra>",
    )


def page(table: pandas.DataFrame) -> str:
    """Write table and figure as one HTML page that asks no other host for anything."""
    chart = figure(table).to_html(full_html=False, include_plotlyjs=True)
    grid = table.to_html(index=False, border=0, classes="board")
    caption = html.escape(table.attrs.get("caption", ""))
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Nijigen leaderboard</title>
<style>
body {{ font: 16px/1.5 {FONT["family"]}; color: #1a1a1a; background: #fff; }}
body {{ margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }}
.scroll {{ overflow-x: auto; }}
.board {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
.board th, .board td {{ padding: .4rem .7rem; border-bottom: 1px solid #ccc; text-align: right; }}
.board td:first-child, .board th:first-child {{ text-align: left; font-weight: 600; }}
</style></head>
<body><h1>Leaderboard</h1>
<div class="scroll">{grid}</div>
<p>{caption}</p>
{chart}
</body></html>
"""


def insert(text: str, table: pandas.DataFrame) -> str:
    """Put the table between the two leaderboard marks of a document.

    Raises:
        RecordError: The marks are missing or stand in the wrong order.
    """
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin:
        raise records.RecordError(f"the document has no {BEGIN} ... {END}; add the two marks where the table belongs.")
    return f"{text[: begin + len(BEGIN)]}\n{markdown(table)}{text[end:]}"

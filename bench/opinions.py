"""Standings as people see them: pandas tables and a plotly figure beside the metrics. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas

from bench import records, report, standings

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SCALES = ("likeness", "style", "artefacts")


def table(document: Mapping[str, Any]) -> pandas.DataFrame:
    """Arrange standings as a table: one row per model that is shown, the surest lead first.

    Args:
        document: What `standings.standings` returned.

    Returns:
        Text columns; models below the least number of ratings are left out.
    """
    return pandas.DataFrame([_row(row) for row in document["models"] if not row["hidden"]])


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    mark = " (preliminary)" if row["preliminary"] else ""
    return {
        "model": f"{row['model']}{mark}",
        "strength": _interval(row["strength"], digits=0),
        "rank": "–".join(str(end) for end in dict.fromkeys(row["rank"])),
        "ratings": f"{row['ratings']:,}",
        "participants": f"{row['participants']:,}",
        "both bad": f"{row['both_bad']:.1%}",
        **{scale: _interval(row["opinion"].get(scale), digits=2) for scale in SCALES},
        "strength, unscreened": report.EMPTY if row["strength_of_all"] is None else f"{row['strength_of_all']:.0f}",
    }


def _interval(ends: Mapping[str, Any] | None, *, digits: int) -> str:
    if not ends or ends["value"] is None:
        return report.EMPTY
    if ends["low"] is None:
        return f"{ends['value']:.{digits}f}"
    return f"{ends['value']:.{digits}f} [{ends['low']:.{digits}f}, {ends['high']:.{digits}f}]"


def wins(document: Mapping[str, Any]) -> pandas.DataFrame:
    """Arrange how often the row's model was preferred to the column's."""
    names = list(document.get("names", []))
    return pandas.DataFrame(document.get("wins", []), index=names, columns=names)


def panel(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what a reader must know of the ratings: position bias, agreement, checks, who passed."""
    checks = document["checks"]
    share = {
        name: report.EMPTY if checks.get(name) is None else f"{checks[name]:.1%}" for name in ("gold_right", "reversed")
    }
    return [
        ("P(left)", _interval(document.get("position"), digits=3)),
        ("Krippendorff's alpha", _interval(document.get("agreement"), digits=3)),
        ("gold trials right", share["gold_right"]),
        ("duplicates reversed", share["reversed"]),
        ("participants passed", str(checks.get("passed", 0))),
        ("participants waiting", str(checks.get("waiting", 0))),
        ("participants removed", str(checks.get("removed", 0))),
        ("sessions removed", str(checks.get("removed_sessions", 0))),
    ]


def metrics(document: Mapping[str, Any]) -> pandas.DataFrame:
    """Arrange how metrics go with preference: over models, and pair by pair; both with their intervals."""
    rows = [
        {
            "metric": each["metric"],
            "over": f"{each['models']} models",
            "Spearman": _interval(each["spearman"], digits=2),
            "Kendall": _interval(each["kendall"], digits=2),
            "p (Holm)": f"{each['p_value']:.3f}",
            "sides with the choice": report.EMPTY,
        }
        for each in document.get("correlations", [])
    ]
    rows += [
        {
            "metric": each["metric"],
            "over": f"{each['share']['n']:,} choices",
            "Spearman": report.EMPTY,
            "Kendall": report.EMPTY,
            "p (Holm)": report.EMPTY,
            "sides with the choice": _interval(each["share"], digits=3),
        }
        for each in document.get("accuracies", [])
    ]
    return pandas.DataFrame(rows)


def csv(document: Mapping[str, Any]) -> str:
    """Write the table as CSV with plain numbers."""
    rows = [
        {
            "model": row["model"],
            **{f"strength_{end}": row["strength"][end] for end in ("value", "low", "high")},
            "rank_low": row["rank"][0],
            "rank_high": row["rank"][1],
            **{name: row[name] for name in ("ratings", "participants", "both_bad", "cannot_load", "preliminary")},
        }
        for row in document["models"]
        if not row["hidden"]
    ]
    return pandas.DataFrame(rows).to_csv(index=False)


def figure(document: Mapping[str, Any], scores: Sequence[records.Score], *, metric: str = "kid_tf") -> "Figure":
    """Draw what people preferred against what a metric says of the same models.

    Args:
        document: What `standings.standings` returned.
        scores: What the benchmark measured.
        metric: Start of the metric's label; the first that matches is drawn.
    """
    from plotly import graph_objects

    measured = standings.signed(scores)
    name = next((label for label in sorted(measured) if label.startswith(metric)), "")
    drawing = graph_objects.Figure()
    for row in document["models"]:
        value = measured.get(name, {}).get(row["model"])
        if value is not None and not row["hidden"]:
            ends = row["strength"]
            drawing.add_scatter(
                x=[abs(value)],
                y=[ends["value"]],
                name=row["model"],
                mode="markers+text",
                text=[row["model"]],
                textposition="bottom center",
                marker={"size": 13, "color": report.MODEL_COLOUR},
                error_y={"array": [ends["high"] - ends["value"]], "arrayminus": [ends["value"] - ends["low"]]},
            )
    drawing.update_layout(
        template="plotly_white",
        font=report.FONT,
        title="What people prefer against what the metric says",
        xaxis_title=name,
        yaxis_title="strength (400-point scale, 95 % interval)",
        showlegend=False,
    )
    if not drawing.data:
        drawing.add_annotation(text="No model has both yet.", showarrow=False, xref="paper", yref="paper")
    return drawing

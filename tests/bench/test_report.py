"""The report: the table's exact text, the figure, the page and the README marks."""

import dataclasses
from typing import Any

import pandas
import pytest

from bench import records, report
from models import card
from tests.bench import samples

GOLDEN = """\
| model | set | kid_tf-768 to anime ↓ | identity (cosine; MobileFace V2, aligned by YuNet) ↑ | no face (share) ↓ \
| psnr_rgb to photo (dB) ↑ | latency (ms) ↓ | parameters |
| --- | --: | --: | --: | --: | --: | --: | --: |
| dtgan | 338 photos, 403 anime | 0.00412 | 0.593 ± 0.010 | 0.010 [0.003, 0.031] | 18.25 ± 0.50 | 123.4 | 1,027,520 |
| photo | 338 photos, 403 anime | 0.00672 | 1.000 ± 0.000 | 0.000 [0.000, 0.011] | – | – | – |

Protocol translate-256 v1, 2026-11-20, cpu: test, 2 cores. photos: split test; anime: split test. \
± or [low, high] is a 95 % interval; set metrics (fid, kid): interval pending. networks: inception.
"""


@pytest.fixture
def scores() -> list[records.Score]:
    return samples.board()


def test_markdown_is_exactly_this(scores: list[records.Score]) -> None:
    assert report.markdown(report.leaderboard(scores)) == GOLDEN


def test_the_newest_record_counts(scores: list[records.Score]) -> None:
    newer = dataclasses.replace(scores[0], value=0.5, interval=None)
    table = report.leaderboard([*scores, newer])
    column = next(name for name in table.columns if name.startswith("kid"))
    assert table.set_index("model").loc["photo", column] == "0.50000"


def test_parameters_come_from_the_catalogue(scores: list[records.Score]) -> None:
    expected = {entry.name: entry.parameters for entry in card.catalogue()}["dtgan"]
    table = report.leaderboard(scores).set_index("model")
    assert table.loc["dtgan", "parameters"] == f"{expected:,}"


def test_the_layer_is_part_of_the_label(scores: list[records.Score]) -> None:
    standard = [dataclasses.replace(score, metric="kid_tf") for score in scores if score.metric == "kid_tf-768"]
    heads = list(report.leaderboard([*scores, *standard]).columns)
    assert "kid_tf to anime ↓" in heads and "kid_tf-768 to anime ↓" in heads


def test_limited_runs_are_marked_and_reasons_told(scores: list[records.Score]) -> None:
    changes: dict[str, Any] = {"limit": 32, "n_photos": 32}
    limited = [dataclasses.replace(score, **changes) for score in scores]
    absent: dict[str, Any] = {"value": None, "reason": "no network", "backbone": "x"}
    limited.append(samples.score(metric="fid_tf", reference="anime", model="dtgan", **absent))
    text = report.markdown(report.leaderboard(limited))
    assert "32 photos, 403 anime (limit 32)" in text
    assert "empty: fid_tf (no network)." in text


def test_figure_has_a_point_and_an_error_bar_per_model(scores: list[records.Score]) -> None:
    figure = report.figure(report.leaderboard(scores))
    model, photo = figure.data
    assert (model.x, model.y) == ((0.00412,), (0.593,))
    assert (model.error_y.array[0], model.error_y.arrayminus[0]) == pytest.approx((0.01, 0.01))
    assert photo.marker.symbol == "diamond" != model.marker.symbol
    assert "dtgan" in model.hovertemplate and "95 % interval" in model.hovertemplate
    assert "kid_tf-768" in figure.layout.xaxis.title.text


def test_nothing_measured_yet() -> None:
    table = report.leaderboard([])
    assert isinstance(table, pandas.DataFrame) and table.empty
    assert report.figure(table).layout.annotations[0].text == "No model has both scores yet."
    assert "No scores yet" in report.markdown(table)


def test_page_asks_no_other_host(scores: list[records.Score]) -> None:
    hostile = dataclasses.replace(scores[0], model="<script>alert(1)</script>")
    page = report.page(report.leaderboard([*scores, hostile]))
    assert "<script>alert" not in page
    assert 'src="http' not in page and "<link" not in page
    assert len(page) > 3_000_000  # plotly is inside


def test_insert_replaces_what_stands_between_the_marks(scores: list[records.Score]) -> None:
    table = report.leaderboard(scores)
    document = f"# Title\n{report.BEGIN}\nold\n{report.END}\nrest\n"
    once = report.insert(document, table)
    assert once == f"# Title\n{report.BEGIN}\n{GOLDEN}{report.END}\nrest\n"
    assert report.insert(once, table) == once
    for broken in ("no marks", f"{report.END} {report.BEGIN}"):
        with pytest.raises(records.RecordError, match="leaderboard:begin"):
            report.insert(broken, table)

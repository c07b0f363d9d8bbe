"""Tables and figure of the standings: what is shown, what is hidden, numbers as numbers."""

import csv
import io

import pytest

from bench import opinions
from space import command, plan, simulate
from tests.bench import samples

MODELS = ("a", "b", "c")
SCORES = [
    samples.score(model=name, metric="kid_tf-768", reference="anime", value=value)
    for name, value in (("a", 0.006), ("b", 0.005), ("c", 0.004))
]


@pytest.fixture(scope="module")
def document() -> dict:
    design = plan.Design(models=MODELS, photos=tuple(f"p{number}" for number in range(20)))
    truth = simulate.Truth(log_s=simulate.spread(MODELS, 300))
    return command.rank(simulate.study(design, simulate.crowd("honest", 33, truth=truth), sessions=5), SCORES)


def test_the_table_is_sorted_by_the_surest_lead(document: dict) -> None:
    table = opinions.table(document)
    assert table["model"].tolist() == ["c", "b", "a"]
    assert table["rank"].tolist()[0] == "1"
    assert all("[" in cell for cell in table["strength"].tolist())


def test_a_model_with_few_ratings_is_hidden(document: dict) -> None:
    rows = [row | {"hidden": row["model"] == "b"} for row in document["models"]]
    hidden = document | {"models": rows}
    assert opinions.table(hidden)["model"].tolist() == ["c", "a"]
    assert "b," not in opinions.csv(hidden)
    assert len(opinions.figure(hidden, SCORES).data) == 2


def test_the_file_has_plain_numbers(document: dict) -> None:
    rows = list(csv.DictReader(io.StringIO(opinions.csv(document))))
    assert [row["model"] for row in rows] == ["c", "b", "a"]
    assert float(rows[0]["strength_low"]) < float(rows[0]["strength_value"]) < float(rows[0]["strength_high"])


def test_the_panel_and_the_wins(document: dict) -> None:
    assert dict(opinions.panel(document))["participants passed"] in {"32", "33"}
    wins = opinions.wins(document)
    assert wins.loc["c", "a"] > wins.loc["a", "c"]


def test_the_metric_goes_with_preference(document: dict) -> None:
    (kid,) = document["correlations"]
    assert kid["metric"] == "kid_tf-768 to anime"
    assert kid["spearman"]["value"] == pytest.approx(1)
    figure = opinions.figure(document, SCORES)
    assert figure.layout.xaxis.title.text == "kid_tf-768 to anime"
    assert opinions.figure({"models": []}, []).layout.annotations[0].text == "No model has both yet."

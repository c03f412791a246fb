"""The study of every method: whole, and its table is what its runs say."""

import pytest

from continual.adapters import METHODS
from tests.analysis.scripts import STUDIES, load

FOLDER = STUDIES / "all-methods"
study, tables = load("all-methods", "study", "tables")
RATES, RUNS = study.lines(FOLDER / "rates.jsonl"), study.lines(FOLDER / "runs.jsonl")
ROWS = [(scenario, method) for scenario in study.SETTINGS for method in study.rows_of(scenario)]


def runs_of(scenario, method):
    rate = study.chosen(RATES, scenario, method)
    return [
        row
        for row in RUNS
        if (row["scenario"], row["method"], row["lr"]) == (scenario, method, rate)
    ]


def test_every_method_has_a_row():
    """Of both scenarios, but where it cannot be had."""
    for scenario in study.SETTINGS:
        missing = set(METHODS) - {method for one, method in ROWS if one == scenario}
        assert missing <= set(study.NOT_HERE[scenario])


@pytest.mark.parametrize(("scenario", "method"), ROWS)
def test_it_was_measured_on_whole_sequences(scenario, method):
    """Three seeds or more at the chosen rate; each learned, forgot, drifted and cost."""
    runs = runs_of(scenario, method)

    assert len({row["seed"] for row in runs}) >= 3
    for row in runs:
        assert 0.0 <= row["average"] <= 1.0
        assert (row["learning"] is None) == (row["forgetting"] is None) == (method == "joint")
        assert (row["drift"] is None) == (scenario == "split-digits")
        assert (row["trained"] == 0) == (method == "frozen")
        assert row["commit"]


def test_no_row_is_another_one():
    """A method that never did what tells it from its neighbour would have that one's numbers."""
    for scenario in study.SETTINGS:
        seen = {}
        for method in study.rows_of(scenario):
            found = tuple(
                sorted((r["seed"], r["average"], r["drift"]) for r in runs_of(scenario, method))
            )
            assert found not in seen, (method, seen.get(found))
            seen[found] = method


def test_no_choice_of_a_rate_is_open():
    """No rate lies at the edge of those that were tried, unless nothing better can be there."""
    cells = study.rate_cells(RATES)

    assert len(cells) == len(RATES)
    assert {cell.key for cell in study.run_cells(RATES)} == {
        (row["scenario"], row["method"], row["lr"], row["seed"]) for row in RUNS
    }


def test_the_table_is_what_the_runs_say():
    """To the last digit."""
    made = "\n".join(tables.tables(RUNS, RATES, study.lines(FOLDER / "paces.jsonl")))

    assert (FOLDER / "table.md").read_text() == made.lstrip() + "\n"


def test_rates_are_tried_until_the_choice_is_inside():
    """Worked by hand: below 1e-3 while it is chosen, above 3e-2 while much may be gained."""

    def row(rate, nats):
        return {"scenario": "pydocs", "method": "pica", "lr": rate, "nats": nats}

    def asked(*rows):
        return study.tried([row(*one) for one in rows], "pydocs", "pica")

    begun = [(1e-3, 0.5), (3e-3, 0.45), (1e-2, 0.9), (3e-2, None)]
    assert asked() == list(study.WIDE)
    assert asked(*begun) == [*study.WIDE, 3e-4]
    assert asked(*begun, (3e-4, 0.7)) == [*study.WIDE, 3e-4]
    rising = [(1e-3, 5.0), (3e-3, 4.0), (1e-2, 3.0), (3e-2, 1.3)]
    assert asked(*rising) == [*study.WIDE, 1e-1]
    assert asked(*rising[:3], (3e-2, 0.05)) == list(study.WIDE)  # less than 0.1 nats to gain

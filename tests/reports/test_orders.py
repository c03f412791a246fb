"""The same tasks in several orders."""

import json

import pytest

from continual.records import RunRecord
from continual.reports import write_report
from continual.reports.comparison import run_values
from continual.reports.groups import group_runs
from continual.reports.orders import order_tables

ORDERS = (("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b"))


@pytest.fixture
def directories(make_run):
    """Two methods, two seeds, three orders."""
    return [
        make_run(m, 2 * k + s, tasks=order)
        for k, order in enumerate(ORDERS)
        for m in ("curlora", "lora")
        for s in range(2)
    ]


def groups_of(directories):
    """As a report sees them."""
    return group_runs([RunRecord.open(path) for path in directories])


def test_the_unit_is_the_order(directories):
    """Seeds of an order are averaged first; the mean is over orders, with lowest and highest."""
    means, *_ = order_tables(groups_of(directories))
    row = next(row for row in means.rows if row[0] == "lora")
    mine = [RunRecord.open(path) for path in directories if "lora" in path.name.split("-")]
    by_order = [
        sum(run_values(r)["average_accuracy"] for r in mine if r.tasks == order) / 2
        for order in ORDERS
    ]
    mean, interval, ends = row[2].split("\n")

    assert row[1] == "3"
    assert float(mean) == pytest.approx(sum(by_order) / 3, abs=5e-4)
    assert interval.startswith("[")
    assert ends == f"{min(by_order):.3f} to {max(by_order):.3f}"


def test_the_baseline_is_compared_order_by_order(directories):
    """Three pairs, one per order, and words that say so."""
    tables = order_tables(groups_of(directories))
    against = next(t for t in tables if t.caption.startswith("average_accuracy against lora"))

    assert [row[:2] for row in against.rows] == [("curlora", "3")]
    assert "with 3 orders" in against.rows[0][-1]


def test_one_order_has_no_such_table(make_run):
    """Nothing is averaged that was not run."""
    assert order_tables(groups_of([make_run("lora", s) for s in range(3)])) == ()


@pytest.mark.slow
def test_a_report_shows_them(directories, tmp_path):
    """On the page, in Markdown, in JSON and in LaTeX."""
    page, text = write_report(directories, tmp_path / "report.html")

    assert "Over orders of tasks" in page.read_text()
    assert "Over orders of tasks" in text.read_text()
    assert (
        "in 3 orders of its tasks"
        in json.loads(page.with_suffix(".json").read_text())["orders"][0]["caption"]
    )
    assert "orders of its tasks" in page.with_suffix(".tex").read_text()

"""Which runs are averaged, which stand side by side, and which are kept apart."""

from dataclasses import replace

import pytest
import yaml

from continual.metrics import estimate
from continual.records import RunRecord, write_scores
from continual.reports.comparison import comparison_tables, estimates
from continual.reports.groups import group_runs
from continual.reports.verdict import warnings


@pytest.fixture
def grouped(make_run):
    """Return a function from keyword arguments of runs to their groups."""

    def group(*runs):
        return group_runs([RunRecord.open(make_run(**run)) for run in runs])

    return group


def test_runs_that_differ_in_their_seed_are_one_line_with_an_interval(grouped):
    """The mean over three seeds, bracketed; two seeds have none."""
    (group,) = grouped(*({"method": "curlora", "seed": seed} for seed in (2, 0, 1)))
    found = estimates(group)["curlora"]["average_accuracy"]
    by_hand = estimate([record.matrix()[-1].mean() for record in group.records])

    assert [record.seed for record in group.methods[0].records] == [0, 1, 2]
    assert found == by_hand
    assert found.low < found.mean < found.high
    (two,) = grouped({"method": "curlora", "seed": 0}, {"method": "curlora", "seed": 1})
    assert estimates(two)["curlora"]["average_accuracy"].interval is None


def test_an_observer_makes_no_variant(make_run):
    """Who looks on changes nothing, so the two runs are seeds of one method."""
    records = []
    for seed, tracking in enumerate(("none", "tensorboard")):
        directory = make_run("curlora", seed)
        config = yaml.safe_load((directory / "run.yaml").read_text())
        (directory / "run.yaml").write_text(yaml.safe_dump({**config, "tracking": tracking}))
        records.append(RunRecord.open(directory))
    (group,) = group_runs(records)

    assert [runs.label for runs in group.methods] == ["curlora"]


def test_controls_come_last_and_are_marked(grouped):
    """Below them what no training and no model would score."""
    (group,) = grouped({"method": "frozen"}, {"method": "curlora"}, {"method": "joint"})
    table, _ = comparison_tables(group, estimates(group))

    assert [row[0] for row in table.rows] == [
        "curlora",
        "frozen (control)",
        "joint (control)",
        "before training",
        "majority class",
    ]
    assert table.marked == (1, 2, 3, 4)


def test_intransigence_is_against_the_joint_run_of_the_same_seed(grouped):
    """Where there is none, the number of runs that have the value is printed."""
    (group,) = grouped(
        {"method": "curlora", "seed": 0}, {"method": "curlora", "seed": 1}, {"method": "joint"}
    )
    table, _ = comparison_tables(group, estimates(group))
    column = [c.split("\n")[-1] for c in table.columns].index("intransigence")

    assert "n = 1" in table.rows[0][column]
    assert table.rows[1][column] == "–"


def test_other_weights_under_one_name_are_said(grouped):
    """The same name does not make the same backbone."""
    (group,) = grouped(*({"environment": {"backbone": {"fingerprint": f}}} for f in "12"))

    assert "fingerprints differ for weights of tiny-lm" in " ".join(warnings(group))


def test_a_full_comparison_has_nothing_to_warn_about(grouped):
    """Every control, five seeds, the same data: no warning that readers learn to skip."""
    methods = ("curlora", "lora", "head-only", "joint", "per-task")
    (group,) = grouped(*({"method": m, "seed": s} for m in methods for s in range(5)))

    assert warnings(group) == ()


def test_tasks_that_were_not_learned_are_named(grouped):
    """Below the commonest label's score nothing was learned; frozen is meant to be there."""
    (group,) = grouped(
        {"method": "frozen"}, {"method": "curlora"}, {"method": "curlora", "seed": 1}
    )
    assert "commonest label when" not in " ".join(warnings(group))

    rows = [row for row in group.records[0].score_rows if row.metric != "majority"]
    rows += [replace(r, metric="majority", value=0.95) for r in rows if r.experience == -1]
    write_scores(group.records[0].path, rows)
    (group,) = group_runs([RunRecord.open(group.records[0].path)])

    assert "curlora was no better than always saying the commonest label" in warnings(group)[-1]

"""The gate for pipelines."""

from dataclasses import replace

import numpy as np
import pytest

from continual.errors import InputError
from continual.metrics import METRICS
from continual.records import RunRecord
from continual.reports.gate import check


def test_every_limit_is_measured_on_its_own(make_run):
    """One line per criterion, with value and limit; equal to the limit is good enough."""
    record = RunRecord.open(make_run("lora"))
    R = record.matrix()
    forgetting = METRICS["forgetting.chaudhry2018"].function(R)
    (nats,) = record.probes().values()
    ratio = float(np.exp(nats[-1] - nats[0]))
    found = check(
        record,
        max_forgetting=forgetting,
        max_perplexity_ratio=1.01,
        min_accuracy={"news": 0.99, "average": float(R[-1].mean())},
    )

    assert [c.passed for c in found] == [True, ratio <= 1.01, False, True]
    assert str(found[0]) == f"pass  forgetting.chaudhry2018 {forgetting:.4f} (≤ {forgetting:.4f})"
    assert str(found[1]).startswith("FAIL  drift.perplexity_ratio language-reference")
    assert str(found[2]) == f"FAIL  news {R[-1, 0]:.4f} (≥ 0.9900)"


def test_a_baseline_is_no_worse_than_itself(make_run):
    """And a worse run is told where; tolerance forgives."""
    good, bad = RunRecord.open(make_run("curlora")), RunRecord.open(make_run("lora"))

    assert all(c.passed for c in check(good, baseline=good))
    found = check(bad, baseline=good)
    assert not all(c.passed for c in found)
    assert {c.name for c in found} >= {"forgetting.chaudhry2018", *good.tasks}
    assert all(c.passed for c in check(bad, baseline=good, tolerance=1.0))


def test_what_was_not_measured_does_not_pass(make_run):
    """Joint training has no forgetting."""
    path = make_run("lora")
    record = RunRecord.open(path)
    rows = tuple(row for row in record.score_rows if row.experience in (-1, 2))
    (found,) = check(replace(record, score_rows=rows), max_forgetting=1.0)

    assert not found.passed
    assert "not measured" in str(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to check"),
        ({"min_accuracy": {"newz": 0.5}}, "did you mean 'news'"),
    ],
)
def test_questions_that_cannot_be_answered(make_run, options, message):
    """Are errors, not failures."""
    with pytest.raises(InputError, match=message):
        check(RunRecord.open(make_run("lora")), **options)


def test_unfinished_runs_and_other_tasks_are_refused(make_run):
    """Neither says anything about the whole."""
    with pytest.raises(InputError, match="is not finished"):
        check(RunRecord.open(make_run("lora", reached=1)), max_forgetting=1.0)
    other = RunRecord.open(make_run("lora", tasks=("a", "b")))
    with pytest.raises(InputError, match="the same tasks in the same order"):
        check(RunRecord.open(make_run("lora")), baseline=other)
    plain = RunRecord.open(make_run("lora", probe=None))
    with pytest.raises(InputError, match="has no probe"):
        check(plain, max_perplexity_ratio=1.0)

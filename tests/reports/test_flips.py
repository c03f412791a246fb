"""Examples that were right when learned and are wrong at the end."""

from dataclasses import replace

import pytest

from continual.records import ExampleRow, RunRecord, write_examples
from continual.reports.flips import flips_table, negative_flips

TASKS = ("a", "b")


def said(experience, id, correct, nats, prediction="x") -> ExampleRow:
    return ExampleRow(
        experience=experience, task="a", id=id, prediction=prediction, correct=correct, nats=nats
    )


@pytest.fixture
def flips(make_run):
    """The flips of task a over a run of two tasks."""
    directory = make_run(tasks=TASKS, examples=False)
    learned = [said(0, "1", 1.0, 0.2), said(0, "2", 1.0, 0.1), said(0, "3", 0.0, 2.0)]
    final = [said(1, "1", 0.0, 1.2), said(1, "2", 0.0, 3.1, "y\n" * 200), said(1, "3", 1.0, 0.5)]
    write_examples(directory, [*learned, said(0, "gone", 1.0, 0.1), *final])
    (found,) = negative_flips(RunRecord.open(directory))
    return found


def test_losses_are_counted_and_the_worst_comes_first(flips):
    """By the nats that the true answer lost; an example that only one row knows is not counted."""
    assert [then.id for then, _ in flips.lost] == ["2", "1"]
    assert (flips.gained, flips.total) == (1, 3)


def test_a_table_shows_the_few_worst(flips):
    """With what was said before and after, on one line and cut where it is long."""
    table = flips_table(flips, top=1)

    assert (
        "2 of 3 examples turned from right to wrong (2 after b), 1 from wrong to right"
        in table.caption
    )
    ((id, then, now, by, lost),) = table.rows
    assert (id, then, by, lost) == ("2", "x", "b", "+3.000")
    assert "\n" not in now
    assert now.endswith("…")


def test_an_unfinished_run_has_lost_nothing_yet(make_run):
    """There is no last row to compare with."""
    assert negative_flips(RunRecord.open(make_run(reached=1))) == ()


def test_the_blame_is_for_what_turned_an_example_wrong_for_good(make_run):
    """Wrong after b, right after c, wrong after d: lost by d; wrong from b on: lost by b."""
    directory = make_run(tasks=("a", "b", "c", "d"), examples=False)
    answers = {"back": (1, 0, 1, 0), "gone": (1, 0, 0, 0)}
    rows = [
        said(i, id, float(right), 1.0 - right)
        for id, each in answers.items()
        for i, right in enumerate(each)
    ]
    write_examples(directory, rows)
    (found,) = negative_flips(RunRecord.open(directory))

    assert {then.id: by for (then, _), by in zip(found.lost, found.blamed, strict=True)} == {
        "back": "d",
        "gone": "b",
    }


def test_a_graded_answer_is_right_from_one_half_on(make_run):
    """The caption says so where a score is graded, and not where an answer is right or wrong."""
    directory = make_run(tasks=TASKS, examples=False)
    write_examples(directory, [said(0, "1", 0.7, 0.2), said(1, "1", 0.4, 1.0)])
    record = RunRecord.open(directory)
    (plain,) = negative_flips(record)
    (graded,) = negative_flips(replace(record, score_ids=("rouge_l", "rouge_l")))

    assert len(graded.lost) == 1
    assert flips_table(graded).caption.endswith("; right is rouge_l >= 0.5")
    assert "right is" not in flips_table(plain).caption

"""The live table of a study."""

import io

from rich.console import Console

from continual.runs.progress import LineReporter
from continual.studies.table import Row, TableReporter


def test_what_is_left_follows_the_pace_since_the_first_position():
    """Worked: began at a quarter of the run; 10 s later at half of it, so 20 s are left."""
    row = Row(learned=1, experiences=4, began=(100.0, 0.25))
    assert row.left(110.0) is None  # nothing shows the pace yet
    row.learned = 2

    assert row.left(110.0) == 20.0
    row.doing, row.done, row.total = "learning food", 5, 10
    assert row.share() == 0.625
    row.doing = "evaluating food"
    assert row.share() == 0.5


def test_rows_are_those_at_work_and_notes_stand_above():
    """A run that has ended loses its row; what is printed meanwhile is not overwritten."""
    reporter = TableReporter()
    shown = io.StringIO()
    reporter._console = reporter._live.console = Console(file=shown, width=120, height=9)
    with reporter:
        reporter.runs(["a-seed0", "b-seed0"], waiting=3, done=0, failed=0)
        reporter.learned("a-seed0", 1, 3, "weather 0.875", "a sentence")
        reporter.step("a-seed0: learning food", 4, 10)
        before = _text(reporter)
        reporter.note("warning: look here")
        reporter.runs(["b-seed0"], waiting=2, done=1, failed=1)
        after = _text(reporter)

    assert before.splitlines()[1].split() == (
        ["a-seed0", "2", "of", "3", "learning", "food", "4", "of", "10", "weather", "0.875"]
    )
    assert "study: 0 of 5 runs done, 2 running, 3 waiting, 0 failed" in before
    assert "a-seed0" not in after
    assert "warning: look here" in shown.getvalue()
    assert (
        shown.getvalue().strip().endswith("study: 1 of 5 runs done, 1 running, 2 waiting, 1 failed")
    )


def test_more_rows_than_lines_are_counted():
    """The table never grows out of the terminal."""
    reporter = TableReporter()
    reporter._console = reporter._live.console = Console(file=io.StringIO(), width=120, height=9)
    with reporter:
        reporter.runs([f"run-{k}" for k in range(20)], waiting=0, done=0, failed=0)
        lines = _text(reporter).splitlines()

    assert "... and 17 more" in lines[4]


def _text(reporter):
    console = Console(file=io.StringIO(), width=120)
    console.print(reporter._draw())
    return console.file.getvalue()


def test_lines_say_what_was_learned_and_when_runs_end(capsys):
    """One for every experience and every run, none for steps."""
    reporter = LineReporter()
    reporter.runs(["a"], waiting=1, done=0, failed=0)
    reporter.learned("a", 0, 2, "", "")
    reporter.step("a: learning food", 1, 2)
    reporter.learned("a", 1, 2, "food 1.000", "a has learned food")
    reporter.runs([], waiting=1, done=1, failed=0)

    assert capsys.readouterr().err.splitlines() == [
        "a has learned food",
        "study: 1 of 2 runs done, 0 running, 1 waiting, 0 failed",
    ]

"""The first tasks of a sequence, tested on their validation splits: what may choose settings."""

from dataclasses import replace

from continual.errors import InputError
from continual.scenario.frozen import FrozenMapping
from continual.scenario.loading import load_before_test
from continual.scenario.reading import quiet
from continual.scenario.sequence import Scenario
from continual.scenario.sources import RowsSource
from continual.scenario.task import Task
from continual.scenario.values import Limit


def held_out(scenario: Scenario, tasks: int = 1) -> Scenario:
    """Return the first tasks with their validation splits in the place of the test splits.

    They are learned from the same training examples. Test splits, probes and later tasks are not
    in it, so whatever is chosen by its scores is chosen without them; their sources are not even
    read. The others are read now. (That validation and test share their examples is warned of when
    it is loaded: here it is meant.)

    Args:
        scenario: the whole sequence.
        tasks: how many of its tasks have been seen when the choice is made.

    Raises:
        InputError: there are not so many tasks, or one has no validation split.
    """
    if not 1 <= tasks <= len(scenario):
        raise InputError(
            f"held_out takes 1 to {len(scenario)} tasks of scenario {scenario.name!r}; got {tasks}."
        )
    first = tuple(_judged_by_validation(task) for task in scenario.tasks[:tasks])
    return replace(scenario, tasks=first, probes=(), orders={})


def _judged_by_validation(task: Task) -> Task:
    learned, judge = load_before_test(task)
    if not len(judge):
        raise InputError(
            f"task {task.name!r} has no validation split, by which alone a setting may be chosen; "
            "give validation_fraction above 0, or a validation source."
        )
    with quiet():
        train = RowsSource(rows=learned.table())
        test = RowsSource(rows=judge.table())
    columns = {"id": "id"} if "id" in task.columns else {}
    parts = {"train": train, "validation": test, "test": test}
    named = {"columns": FrozenMapping(columns), "label_names": FrozenMapping()}  # the rows are ours
    return replace(task, **parts, **named, limit=Limit())

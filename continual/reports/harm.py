"""Which experience hurt which task: the differences of R down its rows."""

import numpy as np

from continual.reports.groups import Group, MethodRuns
from continual.reports.tables import MISSING, Table, number_text


def harm_tables(group: Group) -> tuple[Table, ...]:
    """Return, per method, how each experience changed the score of every earlier task.

    Means over seeds of R[i, j] − R[i − 1, j] for i > j; methods with fewer than two rows of R have
    no table.
    """
    return tuple(table for runs in group.methods if (table := _table(runs)) is not None)


def _table(runs: MethodRuns) -> Table | None:
    tasks = runs.records[0].tasks
    steps = np.mean([np.diff(record.matrix(), axis=0) for record in runs.records], axis=0)
    below = [
        [steps[i - 1, j] if j < i else np.nan for j in range(len(tasks))] for i in range(len(tasks))
    ]
    changes = np.array(below[1:])
    if len(tasks) < 2 or np.isnan(changes[:, 0]).all():
        return None
    rows = tuple(
        (f"learning {tasks[i + 1]}", *(_cell(value) for value in changes[i, :-1]))
        for i in range(len(changes))
    )
    worst = np.unravel_index(np.nanargmin(changes), changes.shape)
    said = f"; most: {tasks[worst[1]]} by {tasks[worst[0] + 1]}" if changes[worst] < 0 else ""
    return Table(
        caption=f"{runs.label}: change of every earlier task by each experience{said}",
        columns=("by", *tasks[:-1]),
        rows=rows,
    )


def _cell(value: float) -> str:
    return MISSING if np.isnan(value) else number_text("bwt", float(value))

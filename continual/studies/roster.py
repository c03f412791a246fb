"""Which cells wait, are at work, have finished or failed: the same rules wherever they run.

A finished cell is never begun again. A cell whose process is lost waits once more, before the
others, and is given up after the third time. What happened is kept in ``cells.jsonl`` beside the
run directories: one line for every beginning, loss and end, with the process that it happened to.
"""

import datetime
from collections import Counter, deque
from collections.abc import Sequence

from continual.records.events import append_event
from continual.runs.progress import Reporter
from continual.studies.cell import Cell, LostWorkerError, described

TRIES = 3  # processes that one cell may lose
JOURNAL = "cells.jsonl"


class Roster:
    """The cells of a study and how far they are.

    Attributes:
        cells: all of them.
        waiting: indices of those that are to be begun, the next one first.
        working: indices of those at work.
        outcomes: by index, what an ended cell raised; None where it finished.
        lost: how many processes a cell has lost.
    """

    def __init__(self, cells: Sequence[Cell], reporter: Reporter) -> None:
        """Tell those that finished before from those that wait."""
        self.cells, self.reporter = cells, reporter
        self.outcomes: dict[int, Exception | None] = {}
        self.outcomes |= {k: None for k, cell in enumerate(cells) if cell.finished()}
        self.waiting = deque(k for k in range(len(cells)) if k not in self.outcomes)
        self.working: set[int] = set()
        self.lost: Counter[int] = Counter()
        if self.outcomes:
            reporter.note(f"{len(self.outcomes)} of {len(cells)} runs had finished before.")
        self._tell()

    @property
    def done(self) -> bool:
        """Whether every cell has ended."""
        return len(self.outcomes) == len(self.cells)

    def begin(self, index: int, host: str, pid: int) -> None:
        """A process has begun a cell, or goes on with it."""
        self.working.add(index)
        self._keep("begun", index, host=host, pid=pid)
        self._tell()

    def finish(self, index: int, outcome: Exception | None) -> None:
        """A cell has ended; nothing that it raised is a reason to try it again."""
        self.outcomes[index] = outcome
        self.working.discard(index)
        if outcome is None:
            self._keep("finished", index)
        else:
            self._keep("failed", index, why=described(outcome))
        self._tell()

    def lose(self, index: int, how: str, why: str) -> None:
        """The process of a cell is gone: let the cell wait again, or give it up.

        Args:
            index: of the cell.
            how: what is known of the end, as "the process of X ended with exit code -9".
            why: what to do about it, for when it is given up.
        """
        self.lost[index] += 1
        self.working.discard(index)
        self._keep("lost", index, why=how)
        if self.lost[index] < TRIES:
            self.reporter.note(f"{how}; going on with the run in a new process.")
            self.waiting.appendleft(index)
            self._tell()
        else:
            self.finish(index, LostWorkerError(f"{how}, for the {TRIES}rd time; {why}."))

    def raised(self) -> list[Exception | None]:
        """Return what each cell raised, None where it finished."""
        return [self.outcomes[k] for k in range(len(self.cells))]

    def _tell(self) -> None:
        failed = sum(error is not None for error in self.outcomes.values())
        self.reporter.runs(
            [self.cells[k].name for k in sorted(self.working)],
            waiting=len(self.cells) - len(self.working) - len(self.outcomes),
            done=len(self.outcomes) - failed,
            failed=failed,
        )

    def _keep(self, what: str, index: int, **facts: str | int) -> None:
        cell = self.cells[index]
        cell.out.parent.mkdir(parents=True, exist_ok=True)
        now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S.%f}"
        line = {"cell": cell.name, "event": what, **facts, "time": now}
        append_event(cell.out.parent / JOURNAL, line)

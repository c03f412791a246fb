"""The same grid in several processes of this machine, each with its share of the cores.

Small models leave a second core idle most of the time: two runs of one thread each are faster than
one run of two threads after the other. Every process loads the backbone for itself.
"""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing.queues import Queue
from queue import Empty
from typing import TYPE_CHECKING, Any

from continual.records import RunRecord
from continual.runs.progress import Reporter

if TYPE_CHECKING:
    from continual.studies.grid import Cell

PATIENCE = 0.1  # seconds between looks at what the processes have to say
_told: "list[Queue[Any]]" = []  # in a worker: where it reports to


class Messenger(Reporter):
    """In a worker process: sends everything to the process that shows it."""

    def __init__(self, queue: "Queue[Any]") -> None:
        self._queue = queue

    def note(self, text: str) -> None:
        """Send a note."""
        self._queue.put(("note", text))

    def step(self, what: str, done: int, total: int) -> None:
        """Send a position."""
        self._queue.put(("step", what, done, total))

    def close(self) -> None:
        """The queue belongs to the parent."""


def run_in_processes(cells: "Sequence[Cell]", jobs: int, reporter: Reporter) -> list[RunRecord]:
    """Run the cells in ``jobs`` processes; results come back in the order of the cells.

    What a cell raises is raised here once the cells under way have ended; what was learned by then
    is kept, and the same study goes on from there.
    """
    context = multiprocessing.get_context("spawn")
    queue: Queue[Any] = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with (
        reporter,
        ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_begin, initargs=(queue, threads)
        ) as pool,
    ):
        waiting = {pool.submit(_run, cell) for cell in cells}
        while waiting:
            finished, waiting = wait(waiting, timeout=PATIENCE, return_when=FIRST_COMPLETED)
            _show(queue, reporter)
            for future in finished:
                if future.exception() is not None:
                    pool.shutdown(cancel_futures=True)
                future.result()
        _show(queue, reporter)
    return [RunRecord.open(cell.out) for cell in cells]


def _show(queue: "Queue[Any]", reporter: Reporter) -> None:
    """Pass on what the processes have said since the last time."""
    while True:
        try:
            kind, *values = queue.get_nowait()
        except Empty:
            return
        if kind == "note":
            reporter.note(*values)
        else:
            reporter.step(*values)


def _begin(queue: "Queue[Any]", threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    _told.append(queue)


def _run(cell: "Cell") -> None:
    from continual.studies.grid import run_cell

    run_cell(cell, Messenger(_told[0]))

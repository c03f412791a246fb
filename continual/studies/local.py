"""Cells in several processes of this machine, each with its share of the cores.

Small models leave a second core idle most of the time: two runs of one thread each are faster than
one run of two threads after the other. Every process loads the backbone for itself.

A signal is passed on to the processes, whose runs save and stop; the same study goes on with them.

A process that dies (killed by the system, a crash in native code) loses nothing: its run directory
goes on in a new one. A cell is begun when those before it have loaded, and only where memory for it
is left: as much as the largest one so far has taken.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

import psutil

from continual.runs.progress import Reporter
from continual.runs.signals import stoppable
from continual.studies.cell import Cell
from continual.studies.cores import cores
from continual.studies.roster import Roster
from continual.studies.worker import Worker
from continual.training.stopping import Halt

PATIENCE = 0.5  # seconds between looks at the memory that is left


class Crew:
    """The workers, the cells that wait, and what came of the others."""

    def __init__(self, cells: Sequence[Cell], jobs: int, reporter: Reporter) -> None:
        """Start the processes."""
        self.cells, self.reporter = cells, reporter
        self.threads = max(1, cores() // jobs)
        self.roster = Roster(cells, reporter)
        self.most = 0  # bytes that a cell has taken
        self.halt = Halt()  # whether somebody wants the study to stop
        self.workers = [Worker(self.threads) for _ in range(jobs)]

    def work(self) -> None:
        """Run every cell to its end.

        Raises:
            StoppedError: somebody has asked; every cell at work has saved what it had.
        """
        waiting = self.roster.waiting
        while not self.roster.done:
            if self.halt.signal is not None:
                self._stop()
            for worker in self.workers:
                if worker.index is None and waiting and self._room():
                    self._begin(worker, waiting.popleft())
            pipes = [worker.pipe for worker in self.workers]
            ready = wait([*pipes, *(w.process.sentinel for w in self.workers)], PATIENCE)
            for worker in list(self.workers):
                if worker.pipe in ready or worker.process.sentinel in ready:
                    self._listen(worker)

    def _stop(self) -> None:
        """Let every process save and end, show what they still say, and raise."""
        for worker in self.workers:
            worker.stop()
        for worker in self.workers:
            with suppress(EOFError, OSError):
                while True:  # until it has closed its end
                    self._hear(worker, *worker.pipe.recv())
            worker.process.join()
        self.halt.check()

    def _begin(self, worker: Worker, index: int) -> None:
        try:
            worker.give(index, self.cells[index])
        except BrokenPipeError:  # it was lost while it waited; the cell has not begun
            self.roster.waiting.appendleft(index)
            self._replace(worker)
        else:
            self.roster.begin(index, socket.gethostname(), worker.process.pid or 0)

    def _room(self) -> bool:
        """Say whether another cell fits into memory beside those at work, one loading at a time."""
        busy = [worker for worker in self.workers if worker.index is not None]
        self.most = max([self.most, *(worker.memory() for worker in busy)])
        if not busy:
            return True
        loaded = all(worker.reported for worker in busy)
        return loaded and psutil.virtual_memory().available > self.most

    def _listen(self, worker: Worker) -> None:
        """Take in all that a worker has said; where it is gone, put another in its place."""
        try:
            while worker.pipe.poll():
                self._hear(worker, *worker.pipe.recv())
        except (EOFError, ConnectionResetError):
            self._replace(worker)

    def _hear(self, worker: Worker, kind: str, *values: Any) -> None:
        if kind == "note":
            self.reporter.note(*values)
        elif kind == "step":
            worker.reported |= ": loading" not in values[0]
            self.reporter.step(*values)
        elif kind == "learned":
            self.reporter.learned(*values)
        else:
            self.most = max(self.most, worker.memory())
            assert worker.index is not None
            self.roster.finish(worker.index, *values)
            worker.index = None

    def _replace(self, worker: Worker) -> None:
        worker.process.join(PATIENCE)  # its own exit code, where it is still on its way out
        worker.end()
        self.workers[self.workers.index(worker)] = Worker(self.threads)
        if worker.index is None:
            return
        cell, code = self.cells[worker.index], worker.process.exitcode
        killed = code is not None and code < 0
        why = "out of memory? Lower --jobs" if killed else "its own error is above"
        how = f"the process of {cell.name} ended with exit code {code}"
        self.roster.lose(worker.index, how, why)


def run_in_processes(
    cells: Sequence[Cell], jobs: int, reporter: Reporter
) -> list[Exception | None]:
    """Run the cells in ``jobs`` processes; return what each raised, None where it finished."""
    crew = Crew(cells, jobs, reporter)
    try:
        with stoppable(crew.halt), crew.halt.hold():
            crew.work()
    finally:
        for worker in crew.workers:
            worker.end()
    return crew.roster.raised()

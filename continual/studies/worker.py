"""A process of this machine that makes one run after another, and what it says meanwhile."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection

import psutil

from continual.errors import StoppedError
from continual.runs.progress import Reporter
from continual.studies.cell import Cell, attempt


class Messenger(Reporter):
    """In a worker process: sends everything to the process that shows it."""

    def __init__(self, pipe: Connection) -> None:
        """Speak into this pipe."""
        self._pipe = pipe

    def note(self, text: str) -> None:
        """Send a note."""
        self._pipe.send(("note", text))

    def step(self, what: str, done: int, total: int) -> None:
        """Send a position."""
        self._pipe.send(("step", what, done, total))

    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Send an end of an experience."""
        self._pipe.send(("learned", run, done, total, score, text))

    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """Cells do not know of each other."""

    def close(self) -> None:
        """The pipe lives as long as the process."""


class Worker:
    """A process that runs one cell after another.

    Attributes:
        index: of the cell that it runs; None: it waits for one.
        reported: whether that cell has begun to learn or evaluate, so that its memory is known.
    """

    def __init__(self, threads: int) -> None:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        level = logging.getLogger("continual").level
        self.process = context.Process(target=_serve, args=(theirs, threads, level), daemon=True)
        self.process.start()
        theirs.close()
        self.index: int | None = None
        self.reported = False

    def give(self, index: int, cell: Cell) -> None:
        """Let it run a cell."""
        self.pipe.send(cell)
        self.index, self.reported = index, False

    def memory(self) -> int:
        """Return the bytes that it holds now; 0 where it is gone."""
        try:
            return psutil.Process(self.process.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return 0

    def stop(self) -> None:
        """Let it save what it has and end."""
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGTERM)

    def end(self) -> None:
        """Stop it, whatever it does."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, threads: int, level: int) -> None:
    """Run the cells that come through the pipe, until it is closed at the other end."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the study passes it on
    torch.set_num_threads(threads)
    logging.getLogger("continual").setLevel(level)
    while True:
        try:
            cell = pipe.recv()
        except EOFError:
            return
        try:
            error = attempt(cell, Messenger(pipe))
        except StoppedError as stop:
            pipe.send(("note", str(stop)))
            return
        pipe.send(("end", error))

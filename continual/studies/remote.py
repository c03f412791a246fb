"""What of a study runs on the nodes of a Ray cluster: one cell, and the mailbox that hears it."""

import logging
import os
import resource
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from continual.errors import InputError, StoppedError
from continual.runs.progress import Reporter
from continual.studies.cell import Cell, attempt
from continual.studies.roster import JOURNAL
from continual.studies.storage import hindrance, own_version

EVERY = 0.2  # seconds between positions that are sent
SILENCE = 120.0  # seconds without an answer of the mailbox after which nobody is there any more
NOTES = 10_000  # kept where nobody takes them out


class Abandoned(BaseException):
    """Whoever asked for this run is gone; it must not go on writing beside its successor.

    No ``Exception``, so that it is not taken for something that the run raised.
    """


class Mailbox:
    """An actor that keeps what runs say until the driver takes it; of positions the newest."""

    def __init__(self) -> None:
        """Begin empty."""
        self._said: deque[tuple[int, str, tuple[Any, ...]]] = deque(maxlen=NOTES)
        self._steps: dict[int, tuple[Any, ...]] = {}

    def put(self, index: int, kind: str, values: tuple[Any, ...]) -> None:
        """Keep what the run with that index says."""
        if kind == "step":
            self._steps[index] = values
        else:
            self._said.append((index, kind, values))

    def take(self) -> list[tuple[int, str, tuple[Any, ...]]]:
        """Return what is there, and forget it."""
        found = [*self._said, *((k, "step", values) for k, values in self._steps.items())]
        self._said.clear()
        self._steps.clear()
        return found


@dataclass(frozen=True, kw_only=True)
class Post:
    """Where a run sends what it says, and as whom."""

    mailbox: Any
    index: int


class RemoteReporter(Reporter):
    """On a node: sends what a run says, positions seldom, and stops it where nobody listens."""

    def __init__(self, post: Post) -> None:
        """Nothing has been sent yet."""
        self._post = post
        self._pending: Any = None
        self._heard = self._sent = time.monotonic()
        self._loaded = False

    def begun(self) -> None:
        """Say which process it is; returns when that has arrived."""
        values = (socket.gethostname(), os.getpid())
        arrived = self._post.mailbox.put.remote(self._post.index, "begun", values).future()
        try:
            arrived.result(SILENCE)
        except Exception as error:  # whatever Ray calls it
            raise Abandoned(f"the study that asked for this run is gone: {error}") from error

    def note(self, text: str) -> None:
        """Send a note."""
        self._send("note", text)

    def step(self, what: str, done: int, total: int) -> None:
        """Send a position, now and then; the first one behind the loading with the memory."""
        if not self._loaded and ": loading" not in what:
            self._loaded = True
            self._send("memory", peak_memory())
        if done == total or time.monotonic() - self._sent > EVERY:
            self._sent = time.monotonic()
            self._send("step", what, done, total)

    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Send an end of an experience."""
        self._send("learned", run, done, total, score, text)

    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """Cells do not know of each other."""

    def close(self) -> None:
        """Send what the run has taken at most."""
        self._send("memory", peak_memory())

    def _send(self, kind: str, *values: Any) -> None:
        """Send something; every now and then see that it arrives.

        By futures: a task that waits for Ray lends its cores to another one meanwhile.
        """
        if self._pending is None:
            self._heard = time.monotonic()
        elif self._pending.done():
            if error := self._pending.exception():
                raise Abandoned(f"the study that asked for this run is gone: {error}") from error
            self._pending, self._heard = None, time.monotonic()
        elif time.monotonic() - self._heard > SILENCE:
            raise Abandoned(f"the study that asked for this run is silent for {SILENCE:g} s.")
        sent = self._post.mailbox.put.remote(self._post.index, kind, values)
        if self._pending is None:
            self._pending = sent.future()


@dataclass(frozen=True, kw_only=True)
class Place:
    """How a process on a node is to be set up.

    Attributes:
        word: what stands in the journal of the study; see ``storage``.
        home: the folder that relative paths start from; nodes that have it work there.
        threads: of the run.
        level: of what it logs.
    """

    word: str
    home: str
    threads: int
    level: int


def serve_cell(cell: Cell, post: Post, place: Place) -> Exception | None:
    """Run one cell where Ray has put it; what it raises is a result, not a reason to try again."""
    import torch

    if Path(place.home).is_dir():
        os.chdir(place.home)
    torch.set_num_threads(place.threads)
    logging.getLogger("continual").setLevel(place.level)
    problem = hindrance([str(cell.out.parent / JOURNAL)], place.word, own_version())
    if problem:
        return InputError(f"{socket.gethostname()} {problem}.")
    tell = RemoteReporter(post)
    try:
        tell.begun()
        outcome = attempt(cell, tell)
        tell.close()
    except StoppedError as stop:  # cancelled, or the node is going down; the run is saved
        tell.note(str(stop))
        raise KeyboardInterrupt from stop  # what Ray takes for a task that was cancelled
    except Abandoned as error:
        sys.exit(str(error))
    return outcome


def peak_memory() -> int:
    """Return the bytes that this process has held at most."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

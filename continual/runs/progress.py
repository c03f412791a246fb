"""What a person sees while a run works: bars on a terminal, one line per experience elsewhere."""

import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any


class Reporter(ABC):
    """Is told how a run gets on; a context manager around the run."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Say something once."""

    @abstractmethod
    def step(self, what: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` steps of ``what`` are made."""

    @abstractmethod
    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Say that a run has learned ``done`` of its ``total`` experiences.

        Args:
            run: the name of its method, or of its cell in a study.
            done: experiences that are behind it.
            total: experiences of the scenario.
            score: on the task that was learned last, in a few words; "" when the run begins.
            text: the same in a sentence; "" when the run begins.
        """

    @abstractmethod
    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """Say which runs of a study are at work, and how many are not."""

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Leave the terminal as it was."""


class SilentReporter(Reporter):
    """Says nothing: the default of the Python API, and ``--quiet``."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def step(self, what: str, done: int, total: int) -> None:
        """Say nothing."""

    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Say nothing."""

    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Nothing was opened."""


class LineReporter(Reporter):
    """Writes notes to stderr and no bars: for logs and pipes."""

    def __init__(self) -> None:
        """Nothing has been said yet."""
        self._ended = 0

    def note(self, text: str) -> None:
        """Write one line."""
        print(text, file=sys.stderr, flush=True)

    def step(self, what: str, done: int, total: int) -> None:
        """Bars are for terminals."""

    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Write what was learned."""
        if text:
            self.note(text)

    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """Write where a study is whenever a run of it has ended."""
        if done + failed > self._ended:
            self.note(counts(len(working), waiting, done, failed))
        self._ended = done + failed

    def close(self) -> None:
        """Nothing was opened."""


class BarReporter(Reporter):
    """A progress bar on stderr for every run at work, with notes above them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._bars: dict[str, Any] = {}  # by the run that a bar belongs to
        self._what: dict[str, str] = {}

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, markup=False)

    def step(self, what: str, done: int, total: int) -> None:
        """Move a bar; a new ``what`` of the same run starts a new bar in the old one's place."""
        run = what.partition(":")[0]
        if not self._bars:
            self._progress.start()
        if run not in self._bars:
            self._bars[run] = self._progress.add_task(what, total=total)
        if what != self._what.get(run):
            self._progress.reset(self._bars[run], description=what, total=total)
            self._what[run] = what
        self._progress.update(self._bars[run], completed=done, total=total)
        if done == total:  # until there is more to say about this run
            self._progress.remove_task(self._bars.pop(run))
            self._what.pop(run)

    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Print what was learned above the bar."""
        if text:
            self.note(text)

    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """Move a bar for the whole study."""
        total = len(working) + waiting + done + failed
        self.step("study: runs finished", done + failed, total)

    def close(self) -> None:
        """Remove the bar."""
        self._progress.stop()


def counts(working: int, waiting: int, done: int, failed: int) -> str:
    """Return one line about how the runs of a study get on.

    >>> counts(2, 19, 3, 0)
    'study: 3 of 24 runs done, 2 running, 19 waiting, 0 failed'
    """
    total = working + waiting + done + failed
    return (
        f"study: {done} of {total} runs done, {working} running, {waiting} waiting, {failed} failed"
    )


def reporter(quiet: bool) -> Reporter:
    """Return the reporter that fits: silent, bars on a terminal, plain lines elsewhere.

    Silence includes the warnings about data, which ``environment.json`` keeps.
    """
    if quiet:
        logging.getLogger("continual").setLevel(logging.ERROR)
        return SilentReporter()
    return BarReporter() if sys.stderr.isatty() else LineReporter()

"""One run of a study, and what came of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from continual.errors import InputError, with_notes
from continual.records import RunRecord
from continual.records.lock import InUseError
from continual.records.paths import COMPLETE
from continual.runs.progress import Reporter
from continual.scenario import Scenario
from continual.studies.judging import Judge, PrunedError
from continual.training.non_finite import NonFiniteLossError

ORPHANED = 60.0  # seconds in which a process whose study is gone ends
LOOKS = 0.5  # seconds between looks whether it has
Outcome = RunRecord | Exception  # of one cell: its finished record, or what it raised


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a study, as the arguments of :func:`continual.run`.

    ``settings`` are those of the study with the method's own on top. Where there is a ``judge``,
    the run ends early if it says so.
    """

    scenario: Scenario
    method: str
    seed: int
    out: Path
    backbone: str | None
    settings: Mapping[str, Any]
    judge: Judge | None = None

    @property
    def name(self) -> str:
        """What tells it from the other cells: the name of its directory."""
        return self.out.name

    def finished(self) -> bool:
        """Say whether its run has reached its end."""
        return (self.out / COMPLETE).exists()


class CellError(RuntimeError):
    """What a cell raised in another process, in words: not every error can be sent as it is."""


PORTABLE = (InputError, NonFiniteLossError, PrunedError)  # made of their words alone


class LostWorkerError(RuntimeError):
    """The process of a cell ended without a word, more than once."""


def described(error: Exception) -> str:
    """Return what an error says, with its kind in front."""
    words = with_notes(error)
    return words if isinstance(error, CellError) else f"{type(error).__name__}: {words}"


class Named(Reporter):
    """Passes on what one run says under the name of its cell: methods repeat, cells do not.

    What the cell's judge says about it is heard at the end of every experience.
    """

    def __init__(self, cell: Cell, to: Reporter) -> None:
        """Speak for that cell."""
        self._cell, self._name, self._to = cell, cell.name, to

    def note(self, text: str) -> None:
        """Pass on a note."""
        self._to.note(text)

    def step(self, what: str, done: int, total: int) -> None:
        """Pass on a position, the method's name replaced by the cell's."""
        self._to.step(f"{self._name}:{what.partition(':')[2]}", done, total)

    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Pass on an end of an experience, the method's name replaced by the cell's."""
        self._to.learned(self._name, done, total, score, text)
        if self._cell.judge is not None and 0 < done < total:
            self._cell.judge.check(RunRecord.open(self._cell.out))

    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """One run knows of no others."""

    def close(self) -> None:
        """The other one goes on."""


def run_cell(cell: Cell, reporter: Reporter) -> RunRecord:
    """Run one cell, or go on with it, or read what it has finished.

    Where a process that is about to end still holds the run directory (that of a study which was
    killed, or of a node which is taken for lost) it is waited for: two never write there at once.

    Raises:
        InUseError: it still does after ``ORPHANED`` seconds.
        Exception: what the run raises.
    """
    until = time.monotonic() + ORPHANED
    while True:
        try:
            return _run(cell, reporter)
        except InUseError:
            if time.monotonic() > until:
                raise
            time.sleep(LOOKS)


def _run(cell: Cell, reporter: Reporter) -> RunRecord:
    from continual.runs.assemble import run

    return run(
        cell.scenario,
        cell.method,
        out=cell.out,
        backbone=cell.backbone,
        seed=cell.seed,
        settings=cell.settings,
        reporter=Named(cell, reporter),
    )


def attempt(cell: Cell, reporter: Reporter) -> Exception | None:
    """Run a cell in a process that is not the one which asked; return what it raised.

    Whatever it is, the other cells go on; and it can be sent to the process that asked.
    """
    try:
        run_cell(cell, reporter)
    except Exception as raised:
        return raised if isinstance(raised, PORTABLE) else CellError(described(raised))
    return None

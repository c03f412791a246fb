"""What ends a run before its end, told with what is saved and how to go on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from continual.backbone.memory import out_of_memory
from continual.errors import StoppedError
from continual.scenario import Scenario
from continual.training.checkpoint import Position

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
GONE = "When the cause is gone, the same command continues from there."


class Standing:
    """Where a run stands on the disk.

    Attributes:
        begun: whether this process has begun to work on it.
        saved: the newest checkpoint; None: there is none.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.begun = False
        self.saved: Position | None = None

    def __str__(self) -> str:
        """Return one sentence."""
        at = self.saved
        if not self.begun:
            return "It was still loading and has changed nothing."
        if at is None:
            return "Nothing is saved yet."
        if at.experience < 0:
            return "The scores before training are saved."
        task = self._scenario[at.experience].task.name
        which = f"experience {at.experience + 1} of {len(self._scenario)} ({task})"
        if at.phase == "training":
            return f"It is saved up to step {at.step} of {which}."
        if at.phase == "trained":
            return f"It is saved up to the end of training on {which}, not evaluated yet."
        return f"It is saved up to the evaluation after {which}."


@contextmanager
def told(folder: Path, standing: Standing) -> Iterator[None]:
    """Add to whatever ends a run where it stands and how to go on.

    Errors keep their type and words; the rest is a note of theirs, which the command prints.

    Raises:
        StoppedError: with these words, in place of the one without.
    """
    try:
        yield
    except StoppedError as stop:
        words = f"{folder}: stopped by {stop.name}. {standing}"
        raise StoppedError(stop.signal, words, stop.silent) from None
    except Exception as error:
        if standing.begun:
            error.add_note(f"{folder}: {standing} {_way_on(error)}".strip())
        raise


def _way_on(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in FULL:
        return (
            "The disk is full, or a file may not grow that far: make room and run the same command "
            "again; it continues from there."
        )
    if isinstance(error, OSError) and error.errno in CLOSED:
        return (
            "Make the directory writable and run the same command again; it continues from there."
        )
    if out_of_memory(error):
        return (
            "Free memory or use a larger machine and run the same command again; it continues from "
            "there. A smaller adapter or backbone needs a new directory."
        )
    return GONE

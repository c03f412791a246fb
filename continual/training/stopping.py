"""Stopping in the middle: where a run may be left at once, and where it finishes first."""

from collections.abc import Iterator
from contextlib import contextmanager

from continual.errors import StoppedError
from continual.processes import ALONE, Processes


class Halt:
    """Whether a run has been asked to stop, and whether it may be left where it is.

    A run is left at once unless it holds: then it goes on to the next ``check`` or the end of
    ``hold``, by when it has saved what it has. Nothing asks it unless somebody installs handlers.

    Of several processes any may be asked. While they hold, they stop where they have agreed to, all
    at the same place.

    Attributes:
        processes: those that stop together.
        asked: the number of the signal that this process has had; None: none.
        signal: of the one that all know of.
        held: whether a request waits.
    """

    def __init__(self, processes: Processes = ALONE) -> None:
        self.processes = processes
        self.asked: int | None = None
        self.signal: int | None = None
        self.held = False

    def ask(self, number: int) -> None:
        """Ask to stop, from a signal handler.

        Raises:
            StoppedError: nothing holds it.
        """
        self.asked = number
        if self.processes.count == 1:
            self.signal = number
        if not self.held:
            self.check()

    def agree(self) -> None:
        """Let every process know what any of them was asked; all must call this."""
        if self.processes.count > 1:
            asked = [one for one in self.processes.gather(self.asked) if one is not None]
            self.signal = asked[0] if asked else None

    def check(self) -> None:
        """Raise ``StoppedError`` where all know that somebody has asked, or nothing holds this one.

        Where all know, all stop, and the first of them says so.
        """
        if self.signal is not None:
            raise StoppedError(self.signal, silent=not self.processes.first)
        if self.asked is not None and not self.held:
            raise StoppedError(self.asked)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Inside, a request waits; at the end it waits no longer. All processes come to the end.

        Raises:
            StoppedError: at the end, somebody has asked.
        """
        before, self.held = self.held, True
        try:
            yield
            if not before:
                self.agree()
        finally:
            self.held = before
        if not before:
            self.check()

    @contextmanager
    def release(self) -> Iterator[None]:
        """Inside, what is not saved can be made again, so that a request does not wait.

        All processes begin it together.

        Raises:
            StoppedError: somebody has asked.
        """
        self.agree()
        before, self.held = self.held, False
        try:
            self.check()
            yield
        finally:
            self.held = before

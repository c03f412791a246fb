"""What we say when we are given something that cannot be used."""

import signal
from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """What the user gave cannot be used; nothing was written.

    The message says what was given, what is allowed and what to do. The command line exits with 2.
    """


class StoppedError(BaseException):
    """A run was asked to stop by a signal, has saved what it had, and can be continued.

    Like KeyboardInterrupt it is no ``Exception``: nobody's ``except Exception`` goes on with
    something else. The command line exits with ``status``.

    Attributes:
        signal: the number of the signal: ``signal.SIGINT`` (Ctrl-C) or ``signal.SIGTERM``.
        silent: whether another process of the same run says it.
    """

    def __init__(self, number: int, message: str = "", silent: bool = False) -> None:
        super().__init__(number, message, silent)  # all, so that it can be sent between processes
        self.signal, self.silent = number, silent
        self._message = message or f"stopped by {self.name}."

    def __str__(self) -> str:
        return self._message

    @property
    def name(self) -> str:
        """The name of the signal, such as SIGTERM."""
        return signal.Signals(self.signal).name

    @property
    def status(self) -> int:
        """The exit code of a process that ends because of it: 128 + the number."""
        return 128 + self.signal


def with_notes(error: BaseException) -> str:
    """Return what an error says and, below it, its notes: where a run stands, and how to go on.

    >>> error = ValueError("no such column")
    >>> error.add_note("runs/mine: Nothing is saved yet.")
    >>> print(with_notes(error))
    no such column
    runs/mine: Nothing is saved yet.
    """
    return "\n".join([str(error), *vars(error).get("__notes__", [])])


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest allowed word, or an empty string.

    >>> nearest("curlra", ["lora", "curlora"])
    "; did you mean 'curlora'?"
    """
    close = get_close_matches(str(given), [str(word) for word in allowed], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown(what: str, given: object, allowed: Iterable[str]) -> InputError:
    """Build the error for a word that is not one of a known few.

    >>> unknown("method", "curlra", ["curlora", "lora"])
    InputError("unknown method 'curlra'; known: ['curlora', 'lora']; did you mean 'curlora'?")
    """
    words = sorted(str(word) for word in allowed)
    return InputError(
        f"unknown {what} {given!r}; known: {words}{nearest(str(given), words) or '.'}"
    )


class LostProcessError(RuntimeError):
    """Another process of the run has ended without a word, or does not answer any more."""


class OtherProcessError(RuntimeError):
    """Another process of the run has failed and says why itself."""

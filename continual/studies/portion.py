"""Some of the trials of a search, reported as the whole of it."""

from collections.abc import Sequence

from continual.runs.progress import Reporter
from continual.studies.trials import Trial


class Portion(Reporter):
    """Passes on what the runs of one portion say, counted with those before and after them."""

    def __init__(self, to: Reporter, book: Sequence[Trial], trials: int) -> None:
        """Speak for the trials of the book that were asked for; there will be so many in all."""
        self._to = to
        asked = sum(trial.state == "asked" for trial in book)
        finished = sum(trial.state in ("complete", "pruned") for trial in book)
        self._done, self._failed = finished, len(book) - asked - finished
        self._later = max(0, trials - len(book))

    def note(self, text: str) -> None:
        """Pass on a note."""
        self._to.note(text)

    def step(self, what: str, done: int, total: int) -> None:
        """Pass on a position."""
        self._to.step(what, done, total)

    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Pass on an end of an experience."""
        self._to.learned(run, done, total, score, text)

    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """Count those of the other portions too."""
        waiting, done, failed = waiting + self._later, done + self._done, failed + self._failed
        self._to.runs(working, waiting=waiting, done=done, failed=failed)

    def close(self) -> None:
        """Other portions follow."""

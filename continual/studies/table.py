"""A live table of a study: a row for every run at work, and how many are not.

It is drawn a few times a second whatever the runs say, above the cursor, and removed at the end.
What else is printed meanwhile (notes, warnings, tracebacks) scrolls by above it.
"""

import logging
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from continual.runs.progress import LineReporter, Reporter, SilentReporter, counts

if TYPE_CHECKING:
    from rich.table import Table

REDRAWN = 4  # times a second
SPARE = 6  # lines of the terminal that are not rows


@dataclass(kw_only=True)
class Row:
    """What is known of a run at work.

    Attributes:
        doing: what it does, as "learning food".
        done: steps of that.
        total: of so many.
        learned: experiences behind it.
        experiences: of so many; 0 as long as that is unknown.
        score: of the task that was learned last.
        began: when its first position was known, in seconds, and how much of the run was done then.
    """

    doing: str = ""
    done: int = 0
    total: int = 0
    learned: int = 0
    experiences: int = 0
    score: str = ""
    began: tuple[float, float] | None = None

    def share(self) -> float:
        """Return how much of the run is behind it, in [0, 1]; evaluation counts for nothing."""
        if not self.experiences:
            return 0.0
        within = self.done / self.total if self.doing.startswith("learning") and self.total else 0.0
        return min(1.0, (self.learned + within) / self.experiences)

    def left(self, now: float) -> float | None:
        """Return the seconds that are left at the pace so far; None where nothing shows it yet."""
        share = self.share()
        if self.began is None or share <= self.began[1]:
            return None
        return (now - self.began[0]) * (1 - share) / (share - self.began[1])


class TableReporter(Reporter):
    """Shows the table on stderr, which is a terminal."""

    def __init__(self) -> None:
        """Nothing is shown before something is said."""
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._lock = threading.Lock()  # the table is drawn by a thread of its own
        self._rows: dict[str, Row] = {}
        self._counts = ""
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=REDRAWN,
            transient=True,
        )

    def note(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, highlight=False, markup=False)

    def step(self, what: str, done: int, total: int) -> None:
        """Take in a position."""
        name, _, doing = what.partition(":")
        with self._lock:
            row = self._rows.setdefault(name, Row())
            row.doing, row.done, row.total = doing.strip(), done, total
            if row.began is None and row.experiences and doing.strip().startswith("learning"):
                row.began = (time.monotonic(), row.share())

    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Take in an end of an experience."""
        with self._lock:
            row = self._rows.setdefault(run, Row())
            row.learned, row.experiences, row.score = done, total, score or row.score
            row.doing, row.done, row.total = "", 0, 0

    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """Take in which runs are at work; the others lose their rows."""
        with self._lock:
            self._rows = {name: self._rows.get(name, Row()) for name in working}
            self._counts = counts(len(working), waiting, done, failed)
        self._live.start()

    def close(self) -> None:
        """Remove the table; say where the study has come to."""
        self._live.stop()
        if self._counts:
            self.note(self._counts)

    def _draw(self) -> "Table":
        """Return the table as it is now."""
        from rich.table import Table

        with self._lock:
            rows = [(name, *_cells(row)) for name, row in self._rows.items()]
            title = self._counts
        table = Table(box=None, pad_edge=False, caption=title, caption_justify="left")
        for column in ("run", "experience", "doing", "step", "left", "last score"):
            table.add_column(column, no_wrap=True, overflow="ellipsis")
        room = max(1, self._console.height - SPARE)
        for row in rows[:room]:
            table.add_row(*row)
        if len(rows) > room:
            table.add_row(f"... and {len(rows) - room} more")
        return table


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    """Return a row in words."""
    at = min(row.learned + 1, row.experiences)
    left = row.left(time.monotonic())
    return (
        f"{at} of {row.experiences}" if row.experiences else "",
        row.doing or "...",
        f"{row.done} of {row.total}" if row.total else "",
        "" if left is None else duration(left),
        row.score,
    )


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(7.4), duration(185.0), duration(7325.0)
    ('0:07', '3:05', '2:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def study_reporter(quiet: bool) -> Reporter:
    """Return the reporter of a study: silent, a table on a terminal, plain lines elsewhere."""
    if quiet:
        logging.getLogger("continual").setLevel(logging.ERROR)
        return SilentReporter()
    return TableReporter() if sys.stderr.isatty() else LineReporter()

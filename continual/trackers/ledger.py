"""The rows of one run directory: what was observed at every moment, written whole each time.

The loop's recorder and the callback of somebody else's Trainer both keep one.
"""

from collections.abc import Sequence
from pathlib import Path

from continual.records import (
    ExampleRow,
    RunRecord,
    ScoreRow,
    write_examples,
    write_scores,
    write_tokens,
)
from continual.trackers.perplexity import PerplexityDrift
from continual.trackers.retained import RetainedAccuracy


class Ledger:
    """Asks the trackers and owns what they said."""

    def __init__(self, folder: Path, retained: RetainedAccuracy, drift: PerplexityDrift) -> None:
        self.folder = folder
        self.retained = retained
        self.drift = drift
        self._scores: list[ScoreRow] = []
        self._examples: list[ExampleRow] = []

    def resume(self, record: RunRecord) -> None:
        """Go on with what an earlier session has written."""
        self._scores = list(record.score_rows)
        self._examples = list(record.examples())
        self.drift.remember(record.tokens())

    def observe(self, after: int, step: int, more: Sequence[ScoreRow] = ()) -> list[ScoreRow]:
        """Evaluate after an experience and write its rows in place of those of later moments.

        Args:
            after: the experience; -1 is before any training.
            step: optimiser steps made in it.
            more: rows that belong to the same moment.

        Returns:
            The score rows of this moment.

        Raises:
            OSError: the directory is missing, not writable or full.
        """
        scores, examples = self.retained.observe(after, step)
        scores += [*self.drift.observe(after, step), *more]
        self._scores = [*self._before(after, step), *scores]
        self._examples = [row for row in self._examples if row.experience < after] + examples
        write_scores(self.folder, self._scores)
        write_examples(self.folder, self._examples)
        if self.drift.probes:
            write_tokens(self.folder, self.drift.tokens())
        return scores

    def observe_within(self, experience: int, step: int) -> list[ScoreRow]:
        """Score earlier tasks and probes in the middle of an experience, and write the rows."""
        scores = self.retained.within(experience, step) + self.drift.observe(experience, step)
        self._scores = [*self._before(experience, step), *scores]
        write_scores(self.folder, self._scores)
        return scores

    def last(self, experience: int, task: str, metric: str) -> ScoreRow | None:
        """Return the newest row of a metric of a task at an experience; None: it has none."""
        wanted = (experience, task, metric)
        found = [row for row in self._scores if (row.experience, row.task, row.metric) == wanted]
        return found[-1] if found else None

    def nats(self, experience: int) -> dict[tuple[str, str], float]:
        """Return the nats of every test example after an experience, by task and id."""
        return {(r.task, r.id): r.nats for r in self._examples if r.experience == experience}

    def _before(self, experience: int, step: int) -> list[ScoreRow]:
        """Return the rows of earlier moments; a run that continues makes later ones again."""
        return [row for row in self._scores if (row.experience, row.step) < (experience, step)]

"""Retained accuracy: the score of every task after every experience, example by example."""

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from continual.backbone.base import Backbone, Scored
from continual.backbone.memory import BatchSize
from continual.records.rows import STANDARD_ERROR, ExampleRow, ScoreRow
from continual.scenario import Scenario, Split
from continual.trackers.shared import score_together
from continual.trackers.watched import Watched


class RetainedAccuracy:
    """Scores the test split of every task whose classes exist; keeps predictions, never logits.

    In class-incremental scenarios a task whose classes have not arrived is not evaluated (NaN in
    R). A result is remembered by (adapter state, task, competing classes): a model that did not
    change, such as the frozen control, is evaluated once. An experience beyond the scenario's last
    learned something that the scenario has no test of.
    """

    def __init__(
        self,
        scenario: Scenario,
        backbone: Backbone,
        adaptation: Watched,
        *,
        batch_size: BatchSize,
        tick: Callable[[str, int, int], None],
        policy: str = "full",
        every: int = 1,
        sample: int | None = None,
    ) -> None:
        """Encode the test splits.

        Args:
            scenario: whose tasks are scored.
            backbone: that answers.
            adaptation: of it: which state it is in, and how it serves a task.
            batch_size: examples per forward pass.
            tick: is told which task is scored.
            policy: "full" scores every task, "lower" those learned so far.
            every: experiences between such evaluations; in between only the task just learned.
            sample: at most so many test examples per task, chosen by their ids.
        """
        self.scenario = scenario
        self.backbone = backbone
        self.adaptation = adaptation
        self.batch_size = batch_size
        self.tick = tick
        # Encoded at once: what cannot be read is found before anything is trained or written.
        splits = [task.load().test for task in scenario.tasks]
        self._whole = [len(split) for split in splits]
        self._encoded = [
            backbone.encode(task, split if sample is None else sampled(split, sample))
            for task, split in zip(scenario.tasks, splits, strict=True)
        ]
        self._policy, self._every, self._sample = policy, every, sample
        self._known: dict[tuple[object, ...], list[Scored]] = {}

    def observe(self, after: int, step: int) -> tuple[list[ScoreRow], list[ExampleRow]]:
        """Evaluate after experience ``after`` (-1: before any training).

        Args:
            after: index of the experience.
            step: optimiser steps made since the run began.

        Returns:
            One score row per task and metric, and one example row per test example.
        """
        scores: list[ScoreRow] = []
        examples: list[ExampleRow] = []
        state = self._state()
        tasks = self.scenario.tasks
        for j in self._wanted(after):
            task = tasks[j]
            self.tick(task.name, j, len(tasks))
            scored = self._score(after, j, state)
            if scored is None:
                continue
            scores += self._rows(after, step, j, scored)
            examples.extend(_example(after, task.name, one) for one in scored)
        self.tick("", len(tasks), len(tasks))
        return scores, examples

    def within(self, experience: int, step: int) -> list[ScoreRow]:
        """Score every earlier task in the middle of an experience, after so many of its steps."""
        state = self._state()
        rows: list[ScoreRow] = []
        for j in range(min(experience, len(self.scenario))):
            scored = self._score(experience, j, state)
            rows += [] if scored is None else self._rows(experience, step, j, scored)
        return rows

    def _wanted(self, after: int) -> list[int]:
        """Return the tasks that are scored after an experience, by the policy."""
        count = len(self.scenario)
        if after < 0:
            return list(range(count))
        if (after + 1) % self._every and after < count - 1:
            return [after]
        return list(range(min(after + 1, count) if self._policy == "lower" else count))

    def _state(self) -> str:
        """Return the state of the adapters, and forget what was known of others."""
        state = self.adaptation.state_hash()
        self._known = {key: scored for key, scored in self._known.items() if key[0] == state}
        return state

    def _rows(self, after: int, step: int, j: int, scored: list[Scored]) -> list[ScoreRow]:
        task = self.scenario.tasks[j]
        correct, n = _mean_score(task.score, scored)
        tokens = sum(one.tokens for one in scored)
        nats = sum(one.nats for one in scored) / tokens
        rows = [
            _row(after, step, task.name, task.score, correct, n),
            _row(after, step, task.name, "nats_per_token", nats, tokens),
        ]
        if self._sample is not None:
            error = standard_error([one.correct for one in scored], self._whole[j])
            rows.append(_row(after, step, task.name, STANDARD_ERROR, error, len(scored)))
        return rows

    def _score(self, after: int, j: int, state: str) -> list[Scored] | None:
        task = self.scenario.tasks[j]
        candidates = self.scenario.candidates(min(after, len(self.scenario) - 1), j)
        if candidates is None:
            return None
        key = (state, j, candidates)
        if key not in self._known:
            with self.adaptation.serving(j):
                self._known[key] = score_together(
                    self.backbone, task, self._encoded[j], candidates, self.batch_size
                )
        return self._known[key]


def sampled(split: Split, count: int) -> Split:
    """Return at most ``count`` examples, chosen by a hash of their ids, in their own order."""
    hashes = [hashlib.blake2b(id.encode(), digest_size=8).digest() for id in split.column("id")]
    chosen = sorted(sorted(range(len(hashes)), key=hashes.__getitem__)[:count])
    return split.select(chosen)


def standard_error(correct: Sequence[float], whole: int) -> float:
    """Return that of the mean over a sample without replacement from ``whole`` examples.

    >>> standard_error([1.0, 0.0, 1.0, 0.0], 4)
    0.0
    """
    n = len(correct)
    if n < 2 or n >= whole:
        return 0.0
    return statistics.stdev(correct) / math.sqrt(n) * math.sqrt(1.0 - n / whole)


def _mean_score(score: str, scored: list[Scored]) -> tuple[float, int]:
    """Return the mean and what it is over: tokens for a score of tokens, else examples."""
    if score == "token_accuracy":
        tokens = sum(one.tokens for one in scored)
        return math.fsum(one.correct * one.tokens for one in scored) / tokens, tokens
    return math.fsum(one.correct for one in scored) / len(scored), len(scored)


def majority_rows(scenario: Scenario) -> list[ScoreRow]:
    """Return, per classification task, the accuracy of always saying its commonest test class."""
    rows = []
    for task in scenario.tasks:
        if task.labels:
            counts = Counter(task.load().test.column("label"))
            share = counts.most_common(1)[0][1] / counts.total()
            rows.append(_row(-1, 0, task.name, "majority", share, counts.total()))
    return rows


def _row(after: int, step: int, task: str, metric: str, value: float, n: int) -> ScoreRow:
    return ScoreRow(experience=after, step=step, task=task, metric=metric, value=value, n=n)


def _example(after: int, task: str, scored: Scored) -> ExampleRow:
    return ExampleRow(
        experience=after,
        task=task,
        id=scored.id,
        prediction=scored.prediction,
        correct=scored.correct,
        nats=scored.nats,
    )
